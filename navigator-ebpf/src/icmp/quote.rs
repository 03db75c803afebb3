//! The packet that an ICMP error quotes: one that a backend sent from the
//! VIP's address and port to a client. Turned around it is a packet of the
//! flow to the VIP, whose hash leads to that backend.

use super::Fate;
use crate::{
    globals,
    packet::{Frame, View},
    parse::{IPV4_LEN, IPV6_LEN, TCP, UDP},
};
use navigator_common::{addr::Addr, hash};

/// What is told of a quoted flow.
#[repr(C)]
#[derive(Default)]
pub(super) struct Quoted {
    /// The keyed hash of the flow to the VIP.
    pub(super) hash: u64,
    /// The client's port, then the VIP's, as packets to the VIP hold them.
    pub(super) ports: u32,
    /// The IP protocol.
    pub(super) protocol: u32,
}

/// What an error quotes at least of what follows the IP header (RFC 792).
const LEAST: usize = 8;

/// Extension headers that are walked through.
const EXTENSIONS: usize = 6;

/// Fragment offset of an IPv4 header, and of an IPv6 fragment header, loaded natively.
const OFFSET_V4: u16 = 0x1fffu16.to_be();
const OFFSET_V6: u16 = 0xfff8u16.to_be();

mod next {
    pub(super) const HOP_BY_HOP: u8 = 0;
    pub(super) const ROUTING: u8 = 43;
    pub(super) const FRAGMENT: u8 = 44;
    pub(super) const AUTHENTICATION: u8 = 51;
    pub(super) const DESTINATION: u8 = 60;
}

/// `size` bytes of the quote, which ends at `end`.
#[inline(always)]
fn view(frame: &Frame<'_>, at: usize, size: usize, end: usize) -> Result<View, Fate> {
    if at + size > end {
        return Err(Fate::BadQuote);
    }
    frame.view(at, size).ok_or(Fate::BadQuote)
}

/// The flow of the IPv4 packet that is quoted at `at`, behind the Ethernet and IP header `outer`.
#[inline(always)]
pub(super) fn flow_v4(
    frame: &Frame<'_>,
    outer: View,
    at: usize,
    end: usize,
) -> Result<Quoted, Fate> {
    let ip = view(frame, at, IPV4_LEN, end)?;
    // SAFETY: the views have 34 and 20 bytes.
    let (vip, first, fragment, protocol, source, client) = unsafe {
        (
            outer.read::<u32, 30>(),
            ip.read::<u8, 0>(),
            ip.read::<u16, 6>(),
            ip.read::<u8, 9>(),
            ip.read::<u32, 12>(),
            ip.read::<u32, 16>(),
        )
    };
    let header = (first as usize & 0xf) * 4;
    if first >> 4 != 4 || header < IPV4_LEN {
        return Err(Fate::BadQuote);
    }
    if source != vip || (protocol != TCP && protocol != UDP) {
        return Err(Fate::Passed);
    }
    if fragment & OFFSET_V4 != 0 {
        return Err(Fate::BadQuote);
    }
    let ports = turned_ports(view(frame, at + header, LEAST, end)?);
    Ok(Quoted {
        hash: hash::flow_v4(&globals::hash_key(), client, vip, ports, protocol),
        ports,
        protocol: u32::from(protocol),
    })
}

/// The flow of the IPv6 packet that is quoted at `at`, behind the Ethernet and IP header `outer`.
#[inline(always)]
pub(super) fn flow_v6(
    frame: &Frame<'_>,
    outer: View,
    at: usize,
    end: usize,
) -> Result<Quoted, Fate> {
    let ip = view(frame, at, IPV6_LEN, end)?;
    // SAFETY: the views have 54 and 40 bytes.
    let (vip, version, next, source, client) = unsafe {
        (
            Addr {
                hi: outer.read::<u64, 38>(),
                lo: outer.read::<u64, 46>(),
            },
            ip.read::<u8, 0>() >> 4,
            ip.read::<u8, 6>(),
            Addr {
                hi: ip.read::<u64, 8>(),
                lo: ip.read::<u64, 16>(),
            },
            Addr {
                hi: ip.read::<u64, 24>(),
                lo: ip.read::<u64, 32>(),
            },
        )
    };
    if version != 6 {
        return Err(Fate::BadQuote);
    }
    if source != vip {
        return Err(Fate::Passed);
    }
    let (protocol, at) = transport(frame, next, at + IPV6_LEN, end)?;
    let ports = turned_ports(view(frame, at, LEAST, end)?);
    Ok(Quoted {
        hash: hash::flow_v6(&globals::hash_key(), client, vip, ports, protocol),
        ports,
        protocol: u32::from(protocol),
    })
}

/// Where the TCP or UDP header of an IPv6 packet is, behind extension headers that start at `at`
/// with one of type `next`.
#[inline(always)]
pub(crate) fn transport_offset(
    frame: &Frame<'_>,
    next: u8,
    at: usize,
    end: usize,
) -> Option<usize> {
    transport(frame, next, at, end).ok().map(|(_, at)| at)
}

/// Protocol and place of the TCP or UDP header behind the extension headers at `at`, the first of which
/// is of type `next`.
#[inline(always)]
fn transport(
    frame: &Frame<'_>,
    mut next: u8,
    mut at: usize,
    end: usize,
) -> Result<(u8, usize), Fate> {
    for _ in 0..=EXTENSIONS {
        if next == TCP || next == UDP {
            return Ok((next, at));
        }
        if !matches!(
            next,
            next::HOP_BY_HOP
                | next::ROUTING
                | next::FRAGMENT
                | next::AUTHENTICATION
                | next::DESTINATION
        ) {
            return Err(Fate::Passed);
        }
        let header = view(frame, at, 8, end)?;
        // SAFETY: the view has 8 bytes.
        let (following, length, fragment) = unsafe {
            (
                header.read::<u8, 0>(),
                header.read::<u8, 1>() as usize,
                header.read::<u16, 2>(),
            )
        };
        at += match next {
            next::FRAGMENT if fragment & OFFSET_V6 != 0 => return Err(Fate::BadQuote),
            next::FRAGMENT => 8,
            next::AUTHENTICATION => (length + 2) * 4,
            _ => (length + 1) * 8,
        };
        next = following;
    }
    Err(Fate::BadQuote)
}

/// The ports of a packet from the VIP as one to it holds them: the other way round.
#[inline(always)]
fn turned_ports(transport: View) -> u32 {
    // SAFETY: the view has 8 bytes.
    unsafe { transport.read::<u32, 0>() }.rotate_left(16)
}
