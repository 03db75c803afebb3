//! Slots: which backend a flow's hash leads to, and which one it led to before.

/// Backend id 0: no backend.
pub const NO_BACKEND: u32 = 0;

/// The highest backend id that a slot can name.
pub const MAX_BACKEND: u32 = (1 << 24) - 1;

/// One slot as the program reads it: a single word, always replaced whole.
///
/// | bits | meaning |
/// |---|---|
/// | 0–23 | current backend: new flows go there |
/// | 24–47 | previous backend, or 0 |
/// | 48 | at risk: a window is open, unremembered older flows go to `previous` |
/// | 49 | tracked: the flow cache may hold flows of this slot, look there first |
/// | 50–63 | epoch of the window, for user space |
#[repr(transparent)]
#[derive(Clone, Copy, PartialEq, Eq, Hash, Default, Debug)]
pub struct Slot(pub u64);

const ID_MASK: u64 = MAX_BACKEND as u64;
const PREVIOUS_SHIFT: u32 = 24;
const EPOCH_SHIFT: u32 = 50;

impl Slot {
    /// A slot that leads nowhere.
    pub const EMPTY: Self = Self(0);
    /// Flag: a window is open.
    pub const AT_RISK: u64 = 1 << 48;
    /// Flag: look into the flow cache first.
    pub const TRACKED: u64 = 1 << 49;
    /// Epochs are counted modulo this.
    pub const EPOCHS: u16 = 1 << 14;

    /// A slot at rest: every flow goes to `current`.
    pub const fn steady(current: u32) -> Self {
        Self(current as u64 & ID_MASK)
    }

    /// A slot whose owner just changed from `previous` to `current`.
    pub const fn at_risk(current: u32, previous: u32, epoch: u16) -> Self {
        Self(
            current as u64 & ID_MASK
                | (previous as u64 & ID_MASK) << PREVIOUS_SHIFT
                | Self::AT_RISK
                | Self::TRACKED
                | ((epoch % Self::EPOCHS) as u64) << EPOCH_SHIFT,
        )
    }

    /// The backend that new flows go to.
    #[inline(always)]
    pub const fn current(self) -> u32 {
        (self.0 & ID_MASK) as u32
    }

    /// The backend that unremembered older flows go to while the slot is at risk.
    #[inline(always)]
    pub const fn previous(self) -> u32 {
        (self.0 >> PREVIOUS_SHIFT & ID_MASK) as u32
    }

    /// Whether a window is open.
    #[inline(always)]
    pub const fn is_at_risk(self) -> bool {
        self.0 & Self::AT_RISK != 0
    }

    /// Whether the flow cache may hold flows of this slot.
    #[inline(always)]
    pub const fn is_tracked(self) -> bool {
        self.0 & Self::TRACKED != 0
    }

    /// The epoch in which the window was opened.
    pub const fn epoch(self) -> u16 {
        (self.0 >> EPOCH_SHIFT) as u16
    }

    /// This slot with another current backend; everything else is kept.
    #[must_use]
    pub const fn with_current(self, current: u32) -> Self {
        Self(self.0 & !ID_MASK | current as u64 & ID_MASK)
    }

    /// This slot with its window closed: unremembered flows go to `current`,
    /// remembered ones are still looked up.
    #[must_use]
    pub const fn closed(self) -> Self {
        Self(self.0 & !(ID_MASK << PREVIOUS_SHIFT) & !Self::AT_RISK)
    }
}

/// The slot that `hash` picks in a table of `slots`: the high half of the
/// hash, scaled. Each slot gets an equal share of hash values, to within
/// one part in 2^32 / `slots`.
#[inline(always)]
pub const fn slot_index(hash: u64, slots: u32) -> u32 {
    (((hash >> 32) * slots as u64) >> 32) as u32
}

const _: () = assert!(size_of::<Slot>() == 8);

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    proptest! {
        #[test]
        fn fields_do_not_touch_each_other(current in 0..=MAX_BACKEND, previous in 0..=MAX_BACKEND, epoch in 0..Slot::EPOCHS, other in 0..=MAX_BACKEND) {
            let slot = Slot::at_risk(current, previous, epoch);
            prop_assert_eq!((slot.current(), slot.previous(), slot.epoch()), (current, previous, epoch));
            prop_assert!(slot.is_at_risk() && slot.is_tracked());
            let moved = slot.with_current(other);
            prop_assert_eq!(moved, Slot::at_risk(other, previous, epoch));
            let closed = moved.closed();
            prop_assert_eq!((closed.current(), closed.previous()), (other, NO_BACKEND));
            prop_assert!(!closed.is_at_risk() && closed.is_tracked());
        }

        #[test]
        fn every_hash_picks_a_slot_inside_the_table(hash: u64, slots in 1u32..) {
            prop_assert!(slot_index(hash, slots) < slots);
        }
    }
}
