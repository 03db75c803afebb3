//! Slot words: how they follow a new plan, and who is named by them.

use super::{
    backends::{Backends, Entry},
    plane::{Plane, VipEntry},
    store::{Store, Table},
};
use navigator_common::{
    backend::USABLE,
    slot::{NO_BACKEND, Slot},
};
use navigator_core::plan::transition::{self, Change, SlotState};

/// How the slots of a VIP are to follow its plan.
pub(super) struct Retable<'a> {
    /// Owner of each slot by the new plan, or [`NO_BACKEND`].
    pub(super) owners: &'a [u32],
    /// Whether flows stay with their backend: not for a VIP whose flows follow the
    /// table, nor for one that remembers every flow anyway.
    pub(super) opens_windows: bool,
    /// The present epoch, for the windows that it opens.
    pub(super) epoch: u16,
}

impl<S: Store> Plane<S> {
    /// Fills the table of a VIP that is not published yet. The words there are old ones of another.
    pub(super) fn fill_table(&mut self, base: u32, owners: &[u32]) -> u32 {
        let mut written = 0;
        for (index, &owner) in owners.iter().enumerate() {
            let word = base as usize + index;
            let slot = Slot::steady(owner);
            if self.store.load(Table::Slots, word) != slot.0 {
                self.store.store(Table::Slots, word, slot.0);
                written += 1;
            }
            count(&mut self.backends, slot, 1);
        }
        written
    }

    /// Changes a published table slot by slot; returns how many words were written.
    pub(super) fn retable(
        store: &S,
        backends: &mut Backends,
        vip: &mut VipEntry,
        change: &Retable<'_>,
    ) -> u32 {
        let mut written = 0;
        for (index, &owner) in (0..).zip(change.owners) {
            let old = slot(store, vip, index);
            let new = follow(backends, old, owner, change);
            written += u32::from(put_slot(store, backends, vip, index, (old, new)));
        }
        written
    }

    /// Lets something other than a change of owner happen to a slot; whether its word was written.
    pub(super) fn change_slot(
        store: &S,
        backends: &mut Backends,
        vip: &mut VipEntry,
        index: u32,
        change: Change<u32>,
    ) -> bool {
        let old = slot(store, vip, index);
        let state = transition::change(to_state(old, some), change, |_| true);
        put_slot(
            store,
            backends,
            vip,
            index,
            (old, from_state(state, old.epoch())),
        )
    }

    /// Lets the slots of a VIP name `new` where they name `old`.
    pub(super) fn rename(
        store: &S,
        backends: &mut Backends,
        vip: &mut VipEntry,
        (old, new): (u32, u32),
    ) {
        let swap = |id| if id == old { new } else { id };
        for index in 0..vip.settings.slots {
            let slot = slot(store, vip, index);
            let renamed = renamed(slot, swap(slot.current()), swap(slot.previous()));
            put_slot(store, backends, vip, index, (slot, renamed));
        }
    }
}

/// A slot of a VIP.
pub(super) fn slot(store: &impl Store, vip: &VipEntry, index: u32) -> Slot {
    Slot(store.load(Table::Slots, (vip.base + index) as usize))
}

/// Writes a slot that changes, and keeps all counts; whether it did change.
fn put_slot(
    store: &impl Store,
    backends: &mut Backends,
    vip: &mut VipEntry,
    index: u32,
    (old, new): (Slot, Slot),
) -> bool {
    let changed = new != old;
    if changed {
        store.store(Table::Slots, (vip.base + index) as usize, new.0);
        count(backends, old, u32::MAX);
        count(backends, new, 1);
        vip.windows.count(old, u32::MAX);
        vip.windows.count(new, 1);
        vip.settling.clear(index);
    }
    changed
}

/// The word that a slot has after a change.
fn follow(backends: &Backends, old: Slot, owner: u32, change: &Retable<'_>) -> Slot {
    // An id whose instance has a newer one stands for that. One without an heir is gone,
    // which makes it unusable and not nobody, or the change would go unseen.
    let heir = |id| some(id).map(|id| backends.heir(id).unwrap_or(id));
    let usable = |id| change.opens_windows && is_usable(backends.get(id));
    let new = Change::Owner(some(owner));
    let state = transition::change(to_state(old, heir), new, usable);
    let opened = state.at_risk && !old.is_at_risk();
    from_state(state, if opened { change.epoch } else { old.epoch() })
}

fn is_usable(entry: Option<&Entry>) -> bool {
    entry.is_some_and(|entry| entry.state & USABLE != 0)
}

fn some(id: u32) -> Option<u32> {
    (id != NO_BACKEND).then_some(id)
}

fn to_state(slot: Slot, backend: impl Fn(u32) -> Option<u32>) -> SlotState<u32> {
    SlotState {
        current: backend(slot.current()),
        previous: backend(slot.previous()),
        at_risk: slot.is_at_risk(),
        tracked: slot.is_tracked(),
    }
}

fn from_state(state: SlotState<u32>, epoch: u16) -> Slot {
    let current = state.current.unwrap_or(NO_BACKEND);
    match (state.at_risk, state.tracked) {
        (true, _) => Slot::at_risk(current, state.previous.unwrap_or(NO_BACKEND), epoch),
        (false, true) => Slot::at_risk(current, NO_BACKEND, epoch).closed(),
        (false, false) => Slot::steady(current),
    }
}

fn renamed(slot: Slot, current: u32, previous: u32) -> Slot {
    if slot.is_at_risk() {
        Slot::at_risk(current, previous, slot.epoch())
    } else {
        slot.with_current(current)
    }
}

/// Adds `change` (1, or the wrapped -1) to the counts of the backends that a slot names.
pub(super) fn count(backends: &mut Backends, slot: Slot, change: u32) {
    if let Some(entry) = backends.get_mut(slot.current()) {
        entry.current = entry.current.wrapping_add(change);
    }
    if let Some(entry) = backends.get_mut(slot.previous()) {
        entry.previous = entry.previous.wrapping_add(change);
    }
}
