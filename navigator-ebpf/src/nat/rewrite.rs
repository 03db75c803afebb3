//! Other addresses and ports for a packet, and checksums that follow.

use super::packet::{Headers, Packet};
use crate::{
    packet::Frame,
    parse::{ETH_LEN, IPV6_LEN, TCP, TCP_LEN, UDP_LEN},
};
use navigator_common::{addr::Addr, checksum::adjust, nat::NatRewrite, reason::Reason};

/// What a packet gets.
pub(super) struct Rewrite {
    pub(super) source: Addr,
    pub(super) destination: Addr,
    /// Both ports, as the packet will hold them.
    pub(super) ports: u32,
    pub(super) change: NatRewrite,
}

/// Writes addresses, ports and checksums. The parser has seen all of them, so an error is never
/// seen.
#[inline(always)]
pub(super) fn rewrite(
    frame: &Frame<'_>,
    packet: &Packet,
    headers: &Headers,
    to: &Rewrite,
) -> Result<(), Reason> {
    addresses(frame, headers, to)?;
    if packet.is_later() {
        // The first fragment has ports and checksum.
    } else if packet.protocol == TCP {
        let tcp = frame
            .view(headers.transport, TCP_LEN)
            .ok_or(Reason::DropCorrupt)?;
        // SAFETY: ports and checksum lie in the 20 bytes.
        unsafe {
            let checksum = adjust(tcp.read::<u16, 16>(), to.change.all());
            tcp.write::<u32, 0>(to.ports);
            tcp.write::<u16, 16>(checksum);
        }
    } else {
        let udp = frame
            .view(headers.transport, UDP_LEN)
            .ok_or(Reason::DropCorrupt)?;
        // SAFETY: ports and checksum lie in the 8 bytes.
        unsafe {
            let checksum = udp_checksum(udp.read::<u16, 6>(), to.change.all());
            udp.write::<u32, 0>(to.ports);
            udp.write::<u16, 6>(checksum);
        }
    }
    Ok(())
}

/// A UDP checksum after a change: 0 says that there is none, so the sum that is 0 is spelled
/// with all bits set (RFC 768).
#[inline(always)]
pub(super) fn udp_checksum(field: u16, change: u16) -> u16 {
    if field == 0 {
        return 0;
    }
    match adjust(field, change) {
        0 => 0xffff,
        checksum => checksum,
    }
}

/// Writes the addresses, and the checksum of an IPv4 header.
#[inline(always)]
fn addresses(frame: &Frame<'_>, headers: &Headers, to: &Rewrite) -> Result<(), Reason> {
    if headers.v4 {
        let ip = headers.ip;
        // SAFETY: all of these lie in the 34 bytes of Ethernet and IPv4 header.
        unsafe {
            let checksum = adjust(ip.read::<u16, 24>(), to.change.addresses());
            ip.write::<u16, 24>(checksum);
            ip.write::<u32, 26>(to.source.v4_raw());
            ip.write::<u32, 30>(to.destination.v4_raw());
        }
    } else {
        // Seen before, but by another branch on the family: that both go the same way is more
        // than the verifier of Linux 6.1 remembers.
        let ip = frame
            .view(0, ETH_LEN + IPV6_LEN)
            .ok_or(Reason::DropCorrupt)?;
        // SAFETY: all of these lie in the 54 bytes of Ethernet and IPv6 header.
        unsafe {
            ip.write::<u64, 22>(to.source.hi);
            ip.write::<u64, 30>(to.source.lo);
            ip.write::<u64, 38>(to.destination.hi);
            ip.write::<u64, 46>(to.destination.lo);
        }
    }
    Ok(())
}
