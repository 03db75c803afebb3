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
use navigator_core::plan::transition::{SlotState, retarget};

/// How the slots of a VIP are to follow its plan.
pub(super) struct Retable<'a> {
    /// Owner of each slot by the new plan, or [`NO_BACKEND`].
    pub(super) owners: &'a [u32],
    /// Whether flows stay with their backend: not for a VIP whose flows follow the
    /// table, nor for one that remembers every flow anyway.
    pub(super) opens_windows: bool,
    /// Epoch of the windows that it opens.
    pub(super) epoch: u16,
}

/// What became of a table.
#[derive(Default)]
pub(super) struct Retabled {
    pub(super) written: u32,
    pub(super) opened: u32,
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

    /// Changes a published table slot by slot.
    pub(super) fn retable(
        store: &S,
        backends: &mut Backends,
        vip: &mut VipEntry,
        change: &Retable<'_>,
    ) -> Retabled {
        let mut done = Retabled::default();
        for (index, &owner) in change.owners.iter().enumerate() {
            let word = vip.base as usize + index;
            let old = Slot(store.load(Table::Slots, word));
            let new = follow(backends, old, owner, change);
            if new != old {
                store.store(Table::Slots, word, new.0);
                recount(backends, vip, old, new);
                done.written += 1;
                done.opened += u32::from(new.is_at_risk() && !old.is_at_risk());
            }
        }
        done
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
            let word = (vip.base + index) as usize;
            let slot = Slot(store.load(Table::Slots, word));
            let renamed = renamed(slot, swap(slot.current()), swap(slot.previous()));
            if renamed != slot {
                store.store(Table::Slots, word, renamed.0);
                recount(backends, vip, slot, renamed);
            }
        }
    }
}

/// The word that a slot has after a change.
fn follow(backends: &Backends, old: Slot, owner: u32, change: &Retable<'_>) -> Slot {
    // An id whose instance has a newer one stands for that. One without an heir is gone,
    // which makes it unusable and not nobody, or the change would go unseen.
    let heir = |id| some(id).map(|id| backends.heir(id).unwrap_or(id));
    let state = SlotState {
        current: heir(old.current()),
        previous: heir(old.previous()),
        at_risk: old.is_at_risk(),
        tracked: old.is_tracked(),
    };
    let usable = |id| change.opens_windows && is_usable(backends.get(id));
    let state = retarget(state, some(owner), usable);
    let opened = state.at_risk && !old.is_at_risk();
    from_state(state, if opened { change.epoch } else { old.epoch() })
}

fn is_usable(entry: Option<&Entry>) -> bool {
    entry.is_some_and(|entry| entry.state & USABLE != 0)
}

fn some(id: u32) -> Option<u32> {
    (id != NO_BACKEND).then_some(id)
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

fn recount(backends: &mut Backends, vip: &mut VipEntry, old: Slot, new: Slot) {
    count(backends, old, u32::MAX);
    count(backends, new, 1);
    vip.at_risk = vip
        .at_risk
        .wrapping_add(u32::from(new.is_at_risk()))
        .wrapping_sub(u32::from(old.is_at_risk()));
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
