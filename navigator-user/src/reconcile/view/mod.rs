//! The snapshot: what the loop knows, rendered for readers.

mod fill;
mod rates;
mod services;
mod vips;

use super::{
    addresses::Addresses, health_book::HealthBook, registry_state::RegistryState,
    vip_state::VipState,
};
use crate::{
    dataplane::{AdoptedVip, Figures},
    snapshot::{
        CounterView, DaemonView, InterfaceView, RegistryView, RejectedView, Snapshot, TableView,
        WindowsView,
    },
};
use navigator_core::{
    catalog::Catalog,
    model::{ServiceName, VipKey},
};
use rates::Rates;
use services::Services;
use std::{
    collections::BTreeMap,
    net::IpAddr,
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

/// What a snapshot is made of.
pub(in crate::reconcile) struct World<'a> {
    pub(in crate::reconcile) catalog: &'a Catalog,
    pub(in crate::reconcile) health: &'a HealthBook,
    pub(in crate::reconcile) vips: &'a BTreeMap<VipKey, VipState>,
    pub(in crate::reconcile) adopted: &'a BTreeMap<VipKey, AdoptedVip>,
    pub(in crate::reconcile) unreachable: &'a BTreeMap<IpAddr, String>,
    pub(in crate::reconcile) addresses: &'a Addresses,
    pub(in crate::reconcile) registry: &'a RegistryState,
    pub(in crate::reconcile) figures: Figures,
    pub(in crate::reconcile) slots_written: u64,
    pub(in crate::reconcile) tracers: usize,
    pub(in crate::reconcile) uptime: Duration,
}

/// Makes snapshots and measures rates from one to the next.
pub(in crate::reconcile) struct Publisher {
    out: watch::Sender<(u64, Arc<Snapshot>)>,
    facts: DaemonFacts,
    adopted: bool,
    due: Option<Instant>,
    earliest: Instant,
    rates: Rates,
    services: Services,
}

/// A snapshot may take this part of the loop's time at most: one in so many.
const COST_SHARE: u32 = 10;

impl Publisher {
    pub(in crate::reconcile) fn new(
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
            services: Services::default(),
        }
    }

    /// Something changed: a snapshot is due soon.
    pub(in crate::reconcile) fn changed(&mut self) {
        let soon = (Instant::now() + super::SNAPSHOT_DELAY).max(self.earliest);
        self.due.get_or_insert(soon);
    }

    /// Something happened to a service or to one of its instances: the next snapshot shows it.
    pub(in crate::reconcile) fn touch(&mut self, service: &ServiceName) {
        self.services.touch(service);
    }

    /// When the next snapshot is due, if one is.
    pub(in crate::reconcile) fn due(&self) -> Option<Instant> {
        self.due
    }

    pub(in crate::reconcile) fn publish(&mut self, world: &World<'_>) {
        let begin = Instant::now();
        self.rates.measure(&world.figures, world.uptime);
        let number = self.out.borrow().0 + 1;
        let snapshot = Arc::new(self.snapshot(world, number));
        self.out.send_modify(|(number, current)| {
            *number += 1;
            *current = snapshot;
        });
        self.due = None;
        self.earliest = Instant::now() + begin.elapsed() * COST_SHARE;
    }

    fn snapshot(&mut self, world: &World<'_>, number: u64) -> Snapshot {
        let (services, services_index) = self.services.render(world, number);
        Snapshot {
            daemon: self.daemon(world),
            registry: registry(&self.facts.registry, world),
            vips: self.vips(world),
            services,
            services_index,
            rejected: rejected(world.catalog),
            counters: self.counters(&world.figures),
            tables: tables(&world.figures),
            windows: windows(&world.figures),
            problems: problems(world),
        }
    }

    fn counters(&self, figures: &Figures) -> Vec<CounterView> {
        let view = |(name, packets): &(&'static str, u64)| CounterView {
            name: (*name).to_owned(),
            packets: *packets,
            packets_per_second: self.rates.of_counter(name),
        };
        figures.counters.iter().map(view).collect()
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
            tracers: world.tracers,
            time: SystemTime::now()
                .duration_since(UNIX_EPOCH)
                .unwrap_or_default()
                .as_secs_f64(),
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

fn rejected(catalog: &Catalog) -> Vec<RejectedView> {
    let view = |entry: navigator_core::catalog::RejectedEntry| RejectedView {
        key: entry.rejection.key,
        reason: entry.rejection.reason.name().to_owned(),
        detail: entry.rejection.detail,
        stale: entry.stale,
    };
    catalog.rejections().into_iter().map(view).collect()
}

fn tables(figures: &Figures) -> Vec<TableView> {
    let view = |(name, used, capacity): &(&'static str, u64, u64)| TableView {
        name: (*name).to_owned(),
        used: *used,
        capacity: *capacity,
    };
    figures.tables.iter().map(view).collect()
}

const fn windows(figures: &Figures) -> WindowsView {
    let windows = figures.windows;
    WindowsView {
        oldest_seconds: windows.oldest_seconds,
        closed: windows.closed,
        closed_early: windows.closed_early,
        settled: windows.settled,
    }
}

fn problems(world: &World<'_>) -> Vec<String> {
    let of_vip = |state: &VipState| {
        let problem = state.problem();
        (!problem.is_empty()).then(|| format!("VIP {}: {problem}", state.vip.name))
    };
    let mut problems: Vec<_> = world.vips.values().filter_map(of_vip).collect();
    problems.extend(world.figures.problems.iter().cloned());
    problems.extend(fill::problems(&tables(&world.figures)));
    problems.extend(
        world
            .unreachable
            .iter()
            .map(|(host, why)| format!("backends on {host} cannot be reached: {why}")),
    );
    problems.extend(world.addresses.problems());
    let prefixes = world.vips.keys().filter(|key| key.is_prefix());
    problems.extend(prefixes.filter(|_| world.addresses.holds()).map(|key| {
        format!(
            "VIP {key}: announce = \"address\" holds single addresses, not prefixes: let a router send {} here",
            key.network()
        )
    }));
    problems.extend(world.vips.values().filter_map(|state| {
        let warning =
            navigator_core::plan::maglev::table_warning(state.vip.slots, state.members().len())?;
        Some(format!("VIP {}: {warning}", state.vip.name))
    }));
    problems
}
