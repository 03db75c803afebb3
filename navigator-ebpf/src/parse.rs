//! Headers: first only what tells whether a frame is ours, then, for a VIP
//! address, what tells its flow.

use crate::{
    globals,
    packet::{Frame, View},
};
use navigator_common::{addr::Addr, hash, mac, reason::Reason};
use network_types::{eth::EtherType, ip::IpProto};

pub(crate) const ETH_LEN: usize = 14;
const IPV4_LEN: usize = 20;
const IPV6_LEN: usize = 40;
const TCP_LEN: usize = 20;
const UDP_LEN: usize = 8;

pub(crate) const TCP: u8 = IpProto::Tcp as u8;
const UDP: u8 = IpProto::Udp as u8;
const ICMP: u8 = IpProto::Icmp as u8;
const ICMPV6: u8 = IpProto::Ipv6Icmp as u8;
const FRAGMENT: u8 = IpProto::Ipv6Frag as u8;

pub(crate) const ETH_IPV4: u16 = EtherType::Ipv4 as u16;
pub(crate) const ETH_IPV6: u16 = EtherType::Ipv6 as u16;

/// More-fragments flag and fragment offset of an IPv4 header, loaded natively.
const FRAGMENT_BITS: u16 = 0x3fffu16.to_be();

#[derive(Clone, Copy, PartialEq, Eq)]
pub(crate) enum Family {
    V4,
    V6,
}

/// Where a frame for this host's MAC address goes.
pub(crate) struct Destination {
    pub(crate) family: Family,
    pub(crate) address: Addr,
    /// Ethernet and fixed IP header.
    headers: View,
}

/// A TCP or UDP flow, as its packet tells.
pub(crate) struct Flow {
    pub(crate) family: Family,
    pub(crate) protocol: u8,
    /// Source and destination port as the packet holds them.
    pub(crate) ports: u32,
    /// The keyed hash of the flow.
    pub(crate) hash: u64,
    /// Length of the IP packet, in bytes.
    pub(crate) length: u32,
    pub(crate) kind: Kind,
}

/// What a packet is to its flow.
#[derive(Clone, Copy, PartialEq, Eq)]
pub(crate) enum Kind {
    /// It opens a TCP connection: SYN without ACK.
    Opens,
    /// Any other TCP segment, or a UDP datagram, which may be the first of its flow or not.
    Segment,
}

impl Flow {
    /// Destination port, host order.
    #[inline(always)]
    pub(crate) fn port(&self) -> u16 {
        u16::from_be((self.ports >> 16) as u16)
    }
}

/// Why a packet for a VIP address is no flow.
pub(crate) enum NoFlow {
    /// Neither TCP, UDP nor ICMP.
    OtherProtocol,
    /// It leaves under this reason, whatever the address's policy.
    Reason(Reason),
}

/// Where the frame goes, if its Ethernet header is for us and an IP header follows.
#[inline(always)]
pub(crate) fn destination(frame: &Frame<'_>) -> Result<Destination, Reason> {
    let headers = frame.view(0, ETH_LEN).ok_or(Reason::PassTruncated)?;
    // SAFETY: 14 bytes are there; the 8 read first and the 2 read last lie within.
    let (first, ether_type) = unsafe { (headers.read::<u64, 0>(), headers.read::<u16, 12>()) };
    if first & mac::MASK != globals::local_mac() {
        return Err(Reason::PassOtherMac);
    }
    if ether_type == ETH_IPV4 {
        let headers = frame
            .view(0, ETH_LEN + IPV4_LEN)
            .ok_or(Reason::PassTruncated)?;
        // SAFETY: the destination is the last word of the 34 bytes.
        let raw = unsafe { headers.read::<u32, 30>() };
        Ok(Destination {
            family: Family::V4,
            address: Addr::from_v4_raw(raw),
            headers,
        })
    } else if ether_type == ETH_IPV6 {
        let headers = frame
            .view(0, ETH_LEN + IPV6_LEN)
            .ok_or(Reason::PassTruncated)?;
        // SAFETY: the destination is the last 16 of the 54 bytes.
        let address = unsafe {
            Addr {
                hi: headers.read::<u64, 38>(),
                lo: headers.read::<u64, 46>(),
            }
        };
        // `::ffff:a.b.c.d` on the wire would be taken for the IPv4 VIP that is spelled so.
        if address.is_v4() {
            return Err(Reason::PassNotVip);
        }
        Ok(Destination {
            family: Family::V6,
            address,
            headers,
        })
    } else {
        Err(Reason::PassNotIp)
    }
}

/// The flow of a packet for a VIP address.
#[inline(always)]
pub(crate) fn flow(frame: &Frame<'_>, destination: &Destination) -> Result<Flow, NoFlow> {
    match destination.family {
        Family::V4 => flow_v4(frame, destination),
        Family::V6 => flow_v6(frame, destination),
    }
}

const MALFORMED: NoFlow = NoFlow::Reason(Reason::DropMalformed);

#[inline(always)]
fn flow_v4(frame: &Frame<'_>, destination: &Destination) -> Result<Flow, NoFlow> {
    let ip = destination.headers;
    // SAFETY: all of these lie in the 34 bytes of Ethernet and IPv4 header.
    let (version_ihl, length, fragment, protocol, source) = unsafe {
        (
            ip.read::<u8, 14>(),
            ip.read::<u16, 16>(),
            ip.read::<u16, 20>(),
            ip.read::<u8, 23>(),
            ip.read::<u32, 26>(),
        )
    };
    let header = (version_ihl as usize & 0xf) * 4;
    if version_ihl >> 4 != 4 || header < IPV4_LEN {
        return Err(MALFORMED);
    }
    if fragment & FRAGMENT_BITS != 0 {
        return Err(NoFlow::Reason(Reason::DropFragment));
    }
    let length = usize::from(u16::from_be(length));
    let transport = transport(frame, protocol, header, length)?;
    let ports = ports(transport);
    Ok(Flow {
        family: Family::V4,
        protocol,
        ports,
        hash: hash::flow_v4(
            &globals::hash_key(),
            source,
            destination.address.v4_raw(),
            ports,
            protocol,
        ),
        length: length as u32,
        kind: kind(transport, protocol),
    })
}

#[inline(always)]
fn flow_v6(frame: &Frame<'_>, destination: &Destination) -> Result<Flow, NoFlow> {
    let ip = destination.headers;
    // SAFETY: all of these lie in the 54 bytes of Ethernet and IPv6 header.
    let (version, length, protocol, source) = unsafe {
        (
            ip.read::<u8, 14>() >> 4,
            ip.read::<u16, 18>(),
            ip.read::<u8, 20>(),
            Addr {
                hi: ip.read::<u64, 22>(),
                lo: ip.read::<u64, 30>(),
            },
        )
    };
    if version != 6 {
        return Err(MALFORMED);
    }
    let length = IPV6_LEN + usize::from(u16::from_be(length));
    let transport = transport(frame, protocol, IPV6_LEN, length)?;
    let ports = ports(transport);
    Ok(Flow {
        family: Family::V6,
        protocol,
        ports,
        hash: hash::flow_v6(
            &globals::hash_key(),
            source,
            destination.address,
            ports,
            protocol,
        ),
        length: length as u32,
        kind: kind(transport, protocol),
    })
}

/// The TCP or UDP header behind an IP header of `header` bytes, in an IP packet of `length` bytes.
#[inline(always)]
fn transport(
    frame: &Frame<'_>,
    protocol: u8,
    header: usize,
    length: usize,
) -> Result<View, NoFlow> {
    let needed = match protocol {
        TCP => TCP_LEN,
        UDP => UDP_LEN,
        ICMP | ICMPV6 => return Err(NoFlow::Reason(Reason::PassIcmp)),
        FRAGMENT => return Err(NoFlow::Reason(Reason::DropFragment)),
        _ => return Err(NoFlow::OtherProtocol),
    };
    if length < header + needed || !holds(frame, ETH_LEN + length) {
        return Err(MALFORMED);
    }
    let view = frame.view(ETH_LEN + header, needed).ok_or(MALFORMED)?;
    if sound(view, protocol, length - header) {
        Ok(view)
    } else {
        Err(MALFORMED)
    }
}

/// Whether the length that a TCP header (of itself) or a UDP header (of the whole datagram)
/// tells lies between that of its fixed part and the `room` that the IP packet has, which is
/// known to hold the fixed part. A length below that wraps around and is too large.
#[inline(always)]
fn sound(transport: View, protocol: u8, room: usize) -> bool {
    if protocol == TCP {
        // SAFETY: byte 12 lies in the 20 bytes of a TCP header.
        let length = usize::from(unsafe { transport.read::<u8, 12>() } >> 4) * 4;
        length.wrapping_sub(TCP_LEN) <= room - TCP_LEN
    } else {
        // SAFETY: bytes 4 and 5 lie in the 8 bytes of a UDP header.
        let length = usize::from(u16::from_be(unsafe { transport.read::<u16, 4>() }));
        length.wrapping_sub(UDP_LEN) <= room - UDP_LEN
    }
}

/// Whether the frame has at least `length` bytes.
#[inline(always)]
fn holds(frame: &Frame<'_>, length: usize) -> bool {
    // Only a multi-buffer frame is longer than its linear part: the helper is called for nothing else.
    length <= frame.linear_length() || length <= frame.length()
}

/// Source and destination port as the packet holds them.
#[inline(always)]
fn ports(transport: View) -> u32 {
    // SAFETY: a TCP or UDP header is at least 8 bytes long and starts with the ports.
    unsafe { transport.read::<u32, 0>() }
}

#[inline(always)]
fn kind(transport: View, protocol: u8) -> Kind {
    const SYN: u8 = 0x02;
    const ACK: u8 = 0x10;
    // SAFETY: byte 13 lies in the 20 bytes of a TCP header.
    if protocol == TCP && unsafe { transport.read::<u8, 13>() } & (SYN | ACK) == SYN {
        Kind::Opens
    } else {
        Kind::Segment
    }
}
