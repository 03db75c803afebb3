//! The loop over the in-memory data plane, with instances that ask for no check.

#![allow(clippy::unwrap_used, reason = "a test may stop where it stands")]

use super::{Announcer, DaemonFacts, Parts, run};
use crate::{
    dataplane::{
        Dataplane, NextHop,
        memory::{MemoryDataplane, MemoryStore},
        neighbours::HopChange,
        store::Sizes,
    },
    probes::{ProbeReport, Prober, ProberSettings},
    registry::{Change, Entry, RegistryEvent},
    snapshot::{Snapshot, VipView},
};
use futures::future::BoxFuture;
use navigator_core::{catalog::Catalog, entry::Rules, health::Settings, plan::members::State};
use std::{
    collections::BTreeSet,
    net::IpAddr,
    sync::{
        Arc,
        atomic::{AtomicBool, AtomicU32, Ordering::SeqCst},
    },
    time::Duration,
};
use tokio::{
    sync::{mpsc, oneshot, watch},
    task::JoinHandle,
    time::timeout,
};

const SIZES: Sizes = Sizes {
    slots: 1 << 14,
    backends: 256,
    flow_sets: 16,
    nat_flows: 1,
};

struct Daemon {
    registry: mpsc::Sender<RegistryEvent>,
    hops: mpsc::Sender<HopChange>,
    snapshots: watch::Receiver<(u64, Arc<Snapshot>)>,
    stop: oneshot::Sender<()>,
    task: JoinHandle<()>,
    revision: i64,
}

impl Daemon {
    fn start(store: MemoryStore) -> Self {
        Self::start_with(store, None)
    }

    fn start_with(store: MemoryStore, announcer: Option<Box<dyn Announcer>>) -> Self {
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
            announcer,
            sources: BTreeSet::new(),
            snapshots: publish,
            plan_seed: 1,
            facts: DaemonFacts::default(),
            tracers: Arc::default(),
        };
        let task = tokio::spawn(run(parts, async { stopped.await.unwrap_or_default() }));
        Self {
            registry,
            hops: hop_sender,
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
        let change = Change::Put(entry(key, value, self.revision + 1));
        self.change(vec![change]).await;
    }

    async fn delete(&mut self, key: &str) {
        self.change(vec![Change::Delete(key.to_owned())]).await;
    }

    async fn change(&mut self, changes: Vec<Change>) {
        self.revision += 1;
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
async fn a_service_has_an_index_that_grows_when_its_clients_see_a_change() {
    let mut daemon = Daemon::start(MemoryStore::new(SIZES));
    let (a, b) = (instance(1, 100), instance(2, 300));
    daemon.sync(&[VIP, (&a.0, &a.1), (&b.0, &b.1)]).await;
    let index = |s: &Snapshot| {
        let service = s.services.iter().find(|service| service.name == "web");
        service.map(|service| service.index)
    };
    let first = daemon
        .until("both take clients", |s| {
            let taking = |s: &Arc<crate::snapshot::ServiceView>| {
                s.instances.iter().filter(|i| i.takes_new()).count()
            };
            s.services.iter().any(|service| taking(service) == 2)
        })
        .await;
    let other = r#"{"name":"api","address":"10.0.0.9","port":80,"check":{"kind":"none"}}"#;
    daemon.put("/services/api/10.0.0.9:80", other).await;
    let second = daemon
        .until("another service", |s| s.services.len() == 2)
        .await;
    assert_eq!(index(&first), index(&second), "nothing happened to it");
    assert!(second.services_index > first.services_index);
    let shared = |s: &Snapshot| s.services.iter().find(|s| s.name == "web").cloned();
    assert!(Arc::ptr_eq(
        &shared(&first).unwrap(),
        &shared(&second).unwrap()
    ));

    daemon
        .put(
            "/navigator/orders/web/10.0.0.2:80",
            r#"{"maintenance":true}"#,
        )
        .await;
    let third = daemon
        .until("all slots at the first", |s| {
            shares(s).first() == Some(&1009)
        })
        .await;
    assert!(index(&third) > index(&second));
    let backend = &web(&third).unwrap().backends[1];
    assert_eq!(
        (backend.state, backend.at_risk_slots),
        (State::Maintenance, 0),
        "it keeps no connection"
    );
    daemon.delete("/services/api/10.0.0.9:80").await;
    let fourth = daemon.until("one left", |s| s.services.len() == 1).await;
    assert!(fourth.services_index > third.services_index);
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

#[tokio::test]
async fn slots_changed_while_no_daemon_ran_do_not_stop_the_table_from_following() {
    let store = MemoryStore::new(SIZES);
    let (a, b) = (instance(1, 100), instance(2, 100));
    let mut first = Daemon::start(store.clone());
    first.sync(&[VIP, (&a.0, &a.1), (&b.0, &b.1)]).await;
    first.until("a table", |s| shares(s) == [505, 504]).await;
    first.stop().await;

    let other = VIP.1.replace("1009", "2003");
    let mut second = Daemon::start(store);
    second
        .sync(&[(VIP.0, &other), (&a.0, &a.1), (&b.0, &b.1)])
        .await;
    second
        .put("/navigator/orders/web/10.0.0.2:80", r#"{"drain":true}"#)
        .await;
    let snapshot = second
        .until("the drain", |s| shares(s).first() == Some(&1009))
        .await;
    assert_eq!(web(&snapshot).unwrap().slots, 1009);
    assert!(
        snapshot.problems[0].contains("slots stay 1009"),
        "it is said for as long as it holds: {:?}",
        snapshot.problems
    );
    second.stop().await;
}

#[tokio::test]
async fn a_vip_removed_and_put_again_at_once_has_the_slots_that_it_asks_for() {
    let mut daemon = Daemon::start(MemoryStore::new(SIZES));
    let (key, value) = instance(1, 100);
    daemon.sync(&[VIP, (&key, &value)]).await;
    daemon.until("a table", |s| shares(s) == [1009]).await;

    let other = VIP.1.replace("1009", "2003");
    let again = Change::Put(entry(VIP.0, &other, daemon.revision + 1));
    daemon
        .change(vec![Change::Delete(VIP.0.to_owned()), again])
        .await;
    daemon.until("another table", |s| shares(s) == [2003]).await;
    daemon.delete(VIP.0).await;
    daemon.put(VIP.0, VIP.1).await;
    let snapshot = daemon
        .until("the first size again", |s| shares(s) == [1009])
        .await;
    assert_eq!(snapshot.problems, [""; 0]);
    daemon.stop().await;
}

#[tokio::test]
async fn an_unreachable_backend_leaves_the_table_and_comes_back() {
    let store = MemoryStore::new(SIZES);
    let mut daemon = Daemon::start(store.clone());
    let (a, b) = (instance(1, 100), instance(2, 100));
    daemon.sync(&[VIP, (&a.0, &a.1), (&b.0, &b.1)]).await;
    daemon.until("a table", |s| shares(s) == [505, 504]).await;
    let change = |hop: Option<NextHop>, why: &str| HopChange {
        host: "10.0.0.2".parse().unwrap(),
        hop,
        why: why.to_owned(),
    };
    let hop = NextHop {
        mac: [2, 0, 0, 0, 0, 2],
        ifindex: 7,
        source: "10.0.0.250".parse().unwrap(),
        on_link: true,
        mtu: 1500,
    };
    let of_b = |s: &Snapshot| web(s).and_then(|vip| vip.backends.get(1).cloned());
    daemon.hops.send(change(Some(hop), "")).await.unwrap();
    daemon
        .until("a hop", |s| of_b(s).is_some_and(|b| b.reachable))
        .await;

    daemon
        .hops
        .send(change(None, "nobody answers"))
        .await
        .unwrap();
    let without = daemon
        .until("it without slots", |s| shares(s) == [1009, 0])
        .await;
    let lost = of_b(&without).unwrap();
    assert_eq!((lost.state, lost.reachable), (State::Unreachable, false));
    assert_eq!(lost.why, "cannot be reached: nobody answers");
    assert_eq!(
        without.problems,
        ["backends on 10.0.0.2 cannot be reached: nobody answers"]
    );
    assert!(lost.at_risk_slots > 0, "its connections wait for it");

    daemon.hops.send(change(Some(hop), "")).await.unwrap();
    let again = daemon.until("it back", |s| shares(s) == [505, 504]).await;
    assert_eq!(of_b(&again).unwrap().state, State::Active);
    assert_eq!(again.problems, [""; 0]);
    daemon.stop().await;
}

#[tokio::test]
async fn a_host_that_takes_part_again_is_not_called_unreachable_for_what_was() {
    let mut daemon = Daemon::start(MemoryStore::new(SIZES));
    let at_once = VIP.1.replace("2s", "0s");
    let (a, b) = (instance(1, 100), instance(2, 100));
    let all = [(VIP.0, at_once.as_str()), (&a.0, &a.1), (&b.0, &b.1)];
    daemon.sync(&all).await;
    daemon.until("a table", |s| shares(s) == [505, 504]).await;
    let lost = HopChange {
        host: "10.0.0.2".parse().unwrap(),
        hop: None,
        why: "nobody answers".to_owned(),
    };
    daemon.hops.send(lost).await.unwrap();
    let why = |s: &Snapshot| web(s).and_then(|vip| Some(vip.backends.get(1)?.why.clone()));
    daemon
        .until("why", |s| why(s).is_some_and(|why| why.contains("nobody")))
        .await;
    daemon.delete(&b.0).await;
    daemon.until("it gone", |s| shares(s) == [1009]).await;
    daemon.put(&b.0, &b.1).await;
    let back = daemon.until("it back", |s| shares(s) == [505, 504]).await;
    assert_eq!(why(&back).as_deref(), Some(""));
    daemon.stop().await;
}

#[tokio::test(start_paused = true)]
async fn an_address_that_others_took_away_is_announced_again() {
    let (lost, times) = <(Arc<AtomicBool>, Arc<AtomicU32>)>::default();
    let announcer = Held {
        lost: lost.clone(),
        times: times.clone(),
        ..Held::default()
    };
    let mut daemon = Daemon::start_with(MemoryStore::new(SIZES), Some(Box::new(announcer)));
    let (key, value) = instance(1, 100);
    daemon.sync(&[VIP, (&key, &value)]).await;
    let announced = |s: &Snapshot| web(s).is_some_and(|vip| vip.announced);
    daemon.until("it announced", announced).await;
    lost.store(true, SeqCst);
    // One comes each second.
    for _ in 0..30 {
        daemon.snapshots.changed().await.unwrap();
    }
    daemon.until("it announced", announced).await;
    assert_eq!(times.load(SeqCst), 2);
    daemon.stop().await;
}

/// Holds addresses in memory; cannot withdraw while it is stuck.
#[derive(Default)]
struct Held {
    addresses: BTreeSet<IpAddr>,
    /// Taken away by somebody else, and not noticed yet.
    lost: Arc<AtomicBool>,
    stuck: Arc<AtomicBool>,
    /// How often one was announced.
    times: Arc<AtomicU32>,
}

impl Announcer for Held {
    fn announce(&mut self, address: IpAddr) -> BoxFuture<'_, Result<(), String>> {
        self.addresses.insert(address);
        self.times.fetch_add(1, SeqCst);
        Box::pin(async { Ok(()) })
    }

    fn withdraw(&mut self, address: IpAddr) -> BoxFuture<'_, Result<(), String>> {
        let stuck = self.stuck.load(SeqCst);
        if !stuck {
            self.addresses.remove(&address);
        }
        Box::pin(async move {
            if stuck {
                Err("stuck".to_owned())
            } else {
                Ok(())
            }
        })
    }

    fn look_again(&mut self) -> BoxFuture<'_, Result<(), String>> {
        if self.lost.swap(false, SeqCst) {
            self.addresses.clear();
        }
        Box::pin(async { Ok(()) })
    }

    fn announced(&self) -> BTreeSet<IpAddr> {
        self.addresses.clone()
    }
}

#[tokio::test(start_paused = true)]
async fn a_vip_is_served_for_as_long_as_its_address_cannot_be_withdrawn() {
    let store = MemoryStore::new(SIZES);
    let stuck = Arc::new(AtomicBool::new(true));
    let announcer = Held {
        stuck: stuck.clone(),
        ..Held::default()
    };
    let mut daemon = Daemon::start_with(store.clone(), Some(Box::new(announcer)));
    let (key, value) = instance(1, 100);
    daemon.sync(&[VIP, (&key, &value)]).await;
    daemon
        .until("it announced", |s| web(s).is_some_and(|vip| vip.announced))
        .await;
    let vips_in_use = |s: &Snapshot| s.tables.iter().find(|t| t.name == "vips").map(|t| t.used);
    daemon.delete(VIP.0).await;
    daemon.until("a problem", |s| !s.problems.is_empty()).await;
    // What is taken out of the maps no longer counts after a tick or two.
    for _ in 0..5 {
        daemon.snapshots.changed().await.unwrap();
    }
    let left = daemon
        .until("the problem", |s| !s.problems.is_empty())
        .await;
    assert_eq!(vips_in_use(&left), Some(1), "{:?}", left.problems);
    stuck.store(false, SeqCst);
    daemon
        .until("it removed", |s| {
            vips_in_use(s) == Some(0) && s.problems.is_empty()
        })
        .await;
    daemon.stop().await;
}
