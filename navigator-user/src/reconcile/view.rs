//! The snapshot: what the loop knows, rendered for readers.

use super::{addresses::Addresses, health_book::HealthBook, vip_state::VipState};
use crate::{
    dataplane::{AdoptedVip, BackendFigures, Figures, VipFigures},
    registry::RegistryEvent,
    snapshot::{
        BackendView, CounterView, DaemonView, InstanceView, InterfaceView, RegistryView,
        RejectedView, ServiceView, Snapshot, TableView, VipView,
    },
};
use navigator_core::{
    catalog::{Catalog, Origin},
    model::{Instance, VipKey, keys},
    plan::members::{Member, State},
};
use std::{
    collections::{BTreeMap, BTreeSet, HashMap},
    net::{IpAddr, SocketAddr},
    sync::Arc,
    time::{Duration, SystemTime, UNIX_EPOCH},
};
use tokio::{sync::watch, time::Instant};

/// What does not change while the daemon runs.
#[derive(Clone, Debug, Default)]
pub struct DaemonFacts {
    /// Interfaces with their attach mode.
    pub interfaces: Vec<InterfaceView>,
    /// Which registry, for people.
    pub registry: String,
}

/// What is known of the registry itself.
#[derive(Default)]
pub(super) struct RegistryState {
    synced: bool,
    seen_first: bool,
    connected: bool,
    why: String,
    revision: i64,
    lost_at: Option<Duration>,
}

impl RegistryState {
    pub(super) fn note(&mut self, event: &RegistryEvent, now: Duration) {
        match event {
            RegistryEvent::Lost { why } => {
                if self.connected || self.lost_at.is_none() {
                    tracing::warn!("registry lost, what is known stays in force: {why}");
                }
                self.connected = false;
                self.lost_at.get_or_insert(now);
                self.why.clone_from(why);
                return;
            }
            RegistryEvent::Synced { revision, .. } => {
                self.synced = true;
                self.revision = *revision;
            }
            RegistryEvent::Changed { revision, .. } => self.revision = *revision,
            RegistryEvent::Recovered => {}
        }
        if self.lost_at.take().is_some() {
            tracing::info!("registry reached again");
        }
        self.connected = true;
        self.why.clear();
    }

    /// True once, after the registry was read for the first time.
    pub(super) fn first_sync(&mut self) -> bool {
        !std::mem::replace(&mut self.seen_first, true)
    }

    pub(super) fn is_synced(&self) -> bool {
        self.synced
    }
}

/// What a snapshot is made of.
pub(super) struct World<'a> {
    pub(super) catalog: &'a Catalog,
    pub(super) health: &'a HealthBook,
    pub(super) vips: &'a BTreeMap<VipKey, VipState>,
    pub(super) adopted: &'a BTreeMap<VipKey, AdoptedVip>,
    pub(super) unreachable: &'a BTreeMap<IpAddr, String>,
    pub(super) addresses: &'a Addresses,
    pub(super) registry: &'a RegistryState,
    pub(super) figures: Figures,
    pub(super) slots_written: u64,
    pub(super) uptime: Duration,
}

/// Makes snapshots and measures rates from one to the next.
pub(super) struct Publisher {
    out: watch::Sender<(u64, Arc<Snapshot>)>,
    facts: DaemonFacts,
    adopted: bool,
    due: Option<Instant>,
    earliest: Instant,
    rates: Rates,
}

/// A snapshot may take this part of the loop's time at most: one in so many.
const COST_SHARE: u32 = 10;

impl Publisher {
    pub(super) fn new(
        out: watch::Sender<(u64, Arc<Snapshot>)>,
        facts: DaemonFacts,
        adopted: bool,
    ) -> Self {
        Self {
            out,
            facts,
            adopted,
            due: None,
            earliest: Instant::now(),
            rates: Rates::default(),
        }
    }

    /// Something changed: a snapshot is due soon.
    pub(super) fn changed(&mut self) {
        let soon = (Instant::now() + super::SNAPSHOT_DELAY).max(self.earliest);
        self.due.get_or_insert(soon);
    }

    /// When the next snapshot is due, if one is.
    pub(super) fn due(&self) -> Option<Instant> {
        self.due
    }

    pub(super) fn publish(&mut self, world: &World<'_>) {
        let begin = Instant::now();
        self.rates.measure(&world.figures, world.uptime);
        let snapshot = Arc::new(self.snapshot(world));
        self.out.send_modify(|(number, current)| {
            *number += 1;
            *current = snapshot;
        });
        self.due = None;
        self.earliest = Instant::now() + begin.elapsed() * COST_SHARE;
    }

    fn snapshot(&self, world: &World<'_>) -> Snapshot {
        Snapshot {
            daemon: self.daemon(world),
            registry: registry(&self.facts.registry, world),
            vips: self.vips(world),
            services: services(world),
            rejected: rejected(world.catalog),
            counters: counters(&world.figures),
            tables: tables(&world.figures),
            problems: problems(world),
        }
    }

    fn daemon(&self, world: &World<'_>) -> DaemonView {
        let settled = world.vips.values().all(VipState::is_settled);
        DaemonView {
            version: env!("CARGO_PKG_VERSION").to_owned(),
            pid: std::process::id(),
            uptime_seconds: world.uptime.as_secs_f64(),
            ready: world.registry.is_synced() && settled,
            adopted: self.adopted,
            slots_written: world.slots_written,
            interfaces: self.facts.interfaces.clone(),
            time: SystemTime::now()
                .duration_since(UNIX_EPOCH)
                .unwrap_or_default()
                .as_secs_f64(),
        }
    }

    fn vips(&self, world: &World<'_>) -> Vec<VipView> {
        let announced = world.addresses.announced();
        let figures: HashMap<_, _> = world
            .figures
            .vips
            .iter()
            .map(|vip| (vip.key, vip))
            .collect();
        let mut vips: Vec<_> = world
            .vips
            .values()
            .map(|state| {
                self.vip(
                    state,
                    figures.get(&state.vip.key).copied(),
                    &announced,
                    world,
                )
            })
            .collect();
        vips.extend(
            world
                .adopted
                .values()
                .map(|vip| self.adopted(vip, &figures, &announced)),
        );
        vips.sort_by(|a, b| a.name.cmp(&b.name));
        vips
    }

    fn vip(
        &self,
        state: &VipState,
        figures: Option<&VipFigures>,
        announced: &BTreeSet<IpAddr>,
        world: &World<'_>,
    ) -> VipView {
        let vip = &state.vip;
        let of: HashMap<_, _> = figures
            .into_iter()
            .flat_map(|f| &f.backends)
            .map(|b| (b.address, b))
            .collect();
        let backends = state
            .members()
            .iter()
            .map(|member| {
                let figures = of.get(&member.address).copied();
                let why_unreachable = world.unreachable.get(&member.address.ip());
                self.backend(vip.key, vip.slots, member, figures, why_unreachable)
            })
            .collect();
        VipView {
            name: vip.name.to_string(),
            service: vip.service.to_string(),
            mode: vip.mode,
            applied: state.is_applied(),
            problem: state.problem(),
            ..self.totals(vip.key, vip.slots, figures, announced, backends)
        }
    }

    /// A VIP of the maps that no registry entry was seen for yet.
    fn adopted(
        &self,
        adopted: &AdoptedVip,
        figures: &HashMap<VipKey, &VipFigures>,
        announced: &BTreeSet<IpAddr>,
    ) -> VipView {
        let settings = &adopted.vip;
        let figures = figures.get(&settings.key).copied();
        let of: HashMap<_, _> = figures
            .into_iter()
            .flat_map(|f| &f.backends)
            .map(|b| (b.address, b))
            .collect();
        let why = "adopted; the registry has not been read yet";
        let backends = adopted
            .backends
            .iter()
            .map(|backend| {
                let member = Member {
                    address: backend.address,
                    weight: 0,
                    state: if backend.takes_new {
                        State::Active
                    } else {
                        State::Unknown
                    },
                    why: why.to_owned(),
                    takes_new: backend.takes_new,
                    usable: backend.usable,
                };
                self.backend(
                    settings.key,
                    settings.slots,
                    &member,
                    of.get(&backend.address).copied(),
                    None,
                )
            })
            .collect();
        VipView {
            name: settings.key.to_string(),
            mode: settings.mode,
            applied: true,
            problem: why.to_owned(),
            ..self.totals(settings.key, settings.slots, figures, announced, backends)
        }
    }

    /// What a VIP's figures say; name, service, mode and problem are the caller's.
    fn totals(
        &self,
        key: VipKey,
        slots: u32,
        figures: Option<&VipFigures>,
        announced: &BTreeSet<IpAddr>,
        backends: Vec<BackendView>,
    ) -> VipView {
        VipView {
            name: String::new(),
            address: key.address,
            port: key.port,
            protocol: key.protocol,
            mode: navigator_core::model::ForwardMode::L2,
            service: String::new(),
            applied: false,
            announced: announced.contains(&key.address),
            slots,
            at_risk_slots: figures.map_or(0, |figures| figures.at_risk),
            packets: backends.iter().map(|b| b.packets).sum(),
            bytes: backends.iter().map(|b| b.bytes).sum(),
            packets_per_second: backends.iter().map(|b| b.packets_per_second).sum(),
            bytes_per_second: backends.iter().map(|b| b.bytes_per_second).sum(),
            problem: String::new(),
            backends,
        }
    }

    fn backend(
        &self,
        vip: VipKey,
        slots: u32,
        member: &Member,
        figures: Option<&BackendFigures>,
        unreachable: Option<&String>,
    ) -> BackendView {
        let (packets_per_second, bytes_per_second) = self.rates.of(vip, member.address);
        let why = match unreachable {
            Some(unreachable) if member.why.is_empty() => format!("unreachable: {unreachable}"),
            Some(unreachable) => format!("{}; unreachable: {unreachable}", member.why),
            None => member.why.clone(),
        };
        BackendView {
            address: member.address,
            state: member.state,
            why,
            weight: member.weight,
            reachable: figures.is_some_and(|figures| figures.reachable),
            slots: figures.map_or(0, |figures| figures.slots),
            share: figures.map_or(0.0, |figures| {
                f64::from(figures.slots) / f64::from(slots.max(1))
            }),
            at_risk_slots: figures.map_or(0, |figures| figures.slots_before),
            packets: figures.map_or(0, |figures| figures.packets),
            bytes: figures.map_or(0, |figures| figures.bytes),
            packets_per_second,
            bytes_per_second,
        }
    }
}

fn registry(kind: &str, world: &World<'_>) -> RegistryView {
    let state = world.registry;
    let stale = state
        .lost_at
        .map_or(0.0, |at| world.uptime.saturating_sub(at).as_secs_f64());
    RegistryView {
        kind: kind.to_owned(),
        synced: state.synced,
        connected: state.connected,
        why: state.why.clone(),
        revision: state.revision,
        stale_seconds: stale,
    }
}

fn services(world: &World<'_>) -> Vec<ServiceView> {
    let instance = |instance: &Instance| {
        let record = world.health.of(&instance.key);
        let origin = match world.catalog.origin(&keys::instance(&instance.key)) {
            Some(Origin::Config) => "config",
            _ if instance.leased => "lease",
            _ => "static",
        };
        InstanceView {
            address: instance.key.address,
            weight: instance.weight,
            origin: origin.to_owned(),
            health: record.health,
            last_check: record.detail,
            order: world.catalog.order(&instance.key),
            labels: instance.labels.clone(),
        }
    };
    let service = |(name, instances): (
        &navigator_core::model::ServiceName,
        &BTreeMap<SocketAddr, Instance>,
    )| {
        ServiceView {
            name: name.to_string(),
            instances: instances.values().map(instance).collect(),
        }
    };
    world.catalog.services().iter().map(service).collect()
}

fn rejected(catalog: &Catalog) -> Vec<RejectedView> {
    let view = |entry: navigator_core::catalog::RejectedEntry| RejectedView {
        key: entry.rejection.key,
        reason: entry.rejection.reason.name().to_owned(),
        detail: entry.rejection.detail,
        stale: entry.stale,
    };
    catalog.rejections().into_iter().map(view).collect()
}

fn counters(figures: &Figures) -> Vec<CounterView> {
    let view = |(name, packets): &(&'static str, u64)| CounterView {
        name: (*name).to_owned(),
        packets: *packets,
    };
    figures.counters.iter().map(view).collect()
}

fn tables(figures: &Figures) -> Vec<TableView> {
    let view = |(name, used, capacity): &(&'static str, u64, u64)| TableView {
        name: (*name).to_owned(),
        used: *used,
        capacity: *capacity,
    };
    figures.tables.iter().map(view).collect()
}

fn problems(world: &World<'_>) -> Vec<String> {
    let of_vip = |state: &VipState| {
        let problem = state.problem();
        (!problem.is_empty()).then(|| format!("VIP {}: {problem}", state.vip.name))
    };
    let mut problems: Vec<_> = world.vips.values().filter_map(of_vip).collect();
    problems.extend(world.addresses.problems());
    problems.extend(world.vips.values().filter_map(|state| {
        let warning =
            navigator_core::plan::maglev::table_warning(state.vip.slots, state.members().len())?;
        Some(format!("VIP {}: {warning}", state.vip.name))
    }));
    problems
}

/// Packets and bytes per second of every backend, over at least [`Rates::SPAN`].
#[derive(Default)]
struct Rates {
    measured_at: Duration,
    totals: HashMap<(VipKey, SocketAddr), (u64, u64)>,
    rates: HashMap<(VipKey, SocketAddr), (f64, f64)>,
}

impl Rates {
    const SPAN: Duration = Duration::from_millis(900);

    fn measure(&mut self, figures: &Figures, now: Duration) {
        let elapsed = now.saturating_sub(self.measured_at);
        if elapsed < Self::SPAN {
            return;
        }
        let each = figures
            .vips
            .iter()
            .flat_map(|vip| vip.backends.iter().map(|b| (vip.key, b)));
        let totals: HashMap<_, _> = each
            .map(|(vip, b)| ((vip, b.address), (b.packets, b.bytes)))
            .collect();
        self.rates = totals
            .iter()
            .filter_map(|(key, total)| {
                let before = self.totals.get(key)?;
                let rate = |now: u64, before: u64| {
                    now.saturating_sub(before) as f64 / elapsed.as_secs_f64()
                };
                Some((*key, (rate(total.0, before.0), rate(total.1, before.1))))
            })
            .collect();
        self.totals = totals;
        self.measured_at = now;
    }

    fn of(&self, vip: VipKey, address: SocketAddr) -> (f64, f64) {
        self.rates.get(&(vip, address)).copied().unwrap_or_default()
    }
}
