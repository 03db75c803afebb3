//! IPv6 extension headers: walked through where that has an end, and no further.

use crate::world::{
    BACKEND, DROPS, PASSES, PORT, TCP, UDP, client, key, l2_world, packet, payload,
};
use anyhow::Result;
use navigator_common::reason::Reason;
use navigator_core::model::Protocol;
use navigator_tests::packet::{
    Family,
    edit::{claiming, cut},
    expect::{dropped, l2, passed},
    fragment::{Extension, extended, fragment, options, routing},
    frame::ETH,
    row::{Row, row},
};

const HOP_BY_HOP: u8 = 0;
const DESTINATION: u8 = 60;

/// A TCP or UDP packet to address `number` with extension headers.
fn with(number: u8, protocol: Protocol, extensions: &[Extension]) -> Vec<u8> {
    let vip = Family::V6.vip(number, PORT);
    let plain = packet(protocol, vip, &payload(50));
    let transport = &plain[ETH + 40..];
    let client = client(Family::V6).ip();
    extended(client, vip.ip(), extensions, protocol.number(), transport)
}

#[test]
fn headers_that_are_walked_through() -> Result<()> {
    let vip = Family::V6.vip(DROPS, PORT);
    let backend = Family::V6.backend(BACKEND, PORT);
    let mut rows = Vec::new();
    for protocol in [TCP, UDP] {
        for (name, extensions) in [
            ("hop-by-hop options", vec![options(HOP_BY_HOP, 0)]),
            ("destination options", vec![options(DESTINATION, 0)]),
            ("long ones", vec![options(DESTINATION, 20)]),
            ("a routing header that is done", vec![routing(0)]),
            (
                "one of each",
                vec![
                    options(HOP_BY_HOP, 1),
                    options(DESTINATION, 2),
                    routing(0),
                    fragment(7, 0, 0),
                    options(DESTINATION, 0),
                ],
            ),
            ("six", vec![options(DESTINATION, 0); 6]),
            ("as long as may be", vec![options(DESTINATION, 58)]),
        ] {
            rows.push(row(
                format!("{protocol}: {name}"),
                with(DROPS, protocol, &extensions),
                l2(key(vip, protocol), backend),
            ));
        }
    }
    l2_world()?.check(&rows)
}

#[test]
fn headers_that_are_not() -> Result<()> {
    let mut rows = Vec::new();
    for number in [DROPS, PASSES] {
        for protocol in [TCP, UDP] {
            for (name, extensions) in [
                ("seven", vec![options(DESTINATION, 0); 7]),
                ("many", vec![options(DESTINATION, 0); 30]),
                (
                    "longer than may be",
                    vec![options(DESTINATION, 100), routing(0)],
                ),
                ("a routing header with segments left", vec![routing(1)]),
                (
                    "hop-by-hop options that are not the first",
                    vec![options(DESTINATION, 0), options(HOP_BY_HOP, 0)],
                ),
                ("hop-by-hop options twice", vec![options(HOP_BY_HOP, 0); 2]),
            ] {
                rows.push(row(
                    format!("address {number}, {protocol}: {name}"),
                    with(number, protocol, &extensions),
                    dropped(Reason::DropExtension),
                ));
            }
            rows.push(row(
                format!("address {number}, {protocol}: two fragment headers"),
                with(number, protocol, &[fragment(1, 0, 0), fragment(1, 0, 0)]),
                dropped(Reason::DropBadFragment),
            ));
        }
    }
    l2_world()?.check(&rows)
}

/// What they lead to is no flow.
#[test]
fn headers_that_lead_elsewhere() -> Result<()> {
    let mut rows: Vec<Row> = Vec::new();
    for number in [DROPS, PASSES] {
        let vip = Family::V6.vip(number, PORT).ip();
        for (protocol, name) in [
            (4, "IPv4"),
            (41, "IPv6"),
            (47, "GRE"),
            (50, "ESP"),
            (51, "an authentication header"),
            (59, "nothing"),
            (132, "SCTP"),
            (135, "mobility"),
            (139, "HIP"),
            (255, "protocol 255"),
        ] {
            for (where_to, extensions) in [
                ("behind the fixed header", vec![]),
                ("behind others", vec![options(HOP_BY_HOP, 0), routing(0)]),
            ] {
                let client = client(Family::V6).ip();
                let packet = extended(client, vip, &extensions, protocol, &[0; 40]);
                let name = format!("address {number}: {name} {where_to}");
                rows.push(if number == PASSES {
                    row(name, packet, passed(Reason::PassUnserved))
                } else {
                    row(name, packet, dropped(Reason::DropUnserved))
                });
            }
        }
        rows.push(row(
            format!("address {number}: ICMPv6 behind options"),
            extended(
                client(Family::V6).ip(),
                vip,
                &[options(HOP_BY_HOP, 0)],
                58,
                &[128, 0, 0, 0, 0, 0, 0, 0],
            ),
            passed(Reason::PassIcmp),
        ));
    }
    l2_world()?.check(&rows)
}

#[test]
fn packets_that_end_inside_of_them() -> Result<()> {
    let mut rows = Vec::new();
    for number in [DROPS, PASSES] {
        for protocol in [TCP, UDP] {
            let whole = with(
                number,
                protocol,
                &[options(HOP_BY_HOP, 0), options(DESTINATION, 1)],
            );
            let headers = 24 + crate::world::transport_header(protocol);
            for length in 0..headers {
                let packet = claiming(&cut(&whole, ETH + 40 + length), length);
                rows.push(row(
                    format!("address {number}, {protocol}: {length} bytes"),
                    packet,
                    dropped(Reason::DropMalformed),
                ));
            }
            rows.push(row(
                format!("address {number}, {protocol}: the frame ends before the packet"),
                cut(&whole, whole.len() - 1),
                dropped(Reason::DropMalformed),
            ));
        }
    }
    l2_world()?.check(&rows)
}
