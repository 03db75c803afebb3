//! Words that several CPUs change.

use core::intrinsics::{AtomicOrdering, atomic_cxchg};

/// Replaces `old` by `new` if it still stands at `place`.
///
/// # Safety
///
/// `place` is an aligned word of a live map value.
#[inline(always)]
pub(crate) unsafe fn exchange(place: *mut u64, old: u64, new: u64) -> bool {
    // SAFETY: as the caller promised. The kernel's exchange is fully ordered, whatever is asked here.
    unsafe {
        atomic_cxchg::<u64, { AtomicOrdering::SeqCst }, { AtomicOrdering::SeqCst }>(place, old, new)
            .1
    }
}
