//! The interfaces that packets come in by, followed while the daemon runs.
//!
//! The program knows its interface's MAC address and egress index as
//! constants. When an operator changes the address, every frame would be for
//! somebody else; when the interface is made again, its link is gone. Both
//! are noticed within a second, by asking, and answered with a new load.

use super::{
    KernelDataplane, OpenError,
    attach::{self, Attached, InterfaceSettings},
    drop_log::DropLog,
    interface::{self, AttachMode},
    tap,
    tracers::Tap,
};
use crate::{dataplane::store::Store, trace::hub::Hub};
use std::{
    sync::Arc,
    time::{Duration, Instant},
};

/// How long a load or an attachment that failed waits to be tried again.
const RETRY: Duration = Duration::from_secs(5);

/// One interface.
pub(super) struct Watched {
    settings: InterfaceSettings,
    pub(super) attached: Attached,
    /// What the program on it was loaded for.
    known: Identity,
    /// What is wrong with it, in words; empty if all is well.
    problem: String,
    /// When a failure is tried again.
    retry_at: Option<Instant>,
}

/// What a program is loaded for.
#[derive(Clone, Copy, PartialEq, Eq)]
pub(super) struct Identity {
    ifindex: u32,
    mac: [u8; 6],
}

impl Watched {
    pub(super) fn name(&self) -> &str {
        &self.settings.name
    }

    pub(super) const fn mode(&self) -> AttachMode {
        self.attached.mode
    }

    /// What is wrong with it, in words, if something is.
    pub(super) fn problem(&self) -> Option<String> {
        (!self.problem.is_empty()).then(|| self.problem.clone())
    }

    /// Whether something failed a moment ago and is not to be tried again yet.
    pub(super) fn waits(&self) -> bool {
        self.retry_at.is_some_and(|at| Instant::now() < at)
    }

    /// Something failed: it is tried again later.
    pub(super) fn wait(&mut self) {
        self.retry_at = Some(Instant::now() + RETRY);
    }

    /// What its program is loaded for.
    pub(super) fn identity(&self) -> (InterfaceSettings, Identity) {
        (self.settings.clone(), self.known)
    }

    /// Notes what is wrong; says so once.
    fn complain(&mut self, problem: String) {
        if self.problem != problem {
            tracing::error!("{problem}");
            self.problem = problem;
        }
    }
}

impl KernelDataplane {
    /// Attaches the program to an interface for the first time.
    pub(super) fn watch(&mut self, settings: &InterfaceSettings) -> Result<(), OpenError> {
        let known = self.identify(settings)?;
        let attached = self.attach(settings, known, None)?;
        self.interfaces.push(Watched {
            settings: settings.clone(),
            attached,
            known,
            problem: String::new(),
            retry_at: None,
        });
        Ok(())
    }

    /// Looks whether every interface still is what its program was loaded for.
    pub(super) fn follow_interfaces(&mut self) {
        for index in 0..self.interfaces.len() {
            self.follow(index);
        }
        self.plane.refresh_interfaces();
    }

    fn follow(&mut self, index: usize) {
        let (settings, known) = self.interfaces[index].identity();
        let waits = self.interfaces[index].waits();
        let found = match self.identify(&settings) {
            Ok(found) => found,
            Err(error) => return self.interfaces[index].complain(error.to_string()),
        };
        let runs = interface::attached(found.ifindex).is_ok_and(|mode| mode.is_some());
        if found == known && runs {
            self.interfaces[index].problem.clear();
        } else if !waits {
            self.renew(index, &settings, found);
        }
    }

    fn renew(&mut self, index: usize, settings: &InterfaceSettings, found: Identity) {
        let traced = self.interfaces[index].attached.tap.is_some();
        let hub = self.tracers.clone().filter(|_| traced);
        let outcome = self.attach(settings, found, hub.as_ref());
        let old = self.interfaces[index].known;
        if outcome.is_ok() && old.ifindex != found.ifindex {
            self.plane.leave_interface(old.ifindex);
        }
        let watched = &mut self.interfaces[index];
        match outcome {
            Ok(attached) => {
                tracing::warn!(
                    "{} was made again or got another MAC address: the program was loaded anew for it",
                    settings.name
                );
                watched.attached = attached;
                watched.known = found;
                watched.problem.clear();
                watched.retry_at = None;
            }
            Err(error) => {
                watched.wait();
                watched.complain(format!("{error}; trying again every few seconds"));
            }
        }
    }

    fn identify(&self, settings: &InterfaceSettings) -> Result<Identity, OpenError> {
        let ifindex = interface::index(&settings.name)?;
        let mac = self.plane.store().device_mac(ifindex)?;
        Ok(Identity { ifindex, mac })
    }

    /// Loads the program for an interface and puts it there; with a hub the one that writes down
    /// packets for it.
    pub(super) fn attach(
        &mut self,
        settings: &InterfaceSettings,
        found: Identity,
        hub: Option<&Arc<Hub>>,
    ) -> Result<Attached, OpenError> {
        let egress = self.plane.keep_interface(found.ifindex)?;
        let mut program = self.load(found.mac, egress, settings.log_drops, hub.is_some())?;
        let tap = match hub {
            Some(hub) => {
                let (filters, records) = tap::take(program.ebpf())?;
                Some(Tap::new(filters, records, hub.clone()))
            }
            None => None,
        };
        let pin = self.dir.as_ref().map(|dir| dir.link(&settings.name));
        let mut attached = attach::attach(settings, &mut program, pin.as_deref())?;
        attached.tap = tap;
        if settings.log_drops {
            attached.log = DropLog::read(program.ebpf());
        }
        Ok(attached)
    }
}
