//! Windows: for how long a slot that changed hands sends unremembered flows to
//! its previous owner. A slot's epoch says since when, so that nothing about
//! windows must be remembered outside the maps.

use super::{
    WindowFigures,
    plane::Plane,
    slots::slot,
    store::{Store, Table, flow_entry, put},
};
use navigator_common::{
    flow::{self, FlowWord, TIME_UNIT, WAYS},
    slot::{EPOCH_UNITS, Slot, epoch_age, epoch_at},
};
use navigator_core::plan::transition::Change;
use std::{collections::BTreeMap, time::Duration};

/// How long a window stays open unless told otherwise: longer than TCP keep-alive, two hours.
pub const DEFAULT_WINDOW: Duration = Duration::from_secs(130 * 60);

/// Slots that one sweep looks at to close windows, or a few more: it ends with a whole table.
const SLOTS_PER_SWEEP: u32 = 1 << 19;

/// The flow cache is too full when one of so many sets takes no new flow.
const FULL_SETS: u64 = 4;

/// No window is closed early that is younger, in epochs (about a minute): the flows that are
/// anything like busy are remembered by then.
const YOUNGEST: u16 = 7;

/// The settings of all windows, and what became of them.
pub(super) struct Windows {
    /// A window is over when it is older, in epochs.
    epochs: u16,
    /// Units of [`flow::time`] after which a silent flow is forgotten.
    lifetime: u32,
    pub(super) figures: WindowFigures,
    /// Number of the pass after which more windows may be closed early: what a closed window
    /// frees is free when a pass has been through the cache.
    patient_until: u64,
    /// Passes that were begun.
    pub(super) passes: u64,
}

impl Windows {
    pub(super) fn new(window: Duration) -> Self {
        let seconds = window.as_secs().max(1);
        let epochs = flow::coarse_seconds(seconds).div_ceil(EPOCH_UNITS);
        Self {
            epochs: epochs.min(Slot::EPOCHS.into()) as u16,
            lifetime: flow::lifetime(seconds),
            figures: WindowFigures::default(),
            patient_until: 0,
            passes: 0,
        }
    }

    /// Units of [`flow::time`] after which a silent flow is forgotten.
    pub(super) const fn lifetime(&self) -> u32 {
        self.lifetime
    }

    /// Whether the next early closing waits for a pass to be begun.
    pub(super) const fn awaits_pass(&self) -> bool {
        self.passes < self.patient_until
    }
}

/// The windows of one VIP.
#[derive(Default)]
pub(super) struct VipWindows {
    /// Slots at risk, by the epoch of their window.
    open: BTreeMap<u16, u32>,
    /// Slots that are tracked and not at risk.
    tracked: u32,
}

impl VipWindows {
    /// Adds `change` (1, or the wrapped -1) to the counts that a slot belongs to.
    pub(super) fn count(&mut self, slot: Slot, change: u32) {
        if slot.is_at_risk() {
            let slots = self.open.entry(slot.epoch()).or_default();
            *slots = slots.wrapping_add(change);
            if *slots == 0 {
                self.open.remove(&slot.epoch());
            }
        } else if slot.is_tracked() {
            self.tracked = self.tracked.wrapping_add(change);
        }
    }

    pub(super) fn at_risk(&self) -> u32 {
        self.open.values().sum()
    }

    pub(super) const fn tracked(&self) -> u32 {
        self.tracked
    }

    /// Age of the oldest open window, in epochs.
    fn oldest(&self, now: u16) -> Option<u16> {
        self.open.keys().map(|&epoch| epoch_age(epoch, now)).max()
    }
}

/// A set of slots of one table; one that was never filled is empty.
#[derive(Clone, PartialEq, Eq, Debug, Default)]
pub(super) struct Bits(Vec<u64>);

impl Bits {
    /// The indexes below `length` for which `is_in` holds.
    pub(super) fn of(length: u32, is_in: impl Fn(u32) -> bool) -> Self {
        let mut bits = Self(vec![0; length.div_ceil(64) as usize]);
        for index in (0..length).filter(|&index| is_in(index)) {
            bits.0[index as usize / 64] |= 1 << (index % 64);
        }
        bits
    }

    pub(super) fn clear(&mut self, index: u32) {
        if let Some(word) = self.0.get_mut(index as usize / 64) {
            *word &= !(1 << (index % 64));
        }
    }

    pub(super) fn iter(&self) -> impl Iterator<Item = u32> {
        let words = (0..).zip(&self.0);
        words.flat_map(|(place, &word)| {
            (0..64u32)
                .filter(move |bit| word >> bit & 1 == 1)
                .map(move |bit| place * 64 + bit)
        })
    }
}

impl<S: Store> Plane<S> {
    /// Closes windows that were open for long enough, and the oldest ones when the flow cache
    /// is too full.
    pub(super) fn close_windows(&mut self) {
        let over = self.windows.epochs.saturating_add(1);
        self.windows.figures.closed += u64::from(self.close_older(over));
        if self.is_pressed()
            && let Some(oldest) = self.oldest_window().filter(|&age| age >= YOUNGEST)
        {
            let closed = self.close_older(oldest);
            self.windows.figures.closed_early += u64::from(closed);
            self.windows.patient_until = self.windows.passes + 1;
            tracing::warn!(
                slots = closed,
                age_seconds = epochs_to_seconds(oldest),
                "the flow cache is too full: closed the oldest windows early; \
                 raise limits.flow_sets if this goes on"
            );
        }
    }

    /// Closes windows of at least this age, in epochs; returns how many. Ends early after
    /// [`SLOTS_PER_SWEEP`]; what is left is still older in the next sweep.
    fn close_older(&mut self, age: u16) -> u32 {
        let now = epoch_at(self.store.now());
        let (mut looked_at, mut closed) = (0u32, 0);
        for vip in self.vips.values_mut() {
            if looked_at >= SLOTS_PER_SWEEP {
                break;
            }
            if vip.windows.oldest(now).is_none_or(|oldest| oldest < age) {
                continue;
            }
            looked_at = looked_at.saturating_add(vip.settings.slots);
            for index in 0..vip.settings.slots {
                let slot = slot(&self.store, vip, index);
                if slot.is_at_risk() && epoch_age(slot.epoch(), now) >= age {
                    let (store, backends) = (&self.store, &mut self.backends);
                    Self::change_slot(store, backends, vip, index, Change::WindowOver);
                    closed += 1;
                }
            }
        }
        closed
    }

    /// Whether too many sets of the flow cache take no new flow, and nothing was done about it
    /// whose effect is still to come.
    fn is_pressed(&self) -> bool {
        let at_risk = self.vips.values().any(|vip| vip.windows.at_risk() > 0);
        let patient = self.pass.is_some() || self.windows.awaits_pass();
        let sets = u64::from(self.store.sizes().flow_sets);
        at_risk && !patient && self.fill().full_sets * FULL_SETS >= sets
    }

    fn oldest_window(&self) -> Option<u16> {
        let now = epoch_at(self.store.now());
        let vips = self.vips.values();
        vips.filter_map(|vip| vip.windows.oldest(now)).max()
    }

    pub(super) fn window_figures(&self) -> WindowFigures {
        WindowFigures {
            oldest_seconds: self.oldest_window().map_or(0, epochs_to_seconds),
            ..self.windows.figures
        }
    }
}

impl<S: Store> Plane<S> {
    /// Moves windows and remembered flows into the past, as if time had passed.
    pub(super) fn age(&mut self, epochs: u16) {
        for vip in self.vips.values_mut() {
            for index in 0..vip.settings.slots {
                let old = slot(&self.store, vip, index);
                let new = old.aged(epochs);
                let word = (vip.base + index) as usize;
                put(&self.store, Table::Slots, word, new.0);
                vip.windows.count(old, u32::MAX);
                vip.windows.count(new, 1);
            }
        }
        let units = (u32::from(epochs) * EPOCH_UNITS).div_ceil(TIME_UNIT);
        for set in 0..self.store.sizes().flow_sets {
            for at in (0..WAYS).map(|way| flow_entry(set, way)) {
                let word = FlowWord(self.store.load(Table::Flows, at));
                if word != FlowWord::FREE {
                    self.store.store(Table::Flows, at, word.aged(units).0);
                }
            }
        }
    }
}

fn epochs_to_seconds(epochs: u16) -> u64 {
    ((u64::from(epochs) * u64::from(EPOCH_UNITS)) << 30) / 1_000_000_000
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    proptest! {
        #[test]
        fn bits_hold_what_was_put_in(length in 0u32..300, every in 1u32..70, cleared in 0u32..300) {
            let mut bits = Bits::of(length, |index| index % every == 0);
            bits.clear(cleared);
            let expected: Vec<u32> = (0..length).filter(|&i| i % every == 0 && i != cleared).collect();
            prop_assert_eq!(bits.iter().collect::<Vec<_>>(), expected);
        }
    }
}
