//! The loop: it alone decides, and it alone writes the data plane.
//!
//! Everything that happens arrives as one of a few kinds of event: the
//! registry changed, a check found something, a next hop changed, a table was
//! planned, time passed. Each leads to the same steps: who takes part in the
//! VIPs that it touches (`vip_state`), their tables if the participants
//! changed (built off the loop, the latest wins), the writes, the announced
//! addresses, the snapshot (`view`). Errors stop here and become a problem
//! that the snapshot shows: a source of events could do nothing with them.

mod addresses;
mod carry_out;
mod health_book;
mod intake;
mod registry_state;
mod view;
mod vip_state;

#[cfg(test)]
mod tests;

use crate::{
    dataplane::{AdoptedVip, Dataplane, neighbours::HopChange},
    probes::{ProbeReport, Prober},
    registry::RegistryEvent,
    snapshot::Snapshot,
};
use addresses::Addresses;
use health_book::HealthBook;
use navigator_core::{catalog::Catalog, model::VipKey};
use registry_state::RegistryState;
use std::{
    collections::{BTreeMap, BTreeSet},
    net::IpAddr,
    sync::Arc,
    time::Duration,
};
use tokio::{
    sync::{mpsc, watch},
    task::JoinSet,
    time::{Instant, MissedTickBehavior},
};
use vip_state::{Table, VipState};

pub use addresses::Announcer;
pub use view::DaemonFacts;

/// Events that are taken in before the loop acts on them.
const BATCH: usize = 512;
/// How often rates are measured and drains looked at.
const TICK: Duration = Duration::from_secs(1);
/// Ticks from one look at the announced addresses to the next.
const LOOK_AGAIN: u32 = 5;
/// How soon after a change the snapshot follows.
const SNAPSHOT_DELAY: Duration = Duration::from_millis(5);
/// How long a new VIP waits for the first verdicts of its instances, before it serves with those
/// that are in.
const FIRST_VERDICTS: Duration = Duration::from_secs(10);

/// What the loop works with.
pub struct Parts<D> {
    /// The maps.
    pub dataplane: D,
    /// Services, VIPs and orders; with the configuration's entries already in it.
    pub catalog: Catalog,
    /// What the registry says.
    pub registry: mpsc::Receiver<RegistryEvent>,
    /// What the checks say.
    pub reports: mpsc::Receiver<ProbeReport>,
    /// Who is checked.
    pub prober: Prober,
    /// Which hosts must be reachable.
    pub hosts: watch::Sender<BTreeSet<IpAddr>>,
    /// How they are reached.
    pub hops: mpsc::Receiver<HopChange>,
    /// Holds VIPs on an interface, if that is wanted.
    pub announcer: Option<Box<dyn Announcer>>,
    /// Source addresses of NAT flows that are to be announced.
    pub sources: BTreeSet<IpAddr>,
    /// Where snapshots go.
    pub snapshots: watch::Sender<(u64, Arc<Snapshot>)>,
    /// Seed of the slot tables.
    pub plan_seed: u64,
    /// What the snapshot says of the daemon.
    pub facts: DaemonFacts,
}

/// The loop's state.
pub struct Reconciler<D> {
    dataplane: D,
    catalog: Catalog,
    prober: Prober,
    health: HealthBook,
    hosts: watch::Sender<BTreeSet<IpAddr>>,
    unreachable: BTreeMap<IpAddr, String>,
    addresses: Addresses,
    /// Announced whatever the VIPs do: replies come there.
    sources: BTreeSet<IpAddr>,
    vips: BTreeMap<VipKey, VipState>,
    /// Out of the catalog, with the slots of their tables; taken out of the maps once
    /// their addresses are withdrawn.
    doomed: BTreeMap<VipKey, u32>,
    /// Found in the maps at the start, not yet met in the registry.
    adopted: BTreeMap<VipKey, AdoptedVip>,
    plans: JoinSet<Planned>,
    plan_seed: u64,
    registry: RegistryState,
    publisher: view::Publisher,
    start: Instant,
    slots_written: u64,
}

/// Where events come from.
struct Sources {
    registry: mpsc::Receiver<RegistryEvent>,
    reports: mpsc::Receiver<ProbeReport>,
    hops: mpsc::Receiver<HopChange>,
}

/// A table that was built off the loop.
struct Planned {
    vip: VipKey,
    table: Table,
}

/// Runs until `stop`. Forwarding is left as it is then.
pub async fn run<D: Dataplane>(parts: Parts<D>, stop: impl Future<Output = ()>) {
    let (mut this, mut sources) = Reconciler::new(parts);
    let mut tick = tokio::time::interval(TICK);
    tick.set_missed_tick_behavior(MissedTickBehavior::Delay);
    tokio::pin!(stop);
    let mut ticks = 0u32;
    loop {
        let publish_at = this.publisher.due();
        tokio::select! {
            () = &mut stop => break,
            Some(event) = sources.registry.recv() => {
                let mut touched = this.registry_event(event);
                for _ in 1..BATCH {
                    let Ok(event) = sources.registry.try_recv() else { break };
                    touched.extend(this.registry_event(event));
                }
                this.settle(touched).await;
            }
            Some(report) = sources.reports.recv() => {
                let mut touched = this.report(report);
                for _ in 1..BATCH {
                    let Ok(report) = sources.reports.try_recv() else { break };
                    touched.extend(this.report(report));
                }
                this.settle(touched).await;
            }
            Some(change) = sources.hops.recv() => {
                this.hop(change);
                for _ in 1..BATCH {
                    let Ok(change) = sources.hops.try_recv() else { break };
                    this.hop(change);
                }
                this.publisher.changed();
            }
            Some(planned) = this.plans.join_next() => {
                if let Ok(planned) = planned {
                    let touched = this.planned(planned);
                    this.settle(touched).await;
                }
            }
            _ = tick.tick() => {
                this.dataplane.sweep();
                ticks = ticks.wrapping_add(1);
                if ticks.is_multiple_of(LOOK_AGAIN) {
                    this.addresses.look_again().await;
                }
                let due = this.vips_with_deadlines();
                this.settle(due).await;
                this.publish();
            }
            () = tokio::time::sleep_until(publish_at.unwrap_or_else(Instant::now)), if publish_at.is_some() => {
                this.publish();
            }
        }
    }
}

/// The VIPs that an event touches.
type TouchedVips = BTreeSet<VipKey>;

impl<D: Dataplane> Reconciler<D> {
    fn new(parts: Parts<D>) -> (Self, Sources) {
        let adopted: BTreeMap<_, _> = parts
            .dataplane
            .adopted()
            .into_iter()
            .map(|adopted| (adopted.vip.key, adopted))
            .collect();
        let mut this = Self {
            dataplane: parts.dataplane,
            catalog: parts.catalog,
            prober: parts.prober,
            health: HealthBook::default(),
            hosts: parts.hosts,
            unreachable: BTreeMap::new(),
            addresses: Addresses::new(parts.announcer),
            sources: parts.sources,
            vips: BTreeMap::new(),
            doomed: BTreeMap::new(),
            publisher: view::Publisher::new(parts.snapshots, parts.facts, !adopted.is_empty()),
            adopted,
            plans: JoinSet::new(),
            plan_seed: parts.plan_seed,
            registry: RegistryState::default(),
            start: Instant::now(),
            slots_written: 0,
        };
        this.watch_hosts();
        (
            this,
            Sources {
                registry: parts.registry,
                reports: parts.reports,
                hops: parts.hops,
            },
        )
    }

    fn now(&self) -> Duration {
        self.start.elapsed()
    }

    fn vips_with_deadlines(&self) -> TouchedVips {
        self.vips
            .iter()
            .filter(|(_, state)| state.has_deadline())
            .map(|(key, _)| *key)
            .collect()
    }

    fn publish(&mut self) {
        let world = view::World {
            catalog: &self.catalog,
            health: &self.health,
            vips: &self.vips,
            adopted: &self.adopted,
            unreachable: &self.unreachable,
            addresses: &self.addresses,
            registry: &self.registry,
            figures: self.dataplane.figures(),
            slots_written: self.slots_written,
            uptime: self.now(),
        };
        self.publisher.publish(&world);
    }
}
