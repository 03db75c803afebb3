//! ICMP errors about packets that a backend sent from the VIP go to that
//! backend: "fragmentation needed" above all, without which large answers
//! never arrive. Where they go says the flow that they quote.

use crate::world::{PORT, TCP, UDP, key};
use anyhow::Result;
use navigator_common::{reason::Reason, slot::slot_index};
use navigator_core::model::{ForwardMode, Protocol};
use navigator_tests::packet::{
    Family, Tcp,
    bed::{self, Bed, Role, SLOTS},
    edit::{claiming, cut, padded, patched, with_checksum},
    expect::{Outcome, dropped, ipip_of_hash, l2, passed},
    flow::hash,
    frame::{ETH, ip_packet, other, tcp, tcp_with_options, udp},
    icmp::{echo, message},
    row::{Row, row},
};
use std::net::{IpAddr, SocketAddr};

const BACKENDS: u8 = 5;
/// Numbers of the VIPs' addresses, by how they reach their backends.
const L2: u8 = 1;
const IN_V4: u8 = 4;
const IN_V6: u8 = 6;
/// The MTU that the errors tell.
const MTU: [u8; 4] = [0, 0, 0x05, 0x14];

/// All errors of a family: type and code.
fn errors(family: Family) -> Vec<(u8, u8)> {
    match family {
        Family::V4 => (0..16)
            .map(|code| (3, code))
            .chain([(4, 0), (11, 0), (11, 1), (12, 0), (12, 1), (12, 2)])
            .collect(),
        Family::V6 => (0..8)
            .map(|code| (1, code))
            .chain([(2, 0), (3, 0), (3, 1), (4, 0), (4, 1), (4, 2), (4, 3)])
            .collect(),
    }
}

/// The one that tells an MTU.
fn too_big(family: Family) -> (u8, u8) {
    match family {
        Family::V4 => (3, 4),
        Family::V6 => (2, 0),
    }
}

/// A router on the way to the client.
const fn router(family: Family) -> IpAddr {
    family.client(1, 0).ip()
}

const fn client(family: Family, port: u16) -> SocketAddr {
    family.client(9, port)
}

/// An error from the router to `vip` that quotes an IP packet.
fn error(vip: IpAddr, (kind, code): (u8, u8), quote: &[u8]) -> Vec<u8> {
    message(router(Family::of(vip)), vip, kind, code, MTU, quote)
}

/// A packet from the VIP to a client, as a backend sends it.
fn answer(protocol: Protocol, vip: SocketAddr, client: SocketAddr) -> Vec<u8> {
    let frame = match protocol {
        TCP => tcp(vip, client, Tcp::Ack, &[7; 400]),
        _ => udp(vip, client, &[7; 400]),
    };
    ip_packet(&frame).to_vec()
}

/// VIPs of both families and protocols in `l2` and both kinds of tunnel, each with its table
/// spread over all backends.
fn world() -> Result<Bed> {
    let mut bed = Bed::new()?;
    for family in Family::BOTH {
        for protocol in [TCP, UDP] {
            for (number, mode, hosts) in vips(family) {
                let vip = bed::vip(family.vip(number, PORT), protocol, mode);
                let backends: Vec<_> = (1..=BACKENDS)
                    .map(|n| (hosts.backend(n, PORT), Role::Active))
                    .collect();
                bed.spread(&vip, &backends, |slot| Some(owner(slot)))?;
            }
        }
    }
    Ok(bed)
}

/// Address, mode and the backends' family of a family's VIPs.
const fn vips(family: Family) -> [(u8, ForwardMode, Family); 3] {
    [
        (L2, ForwardMode::L2, family),
        (IN_V4, ForwardMode::Ipip, Family::V4),
        (IN_V6, ForwardMode::Ipip, Family::V6),
    ]
}

const fn owner(slot: u32) -> usize {
    (slot as usize * 3) % BACKENDS as usize
}

/// The backend that packets of a flow go to.
fn backend(hosts: Family, vip: SocketAddr, client: SocketAddr, protocol: Protocol) -> SocketAddr {
    let slot = slot_index(hash(client, vip, protocol.number()), SLOTS);
    hosts.backend(1 + owner(slot) as u8, PORT)
}

/// Sent to the backend of the flow of `client` at an `l2` VIP.
fn to_owner(vip: SocketAddr, client: SocketAddr, protocol: Protocol) -> impl Fn(&[u8]) -> Outcome {
    let backend = backend(Family::of(vip.ip()), vip, client, protocol);
    l2(key(vip, protocol), backend)
}

#[test]
fn every_error_goes_to_the_backend_of_the_flow_it_quotes() -> Result<()> {
    let mut rows = Vec::new();
    for family in Family::BOTH {
        for protocol in [TCP, UDP] {
            let vip = family.vip(L2, PORT);
            for (n, kind) in (0..).zip(errors(family)) {
                let client = client(family, 40_000 + n);
                let packet = error(vip.ip(), kind, &answer(protocol, vip, client));
                rows.push(row(
                    format!("{family:?}, {protocol}: type and code {kind:?}"),
                    packet,
                    to_owner(vip, client, protocol),
                ));
            }
        }
    }
    world()?.check(&rows)
}

#[test]
fn many_flows_through_every_mode() -> Result<()> {
    let mut rows = Vec::new();
    for family in Family::BOTH {
        for protocol in [TCP, UDP] {
            for (number, mode, hosts) in vips(family) {
                let vip = family.vip(number, PORT);
                for port in 1024..1064 {
                    let client = client(family, port);
                    let packet = error(vip.ip(), too_big(family), &answer(protocol, vip, client));
                    let name =
                        format!("{family:?}, {protocol}, {mode:?} to {hosts:?}, port {port}");
                    let backend = backend(hosts, vip, client, protocol);
                    rows.push(if mode == ForwardMode::L2 {
                        row(name, packet, l2(key(vip, protocol), backend))
                    } else {
                        let hash = hash(client, vip, protocol.number());
                        let sent = ipip_of_hash(key(vip, protocol), backend, hosts.local(), hash);
                        row(name, packet, sent)
                    });
                }
            }
        }
    }
    world()?.check(&rows)
}

/// Eight bytes behind the quoted IP header are enough (RFC 792), and less is not: it is dropped,
/// because whose it is cannot be known.
#[test]
fn quotes_of_every_length() -> Result<()> {
    let mut rows = Vec::new();
    for family in Family::BOTH {
        for protocol in [TCP, UDP] {
            let (vip, client) = (family.vip(L2, PORT), client(family, 40_000));
            let whole = answer(protocol, vip, client);
            for length in 0..=whole.len().min(80) {
                let packet = error(vip.ip(), too_big(family), &whole[..length]);
                let name = format!("{family:?}, {protocol}: {length} bytes");
                rows.push(if length < family.header() + 8 {
                    row(name, packet, dropped(Reason::DropIcmpQuote))
                } else {
                    row(name, packet, to_owner(vip, client, protocol))
                });
            }
            let short = error(vip.ip(), too_big(family), &whole[..family.header() + 7]);
            rows.push(row(
                format!("{family:?}, {protocol}: padding is no part of the quote"),
                padded(&short, short.len() + 40),
                dropped(Reason::DropIcmpQuote),
            ));
        }
    }
    world()?.check(&rows)
}

#[test]
fn errors_cut_short() -> Result<()> {
    let mut rows = Vec::new();
    for family in Family::BOTH {
        let vip = family.vip(L2, PORT);
        let whole = error(
            vip.ip(),
            too_big(family),
            &answer(TCP, vip, client(family, 40_000)),
        );
        for length in [0, 1, 7, 8, 20, 40, 100].map(|n| ETH + family.header() + n) {
            rows.push(row(
                format!("{family:?}: cut to {length} bytes"),
                cut(&whole, length),
                dropped(Reason::DropMalformed),
            ));
        }
        let outside = if family == Family::V4 { 0 } else { 40 };
        for message in 0..8 {
            rows.push(row(
                format!("{family:?}: a message of {message} bytes"),
                claiming(&whole, family.header() + message - outside),
                dropped(Reason::DropMalformed),
            ));
        }
    }
    world()?.check(&rows)
}

#[test]
fn quoted_ipv4_options() -> Result<()> {
    let mut rows = Vec::new();
    let (vip, client) = (Family::V4.vip(L2, PORT), client(Family::V4, 40_000));
    for words in 1..=10 {
        let quote = tcp_with_options(vip, client, &vec![1; words * 4], Tcp::Ack, &[7; 40]);
        let quote = ip_packet(&quote);
        rows.push(row(
            format!("{words} words"),
            error(vip.ip(), (3, 4), quote),
            to_owner(vip, client, TCP),
        ));
        rows.push(row(
            format!("{words} words and seven bytes of TCP"),
            error(vip.ip(), (3, 4), &quote[..20 + words * 4 + 7]),
            dropped(Reason::DropIcmpQuote),
        ));
    }
    world()?.check(&rows)
}

/// An IPv6 packet with these extension headers, each given by its type and its bytes from the
/// second on, in front of `transport`.
fn extended(packet: &[u8], headers: &[(u8, Vec<u8>)]) -> Vec<u8> {
    let protocol = packet[6];
    let next = headers
        .iter()
        .skip(1)
        .map(|(kind, _)| *kind)
        .chain([protocol]);
    let chain = headers
        .iter()
        .zip(next)
        .flat_map(|((_, rest), next)| [&[next][..], rest].concat());
    let mut packet = [&packet[..40], &chain.collect::<Vec<_>>(), &packet[40..]].concat();
    packet[6] = headers.first().map_or(protocol, |(kind, _)| *kind);
    let length = (packet.len() - 40) as u16;
    packet[4..6].copy_from_slice(&length.to_be_bytes());
    packet
}

/// Options of `units` times eight bytes, with padding in it.
fn options(units: u8) -> Vec<u8> {
    let room = usize::from(units) * 8 - 4;
    [&[units - 1, 1, room as u8][..], &vec![0; room]].concat()
}

/// A fragment header with these offset bits.
fn fragment(bits: u16) -> (u8, Vec<u8>) {
    (44, [&[0][..], &bits.to_be_bytes(), &[0, 0, 0, 9]].concat())
}

#[test]
fn quoted_ipv6_extension_headers() -> Result<()> {
    let mut rows = Vec::new();
    for protocol in [TCP, UDP] {
        let (vip, client) = (Family::V6.vip(L2, PORT), client(Family::V6, 40_000));
        let bare = answer(protocol, vip, client);
        let authentication = (
            51,
            vec![
                4, 0, 0, 0, 0, 1, 9, 9, 9, 9, 9, 9, 9, 9, 9, 9, 9, 9, 9, 9, 9, 9, 9,
            ],
        );
        let six: Vec<_> = (0..6).map(|_| (60, options(1))).collect();
        let seven: Vec<_> = (0..7).map(|_| (60, options(1))).collect();
        let mut add = |name: &str, headers: &[(u8, Vec<u8>)], whole: bool| {
            let packet = error(vip.ip(), (2, 0), &extended(&bare, headers));
            let name = format!("{protocol}: {name}");
            rows.push(if whole {
                row(name, packet, to_owner(vip, client, protocol))
            } else {
                row(name, packet, dropped(Reason::DropIcmpQuote))
            });
        };
        add("none", &[], true);
        add("hop-by-hop options", &[(0, options(1))], true);
        add("a long one", &[(60, options(20))], true);
        add("a routing header", &[(43, options(3))], true);
        add("an authentication header", &[authentication], true);
        add("an atomic fragment", &[fragment(0)], true);
        add("a first fragment", &[fragment(1)], true);
        add(
            "three kinds",
            &[(0, options(2)), (43, options(1)), (60, options(3))],
            true,
        );
        add("six of them", &six, true);
        add("seven of them", &seven, false);
        add("a later fragment", &[fragment(185 << 3)], false);
        add("the smallest offset", &[fragment(1 << 3)], false);
        add(
            "one that leads out of the quote",
            &[(60, vec![255; 7])],
            false,
        );
    }
    world()?.check(&rows)
}

/// Only a first fragment holds the ports.
#[test]
fn quoted_ipv4_fragments() -> Result<()> {
    let mut rows = Vec::new();
    let (vip, client) = (Family::V4.vip(L2, PORT), client(Family::V4, 40_000));
    for protocol in [TCP, UDP] {
        let whole = answer(protocol, vip, client);
        for (name, bits) in [
            ("the first", 0x2000u16),
            ("one in the middle", 0x2001),
            ("the last", 185),
            ("DF", 0x4000),
        ] {
            let mut quote = whole.clone();
            quote[6..8].copy_from_slice(&bits.to_be_bytes());
            let packet = error(vip.ip(), (11, 1), &quote);
            let name = format!("{protocol}: {name}");
            rows.push(if bits & 0x1fff == 0 {
                row(name, packet, to_owner(vip, client, protocol))
            } else {
                row(name, packet, dropped(Reason::DropIcmpQuote))
            });
        }
    }
    world()?.check(&rows)
}

/// The host may have sent something from the VIP's address as well.
#[test]
fn what_quotes_no_flow_of_a_vip_is_the_hosts() -> Result<()> {
    let mut rows: Vec<Row> = Vec::new();
    for family in Family::BOTH {
        let (vip, client) = (family.vip(L2, PORT), client(family, 40_000));
        let mut add = |name: &str, quote: &[u8]| {
            rows.push(row(
                format!("{family:?}: {name}"),
                error(vip.ip(), too_big(family), quote),
                passed(Reason::PassIcmp),
            ));
        };
        add(
            "a packet of another address",
            &answer(TCP, family.vip(IN_V4, PORT), client),
        );
        add("a packet to the VIP", &answer(TCP, client, vip));
        let other_port = SocketAddr::new(vip.ip(), PORT + 1);
        add(
            "a port that no VIP serves",
            &answer(TCP, other_port, client),
        );
        add(
            "an echo reply",
            ip_packet(&echo(vip.ip(), client.ip(), [0; 4], &[0; 20])),
        );
        let gre = other(vip.ip(), client.ip(), 47, &[0; 40]);
        add("another protocol", ip_packet(&gre));
    }
    world()?.check(&rows)
}

#[test]
fn quotes_that_are_no_ip_packets() -> Result<()> {
    let mut rows = Vec::new();
    for family in Family::BOTH {
        let vip = family.vip(L2, PORT);
        let whole = answer(TCP, vip, client(family, 40_000));
        let right = if family == Family::V4 { 4 } else { 6 };
        for version in (0..16u8).filter(|version| *version != right) {
            let quote = patched(&whole, 0, &[version << 4 | whole[0] & 0xf]);
            rows.push(row(
                format!("{family:?}: version {version}"),
                error(vip.ip(), too_big(family), &quote),
                dropped(Reason::DropIcmpQuote),
            ));
        }
    }
    let vip = Family::V4.vip(L2, PORT);
    let whole = answer(TCP, vip, client(Family::V4, 40_000));
    rows.extend((0..5u8).map(|words| {
        row(
            format!("V4: a header of {words} words"),
            error(vip.ip(), (3, 4), &patched(&whole, 0, &[0x40 | words])),
            dropped(Reason::DropIcmpQuote),
        )
    }));
    world()?.check(&rows)
}

/// The error's own packet may have options; an error is never so long that it needs fragments.
#[test]
fn options_in_front_of_an_error() -> Result<()> {
    let (vip, client) = (Family::V4.vip(L2, PORT), client(Family::V4, 40_000));
    let bare = error(vip.ip(), (3, 4), &answer(TCP, vip, client));
    let mut packet = bare.clone();
    packet.splice(ETH + 20..ETH + 20, [7, 7, 4, 0, 0, 0, 0, 0]);
    packet[ETH] = 0x47;
    let packet = with_checksum(&claiming(&packet, ip_packet(&bare).len() + 8));
    world()?.check(&[row(
        "a record-route option",
        packet,
        to_owner(vip, client, TCP),
    )])
}

#[test]
fn a_flow_without_a_backend() -> Result<()> {
    let mut bed = Bed::new()?;
    let mut rows = Vec::new();
    for family in Family::BOTH {
        let vip = family.vip(L2, PORT);
        bed.serve(&bed::vip(vip, TCP, ForwardMode::L2), &[])?;
        rows.push(row(
            format!("{family:?}"),
            error(
                vip.ip(),
                too_big(family),
                &answer(TCP, vip, client(family, 40_000)),
            ),
            dropped(Reason::DropNoBackend),
        ));
    }
    bed.check(&rows)
}
