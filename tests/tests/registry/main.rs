//! The registries against what they promise: etcd by the real program, the
//! embedded one by its file. Needs etcd, etcdctl and setpriv, and says so when they are missing.
#![allow(
    clippy::unwrap_used,
    reason = "a test that cannot go on fails where it is"
)]

mod conformance;
mod leases;
mod lists;
mod outages;

use navigator_user::registry::{
    Change, Entry, Registry, RegistryEvent,
    etcd::{EtcdRegistry, EtcdSettings},
};
use std::{collections::BTreeMap, time::Duration};
use tokio::sync::mpsc::Receiver;

/// No event takes that long, on any machine.
const PATIENCE: Duration = Duration::from_secs(60);

fn registry(endpoints: &[String]) -> EtcdRegistry {
    EtcdRegistry::new(EtcdSettings {
        endpoints: endpoints.to_vec(),
        ..EtcdSettings::default()
    })
}

/// A watch, read step by step.
struct Watch {
    events: Receiver<RegistryEvent>,
    /// What there is, according to the events.
    state: BTreeMap<String, String>,
}

impl Watch {
    fn new(registry: &dyn Registry) -> Self {
        Self {
            events: registry.watch(),
            state: BTreeMap::new(),
        }
    }

    async fn next(&mut self) -> RegistryEvent {
        let event = tokio::time::timeout(PATIENCE, self.events.recv());
        let event = event
            .await
            .expect("an event comes")
            .expect("the watch goes on");
        match &event {
            RegistryEvent::Synced { entries, .. } => {
                self.state = entries.iter().map(pair).collect();
            }
            RegistryEvent::Changed { changes, .. } => {
                for change in changes {
                    match change {
                        Change::Put(entry) => self.state.extend([pair(entry)]),
                        Change::Delete(key) => drop(self.state.remove(key)),
                    }
                }
            }
            RegistryEvent::Lost { .. } | RegistryEvent::Recovered => {}
        }
        event
    }

    /// The next event must be a list.
    async fn synced(&mut self) -> Vec<Entry> {
        match self.next().await {
            RegistryEvent::Synced { entries, .. } => entries,
            other => panic!("{other:?} instead of a list"),
        }
    }

    async fn lost(&mut self) -> String {
        match self.next().await {
            RegistryEvent::Lost { why } => why,
            other => panic!("{other:?} instead of a loss"),
        }
    }

    async fn recovered(&mut self) {
        let event = self.next().await;
        assert_eq!(event, RegistryEvent::Recovered);
    }

    /// The next `count` changes, and nothing else.
    async fn changes(&mut self, count: usize) -> Vec<Change> {
        let mut all = Vec::new();
        while all.len() < count {
            match self.next().await {
                RegistryEvent::Changed { changes, .. } => all.extend(changes),
                other => panic!("{other:?} instead of changes"),
            }
        }
        assert_eq!(all.len(), count, "{all:?}");
        all
    }
}

fn pair(entry: &Entry) -> (String, String) {
    let value = String::from_utf8_lossy(&entry.value).into_owned();
    (entry.key.clone(), value)
}

/// `+key=value` or `-key`.
fn brief(change: &Change) -> String {
    match change {
        Change::Put(entry) => {
            let (key, value) = pair(entry);
            format!("+{key}={value}")
        }
        Change::Delete(key) => format!("-{key}"),
    }
}
