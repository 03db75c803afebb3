//! `floor-nat`: see that it is TCP over IPv4, give it other addresses and
//! ports, constant ones, and mend both checksums by what changed.

use crate::packet::{ETH_LEN, IPV4_LEN, Swapped, TCP_LEN, at, is_tcp4, read, write};
use aya_ebpf::{bindings::xdp_action, macros::xdp, programs::XdpContext};

/// 10.0.0.1 and 10.0.0.2, in network order.
const ADDRESSES: (u32, u32) = (0x0a00_0001u32.to_be(), 0x0a00_0002u32.to_be());
/// 2000 and 8080, in network order.
const PORTS: u32 = 0x07d0_1f90u32.to_be();

#[xdp(frags)]
fn floor_nat(ctx: XdpContext) -> u32 {
    translate(&ctx).unwrap_or(xdp_action::XDP_PASS)
}

#[inline(always)]
fn translate(ctx: &XdpContext) -> Option<u32> {
    let frame = at(ctx, 0, ETH_LEN + IPV4_LEN + TCP_LEN)?;
    // SAFETY: 54 bytes are there.
    unsafe {
        if !is_tcp4(frame) {
            return None;
        }
        let (source, destination) = (read::<u32>(frame + 26), read::<u32>(frame + 30));
        let ports = read::<u32>(frame + 34);
        let of_addresses =
            halves(!source) + halves(!destination) + halves(ADDRESSES.0) + halves(ADDRESSES.1);
        let of_ports = halves(!ports) + halves(PORTS);
        Swapped::read(frame).write(frame);
        write(frame + 24, mended(read(frame + 24), of_addresses));
        write(frame + 26, ADDRESSES.0);
        write(frame + 30, ADDRESSES.1);
        write(frame + 34, PORTS);
        write(
            frame + 50,
            mended(read(frame + 50), of_addresses + of_ports),
        );
    }
    Some(xdp_action::XDP_TX)
}

#[inline(always)]
fn halves(word: u32) -> u32 {
    (word & 0xffff) + (word >> 16)
}

/// A checksum after its words changed by `difference` (RFC 1624, equation 3).
#[inline(always)]
fn mended(checksum: u16, difference: u32) -> u16 {
    let sum = u32::from(!checksum) + difference;
    let sum = (sum & 0xffff) + (sum >> 16);
    !((sum & 0xffff) + (sum >> 16)) as u16
}
