//! Headers: first only what tells whether a frame is ours, then, for a VIP
//! address, what tells its flow.

use crate::{
    cold::cold,
    globals,
    icmp::Message,
    odd,
    packet::{Frame, View},
    refuse,
    vlan::Taken,
};
use navigator_common::{addr::Addr, checksum, hash, mac, reason::Reason};
use network_types::{eth::EtherType, ip::IpProto};

pub(crate) const ETH_LEN: usize = 14;
pub(crate) const IPV4_LEN: usize = 20;
pub(crate) const IPV6_LEN: usize = 40;
pub(crate) const TCP_LEN: usize = 20;
pub(crate) const UDP_LEN: usize = 8;

pub(crate) const TCP: u8 = IpProto::Tcp as u8;
pub(crate) const UDP: u8 = IpProto::Udp as u8;
pub(crate) const ICMP: u8 = IpProto::Icmp as u8;
pub(crate) const ICMPV6: u8 = IpProto::Ipv6Icmp as u8;
pub(crate) const FRAGMENT: u8 = IpProto::Ipv6Frag as u8;

pub(crate) const ETH_IPV4: u16 = EtherType::Ipv4 as u16;
pub(crate) const ETH_IPV6: u16 = EtherType::Ipv6 as u16;

/// The group bit of the source in the first eight bytes of a frame, loaded natively.
const SOURCE_IS_GROUP: u64 = 1 << 48;

/// Version 4, a header of five words.
const PLAIN_V4: u8 = 0x45;

/// More-fragments flag and fragment offset of an IPv4 header, loaded natively.
const FRAGMENT_BITS: u16 = 0x3fffu16.to_be();

#[derive(Clone, Copy, PartialEq, Eq)]
#[repr(u8)]
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

/// A TCP or UDP flow, as its packet tells. In this order, so that in a `Result` with [`NoFlow`] the
/// hash shares its place with no two smaller values: LLVM would carry it in two halves.
#[repr(C)]
pub(crate) struct Flow {
    /// Length of the IP packet, in bytes.
    pub(crate) length: u64,
    /// The keyed hash of the flow.
    pub(crate) hash: u64,
    pub(crate) transport: Transport,
}

/// What a packet tells of its flow beside the addresses, packed: one register carries it all the way.
///
/// | bits | meaning |
/// |---|---|
/// | 0–31 | source and destination port as the packet holds them |
/// | 32–39 | protocol |
/// | 40–47 | [`Kind`] |
/// | 48 | the family is IPv6 |
#[derive(Clone, Copy)]
pub(crate) struct Transport(pub(crate) u64);

/// What a packet is to its flow.
#[derive(Clone, Copy, PartialEq, Eq)]
#[repr(u8)]
pub(crate) enum Kind {
    /// It opens a TCP connection: SYN without ACK.
    Opens,
    /// Any other TCP segment, or a UDP datagram, which may be the first of its flow or not.
    Segment,
    /// An ICMP error about it. That is no sign of life: nobody can tell who sent it.
    Quoted,
    /// A later fragment of a packet: it has no header, and its ports are the first one's.
    Later,
}

impl Flow {
    /// The same flow, of which the verifier no longer knows by which way it was parsed: it goes
    /// through what follows once, and not once for each family, protocol and kind. `zero` is
    /// always 0, which the verifier cannot know.
    #[inline(always)]
    pub(crate) fn veiled(self, zero: u64) -> Self {
        Self {
            // Exclusive-or, because of `or` the verifier would still know the least value.
            transport: Transport(self.transport.0 ^ zero),
            length: self.length ^ zero,
            ..self
        }
    }
}

impl Transport {
    /// Of an IPv4 packet.
    #[inline(always)]
    pub(crate) fn new(protocol: u8, ports: u32, kind: Kind) -> Self {
        Self(u64::from(ports) | u64::from(protocol) << 32 | (kind as u64) << 40)
    }

    /// Of a packet of this family.
    #[inline(always)]
    pub(crate) fn of(self, family: Family) -> Self {
        Self(self.0 | (family as u64) << 48)
    }

    /// Source and destination port as the packet holds them.
    #[inline(always)]
    pub(crate) fn ports(self) -> u32 {
        self.0 as u32
    }

    /// Destination port, host order.
    #[inline(always)]
    pub(crate) fn port(self) -> u16 {
        u16::from_be((self.0 >> 16) as u16)
    }

    #[inline(always)]
    pub(crate) fn protocol(self) -> u8 {
        (self.0 >> 32) as u8
    }

    /// Whether the packet is of this kind.
    #[inline(always)]
    pub(crate) fn is(self, kind: Kind) -> bool {
        (self.0 >> 40) as u8 == kind as u8
    }

    /// The protocol number of the packet when it is another one's payload.
    #[inline(always)]
    pub(crate) fn as_payload(self) -> u8 {
        if self.0 >> 48 & 1 == Family::V4 as u64 {
            IpProto::Ipv4 as u8
        } else {
            IpProto::Ipv6 as u8
        }
    }
}

/// Why a packet for a VIP address is no flow.
pub(crate) enum NoFlow {
    /// Neither TCP, UDP nor ICMP.
    OtherProtocol,
    /// ICMP of the address's family.
    Icmp(Message),
    /// It leaves under this reason, whatever the address's policy.
    Reason(Reason),
}

/// Where the frame goes, if its Ethernet header is for us and an IP header follows. Tags between
/// the two are taken off, if it is for a VIP; `taken` tells.
#[inline(always)]
pub(crate) fn destination(frame: &Frame<'_>, taken: &mut Taken) -> Result<Destination, Reason> {
    match untagged(frame, taken) {
        Err(Reason::PassNotIp) => {
            let off = Taken::off(frame)?;
            let destination = untagged(frame, taken);
            *taken = off;
            destination
        }
        other => other,
    }
}

#[inline(always)]
fn untagged(frame: &Frame<'_>, taken: &mut Taken) -> Result<Destination, Reason> {
    let headers = frame
        .view(0, ETH_LEN)
        .ok_or_else(|| cold(Reason::PassTruncated))?;
    // SAFETY: 14 bytes are there; the 8 read first and the 2 read last lie within.
    let (first, ether_type) = unsafe { (headers.read::<u64, 0>(), headers.read::<u16, 12>()) };
    // Our own address and, behind it, a source that is no group's: none can be answered.
    if first & (mac::MASK | SOURCE_IS_GROUP) != globals::local_mac() {
        return Err(cold(Reason::PassOtherMac));
    }
    *taken = Taken::nothing(first);
    if ether_type == ETH_IPV4 {
        let headers = frame
            .view(0, ETH_LEN + IPV4_LEN)
            .ok_or_else(|| cold(Reason::PassTruncated))?;
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
            .ok_or_else(|| cold(Reason::PassTruncated))?;
        // SAFETY: the destination is the last 16 of the 54 bytes.
        let address = unsafe {
            Addr {
                hi: headers.read::<u64, 38>(),
                lo: headers.read::<u64, 46>(),
            }
        };
        // `::ffff:a.b.c.d` on the wire would be taken for the IPv4 VIP that is spelled so.
        if address.is_v4() {
            return Err(cold(Reason::PassNotVip));
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

#[inline(always)]
pub(crate) fn malformed() -> NoFlow {
    NoFlow::Reason(cold(Reason::DropMalformed))
}

#[inline(always)]
fn flow_v4(frame: &Frame<'_>, destination: &Destination) -> Result<Flow, NoFlow> {
    let ip = destination.headers;
    // SAFETY: the five words of the IPv4 header are the last 20 of the 34 bytes.
    let (first, second, third, source, last) = unsafe {
        (
            ip.read::<u32, 14>(),
            ip.read::<u32, 18>(),
            ip.read::<u32, 22>(),
            ip.read::<u32, 26>(),
            ip.read::<u32, 30>(),
        )
    };
    let (version_ihl, length) = (first as u8, (first >> 16) as u16);
    let fragment = (second >> 16) as u16;
    let (life, protocol) = (third as u16, (third >> 8) as u8);
    let mut sum = u64::from(first)
        + u64::from(second)
        + u64::from(third)
        + u64::from(source)
        + u64::from(last);
    let has_options = version_ihl != PLAIN_V4;
    if has_options {
        if version_ihl >> 4 != 4 || version_ihl & 0xf < 5 {
            return Err(malformed());
        }
        sum += odd::options(frame).ok_or_else(malformed)?;
    }
    if !checksum::is_right(sum) {
        return Err(NoFlow::Reason(cold(Reason::DropChecksum)));
    }
    refuse::ipv4(source, destination.address.v4_raw(), life).map_err(NoFlow::Reason)?;
    let length = usize::from(u16::from_be(length));
    let transport = if has_options || fragment & FRAGMENT_BITS != 0 {
        odd::look(frame, ICMP, length)?
    } else {
        transport(frame, ICMP, protocol, IPV4_LEN, length)?
    };
    Ok(Flow {
        hash: hash::flow_v4(
            &globals::hash_key(),
            source,
            destination.address.v4_raw(),
            transport.ports(),
            protocol,
        ),
        transport,
        length: length as u64,
    })
}

#[inline(always)]
fn flow_v6(frame: &Frame<'_>, destination: &Destination) -> Result<Flow, NoFlow> {
    let ip = destination.headers;
    // SAFETY: all of these lie in the 54 bytes of Ethernet and IPv6 header.
    let (version, length, next_and_life, source) = unsafe {
        (
            ip.read::<u8, 14>() >> 4,
            ip.read::<u16, 18>(),
            ip.read::<u16, 20>(),
            Addr {
                hi: ip.read::<u64, 22>(),
                lo: ip.read::<u64, 30>(),
            },
        )
    };
    if version != 6 {
        return Err(malformed());
    }
    let protocol = next_and_life as u8;
    refuse::ipv6(source, destination.address, (next_and_life >> 8) as u8)
        .map_err(NoFlow::Reason)?;
    let length = IPV6_LEN + usize::from(u16::from_be(length));
    let is_plain = protocol == TCP || protocol == UDP || protocol == ICMPV6;
    let transport = if is_plain {
        transport(frame, ICMPV6, protocol, IPV6_LEN, length)?
    } else {
        odd::look(frame, ICMPV6, length)?
    };
    Ok(Flow {
        hash: hash::flow_v6(
            &globals::hash_key(),
            source,
            destination.address,
            transport.ports(),
            transport.protocol(),
        ),
        transport: transport.of(Family::V6),
        length: length as u64,
    })
}

/// What the TCP or UDP header tells that stands behind an IP header of `header` bytes, in an IP
/// packet of `length` bytes. `icmp` is the protocol number of the family's ICMP.
#[inline(always)]
fn transport(
    frame: &Frame<'_>,
    icmp: u8,
    protocol: u8,
    header: usize,
    length: usize,
) -> Result<Transport, NoFlow> {
    let transport = match protocol {
        TCP => tcp(part(frame, header, TCP_LEN, length)?, length - header)?,
        UDP => udp(part(frame, header, UDP_LEN, length)?, length - header)?,
        _ if protocol == icmp => {
            let offset = ETH_LEN + header;
            return Err(NoFlow::Icmp(Message { offset, length }));
        }
        _ => return Err(NoFlow::OtherProtocol),
    };
    refuse::ports(transport.ports()).map_err(NoFlow::Reason)?;
    Ok(transport)
}

/// `needed` bytes behind an IP header of `header` bytes, if the IP packet of `length` bytes has
/// them and is whole.
#[inline(always)]
fn part(frame: &Frame<'_>, header: usize, needed: usize, length: usize) -> Result<View, NoFlow> {
    if length < header + needed || !frame.holds(ETH_LEN + length) {
        return Err(malformed());
    }
    frame.view(ETH_LEN + header, needed).ok_or_else(malformed)
}

/// What the TCP segment tells that starts with `header`, of which the IP packet has `room`
/// bytes, at least the 20 of the view.
#[inline(always)]
pub(crate) fn tcp(header: View, room: usize) -> Result<Transport, NoFlow> {
    const SYN: u8 = 0x02;
    const ACK: u8 = 0x10;
    // SAFETY: these bytes lie in the 20 of the view.
    let (ports, offset, flags) = unsafe {
        (
            header.read::<u32, 0>(),
            header.read::<u8, 12>(),
            header.read::<u8, 13>(),
        )
    };
    // A length below 20 wraps around and is too large.
    let length = usize::from(offset >> 4) * 4;
    if length.wrapping_sub(TCP_LEN) > room - TCP_LEN {
        return Err(malformed());
    }
    let kind = if flags & (SYN | ACK) == SYN {
        Kind::Opens
    } else {
        Kind::Segment
    };
    Ok(Transport::new(TCP, ports, kind))
}

/// As [`tcp`], of a UDP datagram, whose header has 8 bytes.
#[inline(always)]
pub(crate) fn udp(header: View, room: usize) -> Result<Transport, NoFlow> {
    // SAFETY: these bytes lie in the 8 of the view.
    let (ports, length) = unsafe { (header.read::<u32, 0>(), header.read::<u16, 4>()) };
    let length = usize::from(u16::from_be(length));
    if length.wrapping_sub(UDP_LEN) > room - UDP_LEN {
        return Err(malformed());
    }
    Ok(Transport::new(UDP, ports, Kind::Segment))
}
