//! Lengths that contradict each other, headers cut short: dropped, whatever the
//! address's policy, and never counted as forwarded.

use crate::world::{DROPS, PASSES, PORT, TCP, UDP, l2_world, packet, transport_header};
use anyhow::Result;
use navigator_common::reason::Reason;
use navigator_core::model::Protocol;
use navigator_tests::packet::{
    Family, Tcp,
    edit::{V4_VERSION, V6_VERSION, claiming, cut, padded, patched, with_checksum},
    expect::dropped,
    frame::{ETH, TYPE_IPV4, TYPE_IPV6, framed, ip_packet, tcp_with_options},
    row::{Row, row},
};

/// Runs `rows` of every family, protocol and policy.
fn check(rows: impl Fn(Case, &mut Vec<Row>)) -> Result<()> {
    let mut all = Vec::new();
    for family in Family::BOTH {
        for protocol in [TCP, UDP] {
            for address in [DROPS, PASSES] {
                let case = Case {
                    family,
                    protocol,
                    address,
                };
                rows(case, &mut all);
            }
        }
    }
    l2_world()?.check(&all)
}

#[derive(Clone, Copy)]
struct Case {
    family: Family,
    protocol: Protocol,
    address: u8,
}

impl Case {
    /// A good packet with ten bytes of payload.
    fn good(self) -> Vec<u8> {
        packet(
            self.protocol,
            self.family.vip(self.address, PORT),
            b"0123456789",
        )
    }

    /// Length of its IP and transport headers.
    const fn headers(self) -> usize {
        self.family.header() + transport_header(self.protocol)
    }

    fn row(self, name: &str, packet: Vec<u8>) -> Row {
        let Self {
            family,
            protocol,
            address,
        } = self;
        row(
            format!("{family:?}, {protocol}, address {address}: {name}"),
            // Nothing else than what the row says is wrong.
            with_checksum(&packet),
            dropped(Reason::DropMalformed),
        )
    }
}

#[test]
fn a_frame_that_ends_inside_the_transport_header() -> Result<()> {
    check(|case, rows| {
        let good = case.good();
        for length in case.family.header()..case.headers() {
            let short = cut(&good, ETH + length);
            rows.push(case.row(&format!("{length} of the IP packet's bytes"), short.clone()));
            let honest = match case.family {
                Family::V4 => length,
                Family::V6 => length - 40,
            };
            rows.push(case.row(
                &format!("an IP packet of {length} bytes"),
                claiming(&short, honest),
            ));
            rows.push(case.row(
                &format!("an IP packet of {length} bytes in a padded frame"),
                padded(&claiming(&short, honest), 60.max(short.len())),
            ));
        }
    })
}

#[test]
fn a_frame_that_ends_inside_the_payload() -> Result<()> {
    check(|case, rows| {
        let good = case.good();
        for length in ETH + case.headers()..good.len() {
            rows.push(case.row(&format!("cut to {length} bytes"), cut(&good, length)));
        }
    })
}

#[test]
fn an_ip_length_that_cannot_be() -> Result<()> {
    check(|case, rows| {
        let good = case.good();
        // IPv6's length field leaves out the fixed header.
        let outside = match case.family {
            Family::V4 => 0,
            Family::V6 => 40,
        };
        let right = ip_packet(&good).len() - outside;
        let mut claims: Vec<_> = (0..case.headers() - outside).collect();
        claims.extend([
            right + 1,
            right + 255,
            0x7fff,
            0x8000,
            0xffff - outside,
            0xffff,
        ]);
        claims.sort_unstable();
        claims.dedup();
        for claim in claims {
            rows.push(case.row(
                &format!("a length field of {claim}"),
                claiming(&good, claim),
            ));
        }
    })
}

#[test]
fn a_transport_length_that_cannot_be() -> Result<()> {
    check(|case, rows| {
        let good = case.good();
        let header = ETH + case.family.header();
        if case.protocol == TCP {
            // Below five words, or beyond the 30 bytes of header and payload.
            for words in [0, 1, 4, 8, 15] {
                let packet = patched(&good, header + 12, &[words << 4]);
                rows.push(case.row(&format!("a TCP data offset of {words} words"), packet));
            }
        } else {
            for length in [1u16, 7, 19, 0xffff] {
                let packet = patched(&good, header + 4, &length.to_be_bytes());
                rows.push(case.row(&format!("a UDP length of {length}"), packet));
            }
        }
    })
}

#[test]
fn a_wrong_ip_version() -> Result<()> {
    check(|case, rows| {
        let good = case.good();
        for version in (0..16u8).filter(|v| *v != if case.family == Family::V4 { 4 } else { 6 }) {
            let offset = match case.family {
                Family::V4 => V4_VERSION,
                Family::V6 => V6_VERSION,
            };
            let first = version << 4 | good[offset] & 0xf;
            rows.push(case.row(
                &format!("version {version}"),
                patched(&good, offset, &[first]),
            ));
        }
    })
}

#[test]
fn an_ipv4_header_length_that_cannot_be() -> Result<()> {
    check(|case, rows| {
        if case.family == Family::V6 {
            return;
        }
        let good = case.good();
        for words in 0..5u8 {
            rows.push(case.row(
                &format!("a header of {words} words"),
                patched(&good, V4_VERSION, &[0x40 | words]),
            ));
        }
        let room = good.len() - ETH - transport_header(case.protocol);
        for words in (room / 4 + 1) as u8..16 {
            rows.push(case.row(
                &format!("a header of {words} words, which leaves no room"),
                patched(&good, V4_VERSION, &[0x40 | words]),
            ));
        }
    })
}

#[test]
fn ipv4_options_that_push_the_transport_header_out() -> Result<()> {
    let client = crate::world::client(Family::V4);
    let mut rows = Vec::new();
    for words in 1..=10 {
        let options = vec![1; words * 4];
        let whole = tcp_with_options(client, Family::V4.vip(DROPS, PORT), &options, Tcp::Ack, b"");
        rows.push(row(
            format!("{words} words of options and a TCP header without its last byte"),
            claiming(&cut(&whole, whole.len() - 1), whole.len() - ETH - 1),
            dropped(Reason::DropMalformed),
        ));
    }
    l2_world()?.check(&rows)
}

/// The Ethernet type and the IP header each name another version, and the bytes of
/// the other's destination address are a VIP's.
#[test]
fn an_ethernet_type_of_the_other_version() -> Result<()> {
    let v4 = packet(TCP, Family::V4.vip(DROPS, PORT), &[0; 64]);
    let v6 = packet(TCP, Family::V6.vip(DROPS, PORT), &[0; 64]);
    let mut as_v4 = framed(TYPE_IPV4, ip_packet(&v6));
    as_v4[30..34].copy_from_slice(&v4[30..34]);
    let mut as_v6 = framed(TYPE_IPV6, ip_packet(&v4));
    as_v6[38..54].copy_from_slice(&v6[38..54]);
    let rows = [("IPv6 as IPv4", as_v4), ("IPv4 as IPv6", as_v6)]
        .map(|(name, packet)| row(name, packet, dropped(Reason::DropMalformed)));
    l2_world()?.check(&rows)
}
