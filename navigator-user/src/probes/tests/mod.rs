//! Tests of the prober: when it checks (on a clock that is paused), and what
//! it makes of real sockets.
#![allow(clippy::unwrap_used, reason = "a test may panic")]

mod scheduling;
mod sockets;

use super::{Target, task::Check};
use crate::probes::check::{Outcome, Verdict};
use futures::future::BoxFuture;
use navigator_core::{
    health::{Health, Settings},
    model::{CheckKind, CheckSpec, InstanceKey},
};
use std::{
    collections::HashMap,
    net::{Ipv4Addr, SocketAddr},
    sync::{Arc, Mutex},
    time::Duration,
};
use tokio::time::Instant;

const SECOND: Duration = Duration::from_secs(1);

fn defaults() -> Settings {
    Settings::default()
}

fn check(kind: CheckKind) -> CheckSpec {
    CheckSpec {
        kind,
        port: None,
        interval: None,
        timeout: None,
        rise: None,
        fall: None,
    }
}

fn target_at(address: SocketAddr, kind: CheckKind) -> Target {
    Target {
        key: InstanceKey {
            service: "web".parse().unwrap(),
            address,
        },
        check: check(kind),
        initial: Health::Unknown,
    }
}

/// The `n`th of many targets, checked by TCP.
fn target(n: u32) -> Target {
    let host = Ipv4Addr::from(0x0a00_0001 + n);
    target_at(SocketAddr::from((host, 80)), CheckKind::Tcp)
}

/// What the double of a check does.
#[derive(Clone, Copy)]
struct Behaviour {
    verdict: Verdict,
    takes: Duration,
}

const PASS: Behaviour = Behaviour {
    verdict: Verdict::Pass,
    takes: Duration::ZERO,
};
const FAIL: Behaviour = Behaviour {
    verdict: Verdict::Fail,
    takes: Duration::ZERO,
};
/// Never answers: ends by its timeout.
const SILENT: Behaviour = Behaviour {
    verdict: Verdict::Fail,
    takes: Duration::MAX,
};

/// A double of the network that writes down what it was asked, and when.
#[derive(Clone)]
struct Fake(Arc<Mutex<Log>>);

struct Log {
    behaviour: Behaviour,
    special: HashMap<InstanceKey, Behaviour>,
    starts: Vec<(InstanceKey, Instant)>,
    running: usize,
    most_running: usize,
    cancelled: usize,
}

impl Fake {
    fn new(behaviour: Behaviour) -> Self {
        Self(Arc::new(Mutex::new(Log {
            behaviour,
            special: HashMap::new(),
            starts: Vec::new(),
            running: 0,
            most_running: 0,
            cancelled: 0,
        })))
    }

    fn set(&self, behaviour: Behaviour) {
        self.0.lock().unwrap().behaviour = behaviour;
    }

    fn set_one(&self, target: &Target, behaviour: Behaviour) {
        let mut log = self.0.lock().unwrap();
        log.special.insert(target.key.clone(), behaviour);
    }

    fn look<T>(&self, look: impl FnOnce(&Log) -> T) -> T {
        look(&self.0.lock().unwrap())
    }

    /// When the checks of one target began.
    fn starts_of(&self, target: &Target) -> Vec<Instant> {
        self.look(|log| {
            let mine = log.starts.iter().filter(|(key, _)| *key == target.key);
            mine.map(|(_, at)| *at).collect()
        })
    }
}

impl Check for Fake {
    fn run<'a>(&'a self, target: &'a Target, timeout: Duration) -> BoxFuture<'a, Outcome> {
        Box::pin(async move {
            let behaviour = {
                let mut log = self.0.lock().unwrap();
                log.starts.push((target.key.clone(), Instant::now()));
                log.running += 1;
                log.most_running = log.most_running.max(log.running);
                *log.special.get(&target.key).unwrap_or(&log.behaviour)
            };
            let mut running = Running(self, false);
            tokio::time::sleep(behaviour.takes.min(timeout)).await;
            running.1 = true;
            Outcome {
                verdict: behaviour.verdict,
                detail: format!("{:?}", behaviour.verdict),
            }
        })
    }
}

/// Notices a check that was dropped before its end.
struct Running<'a>(&'a Fake, bool);

impl Drop for Running<'_> {
    fn drop(&mut self) {
        let mut log = self.0.0.lock().unwrap();
        log.running -= 1;
        log.cancelled += usize::from(!self.1);
    }
}
