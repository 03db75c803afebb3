//! `floor-return`: what it costs to be called at all.

use aya_ebpf::{bindings::xdp_action, macros::xdp, programs::XdpContext};

#[xdp(frags)]
fn floor_return(_ctx: XdpContext) -> u32 {
    xdp_action::XDP_TX
}
