//! The end of what nothing leads to any more.
//!
//! Memory and ids are used again only after a grace period; a backend's id
//! only when in addition no slot and no remembered flow names it, which two
//! passes through the flow cache find out (`pass`). Nothing here hurries: a
//! sweep waits for one grace period (12–23 ms) and looks at a part of the
//! cache.

use super::{addresses::Way, pass::SETS_PER_SWEEP, plane::Plane, store::Store};
use navigator_common::vip::AddrWord;

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

/// Passes after which an id that nothing names is free: its flows are taken
/// off it, none is found, and the last run that may know it has ended.
const PASSES: usize = 3;

impl<S: Store> Plane<S> {
    /// Whether a sweep has something to do.
    pub(super) fn has_garbage(&self) -> bool {
        !self.limbo.is_empty() || !self.backends.retired().is_empty()
    }

    /// Frees at once what nothing names, at the price of some grace periods and passes.
    pub(super) fn settle(&mut self) {
        // One that is under way may not know all ids.
        for _ in 0..=PASSES {
            if !self.has_garbage() {
                return;
            }
            self.clean_up(u32::MAX);
        }
    }

    pub(super) fn sweep_once(&mut self) {
        self.resting = self.resting.saturating_sub(1);
        self.close_windows();
        if !self.limbo.is_empty() || self.wants_pass() {
            self.clean_up(SETS_PER_SWEEP);
        }
    }

    /// Frees what waited for a grace period, and looks at so many sets of the flow cache.
    fn clean_up(&mut self, sets: u32) {
        if let Err(error) = self.store.grace() {
            tracing::warn!("nothing is freed for now: {error}");
            return;
        }
        for garbage in std::mem::take(&mut self.limbo) {
            self.free(garbage);
        }
        self.go_on_with_pass(sets);
    }
}
