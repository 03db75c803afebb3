//! IPv4 packets that are fragments or have options.

use super::{Flaw, Place, later, memory, message, transport};
use crate::{
    globals,
    packet::Frame,
    parse::{ETH_LEN, ICMP, IPV4_LEN, TCP, TCP_LEN, Transport, UDP},
};
use navigator_common::hash;

const MORE: u16 = 0x2000;
const OFFSET: u16 = 0x1fff;

/// What such a packet tells.
#[inline(always)]
pub(super) fn look(frame: &Frame<'_>) -> Result<Transport, Flaw> {
    let ip = frame.view(0, ETH_LEN + IPV4_LEN).ok_or(Flaw::Malformed)?;
    // SAFETY: all of these lie in the 34 bytes of Ethernet and IPv4 header.
    let (first, length, id, bits, protocol, source, destination) = unsafe {
        (
            ip.read::<u8, 14>(),
            ip.read::<u16, 16>(),
            ip.read::<u16, 18>(),
            ip.read::<u16, 20>(),
            ip.read::<u8, 23>(),
            ip.read::<u32, 26>(),
            ip.read::<u32, 30>(),
        )
    };
    let header = (first as usize & 0xf) * 4;
    let length = usize::from(u16::from_be(length));
    if length < header || !frame.holds(ETH_LEN + length) {
        return Err(Flaw::Malformed);
    }
    let bits = u16::from_be(bits);
    let is_whole = bits & (MORE | OFFSET) == 0;
    let place = Place::new(bits & OFFSET, bits & MORE != 0);
    if !is_whole && !place.holds(length - header, header) {
        return Err(Flaw::BadFragment);
    }
    if protocol == ICMP {
        return if is_whole {
            Ok(message(ICMP, header))
        } else {
            Err(Flaw::Icmp)
        };
    }
    if protocol != TCP && protocol != UDP {
        return Err(Flaw::OtherProtocol);
    }
    if is_whole {
        return transport(frame, protocol, header, length, false);
    }
    let hash = hash::flow_v4(
        &globals::hash_key(),
        source,
        destination,
        id.into(),
        protocol,
    );
    if place.offset != 0 {
        return later(hash, place.offset < TCP_LEN);
    }
    let told = transport(frame, protocol, header, length, true)?;
    memory::remember(hash, told.ports(), protocol == UDP);
    Ok(told)
}
