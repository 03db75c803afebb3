//! What no honest sender makes is refused under its own reason, whatever the
//! address's policy; what only looks so is served.

use crate::world::{BACKEND, DROPS, PASSES, PORT, TCP, UDP, client, key, l2_world, packet};
use anyhow::Result;
use navigator_common::reason::Reason;
use navigator_core::model::Protocol;
use navigator_tests::packet::{
    Family, LOCAL_MAC, ROUTER_MAC, Tcp,
    addresses::host_mac,
    bed::IFINDEX,
    edit::{V4_TTL, V6_HOP_LIMIT, patched, sent_from, with_checksum},
    expect::{Outcome, dropped, l2, passed},
    frame::{self, ETH, echo},
    row::{Row, row},
};
use navigator_user::dataplane::{Dataplane as _, NextHop};
use std::net::{IpAddr, SocketAddr};

/// A packet of `protocol` from `client` to `vip`.
fn from(protocol: Protocol, client: SocketAddr, vip: SocketAddr) -> Vec<u8> {
    match protocol {
        TCP => frame::tcp(client, vip, Tcp::Syn, b""),
        UDP | Protocol::Both => frame::udp(client, vip, b"query"),
    }
}

/// A row for each protocol and each policy's address, of one family.
fn rows_of(
    family: Family,
    name: &str,
    packet: impl Fn(Protocol, SocketAddr) -> Vec<u8>,
    reason: Reason,
) -> Vec<Row> {
    let mut rows = Vec::new();
    for protocol in [TCP, UDP] {
        for address in [DROPS, PASSES] {
            rows.push(row(
                format!("{family:?}, {protocol}, address {address}: {name}"),
                packet(protocol, family.vip(address, PORT)),
                dropped(reason),
            ));
        }
    }
    rows
}

fn served(protocol: Protocol, vip: SocketAddr) -> impl Fn(&[u8]) -> Outcome {
    let backend = Family::of(vip.ip()).backend(BACKEND, PORT);
    l2(key(vip, protocol), backend)
}

#[test]
fn sources_that_nobody_has() -> Result<()> {
    let mut rows = Vec::new();
    for (family, source) in [
        (Family::V4, "0.0.0.0"),
        (Family::V4, "0.1.2.3"),
        (Family::V4, "127.0.0.1"),
        (Family::V4, "127.255.255.254"),
        (Family::V4, "224.0.0.1"),
        (Family::V4, "239.255.255.250"),
        (Family::V4, "255.255.255.255"),
        (Family::V6, "::"),
        (Family::V6, "::1"),
        (Family::V6, "::ffff:198.51.100.9"),
        (Family::V6, "::198.51.100.9"),
        (Family::V6, "ff02::1"),
        (Family::V6, "ff0e::1:2"),
    ] {
        let source: IpAddr = source.parse()?;
        rows.extend(rows_of(
            family,
            &format!("from {source}"),
            |protocol, vip| from(protocol, SocketAddr::new(source, 40_000), vip),
            Reason::DropSource,
        ));
        rows.push(row(
            format!("{family:?}: an echo request from {source}"),
            echo(source, family.vip(DROPS, PORT).ip()),
            dropped(Reason::DropSource),
        ));
        rows.push(row(
            format!("{family:?}: from {source}, but not to a VIP"),
            from(UDP, SocketAddr::new(source, 40_000), family.vip(200, PORT)),
            passed(Reason::PassNotVip),
        ));
    }
    l2_world()?.check(&rows)
}

/// The attack that made hosts of the nineties answer themselves for ever.
#[test]
fn land_attacks() -> Result<()> {
    let mut rows = Vec::new();
    for family in Family::BOTH {
        for (name, port) in [("its own port", PORT), ("another port", 40_000)] {
            rows.extend(rows_of(
                family,
                &format!("from the VIP's address and {name}"),
                |protocol, vip| from(protocol, SocketAddr::new(vip.ip(), port), vip),
                Reason::DropSource,
            ));
        }
    }
    l2_world()?.check(&rows)
}

#[test]
fn sources_beside_those() -> Result<()> {
    let mut rows = Vec::new();
    for source in [
        "1.0.0.0",
        "126.255.255.255",
        "128.0.0.0",
        "169.254.1.1",
        "223.255.255.255",
        "240.0.0.1",
        "255.255.255.254",
        "192.0.2.2",
        "64:ff9b::7f00:1",
        "fe80::1",
        "fec0::1",
        "2001:db8:2::2",
    ] {
        let source: IpAddr = source.parse()?;
        for protocol in [TCP, UDP] {
            let vip = Family::of(source).vip(DROPS, PORT);
            rows.push(row(
                format!("{protocol} from {source}"),
                from(protocol, SocketAddr::new(source, 40_000), vip),
                served(protocol, vip),
            ));
        }
    }
    l2_world()?.check(&rows)
}

#[test]
fn ports_that_are_zero() -> Result<()> {
    let mut rows = Vec::new();
    for family in Family::BOTH {
        for (name, source, destination) in [
            ("from port 0", 0, PORT),
            ("to port 0", 40_000, 0),
            ("from port 0 to port 0", 0, 0),
            ("from port 0 to a port that nobody serves", 0, 22),
        ] {
            rows.extend(rows_of(
                family,
                name,
                |protocol, vip| {
                    let client = SocketAddr::new(client(family).ip(), source);
                    from(protocol, client, SocketAddr::new(vip.ip(), destination))
                },
                Reason::DropPortZero,
            ));
        }
        for protocol in [TCP, UDP] {
            // Each has one byte that is zero, or half of both ports.
            for port in [1, 0x0100, 0xff00, 0x00ff] {
                let vip = family.vip(DROPS, PORT);
                let client = SocketAddr::new(client(family).ip(), port);
                rows.push(row(
                    format!("{family:?}, {protocol}: from port {port:#06x}"),
                    from(protocol, client, vip),
                    served(protocol, vip),
                ));
            }
        }
    }
    l2_world()?.check(&rows)
}

/// In a DSR mode Navigator is no hop: what has a last hop left may use it to get to the backend.
#[test]
fn time_that_has_run_out() -> Result<()> {
    let mut rows = Vec::new();
    for family in Family::BOTH {
        let at = match family {
            Family::V4 => V4_TTL,
            Family::V6 => V6_HOP_LIMIT,
        };
        let lived = |packet: &[u8], life: u8| with_checksum(&patched(packet, at, &[life]));
        rows.extend(rows_of(
            family,
            "no time left",
            |protocol, vip| lived(&packet(protocol, vip, b"hello"), 0),
            Reason::DropTtl,
        ));
        for protocol in [TCP, UDP] {
            for life in [1, 2, 255] {
                let vip = family.vip(DROPS, PORT);
                rows.push(row(
                    format!("{family:?}, {protocol}: {life} left"),
                    lived(&packet(protocol, vip, b"hello"), life),
                    served(protocol, vip),
                ));
            }
        }
        rows.push(row(
            format!("{family:?}: no time left, but not to a VIP"),
            lived(&packet(TCP, family.vip(200, PORT), b"hello"), 0),
            passed(Reason::PassNotVip),
        ));
    }
    l2_world()?.check(&rows)
}

#[test]
fn ipv4_header_checksums() -> Result<()> {
    let mut rows = Vec::new();
    let vip = Family::V4.vip(DROPS, PORT);
    for words in 0..=10 {
        let options = vec![1; words * 4];
        let client = client(Family::V4);
        for (protocol, good) in [
            (
                TCP,
                frame::tcp_with_options(client, vip, &options, Tcp::Ack, b"hello"),
            ),
            (
                UDP,
                frame::udp_with_options(client, vip, &options, b"hello"),
            ),
        ] {
            let name = format!("{protocol}, {words} words of options");
            // One bit of each word that no other rule looks at: the second one of TOS, the last of
            // the identification, the checksum's first, the options' last.
            let mut bits = vec![(ETH + 1, 2), (ETH + 5, 1), (ETH + 10, 0x80)];
            if words > 0 {
                bits.push((ETH + 20 + words * 4 - 1, 1));
            }
            for (offset, bit) in bits {
                let wrong = patched(&good, offset, &[good[offset] ^ bit]);
                rows.push(row(
                    format!("{name}: a bit of byte {}", offset - ETH),
                    wrong.clone(),
                    dropped(Reason::DropChecksum),
                ));
                if offset != ETH + 10 {
                    let byte = offset - ETH;
                    rows.push(row(
                        format!("{name}: that bit of byte {byte}, and the checksum that it makes"),
                        with_checksum(&wrong),
                        served(protocol, vip),
                    ));
                }
            }
        }
    }
    rows.extend(rows_of(
        Family::V4,
        "all ones for no checksum",
        |protocol, vip| patched(&packet(protocol, vip, b"hello"), ETH + 10, &[0xff, 0xff]),
        Reason::DropChecksum,
    ));
    let stranger = packet(TCP, Family::V4.vip(200, PORT), b"hello");
    rows.push(row(
        "a wrong one, but not to a VIP",
        patched(&stranger, ETH + 10, &[0xde, 0xad]),
        passed(Reason::PassNotVip),
    ));
    l2_world()?.check(&rows)
}

#[test]
fn frames_from_where_they_would_go() -> Result<()> {
    let mut rows = Vec::new();
    for family in Family::BOTH {
        rows.extend(rows_of(
            family,
            "from our own MAC address",
            |protocol, vip| sent_from(&packet(protocol, vip, b"hello"), LOCAL_MAC),
            Reason::DropLoop,
        ));
        let vip = family.vip(DROPS, PORT);
        let backend = host_mac(family.backend(BACKEND, PORT).ip());
        rows.extend(rows_of(
            family,
            "from the MAC address of its backend",
            |protocol, vip| sent_from(&packet(protocol, vip, b"hello"), backend),
            Reason::DropLoop,
        ));
        for (whose, mac) in [("ours", LOCAL_MAC), ("the backend's", backend)] {
            for byte in 0..LOCAL_MAC.len() {
                let mut near = mac;
                near[byte] ^= 0x40;
                rows.push(row(
                    format!("{family:?}: {whose} but for one bit of byte {byte}"),
                    sent_from(&packet(TCP, vip, b"hello"), near),
                    served(TCP, vip),
                ));
            }
        }
        rows.push(row(
            format!("{family:?}: from our own MAC address, but not to a VIP"),
            sent_from(&packet(TCP, family.vip(200, PORT), b"hello"), LOCAL_MAC),
            passed(Reason::PassNotVip),
        ));
    }
    l2_world()?.check(&rows)
}

/// A router that the backend is behind may well be the one that the client is behind.
#[test]
fn frames_from_the_router_that_leads_to_the_backend() -> Result<()> {
    let mut bed = l2_world()?;
    let mut rows = Vec::new();
    for family in Family::BOTH {
        let backend = family.backend(BACKEND, PORT);
        let hop = NextHop {
            mac: ROUTER_MAC,
            ifindex: IFINDEX,
            source: family.local(),
            on_link: false,
            mtu: 0,
        };
        bed.plane().set_next_hop(backend.ip(), Some(hop))?;
        let vip = family.vip(DROPS, PORT);
        let packet = packet(TCP, vip, b"hello");
        let mut sent = served(TCP, vip)(&packet);
        sent.frame[..6].copy_from_slice(&ROUTER_MAC);
        rows.push(row(format!("{family:?}"), packet, |_| sent));
    }
    bed.check(&rows)
}
