//! `floor-parse-swap`: see that it is TCP over IPv4, swap the MAC addresses.

use crate::packet::{ETH_LEN, IPV4_LEN, Swapped, TCP_LEN, at, is_tcp4};
use aya_ebpf::{bindings::xdp_action, macros::xdp, programs::XdpContext};

#[xdp(frags)]
fn floor_parse_swap(ctx: XdpContext) -> u32 {
    swap(&ctx).unwrap_or(xdp_action::XDP_PASS)
}

#[inline(always)]
fn swap(ctx: &XdpContext) -> Option<u32> {
    let frame = at(ctx, 0, ETH_LEN + IPV4_LEN + TCP_LEN)?;
    // SAFETY: 54 bytes are there.
    unsafe {
        if !is_tcp4(frame) {
            return None;
        }
        Swapped::read(frame).write(frame);
    }
    Some(xdp_action::XDP_TX)
}
