//! `floor-parse-swap`: see that it is TCP over IPv4, swap the MAC addresses.

use crate::packet::{ETH_LEN, IPV4_LEN, TCP_LEN, at, read, write};
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
        let is_tcp = read::<u16>(frame + 12) == 0x0800u16.to_be()
            && read::<u8>(frame + 14) == 0x45
            && read::<u8>(frame + 23) == 6;
        if !is_tcp {
            return None;
        }
        let (to_high, to_low) = (read::<u32>(frame), read::<u16>(frame + 4));
        let (from_high, from_low) = (read::<u32>(frame + 6), read::<u16>(frame + 10));
        write(frame, from_high);
        write(frame + 4, from_low);
        write(frame + 6, to_high);
        write(frame + 10, to_low);
    }
    Some(xdp_action::XDP_TX)
}
