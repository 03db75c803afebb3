//! The loop: it alone decides, and it alone writes the data plane.
//!
//! Everything that happens arrives as one of a few kinds of event: the
//! registry changed, a check found something, a next hop changed, a table was
//! planned, time passed. Each leads to the same steps: who takes part in the
//! VIPs that it touches ([`vip_state`]), their tables if the participants
//! changed (built off the loop, the latest wins), the writes, the announced
//! addresses, the snapshot ([`view`]). Errors stop here and become a problem
//! that the snapshot shows: a source of events could do nothing with them.

mod addresses;
mod health_book;
mod view;
mod vip_state;

#[cfg(test)]
mod tests;

use crate::{
    dataplane::{AdoptedVip, Dataplane, neighbours::HopChange},
    probes::{ProbeReport, Prober, Target},
    registry::{Change, Entry, RegistryEvent},
    snapshot::Snapshot,
};
use addresses::Addresses;
use health_book::HealthBook;
use navigator_core::{
    catalog::{Catalog, RawEntry, Touched},
    model::{ServiceName, Vip, VipKey},
    plan::maglev,
};
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
use vip_state::{Table, VipState, Weighted};

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
    vips: BTreeMap<VipKey, VipState>,
    /// Out of the catalog, with the slots of their tables; taken out of the maps once
    /// their addresses are withdrawn.
    doomed: BTreeMap<VipKey, u32>,
    /// Found in the maps at the start, not yet met in the registry.
    adopted: BTreeMap<VipKey, AdoptedVip>,
    plans: JoinSet<Planned>,
    plan_seed: u64,
    registry: view::RegistryState,
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
            vips: BTreeMap::new(),
            doomed: BTreeMap::new(),
            publisher: view::Publisher::new(parts.snapshots, parts.facts, !adopted.is_empty()),
            adopted,
            plans: JoinSet::new(),
            plan_seed: parts.plan_seed,
            registry: view::RegistryState::default(),
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

    fn registry_event(&mut self, event: RegistryEvent) -> TouchedVips {
        self.registry.note(&event, self.start.elapsed());
        let touched = match event {
            RegistryEvent::Synced { entries, .. } => {
                let touched = self.catalog.sync(entries.into_iter().map(raw).collect());
                if self.registry.first_sync() {
                    return self.first_sync();
                }
                touched
            }
            RegistryEvent::Changed { changes, .. } => {
                self.publisher.changed();
                return self.changes(changes);
            }
            RegistryEvent::Lost { .. } | RegistryEvent::Recovered => Touched::default(),
        };
        self.publisher.changed();
        self.catalog_changed(&touched)
    }

    fn changes(&mut self, changes: Vec<Change>) -> TouchedVips {
        let mut touched = Touched::default();
        for change in changes {
            let deleted = matches!(change, Change::Delete(_));
            let more = match change {
                Change::Put(entry) => self.catalog.put(raw(entry)),
                Change::Delete(key) => self.catalog.delete(&key),
            };
            touched.services.extend(more.services);
            touched.vips |= more.vips;
            if deleted && more.vips && self.registry.is_synced() {
                // It may be put again by the next change: that is another VIP then.
                self.doom_missing();
            }
        }
        self.catalog_changed(&touched)
    }

    /// Everything is looked at once: what the maps held and nobody registered must go.
    fn first_sync(&mut self) -> TouchedVips {
        let services = self.catalog.services().keys().cloned().collect();
        let mut touched = self.catalog_changed(&Touched {
            services,
            vips: true,
        });
        let unknown = std::mem::take(&mut self.adopted).into_iter();
        self.doomed
            .extend(unknown.map(|(key, adopted)| (key, adopted.vip.slots)));
        touched.extend(self.vips.keys());
        touched
    }

    fn catalog_changed(&mut self, touched: &Touched) -> TouchedVips {
        if !self.registry.is_synced() {
            return TouchedVips::new();
        }
        let mut vips = TouchedVips::new();
        if touched.vips {
            vips.extend(self.sync_vips());
        }
        if !touched.services.is_empty() || touched.vips {
            vips.extend(self.vips_of(&touched.services));
            self.sync_targets();
        }
        vips
    }

    fn vips_of(&self, services: &BTreeSet<ServiceName>) -> TouchedVips {
        let of = |(key, state): (&VipKey, &VipState)| {
            services.contains(&state.vip.service).then_some(*key)
        };
        self.vips.iter().filter_map(of).collect()
    }

    /// Makes the set of VIPs that of the catalog; returns those that are new or changed.
    fn sync_vips(&mut self) -> TouchedVips {
        self.doom_missing();
        let wanted: Vec<_> = self.catalog.vips().values().cloned().collect();
        let mut touched = TouchedVips::new();
        for vip in wanted {
            let key = vip.key;
            let changed = match self.vips.get_mut(&key) {
                Some(state) => state.change(vip),
                None => {
                    self.create(vip);
                    true
                }
            };
            if changed {
                touched.insert(key);
            }
        }
        touched
    }

    fn doom_missing(&mut self) {
        let wanted: BTreeSet<VipKey> = self.catalog.vips().values().map(|vip| vip.key).collect();
        let gone = self.vips.extract_if(.., |key, _| !wanted.contains(key));
        self.doomed
            .extend(gone.map(|(key, state)| (key, state.vip.slots)));
    }

    /// One that was removed a moment ago keeps its table if the size is the same;
    /// otherwise it is taken out of the maps before the new one is planned.
    fn create(&mut self, vip: Vip) {
        let key = vip.key;
        if self.doomed.get(&key) == Some(&vip.slots) {
            self.doomed.remove(&key);
        }
        let adopted = self.adopted.remove(&key);
        if let Some(adopted) = &adopted {
            self.health.adopt(&vip.service, &adopted.backends);
        }
        let deadline = self.now() + FIRST_VERDICTS;
        self.vips.insert(key, VipState::new(vip, adopted, deadline));
    }

    /// Announces what is served and withdraws what is not; then takes out of the maps what
    /// must go, so that nobody is sent to an address that is not served.
    async fn announce(&mut self) {
        if !self.registry.is_synced() {
            return;
        }
        let serving: BTreeSet<IpAddr> = self
            .vips
            .iter()
            .filter(|(_, state)| state.serves())
            .map(|(key, _)| key.address)
            .collect();
        self.addresses.make(&serving).await;
        let announced = self.addresses.announced();
        // An address that could not be withdrawn is tried again at the next tick.
        let free =
            |key: &VipKey| serving.contains(&key.address) || !announced.contains(&key.address);
        for (key, _) in self.doomed.extract_if(.., |key, _| free(key)) {
            match self.dataplane.remove(&key) {
                Ok(()) => tracing::info!(vip = %key, "VIP removed"),
                Err(error) => tracing::error!(vip = %key, "VIP not removed: {error}"),
            }
        }
    }

    fn sync_targets(&mut self) {
        let instances = self.catalog.services().values().flat_map(BTreeMap::values);
        let targets: Vec<_> = instances
            .map(|instance| Target {
                key: instance.key.clone(),
                check: instance.check.clone(),
                initial: self.health.of(&instance.key).health,
            })
            .collect();
        self.health
            .keep_only(targets.iter().map(|target| &target.key));
        self.prober.set_targets(targets);
    }

    fn report(&mut self, report: ProbeReport) -> TouchedVips {
        let service = report.key.service.clone();
        if !self.health.note(report) {
            return TouchedVips::new();
        }
        self.publisher.changed();
        self.vips_of(&BTreeSet::from([service]))
    }

    fn hop(&mut self, change: HopChange) {
        match &change.hop {
            Some(_) => self.unreachable.remove(&change.host),
            None => self.unreachable.insert(change.host, change.why.clone()),
        };
        if let Err(error) = self.dataplane.set_next_hop(change.host, change.hop) {
            tracing::error!(host = %change.host, "next hop not written: {error}");
        }
    }

    /// Recomputes who takes part in these VIPs and makes it true.
    async fn settle(&mut self, touched: TouchedVips) {
        for key in &touched {
            self.refresh(key);
        }
        if !touched.is_empty() {
            self.watch_hosts();
            self.publisher.changed();
        }
        self.announce().await;
    }

    fn refresh(&mut self, key: &VipKey) {
        let now = self.now();
        let Some(state) = self.vips.get_mut(key) else {
            return;
        };
        let changes = state.refresh(&self.catalog, &self.health, now);
        for (address, takes_new, usable) in changes {
            self.dataplane.set_state(key, address, takes_new, usable);
        }
        if state.is_open() {
            self.plan(key);
        }
    }

    /// Applies a VIP's table if it still fits, else has a new one built.
    fn plan(&mut self, key: &VipKey) {
        let Some(state) = self.vips.get_mut(key) else {
            return;
        };
        let wanted = state.wanted();
        if state.table_fits(&wanted) {
            self.apply(key);
        } else if state.begin_planning(&wanted) {
            let (vip, slots, seed) = (*key, state.vip.slots, self.plan_seed);
            self.plans.spawn_blocking(move || Planned {
                vip,
                table: build(seed, slots, wanted),
            });
        }
    }

    fn planned(&mut self, planned: Planned) -> TouchedVips {
        let Some(state) = self.vips.get_mut(&planned.vip) else {
            return TouchedVips::new();
        };
        state.end_planning(planned.table);
        TouchedVips::from([planned.vip])
    }

    fn apply(&mut self, key: &VipKey) {
        let Some(state) = self.vips.get_mut(key) else {
            return;
        };
        let now = self.start.elapsed();
        let Some(plan) = state.unapplied(now) else {
            return;
        };
        match self.dataplane.apply(&plan) {
            Ok(applied) => {
                self.slots_written += u64::from(applied.slots_written);
                tracing::info!(
                    vip = %key,
                    slots_written = applied.slots_written,
                    slots_at_risk = applied.at_risk,
                    "table applied"
                );
                state.applied(plan);
            }
            Err(error) => {
                if state.failed(error.to_string(), now) {
                    tracing::error!(vip = %key, "table not applied: {error}");
                }
            }
        }
    }

    fn watch_hosts(&mut self) {
        let planned = self.vips.values().flat_map(VipState::hosts);
        let adopted = self
            .adopted
            .values()
            .flat_map(|vip| vip.backends.iter().map(|b| b.address.ip()));
        let hosts: BTreeSet<IpAddr> = planned.chain(adopted).collect();
        self.unreachable.retain(|host, _| hosts.contains(host));
        self.hosts.send_if_modified(|current| {
            let changed = *current != hosts;
            if changed {
                *current = hosts;
            }
            changed
        });
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

fn build(seed: u64, slots: u32, weighted: Weighted) -> Table {
    let owners = maglev::build(seed, slots, &weighted);
    Table {
        weighted,
        owners: owners.into(),
    }
}

fn raw(entry: Entry) -> RawEntry {
    RawEntry {
        key: entry.key,
        value: entry.value,
        created: entry.created,
        leased: entry.leased,
    }
}
