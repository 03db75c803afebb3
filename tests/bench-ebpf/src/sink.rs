//! `sink`: counts what arrives and drops it, at the far end of a cable.

use aya_ebpf::{
    bindings::xdp_action,
    macros::{map, xdp},
    maps::PerCpuArray,
    programs::XdpContext,
};

#[map]
static SINK_COUNT: PerCpuArray<u64> = PerCpuArray::with_max_entries(1, 0);

#[xdp(frags)]
fn sink(_ctx: XdpContext) -> u32 {
    if let Some(count) = SINK_COUNT.get_ptr_mut(0) {
        // SAFETY: a live map value of this CPU.
        unsafe { *count += 1 };
    }
    xdp_action::XDP_DROP
}
