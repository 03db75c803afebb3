//! Counters. They are per CPU and a program is not preempted by another run
//! of itself, so a plain increment loses nothing.

use crate::maps::{BACKEND_COUNTERS, REASON_COUNTERS};
use navigator_common::reason::{Event, Reason};

/// A packet leaves under `reason`.
#[inline(always)]
pub(crate) fn reason(reason: Reason) {
    increment(reason.index());
}

/// Something notable happened to a packet that is forwarded.
#[inline(always)]
pub(crate) fn event(event: Event) {
    increment(event.index());
}

/// A packet of `length` bytes leaves for `backend`.
#[inline(always)]
pub(crate) fn forwarded(backend: u32, length: u64) {
    if let Some(traffic) = BACKEND_COUNTERS.get_ptr_mut(backend) {
        // SAFETY: a live map value of this CPU, which nobody else writes.
        unsafe {
            (*traffic).packets += 1;
            (*traffic).bytes += length;
        }
    }
}

/// A reply of `length` bytes of `backend` leaves for its client.
#[inline(always)]
pub(crate) fn replied(backend: u32, length: u32) {
    if let Some(traffic) = BACKEND_COUNTERS.get_ptr_mut(backend) {
        // SAFETY: a live map value of this CPU, which nobody else writes.
        unsafe {
            (*traffic).reply_packets += 1;
            (*traffic).reply_bytes += u64::from(length);
        }
    }
}

#[inline(always)]
fn increment(index: u32) {
    if let Some(counter) = REASON_COUNTERS.get_ptr_mut(index) {
        // SAFETY: a live map value of this CPU, which nobody else writes.
        unsafe { *counter += 1 };
    }
}
