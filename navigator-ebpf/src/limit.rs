//! How many packets the program may answer by itself; see `navigator_common::limit`.

use crate::maps::LIMITS;
use aya_ebpf::helpers::generated::bpf_ktime_get_coarse_ns;
use navigator_common::limit::{Answer, take};

/// Whether this CPU may give one more answer of this kind; if so, it is counted as given.
#[inline(always)]
pub(crate) fn admits(answer: Answer) -> bool {
    let Some(full_at) = LIMITS.get_ptr_mut(answer as u32) else {
        return false;
    };
    // SAFETY: the helper takes no argument; the word is this CPU's own element, and a program
    // is not preempted by another run of itself.
    unsafe {
        let Some(later) = take(*full_at, bpf_ktime_get_coarse_ns()) else {
            return false;
        };
        *full_at = later;
    }
    true
}
