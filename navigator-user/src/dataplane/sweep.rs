//! The end of what nothing leads to any more.
//!
//! Memory and ids are used again only after a grace period; a backend's id
//! only when in addition no slot, no remembered flow and no NAT flow names it. Nothing
//! here hurries: a sweep waits for one grace period (12–23 ms) and each step
//! of an id's end takes one sweep.

use super::{
    addresses::Way,
    backends::Fate,
    plane::Plane,
    store::{Store, Table, flow_entry},
};
use navigator_common::{
    flow::{FREE, FlowWord, WAYS},
    vip::AddrWord,
};
use navigator_core::model::ForwardMode;
use std::collections::{BTreeSet, HashSet};

/// What is freed after a grace period.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub(super) enum Garbage {
    /// A slot table: first slot, length.
    Slots(u32, u32),
    /// The port table that this word led to.
    Ports(AddrWord),
    /// A withdrawn address.
    Address(Way),
    /// A VIP id.
    Vip(u16),
    /// A backend id that nothing names.
    Backend(u32),
    /// An egress index.
    Egress(u8),
}

/// Sweeps after which an id that nothing names is free: its flows are taken
/// off it, none is found, and the last run that may know it has ended.
const SWEEPS: usize = 3;

impl<S: Store> Plane<S> {
    /// Whether a sweep has something to do.
    pub(super) fn has_garbage(&self) -> bool {
        !self.limbo.is_empty() || !self.backends.retired().is_empty()
    }

    /// Frees at once what nothing names, at the price of some grace periods.
    pub(super) fn settle(&mut self) {
        for _ in 0..SWEEPS {
            self.sweep_once();
        }
    }

    pub(super) fn sweep_once(&mut self) {
        if !self.has_garbage() {
            return;
        }
        if let Err(error) = self.store.grace() {
            tracing::warn!("nothing is freed for now: {error}");
            return;
        }
        for garbage in std::mem::take(&mut self.limbo) {
            self.free(garbage);
        }
        self.sweep_backends();
    }

    fn sweep_backends(&mut self) {
        let unslotted: Vec<u32> = self
            .backends
            .retired()
            .iter()
            .copied()
            .filter(|&id| {
                self.backends
                    .get(id)
                    .is_some_and(|e| e.current == 0 && e.previous == 0)
            })
            .collect();
        let of_nat: BTreeSet<u32> = unslotted
            .iter()
            .copied()
            .filter(|&id| {
                let entry = self.backends.get(id);
                entry.is_some_and(|entry| entry.mode == ForwardMode::Nat)
            })
            .collect();
        let nat_free = self.store.end_nat_flows(&of_nat);
        if unslotted.is_empty() {
            return;
        }
        let named_by_none = |id| !of_nat.contains(&id) || nat_free.contains(&id);
        let found = self.take_flows_off(&unslotted);
        for id in unslotted {
            let Some(entry) = self.backends.get_mut(id) else {
                continue;
            };
            if let Fate::Retired { swept, .. } = &mut entry.fate {
                let clean = *swept && !found.contains(&id) && named_by_none(id);
                *swept = true;
                if clean {
                    self.backends.bury(id);
                    self.limbo.push(Garbage::Backend(id));
                }
            }
        }
    }

    /// Hands the flows that name one of `ids` to its heir, or forgets them. Returns the
    /// ids that some flow named.
    ///
    /// An entry's word is exchanged and its fingerprint left alone: a word that names no
    /// backend is one that the program fills anew.
    fn take_flows_off(&self, ids: &[u32]) -> HashSet<u32> {
        let mut heirs = vec![None; ids.iter().max().map_or(0, |&max| max as usize + 1)];
        for &id in ids {
            heirs[id as usize] = Some(self.backends.heir(id));
        }
        let mut found = HashSet::new();
        for set in 0..self.store.sizes().flow_sets {
            for way in 0..WAYS {
                let at = flow_entry(set, way);
                let word = FlowWord(self.store.load(Table::Flows, at + 1));
                let Some(&Some(heir)) = heirs.get(word.backend() as usize) else {
                    continue;
                };
                if self.store.load(Table::Flows, at) == FREE {
                    continue;
                }
                found.insert(word.backend());
                let new = heir.map_or(FlowWord::default(), |heir| {
                    FlowWord::new(heir, word.is_established(), word.time())
                });
                // A lost race is no loss: the id is looked for again in the next sweep.
                let _ = self.store.exchange(Table::Flows, at + 1, word.0, new.0);
            }
        }
        found
    }
}
