//! IPv6 packets with extension headers, fragments among them.

use super::{Flaw, later, memory, message, transport, walk::Walk};
use crate::{
    globals,
    packet::Frame,
    parse::{ETH_LEN, FRAGMENT, ICMPV6, IPV6_LEN, TCP, Transport, UDP},
};
use navigator_common::{addr::Addr, hash};

/// What a packet with extension headers tells.
#[inline(always)]
pub(super) fn look(frame: &Frame<'_>) -> Result<Transport, Flaw> {
    let walk = Walk::through(frame)?;
    if walk.next == ICMPV6 {
        return whole_message(&walk);
    }
    if walk.is_later {
        return later(packet_hash(frame, walk.id)?, walk.covers_headers);
    }
    if walk.next != TCP && walk.next != UDP {
        return Err(Flaw::OtherProtocol);
    }
    let told = transport(frame, walk.next, walk.at, walk.length, walk.is_first)?;
    if walk.is_first {
        memory::remember(packet_hash(frame, walk.id)?, told.ports(), walk.next == UDP);
    }
    Ok(told)
}

/// An ICMPv6 message, if it is whole.
#[inline(always)]
fn whole_message(walk: &Walk) -> Result<Transport, Flaw> {
    if walk.is_first || walk.is_later {
        return Err(Flaw::Icmp);
    }
    Ok(message(ICMPV6, walk.at))
}

/// The hash of a fragmented packet. The protocol is none of its names: later fragments need not
/// tell it (RFC 8200, 4.5).
#[inline(always)]
fn packet_hash(frame: &Frame<'_>, id: u32) -> Result<u64, Flaw> {
    let ip = frame.view(0, ETH_LEN + IPV6_LEN).ok_or(Flaw::Malformed)?;
    // SAFETY: the addresses are the last 32 of the 54 bytes.
    let (source, destination) = unsafe {
        (
            Addr {
                hi: ip.read::<u64, 22>(),
                lo: ip.read::<u64, 30>(),
            },
            Addr {
                hi: ip.read::<u64, 38>(),
                lo: ip.read::<u64, 46>(),
            },
        )
    };
    Ok(hash::flow_v6(
        &globals::hash_key(),
        source,
        destination,
        id,
        FRAGMENT,
    ))
}
