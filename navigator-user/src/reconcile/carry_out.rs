//! What the loop does about VIPs that were touched: states, tables, addresses, hosts.

use super::{
    Planned, Reconciler, TouchedVips,
    vip_state::{Table, VipState, Weighted},
};
use crate::dataplane::Dataplane;
use navigator_core::{model::VipKey, plan::maglev};
use std::{collections::BTreeSet, net::IpAddr};

impl<D: Dataplane> Reconciler<D> {
    /// Announces what is served and withdraws what is not; then takes out of the maps what
    /// must go, so that nobody is sent to an address that is not served.
    pub(super) async fn announce(&mut self) {
        if !self.registry.is_synced() {
            return;
        }
        let serving: BTreeSet<IpAddr> = self
            .vips
            .iter()
            .filter(|(key, state)| state.serves() && !key.is_prefix())
            .map(|(key, _)| key.address)
            .collect();
        self.addresses.make(&(&serving | &self.sources)).await;
        let announced = self.addresses.announced();
        // An address that could not be withdrawn is tried again at the next tick.
        let sources = &self.sources;
        let free = |key: &VipKey| {
            let stays = serving.contains(&key.address) || sources.contains(&key.address);
            stays || !announced.contains(&key.address)
        };
        for (key, _) in self.doomed.extract_if(.., |key, _| free(key)) {
            match self.dataplane.remove(&key) {
                Ok(()) => tracing::info!(vip = %key, "VIP removed"),
                Err(error) => tracing::error!(vip = %key, "VIP not removed: {error}"),
            }
        }
    }

    /// Recomputes who takes part in these VIPs and makes it true.
    pub(super) async fn settle(&mut self, touched: TouchedVips) {
        for key in &touched {
            self.refresh(key);
        }
        if !touched.is_empty() {
            self.watch_hosts();
            self.publisher.changed();
        }
        self.announce().await;
    }

    pub(super) fn refresh(&mut self, key: &VipKey) {
        let now = self.now();
        let Some(state) = self.vips.get_mut(key) else {
            return;
        };
        let changes = state.refresh(&self.catalog, &self.health, &self.ways, now);
        for (address, takes_new, usable) in changes {
            self.dataplane.set_state(key, address, takes_new, usable);
        }
        if state.is_open() {
            self.plan(key);
        }
    }

    /// Applies a VIP's table if it still fits, else has a new one built.
    pub(super) fn plan(&mut self, key: &VipKey) {
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

    pub(super) fn planned(&mut self, planned: Planned) -> TouchedVips {
        let Some(state) = self.vips.get_mut(&planned.vip) else {
            return TouchedVips::new();
        };
        state.end_planning(planned.table);
        TouchedVips::from([planned.vip])
    }

    pub(super) fn apply(&mut self, key: &VipKey) {
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

    pub(super) fn watch_hosts(&mut self) {
        let planned = self.vips.values().flat_map(VipState::hosts);
        let adopted = self
            .adopted
            .values()
            .flat_map(|vip| vip.backends.iter().map(|b| b.address.ip()));
        let hosts: BTreeSet<IpAddr> = planned.chain(adopted).collect();
        self.ways.keep_only(&hosts);
        self.hosts.send_if_modified(|current| {
            let changed = *current != hosts;
            if changed {
                *current = hosts;
            }
            changed
        });
    }
}

fn build(seed: u64, slots: u32, weighted: Weighted) -> Table {
    let owners = maglev::build(seed, slots, &weighted);
    Table {
        weighted,
        owners: owners.into(),
    }
}
