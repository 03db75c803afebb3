//! What may become of a packet, whatever it is. By code that has nothing in
//! common with the program's.

use super::{
    layout::{Packet, ether_type, protocol},
    world::{self, Kind},
};
use crate::packet::{
    Family, LOCAL_MAC,
    expect::{Action, GUE_PORT},
    frame::ETH,
};
use navigator_core::model::ForwardMode;
use std::net::IpAddr;

/// What a program did with a packet, as far as a verdict and a frame tell.
#[derive(Clone, Copy, PartialEq, Eq, Hash, PartialOrd, Ord, Debug)]
pub enum Fate {
    /// Handed on as it came.
    Passed,
    /// Thrown away.
    Dropped,
    /// Answered.
    Replied,
    /// Sent to a backend.
    Forwarded,
    /// A backend's answer, sent to its client.
    Returned,
    /// Taken out of its tunnel and handed on.
    Unwrapped,
}

/// What is wrong, in words.
pub type Wrong = String;

macro_rules! must {
    ($condition:expr, $($why:tt)+) => {
        if !$condition {
            return Err(format!($($why)+));
        }
    };
}

/// Judges the load balancer's verdict on `came`, which left as `left`.
///
/// # Errors
/// What is wrong with it.
pub fn balancer(came: &[u8], action: Action, left: &[u8]) -> Result<Fate, Wrong> {
    match action {
        Action::Pass => {
            must!(left == came, "it was passed and is not as it came");
            Ok(Fate::Passed)
        }
        Action::Drop => Ok(Fate::Dropped),
        Action::Tx | Action::Redirect => sent(came, left),
        Action::Aborted => Err("aborted".to_owned()),
    }
}

/// Judges the tunnel end's verdict.
///
/// # Errors
/// What is wrong with it.
pub fn unwrapper(came: &[u8], action: Action, left: &[u8]) -> Result<Fate, Wrong> {
    match action {
        Action::Pass if left == came => Ok(Fate::Passed),
        Action::Pass => {
            must!(left.len() >= ETH && left.len() < came.len(), "it grew");
            must!(left[..12] == came[..12], "its MAC addresses changed");
            must!(came.ends_with(&left[ETH..]), "it is no part of what came");
            let inner = Packet::of(left).or_else(|| header_only(left));
            let inner = inner.ok_or("no IP packet came out of the tunnel")?;
            must!(
                Kind::at(inner.destination(left)).is_some(),
                "what came out of the tunnel is for no VIP"
            );
            Ok(Fate::Unwrapped)
        }
        Action::Drop => Ok(Fate::Dropped),
        _ => Err(format!("it is never to return {action:?}")),
    }
}

/// An IP packet of which only the fixed header is held to be sound, as by the tunnel end.
fn header_only(frame: &[u8]) -> Option<Packet> {
    let version = frame.get(ETH)? >> 4;
    let (fixed, length) = match version {
        4 => (
            20,
            usize::from(u16::from_be_bytes([*frame.get(16)?, *frame.get(17)?])),
        ),
        6 => (
            40,
            40 + usize::from(u16::from_be_bytes([*frame.get(18)?, *frame.get(19)?])),
        ),
        _ => return None,
    };
    (frame.len() >= ETH + fixed && length >= fixed && ETH + length <= frame.len()).then_some(
        Packet {
            ip: ETH,
            version,
            transport: ETH + fixed,
            protocol: 0,
            end: ETH + length,
            fragment: false,
            later: false,
        },
    )
}

/// A packet that was sent on or back.
fn sent(came: &[u8], left: &[u8]) -> Result<Fate, Wrong> {
    must!(came[..6] == LOCAL_MAC, "it was for another MAC address");
    must!(left.len() >= ETH + 20, "it left without a header");
    must!(
        left[6..12] == LOCAL_MAC,
        "it left with another's MAC address"
    );
    must!(left[..6] != LOCAL_MAC, "it was sent to ourselves");
    must!(left[0] & 1 == 0, "it was sent to a multicast MAC address");
    let packet = Packet::of(came).ok_or("its headers are not sound")?;
    if let Some(out) = Packet::of(left)
        && out.version == packet.version
        && out.source(left) == packet.destination(came)
    {
        return replied(came, packet, left, out);
    }
    honest(came, packet)?;
    if nat_source(packet.destination(came)) {
        translated(came, packet, left)?;
        let from = Packet::of(left).and_then(|out| Kind::at(out.source(left)));
        let by_nat = from.is_some_and(|kind| kind.mode == ForwardMode::Nat);
        must!(by_nat, "an answer by NAT is from none of its VIPs");
        return Ok(Fate::Returned);
    }
    let kind = Kind::at(packet.destination(came)).ok_or("it was for no VIP")?;
    if kind.mode == ForwardMode::Nat {
        translated(came, packet, left)?;
        to_a_nat_backend(left)?;
        return Ok(Fate::Forwarded);
    }
    must!(left[..6] != came[6..12], "it was sent back to its sender");
    if kind.mode == ForwardMode::L2 {
        let (from, to) = (tag_free(came), tag_free(left));
        must!(from == to, "the packet changed in mode l2");
    } else {
        wrapped(came, packet, left, kind)?;
    }
    Ok(Fate::Forwarded)
}

/// Whether NAT flows start from this address.
fn nat_source(address: &[u8]) -> bool {
    let sources = world::nat();
    sources.sources.iter().any(|source| is(address, *source))
}

fn is(bytes: &[u8], address: IpAddr) -> bool {
    match address {
        IpAddr::V4(ip) => ip.octets() == *bytes,
        IpAddr::V6(ip) => ip.octets() == *bytes,
    }
}

/// To a backend's own port, from one of the addresses and ports of NAT.
fn to_a_nat_backend(left: &[u8]) -> Result<(), Wrong> {
    let out = Packet::of(left).ok_or("it left with unsound headers")?;
    let family = if out.version == 4 {
        Family::V4
    } else {
        Family::V6
    };
    let to = out.destination(left);
    let known = (1..4).any(|n| is(to, family.backend(n, 0).ip()));
    must!(known, "NAT leads to no backend");
    if matches!(out.protocol, protocol::TCP | protocol::UDP) && !out.later {
        must!(nat_source(out.source(left)), "NAT starts elsewhere");
        let word = |at: usize| u16::from_be_bytes([left[at], left[at + 1]]);
        let (from, to) = (word(out.transport), word(out.transport + 2));
        let (first, last) = world::nat().ports;
        must!((first..=last).contains(&from), "NAT starts at port {from}");
        must!(to == world::PORT, "NAT leads to port {to}");
    }
    Ok(())
}

/// Other addresses, ports and checksums, right where they were right; of an ICMP error also other
/// ones in what it quotes; and nothing else changed.
fn translated(came: &[u8], packet: Packet, left: &[u8]) -> Result<(), Wrong> {
    let out = Packet::of(left).ok_or("it left with unsound headers")?;
    let (from, to) = (&came[packet.ip..], &left[out.ip..]);
    must!(from.len() == to.len(), "NAT changed the packet's length");
    must!(
        out.header_is_right(left) == packet.header_is_right(came),
        "NAT left a wrong IP checksum"
    );
    let (was, is) = (
        packet.transport_is_right(came),
        out.transport_is_right(left),
    );
    must!(was == is, "NAT made a checksum {is:?} that was {was:?}");
    let at = packet.transport - packet.ip;
    let mut changed = Vec::from([match packet.version {
        4 => 10..20,
        _ => 8..40,
    }]);
    match packet.protocol {
        _ if packet.later => {}
        protocol::TCP => changed.extend([at..at + 4, at + 16..at + 18]),
        protocol::UDP => changed.extend([at..at + 4, at + 6..at + 8]),
        _ => changed.extend([at + 2..at + 4, at + 8..from.len()]),
    }
    let same = |(index, (a, b))| a == b || changed.iter().any(|range| range.contains(&index));
    must!(
        from.iter().zip(to).enumerate().all(same),
        "NAT changed more than addresses, ports and checksums"
    );
    Ok(())
}

/// The frame from its Ethernet type on.
fn tag_free(frame: &[u8]) -> &[u8] {
    ether_type(frame).map_or(&[], |at| &frame[at..])
}

/// What no packet that is forwarded has.
fn honest(came: &[u8], packet: Packet) -> Result<(), Wrong> {
    let life = if packet.version == 4 { 8 } else { 7 };
    must!(
        came[packet.ip + life] > 0,
        "it was forwarded with a TTL of 0"
    );
    let source = packet.source(came);
    must!(
        source != packet.destination(came),
        "it was forwarded from the VIP itself"
    );
    must!(
        source.iter().any(|byte| *byte != 0),
        "it was forwarded from nobody"
    );
    let many = match packet.version {
        4 => (224..240).contains(&source[0]) || source == [255; 4] || source[0] == 127,
        _ => source[0] == 0xff,
    };
    must!(!many, "it was forwarded from {source:?}");
    if matches!(packet.protocol, protocol::TCP | protocol::UDP) && !packet.fragment {
        let least = if packet.protocol == protocol::TCP {
            20
        } else {
            8
        };
        must!(
            packet.transport + least <= packet.end,
            "its transport header was cut"
        );
        let ports = &came[packet.transport..packet.transport + 4];
        must!(
            ports[..2] != [0; 2] && ports[2..] != [0; 2],
            "it was forwarded with port 0"
        );
    }
    Ok(())
}

/// In an IP header of the backends' family, in `gue` with UDP and GUE behind it, and nothing
/// else changed.
fn wrapped(came: &[u8], packet: Packet, left: &[u8], kind: &Kind) -> Result<(), Wrong> {
    let outer = kind.hosts.unwrap_or(Family::V4);
    let (version, fixed) = if outer == Family::V4 {
        (4, 20)
    } else {
        (6, 40)
    };
    let inner = &came[packet.ip..];
    let gue = kind.mode == ForwardMode::Gue;
    let headers = if gue { 12 } else { 0 };
    must!(
        left.len() == ETH + fixed + headers + inner.len(),
        "the packet of {} bytes left as {}",
        came.len(),
        left.len()
    );
    must!(
        left[ETH + fixed + headers..] == *inner,
        "the packet in the tunnel changed"
    );
    let ether_type = if version == 4 {
        [0x08, 0x00]
    } else {
        [0x86, 0xdd]
    };
    must!(
        left[12..ETH] == ether_type,
        "the tunnel's Ethernet type is wrong"
    );
    let out = header_only(left).ok_or("the tunnel header is not sound")?;
    must!(
        out.version == version,
        "the tunnel header is of another family"
    );
    must!(
        out.header_is_right(left),
        "the tunnel header's checksum is wrong"
    );
    must!(
        out.end - out.transport == headers + packet.end - packet.ip,
        "the tunnel header tells another length"
    );
    let next = if version == 4 {
        left[ETH + 9]
    } else {
        left[ETH + 6]
    };
    let wanted = if packet.version == 4 {
        protocol::IPV4
    } else {
        protocol::IPV6
    };
    if gue {
        must!(next == protocol::UDP, "it left for GUE without UDP");
        let udp = &left[ETH + fixed..ETH + fixed + headers];
        let length = (headers + packet.end - packet.ip) as u16;
        let rest = [&GUE_PORT.to_be_bytes()[..], &length.to_be_bytes(), &[0; 2]].concat();
        must!(
            udp[0] >= 0xc0 && udp[2..8] == rest[..],
            "the UDP header is wrong"
        );
        must!(udp[8..] == [0, wanted, 0, 0], "the GUE header is wrong");
    } else {
        must!(next == wanted, "the tunnel header tells another protocol");
    }
    must!(
        is(out.source(left), outer.local()),
        "the tunnel starts elsewhere"
    );
    let to_a_backend = (1..4).any(|n| is(out.destination(left), outer.backend(n, 0).ip()));
    must!(to_a_backend, "the tunnel leads to no backend");
    Ok(())
}

fn is_nat_source(address: &[u8]) -> bool {
    world::nat()
        .sources
        .iter()
        .any(|source| is(address, *source))
}

/// From the VIP to who sent the packet.
fn replied(came: &[u8], packet: Packet, left: &[u8], out: Packet) -> Result<Fate, Wrong> {
    must!(
        out.destination(left) == packet.source(came),
        "the answer goes to somebody else"
    );
    must!(
        left[..6] == came[6..12],
        "the answer goes to another MAC address"
    );
    // The addresses that NAT flows start from are answered for like VIPs.
    must!(
        Kind::at(out.source(left)).is_some() || is_nat_source(out.source(left)),
        "the answer is from no VIP"
    );
    // An echo of a damaged request stays damaged; all else the program made itself.
    let echo = matches!(packet.protocol, protocol::ICMP | protocol::ICMPV6);
    let header = packet.header_is_right(came);
    must!(
        out.header_is_right(left) == header || (!echo && out.header_is_right(left)),
        "the answer's header checksum is wrong"
    );
    let right = out.transport_is_right(left);
    let wanted = if echo {
        packet.transport_is_right(came)
    } else {
        Some(true)
    };
    must!(
        right == wanted,
        "the answer's checksum is {right:?}, not {wanted:?}"
    );
    if !echo && matches!(out.protocol, protocol::ICMP | protocol::ICMPV6) {
        let quote = left.get(out.transport + 8..out.end).unwrap_or_default();
        must!(quote.len() >= 28, "the answer quotes too little");
        must!(
            came[packet.ip..packet.end].starts_with(quote),
            "the answer quotes another packet"
        );
    }
    Ok(Fate::Replied)
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::packet::{
        Tcp,
        addresses::host_mac,
        edit::patched,
        expect::{Outcome, ipip, l2},
        frame::tcp,
        icmp::{echo, replied},
    };
    use navigator_core::model::{Protocol, VipKey};

    fn came(number: u8) -> Vec<u8> {
        let (client, vip) = (Family::V4.client(1, 4000), Family::V4.vip(number, 80));
        tcp(client, vip, Tcp::Ack, b"hello")
    }

    /// What leaves for the first backend of the VIP with this number.
    fn left(number: u8, came: &[u8]) -> Outcome {
        let vip = VipKey::new(Family::V4.vip(number, 80).ip(), Protocol::Tcp, 80);
        let backend = Family::V4.backend(1, 80);
        match number {
            4 => ipip(vip, backend, Family::V4.local())(came),
            _ => l2(vip, backend)(came),
        }
    }

    #[test]
    fn what_is_right_is_let_through() {
        for number in [1, 4] {
            let came = came(number);
            let sent = left(number, &came);
            assert_eq!(
                balancer(&came, sent.action, &sent.frame),
                Ok(Fate::Forwarded)
            );
        }
        let ping = echo(
            Family::V4.client(1, 0).ip(),
            Family::V4.vip(1, 0).ip(),
            [7; 4],
            b"ping",
        );
        let reply = replied(&ping);
        assert_eq!(
            balancer(&ping, reply.action, &reply.frame),
            Ok(Fate::Replied)
        );
        assert_eq!(balancer(&ping, Action::Pass, &ping), Ok(Fate::Passed));
        assert_eq!(balancer(&ping, Action::Drop, &ping), Ok(Fate::Dropped));
    }

    /// Every byte that leaves matters, but for the MAC address of the backend's host, and what
    /// no checksum of IPv4 in a tunnel's header covers.
    #[test]
    fn one_changed_byte_is_found() {
        for number in [1, 4] {
            let came = came(number);
            let sent = left(number, &came);
            for at in 6..sent.frame.len() {
                let wrong = patched(&sent.frame, at, &[sent.frame[at] ^ 0x41]);
                assert!(
                    balancer(&came, sent.action, &wrong).is_err(),
                    "VIP {number}, byte {at}"
                );
            }
        }
        let ping = echo(
            Family::V4.client(1, 0).ip(),
            Family::V4.vip(1, 0).ip(),
            [7; 4],
            b"ping",
        );
        let reply = replied(&ping);
        for at in 0..reply.frame.len() {
            let wrong = patched(&reply.frame, at, &[reply.frame[at] ^ 0x41]);
            assert!(
                balancer(&ping, reply.action, &wrong).is_err(),
                "echo, byte {at}"
            );
        }
    }

    #[test]
    fn what_must_not_be_sent_is_found() {
        let sound = came(1);
        let wrong = [
            (
                "to another MAC address",
                patched(&sound, 0, &[0x02, 9, 9, 9, 9, 9]),
            ),
            (
                "from the backend",
                patched(&sound, 6, &host_mac(Family::V4.backend(1, 0).ip())),
            ),
            ("a TTL of 0", patched(&sound, ETH + 8, &[0])),
            ("from nobody", patched(&sound, ETH + 12, &[0; 4])),
            ("from a group", patched(&sound, ETH + 12, &[224, 0, 0, 1])),
            ("from the VIP", patched(&sound, ETH + 12, &[192, 0, 2, 1])),
            ("to no VIP", patched(&sound, ETH + 19, &[99])),
            ("port 0", patched(&sound, ETH + 20, &[0, 0])),
            ("longer than its frame", patched(&sound, ETH + 2, &[9])),
        ];
        for (name, came) in wrong {
            let mac = host_mac(Family::V4.backend(1, 0).ip());
            let sent = [&mac[..], &LOCAL_MAC, &came[12..]].concat();
            assert!(balancer(&came, Action::Tx, &sent).is_err(), "{name}");
        }
        let changed = patched(&sound, ETH + 40, b"H");
        assert!(balancer(&sound, Action::Pass, &changed).is_err());
        assert!(balancer(&sound, Action::Aborted, &sound).is_err());
        assert!(unwrapper(&sound, Action::Tx, &sound).is_err());
    }
}
