//! `floor-gue`: see that it is TCP over IPv4, wrap it into IPv4, UDP and GUE
//! headers with constant addresses and ports.

use crate::packet::{ETH_LEN, IPV4_LEN, Swapped, TCP_LEN, at, is_tcp4, read, write};
use aya_ebpf::{
    bindings::xdp_action, helpers::generated::bpf_xdp_adjust_head, macros::xdp,
    programs::XdpContext,
};

const UDP_LEN: usize = 8;
const GUE_LEN: usize = 4;
const GROWTH: usize = IPV4_LEN + UDP_LEN + GUE_LEN;

/// 0x4500, DF, TTL 64 and protocol 17, 10.0.0.1 to 10.0.0.2: their sum in network order.
const CONSTANT_SUM: u32 = 0x4500 + 0x4000 + 0x4011 + 0x0a00 + 0x0001 + 0x0a00 + 0x0002;

#[xdp(frags)]
fn floor_gue(ctx: XdpContext) -> u32 {
    wrap(&ctx).unwrap_or(xdp_action::XDP_PASS)
}

#[inline(always)]
fn wrap(ctx: &XdpContext) -> Option<u32> {
    let frame = at(ctx, 0, ETH_LEN + IPV4_LEN + TCP_LEN)?;
    // SAFETY: 54 bytes are there.
    let (ethernet, length) = unsafe {
        if !is_tcp4(frame) {
            return None;
        }
        let length = u32::from(u16::from_be(read(frame + 16))) + GROWTH as u32;
        (Swapped::read(frame), length)
    };
    // SAFETY: the context is the one that the kernel passed in.
    if unsafe { bpf_xdp_adjust_head(ctx.ctx, -(GROWTH as i32)) } != 0 {
        return None;
    }
    let frame = at(ctx, 0, ETH_LEN + GROWTH)?;
    let sum = CONSTANT_SUM + length;
    let sum = (sum & 0xffff) + (sum >> 16);
    let checksum = !((sum & 0xffff) + (sum >> 16)) as u16;
    // SAFETY: 46 bytes are there.
    unsafe {
        ethernet.write(frame);
        write(frame + 12, 0x0800u16.to_be());
        write(frame + 14, 0x4500u16.to_be());
        write(frame + 16, (length as u16).to_be());
        write(frame + 18, 0x0000_4000u32.to_be());
        write(frame + 22, 0x4011u16.to_be());
        write(frame + 24, checksum.to_be());
        write(frame + 26, 0x0a00_0001u32.to_be());
        write(frame + 30, 0x0a00_0002u32.to_be());
        // Ports 50000 and 6080.
        write(frame + 34, 0xc350_17c0u32.to_be());
        write(frame + 38, ((length as u16) - IPV4_LEN as u16).to_be());
        write(frame + 40, 0u16);
        // GUE version 0, no options, an IPv4 packet inside.
        write(frame + 42, 0x0004_0000u32.to_be());
    }
    Some(xdp_action::XDP_TX)
}
