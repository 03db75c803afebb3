//! What events change in what the loop knows, and which VIPs they touch.

use super::{FIRST_VERDICTS, Reconciler, TouchedVips, vip_state::VipState};
use crate::{
    dataplane::{Dataplane, neighbours::HopChange},
    probes::{ProbeReport, Target},
    registry::{Change, Entry, RegistryEvent},
};
use navigator_core::{
    catalog::{RawEntry, Touched},
    model::{ServiceName, Vip, VipKey},
};
use std::collections::{BTreeMap, BTreeSet};

impl<D: Dataplane> Reconciler<D> {
    pub(super) fn registry_event(&mut self, event: RegistryEvent) -> TouchedVips {
        self.registry.note(&event, self.start.elapsed());
        let touched = match event {
            RegistryEvent::Synced { entries, .. } => {
                let touched = self.catalog.sync(entries.into_iter().map(raw).collect());
                self.show(&touched);
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

    pub(super) fn changes(&mut self, changes: Vec<Change>) -> TouchedVips {
        let mut touched = Touched::default();
        for change in changes {
            let deleted = matches!(change, Change::Delete(_));
            let more = match change {
                Change::Put(entry) => self.catalog.put(raw(entry)),
                Change::Delete(key) => self.catalog.delete(&key),
            };
            self.show(&more);
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
    pub(super) fn first_sync(&mut self) -> TouchedVips {
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

    pub(super) fn catalog_changed(&mut self, touched: &Touched) -> TouchedVips {
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

    /// The next snapshot shows what changed of these services.
    fn show(&mut self, touched: &Touched) {
        for service in &touched.services {
            self.publisher.touch(service);
        }
    }

    pub(super) fn vips_of(&self, services: &BTreeSet<ServiceName>) -> TouchedVips {
        let of = |(key, state): (&VipKey, &VipState)| {
            services.contains(&state.vip.service).then_some(*key)
        };
        self.vips.iter().filter_map(of).collect()
    }

    /// Makes the set of VIPs that of the catalog; returns those that are new or changed.
    pub(super) fn sync_vips(&mut self) -> TouchedVips {
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

    pub(super) fn doom_missing(&mut self) {
        let wanted: BTreeSet<VipKey> = self.catalog.vips().values().map(|vip| vip.key).collect();
        let gone = self.vips.extract_if(.., |key, _| !wanted.contains(key));
        self.doomed
            .extend(gone.map(|(key, state)| (key, state.vip.slots)));
    }

    /// One that was removed a moment ago keeps its table if the size is the same;
    /// otherwise it is taken out of the maps before the new one is planned.
    pub(super) fn create(&mut self, vip: Vip) {
        let key = vip.key;
        if self.doomed.get(&key) == Some(&vip.slots) {
            self.doomed.remove(&key);
        }
        let adopted = self.adopted.remove(&key);
        if let Some(adopted) = &adopted {
            self.health.adopt(&vip.service, &adopted.backends);
            self.publisher.touch(&vip.service);
        }
        let deadline = self.now() + FIRST_VERDICTS;
        self.vips.insert(key, VipState::new(vip, adopted, deadline));
    }

    pub(super) fn sync_targets(&mut self) {
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

    pub(super) fn report(&mut self, report: ProbeReport) -> TouchedVips {
        let service = report.key.service.clone();
        self.publisher.touch(&service);
        if !self.health.note(report) {
            return TouchedVips::new();
        }
        self.publisher.changed();
        self.vips_of(&BTreeSet::from([service]))
    }

    /// A way to a host changed. It is in the maps before a VIP hears of it.
    pub(super) fn hop(&mut self, change: HopChange) -> TouchedVips {
        let host = change.host;
        if let Err(error) = self.dataplane.set_next_hop(host, change.hop) {
            tracing::error!(%host, "next hop not written: {error}");
        }
        if !self.ways.note(&change) {
            return TouchedVips::new();
        }
        let concerned = self.vips.iter().filter(|(_, vip)| vip.has_host(host));
        concerned.map(|(key, _)| *key).collect()
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
