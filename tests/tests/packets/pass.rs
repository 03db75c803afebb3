//! What is none of Navigator's business goes to the host as it came.

use crate::world::{DROPS, PASSES, PORT, TCP, UDP, client, l2_world, packet};
use anyhow::Result;
use navigator_common::reason::Reason;
use navigator_tests::packet::{
    Family, LOCAL_MAC,
    bed::Bed,
    edit::{cut, patched, sent_from, sent_to},
    expect::passed,
    frame::{ETH, TYPE_IPV4, TYPE_IPV6, echo, framed, other},
    row::{Row, row},
};
use std::net::{IpAddr, SocketAddr};

#[test]
fn frames_for_others() -> Result<()> {
    let mut rows = Vec::new();
    for family in Family::BOTH {
        let ours = packet(TCP, family.vip(DROPS, PORT), b"GET /");
        let mut add = |name: &str, mac: [u8; 6]| {
            rows.push(row(
                format!("{family:?}: {name}"),
                sent_to(&ours, mac),
                passed(Reason::PassOtherMac),
            ));
        };
        add(
            "another host's MAC address",
            [0x02, 0x11, 0x22, 0x33, 0x44, 0x55],
        );
        add("broadcast", [0xff; 6]);
        add("an IPv4 multicast MAC address", [0x01, 0, 0x5e, 0, 0, 1]);
        add("an IPv6 multicast MAC address", [0x33, 0x33, 0, 0, 0, 1]);
        add("no MAC address", [0; 6]);
        for byte in 0..LOCAL_MAC.len() {
            let mut near = LOCAL_MAC;
            near[byte] ^= 0x01;
            add(&format!("ours but for one bit of byte {byte}"), near);
        }
        // Whatever it is: an answer to it would go to many.
        for mac in [
            [0xff; 6],
            [0x01, 0, 0x5e, 0, 0, 1],
            [0x33, 0x33, 0, 0, 0, 1],
        ] {
            for packet in [
                &ours,
                &echo(client(family).ip(), family.vip(DROPS, PORT).ip()),
            ] {
                rows.push(row(
                    format!("{family:?}: {} bytes from {mac:02x?}", packet.len()),
                    sent_from(packet, mac),
                    passed(Reason::PassOtherMac),
                ));
            }
        }
    }
    l2_world()?.check(&rows)
}

#[test]
fn frames_that_hold_no_ip() -> Result<()> {
    let arp = [0, 1, 8, 0, 6, 4, 0, 1].repeat(4);
    let rows = vec![
        row(
            "an ARP request to our MAC address",
            framed(0x0806, &arp),
            passed(Reason::PassNotIp),
        ),
        row(
            "a frame of unknown type",
            framed(0x88b5, &arp),
            passed(Reason::PassNotIp),
        ),
        row(
            "an 802.3 length in place of a type",
            framed(46, &[0x42; 46]),
            passed(Reason::PassNotIp),
        ),
        row(
            "IPv4's type with its bytes swapped",
            framed(TYPE_IPV4.swap_bytes(), &arp),
            passed(Reason::PassNotIp),
        ),
        row(
            "nothing behind the type",
            framed(0x0806, &[]),
            passed(Reason::PassNotIp),
        ),
    ];
    l2_world()?.check(&rows)
}

#[test]
fn ip_headers_cut_short() -> Result<()> {
    let mut rows = Vec::new();
    for family in Family::BOTH {
        let whole = packet(TCP, family.vip(DROPS, PORT), b"GET /");
        rows.extend((ETH..ETH + family.header()).map(|length| {
            row(
                format!("{family:?}: cut to {length} bytes"),
                cut(&whole, length),
                passed(Reason::PassTruncated),
            )
        }));
    }
    l2_world()?.check(&rows)
}

#[test]
fn packets_for_addresses_that_are_no_vips() -> Result<()> {
    let mut rows = Vec::new();
    for family in Family::BOTH {
        let mut add = |name: &str, packet| {
            rows.push(row(
                format!("{family:?}: {name}"),
                packet,
                passed(Reason::PassNotVip),
            ));
        };
        let vip = family.vip(DROPS, PORT);
        let stranger = family.vip(200, PORT);
        add("TCP", packet(TCP, stranger, b"GET /"));
        add("UDP", packet(UDP, stranger, b"query"));
        add("ICMP", echo(client(family).ip(), stranger.ip()));
        add(
            "another protocol",
            other(client(family).ip(), stranger.ip(), 47, b"gre"),
        );
        add(
            "a backend's address",
            packet(TCP, family.backend(1, PORT), b"GET /"),
        );
        let ip = packet(TCP, stranger, b"GET /");
        add("IP version 7", patched(&ip, ETH, &[0x75]));
        add(
            "a TCP header cut short",
            cut(&ip, ETH + family.header() + 3),
        );
        let address = match family {
            Family::V4 => 16..20,
            Family::V6 => 24..40,
        };
        for byte in address {
            let near = packet(TCP, vip, b"GET /");
            let flipped = near[ETH + byte] ^ 0x40;
            add(
                &format!("a VIP's address but for one bit of byte {byte}"),
                patched(&near, ETH + byte, &[flipped]),
            );
        }
    }
    l2_world()?.check(&rows)
}

/// `::ffff:192.0.2.1` is not `192.0.2.1`, though tables spell them alike.
#[test]
fn ipv6_packets_for_mapped_ipv4_addresses() -> Result<()> {
    let vip = Family::V4.vip(DROPS, PORT);
    let IpAddr::V4(v4) = vip.ip() else {
        unreachable!("it is IPv4")
    };
    let mapped = SocketAddr::new(v4.to_ipv6_mapped().into(), PORT);
    let rows = [TCP, UDP].map(|protocol| {
        row(
            format!("{protocol} to the mapped address of a VIP"),
            packet(protocol, mapped, b"hello"),
            passed(Reason::PassNotVip),
        )
    });
    l2_world()?.check(&rows)
}

#[test]
fn what_no_vip_serves_under_policy_pass() -> Result<()> {
    let mut rows: Vec<Row> = Vec::new();
    for family in Family::BOTH {
        let vip = family.vip(PASSES, PORT);
        let mut add = |name: String, packet| {
            rows.push(row(
                format!("{family:?}: {name}"),
                packet,
                passed(Reason::PassUnserved),
            ));
        };
        for port in [1, 22, PORT - 1, PORT + 1, 0x5000, u16::MAX] {
            for protocol in [TCP, UDP] {
                let vip = family.vip(PASSES, port);
                add(
                    format!("{protocol} port {port}"),
                    packet(protocol, vip, b"hello"),
                );
            }
        }
        for (protocol, name) in [
            (4, "IPv4 in IP"),
            (41, "IPv6 in IP"),
            (47, "GRE"),
            (50, "ESP"),
            (132, "SCTP"),
            (255, "protocol 255"),
        ] {
            add(
                name.to_owned(),
                other(client(family).ip(), vip.ip(), protocol, &[0; 40]),
            );
        }
    }
    l2_world()?.check(&rows)
}

#[test]
fn empty_tables_pass_everything() -> Result<()> {
    let mut bed = Bed::new()?;
    let rows = Family::BOTH.map(|family| {
        row(
            format!("{family:?}"),
            packet(TCP, family.vip(DROPS, PORT), b"GET /"),
            passed(Reason::PassNotVip),
        )
    });
    bed.check(&rows)?;
    let zero = [
        (TYPE_IPV4, vec![0x45; 1], 19),
        (TYPE_IPV6, vec![0x60; 1], 39),
    ];
    let rows = zero.map(|(ether_type, first, rest)| {
        row(
            format!("type {ether_type:#06x}: all addresses zero"),
            framed(ether_type, &[first, vec![0; rest]].concat()),
            passed(Reason::PassNotVip),
        )
    });
    bed.check(&rows)
}
