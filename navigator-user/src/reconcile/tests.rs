//! The loop over the in-memory data plane, with instances that ask for no check.

#![allow(clippy::unwrap_used, reason = "a test may stop where it stands")]

use super::{DaemonFacts, Parts, run};
use crate::{
    dataplane::{
        Dataplane,
        memory::{MemoryDataplane, MemoryStore},
        neighbours::HopChange,
        store::Sizes,
    },
    probes::{ProbeReport, Prober, ProberSettings},
    registry::{Change, Entry, RegistryEvent},
    snapshot::{Snapshot, VipView},
};
use navigator_core::{catalog::Catalog, entry::Rules, health::Settings, plan::members::State};
use std::{sync::Arc, time::Duration};
use tokio::{
    sync::{mpsc, oneshot, watch},
    task::JoinHandle,
    time::timeout,
};

const SIZES: Sizes = Sizes {
    slots: 1 << 14,
    backends: 256,
    flow_sets: 16,
};

struct Daemon {
    registry: mpsc::Sender<RegistryEvent>,
    _hops: mpsc::Sender<HopChange>,
    snapshots: watch::Receiver<(u64, Arc<Snapshot>)>,
    stop: oneshot::Sender<()>,
    task: JoinHandle<()>,
    revision: i64,
}

impl Daemon {
    fn start(store: MemoryStore) -> Self {
        let (registry, events) = mpsc::channel(16);
        let (hop_sender, hops) = mpsc::channel(16);
        let (reports, reported) = mpsc::channel::<ProbeReport>(16);
        let (hosts, _) = watch::channel(Default::default());
        let (publish, snapshots) = watch::channel(Default::default());
        let (stop, stopped) = oneshot::channel::<()>();
        let parts = Parts {
            dataplane: MemoryDataplane::adopt_from(store),
            catalog: Catalog::new(Rules::default()),
            registry: events,
            reports: reported,
            prober: Prober::start(ProberSettings::new(Settings::default()), reports),
            hosts,
            hops,
            announcer: None,
            snapshots: publish,
            plan_seed: 1,
            facts: DaemonFacts::default(),
        };
        let task = tokio::spawn(run(parts, async { stopped.await.unwrap_or_default() }));
        Self {
            registry,
            _hops: hop_sender,
            snapshots,
            stop,
            task,
            revision: 1,
        }
    }

    async fn stop(self) {
        self.stop.send(()).unwrap();
        self.task.await.unwrap();
    }

    async fn sync(&mut self, entries: &[(&str, &str)]) {
        self.revision += 1;
        let entries = entries
            .iter()
            .map(|(key, value)| entry(key, value, self.revision))
            .collect();
        self.registry
            .send(RegistryEvent::Synced {
                entries,
                revision: self.revision,
            })
            .await
            .unwrap();
    }

    async fn put(&mut self, key: &str, value: &str) {
        self.revision += 1;
        let changes = vec![Change::Put(entry(key, value, self.revision))];
        self.registry
            .send(RegistryEvent::Changed {
                changes,
                revision: self.revision,
            })
            .await
            .unwrap();
    }

    async fn delete(&mut self, key: &str) {
        self.revision += 1;
        let changes = vec![Change::Delete(key.to_owned())];
        self.registry
            .send(RegistryEvent::Changed {
                changes,
                revision: self.revision,
            })
            .await
            .unwrap();
    }

    /// The first snapshot that `holds`; the test fails if none comes.
    async fn until(&mut self, what: &str, holds: impl Fn(&Snapshot) -> bool) -> Arc<Snapshot> {
        let wait = self.snapshots.wait_for(|(_, snapshot)| holds(snapshot));
        let found = timeout(Duration::from_secs(20), wait)
            .await
            .map(|found| found.unwrap().1.clone());
        match found {
            Ok(found) => found,
            Err(_) => panic!("never seen: {what}; last: {:#?}", self.snapshots.borrow().1),
        }
    }
}

fn entry(key: &str, value: &str, revision: i64) -> Entry {
    Entry {
        key: key.to_owned(),
        value: value.into(),
        created: revision,
        modified: revision,
        leased: false,
    }
}

const VIP: (&str, &str) = (
    "/navigator/vips/web",
    r#"{"address":"192.0.2.1","port":80,"service":"web","mode":"l2","slots":1009,"drain":"2s"}"#,
);

fn instance(last: u8, weight: u16) -> (String, String) {
    let value = format!(
        r#"{{"name":"web","address":"10.0.0.{last}","port":80,"weight":{weight},"check":{{"kind":"none"}}}}"#
    );
    (format!("/services/web/10.0.0.{last}:80"), value)
}

fn web(snapshot: &Snapshot) -> Option<&VipView> {
    snapshot
        .vips
        .iter()
        .find(|vip| vip.name == "web" && vip.applied)
}

fn shares(snapshot: &Snapshot) -> Vec<u32> {
    web(snapshot)
        .map(|vip| vip.backends.iter().map(|b| b.slots).collect())
        .unwrap_or_default()
}

#[tokio::test]
async fn a_service_and_its_vip_become_a_table_and_its_changes_follow() {
    let mut daemon = Daemon::start(MemoryStore::new(SIZES));
    let (a, b) = (instance(1, 100), instance(2, 300));
    daemon.sync(&[VIP, (&a.0, &a.1), (&b.0, &b.1)]).await;
    let snapshot = daemon
        .until("one part to three", |s| shares(s) == [252, 757])
        .await;
    assert!(snapshot.daemon.ready);
    assert_eq!(snapshot.daemon.slots_written, 1009);

    daemon
        .put("/navigator/orders/web/10.0.0.2:80", r#"{"drain":true}"#)
        .await;
    let snapshot = daemon
        .until("all slots at the first", |s| {
            shares(s).first() == Some(&1009)
        })
        .await;
    let drained = &web(&snapshot).unwrap().backends[1];
    assert_eq!(
        (drained.state, drained.slots, drained.at_risk_slots),
        (State::Draining, 0, 757)
    );

    daemon.delete("/navigator/orders/web/10.0.0.2:80").await;
    daemon
        .until("both again", |s| shares(s) == [252, 757])
        .await;

    daemon.delete(&b.0).await;
    let gone = |s: &Snapshot| shares(s) == [1009];
    daemon.until("the second drained and gone", gone).await;
    daemon.stop().await;
}

#[tokio::test]
async fn a_restarted_daemon_writes_no_slot_that_did_not_change() {
    let store = MemoryStore::new(SIZES);
    let instances = [instance(1, 100), instance(2, 100), instance(3, 50)];
    let mut entries = vec![VIP];
    entries.extend(
        instances
            .iter()
            .map(|(key, value)| (key.as_str(), value.as_str())),
    );
    let mut first = Daemon::start(store.clone());
    first.sync(&entries).await;
    let before = first.until("a table", |s| !shares(s).is_empty()).await;
    first.stop().await;

    let mut second = Daemon::start(store);
    let adopted = second
        .until("the adopted VIP before the registry", |s| {
            !s.vips.is_empty()
        })
        .await;
    assert!(adopted.daemon.adopted && !adopted.daemon.ready);
    second.sync(&entries).await;
    let after = second.until("ready", |s| s.daemon.ready).await;
    assert_eq!(after.daemon.slots_written, 0);
    assert_eq!(shares(&after), shares(&before));
    second.stop().await;
}

#[tokio::test]
async fn what_the_registry_does_not_know_any_more_is_removed_only_after_it_was_read() {
    let store = MemoryStore::new(SIZES);
    let (key, value) = instance(1, 100);
    let mut first = Daemon::start(store.clone());
    first.sync(&[VIP, (&key, &value)]).await;
    first.until("a table", |s| !shares(s).is_empty()).await;
    first.stop().await;

    let mut second = Daemon::start(store.clone());
    second
        .registry
        .send(RegistryEvent::Lost {
            why: "refused".to_owned(),
        })
        .await
        .unwrap();
    let lost = second
        .until("the registry lost", |s| s.registry.why == "refused")
        .await;
    assert_eq!(lost.vips.len(), 1, "an error is never an empty registry");
    second.sync(&[]).await;
    second
        .until("no VIP", |s| s.registry.connected && s.vips.is_empty())
        .await;
    second.stop().await;
    assert_eq!(MemoryDataplane::adopt_from(store).adopted(), []);
}

#[tokio::test]
async fn slots_of_a_living_vip_cannot_change() {
    let mut daemon = Daemon::start(MemoryStore::new(SIZES));
    let (key, value) = instance(1, 100);
    daemon.sync(&[VIP, (&key, &value)]).await;
    daemon.until("a table", |s| shares(s) == [1009]).await;
    daemon.put(VIP.0, &VIP.1.replace("1009", "2003")).await;
    let snapshot = daemon.until("a problem", |s| !s.problems.is_empty()).await;
    assert!(
        snapshot.problems[0].contains("slots stay 1009"),
        "{:?}",
        snapshot.problems
    );
    assert_eq!(shares(&snapshot), [1009]);
    daemon.stop().await;
}
