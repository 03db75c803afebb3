//! The program's clock.

use aya_ebpf::helpers::generated::bpf_ktime_get_coarse_ns;
use navigator_common::flow::coarse_time;

/// Now, in coarse time units (about a second each).
#[inline(always)]
pub(crate) fn now() -> u32 {
    // SAFETY: the helper takes no argument.
    coarse_time(unsafe { bpf_ktime_get_coarse_ns() })
}
