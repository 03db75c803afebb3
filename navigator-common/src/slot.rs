//! Slots: which backend a flow's hash leads to, and which one it led to before.
//!
//! A slot's epoch is the time at which its window was opened, in units of
//! [`EPOCH_UNITS`] and modulo [`Slot::EPOCHS`]: whoever reads the slot tables, also
//! a daemon that was not there, knows how old each window is.

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
/// | 50–63 | epoch: when the window was opened, see [`epoch_at`] |
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
    /// Epochs are counted modulo this: it takes 39 hours until one comes again.
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

    /// This slot as if its window had been opened so many epochs earlier.
    #[must_use]
    pub const fn aged(self, epochs: u16) -> Self {
        let epoch = self.epoch().wrapping_sub(epochs) % Self::EPOCHS;
        Self(self.0 << (64 - EPOCH_SHIFT) >> (64 - EPOCH_SHIFT) | (epoch as u64) << EPOCH_SHIFT)
    }

    /// This slot with its window closed: unremembered flows go to `current`,
    /// remembered ones are still looked up.
    #[must_use]
    pub const fn closed(self) -> Self {
        Self(self.0 & !(ID_MASK << PREVIOUS_SHIFT) & !Self::AT_RISK)
    }
}

/// Units of [`crate::flow::coarse_time`] in one epoch: about 8.6 s together.
pub const EPOCH_UNITS: u32 = 8;

/// The epoch of a time in units of [`crate::flow::coarse_time`].
pub const fn epoch_at(time: u32) -> u16 {
    ((time / EPOCH_UNITS) % Slot::EPOCHS as u32) as u16
}

/// Epochs from `epoch` to `now`. An age of more than [`OLDEST_EPOCH`] is none: no window stays
/// open for that long, so the epoch is not of this clock.
pub const fn epoch_age(epoch: u16, now: u16) -> u16 {
    now.wrapping_sub(epoch) % Slot::EPOCHS
}

/// The age up to which an epoch is believed: 29 hours.
pub const OLDEST_EPOCH: u16 = Slot::EPOCHS / 4 * 3;

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
            let earlier = epoch.wrapping_sub(other as u16 / 4) % Slot::EPOCHS;
            prop_assert_eq!(slot.aged(other as u16 / 4), Slot::at_risk(current, previous, earlier));
            let closed = moved.closed();
            prop_assert_eq!((closed.current(), closed.previous()), (other, NO_BACKEND));
            prop_assert!(!closed.is_at_risk() && closed.is_tracked());
        }

        #[test]
        fn an_epoch_tells_its_age(time: u32, age in 0..=OLDEST_EPOCH) {
            let then = epoch_at(time);
            let now = epoch_at((time / EPOCH_UNITS * EPOCH_UNITS).wrapping_add(u32::from(age) * EPOCH_UNITS));
            prop_assert_eq!(epoch_age(then, now), age);
        }

        #[test]
        fn every_hash_picks_a_slot_inside_the_table(hash: u64, slots in 1u32..) {
            prop_assert!(slot_index(hash, slots) < slots);
        }
    }
}
