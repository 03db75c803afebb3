//! `floor-ip6`: see that it is TCP over IPv6, wrap it into an IPv6 header
//! with constant addresses.

use crate::packet::{ETH_LEN, IPV6_LEN, Swapped, TCP_LEN, at, read, write};
use aya_ebpf::{
    bindings::xdp_action, helpers::generated::bpf_xdp_adjust_head, macros::xdp,
    programs::XdpContext,
};

/// First half of both addresses: fd00::/64.
const NET: u64 = 0xfd00_0000_0000_0000;

#[xdp(frags)]
fn floor_ip6(ctx: XdpContext) -> u32 {
    wrap(&ctx).unwrap_or(xdp_action::XDP_PASS)
}

#[inline(always)]
fn wrap(ctx: &XdpContext) -> Option<u32> {
    let frame = at(ctx, 0, ETH_LEN + IPV6_LEN + TCP_LEN)?;
    // SAFETY: 74 bytes are there.
    let (ethernet, length) = unsafe {
        let is_tcp = read::<u16>(frame + 12) == 0x86ddu16.to_be()
            && read::<u8>(frame + 14) >> 4 == 6
            && read::<u8>(frame + 20) == 6;
        if !is_tcp {
            return None;
        }
        let length = u16::from_be(read(frame + 18)) + IPV6_LEN as u16;
        (Swapped::read(frame), length)
    };
    // SAFETY: the context is the one that the kernel passed in.
    if unsafe { bpf_xdp_adjust_head(ctx.ctx, -(IPV6_LEN as i32)) } != 0 {
        return None;
    }
    let frame = at(ctx, 0, ETH_LEN + IPV6_LEN)?;
    // SAFETY: 54 bytes are there.
    unsafe {
        ethernet.write(frame);
        write(frame + 12, 0x86ddu16.to_be());
        write(frame + 14, 0x6000_0000u32.to_be());
        write(frame + 18, length.to_be());
        // Next header 41, hop limit 64.
        write(frame + 20, 0x2940u16.to_be());
        write(frame + 22, NET.to_be());
        write(frame + 30, 1u64.to_be());
        write(frame + 38, NET.to_be());
        write(frame + 46, 2u64.to_be());
    }
    Some(xdp_action::XDP_TX)
}
