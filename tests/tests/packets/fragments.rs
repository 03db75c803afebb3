//! Fragments: the first tells the flow, the others follow it. The rows of a
//! table run one after the other over one memory.

use crate::world::{DROPS, PASSES, PORT, TCP, UDP, client, key, l2_world, packet, payload};
use anyhow::{Result, ensure};
use navigator_common::{
    fragment::{FragmentWord, LIFETIME, WAYS},
    maps::FRAGMENT_SETS,
    reason::{Event, Reason},
    slot::slot_index,
};
use navigator_core::model::{ForwardMode, Protocol};
use navigator_tests::packet::{
    Family, Tcp,
    bed::{self, Bed, Role, SLOTS},
    expect::{Outcome, dropped, ipip_of_hash, l2, passed},
    flow,
    fragment::{Followed::By, Followed::Nobody, extended, fragment, options, part, placed},
    frame::{self, other},
    row::{Row, row},
};
use navigator_user::dataplane::{
    Dataplane as _,
    store::{Store as _, Table},
};
use std::net::SocketAddr;

const BACKENDS: u32 = 5;

/// Four parts of a packet with 64 bytes of payload.
fn parts(whole: &[u8], id: u32) -> [Vec<u8>; 4] {
    let end = navigator_tests::packet::frame::ip_packet(whole).len()
        - if whole[14] >> 4 == 4 { 20 } else { 40 };
    [
        part(whole, id, 0..24, By),
        part(whole, id, 24..40, By),
        part(whole, id, 40..56, By),
        part(whole, id, 56..end, Nobody),
    ]
}

/// A VIP whose slots belong to five backends in turn, of each family and protocol.
fn spread(mode: ForwardMode) -> Result<Bed> {
    let mut bed = Bed::new()?;
    for family in Family::BOTH {
        for protocol in [TCP, UDP] {
            let vip = bed::vip(family.vip(1, PORT), protocol, mode);
            let backends: Vec<_> = (0..BACKENDS)
                .map(|index| (family.backend(1 + index as u8, PORT), Role::Active))
                .collect();
            bed.spread(&vip, &backends, |slot| Some((slot % BACKENDS) as usize))?;
        }
    }
    Ok(bed)
}

fn hash(client: SocketAddr, vip: SocketAddr, protocol: Protocol) -> u64 {
    flow::hash(client, vip, protocol.number())
}

/// The backend of a flow in [`spread`].
fn owner(client: SocketAddr, vip: SocketAddr, protocol: Protocol) -> SocketAddr {
    let slot = slot_index(hash(client, vip, protocol), SLOTS);
    Family::of(vip.ip()).backend(1 + (slot % BACKENDS) as u8, PORT)
}

fn from(protocol: Protocol, client: SocketAddr, vip: SocketAddr) -> Vec<u8> {
    match protocol {
        TCP => frame::tcp(client, vip, Tcp::Ack, &payload(64)),
        _ => frame::udp(client, vip, &payload(64)),
    }
}

#[test]
fn later_ones_follow_the_first() -> Result<()> {
    for mode in [ForwardMode::L2, ForwardMode::Ipip] {
        let mut rows = Vec::new();
        for family in Family::BOTH {
            for protocol in [TCP, UDP] {
                for number in 0..40 {
                    let client = family.client(number, 40_000 + u16::from(number));
                    let vip = family.vip(1, PORT);
                    let backend = owner(client, vip, protocol);
                    let whole = from(protocol, client, vip);
                    // An identification names an IPv6 packet whatever its protocol.
                    let id = u32::from(protocol.number()) + u32::from(number % 2);
                    let [first, second, third, last] = parts(&whole, id);
                    for (name, packet) in [
                        ("the first", &first),
                        ("the last, before others", &last),
                        ("the third", &third),
                        ("the third once more", &third),
                        ("the second", &second),
                    ] {
                        let sent: Outcome = match mode {
                            ForwardMode::L2 => l2(key(vip, protocol), backend)(packet),
                            _ => ipip_of_hash(
                                key(vip, protocol),
                                backend,
                                family.local(),
                                hash(client, vip, protocol),
                            )(packet),
                        };
                        rows.push(row(
                            format!("{family:?}, {protocol}, client {client}: {name}"),
                            packet.clone(),
                            |_| sent,
                        ));
                    }
                }
            }
        }
        let mut bed = spread(mode)?;
        bed.check(&rows)?;
        let tables = bed.plane().figures().tables;
        let fragments = tables.iter().find(|(name, ..)| *name == "fragments");
        let room = u64::from(FRAGMENT_SETS) * WAYS as u64;
        ensure!(
            fragments == Some(&("fragments", 160, room)),
            "160 packets are remembered, not {fragments:?}"
        );
    }
    Ok(())
}

/// Rows of every family, protocol and policy.
fn table(
    rows: impl Fn(Family, Protocol, SocketAddr, &mut dyn FnMut(&str, Vec<u8>, Reason)),
) -> Result<()> {
    let mut all: Vec<Row> = Vec::new();
    for family in Family::BOTH {
        for protocol in [TCP, UDP] {
            for address in [DROPS, PASSES] {
                let mut add = |name: &str, packet: Vec<u8>, reason: Reason| {
                    let name = format!("{family:?}, {protocol}, address {address}: {name}");
                    all.push(if reason.name().starts_with("pass") {
                        row(name, packet, passed(reason))
                    } else {
                        row(name, packet, dropped(reason))
                    });
                };
                rows(family, protocol, family.vip(address, PORT), &mut add);
            }
        }
    }
    l2_world()?.check(&all)
}

#[test]
fn later_ones_without_their_first() -> Result<()> {
    table(|family, protocol, vip, add| {
        let whole = from(protocol, client(family), vip);
        let [_, second, _, last] = parts(&whole, 1);
        add("one in the middle", second, Reason::DropFragment);
        add("the last", last, Reason::DropFragment);
        add(
            "the farthest",
            placed(&whole, 1, 65_480, Nobody, &[0; 8]),
            Reason::DropFragment,
        );
    })
}

#[test]
fn firsts_of_other_packets_do_not_help() -> Result<()> {
    let mut rows = Vec::new();
    for family in Family::BOTH {
        let vip = family.vip(DROPS, PORT);
        let backend = family.backend(crate::world::BACKEND, PORT);
        let whole = from(UDP, client(family), vip);
        rows.push(row(
            format!("{family:?}: the first"),
            parts(&whole, 0x1234)[0].clone(),
            l2(key(vip, UDP), backend),
        ));
        let mut add = |name: &str, packet: Vec<u8>| {
            rows.push(row(
                format!("{family:?}: {name}"),
                packet,
                dropped(Reason::DropFragment),
            ));
        };
        add("another identification", parts(&whole, 0x1235)[1].clone());
        add("its bytes swapped", parts(&whole, 0x3412)[1].clone());
        let other = from(UDP, family.client(10, 40_000), vip);
        add("another client", parts(&other, 0x1234)[1].clone());
        let other = from(UDP, client(family), family.vip(PASSES, PORT));
        add("another VIP", parts(&other, 0x1234)[1].clone());
        if family == Family::V4 {
            let other = from(TCP, client(family), vip);
            add("another protocol", parts(&other, 0x1234)[1].clone());
        }
    }
    l2_world()?.check(&rows)
}

#[test]
fn firsts_that_do_not_hold_the_headers() -> Result<()> {
    table(|family, protocol, vip, add| {
        let whole = from(protocol, client(family), vip);
        let header = crate::world::transport_header(protocol);
        for length in (8..header).step_by(8) {
            let tiny = part(&whole, 1, 0..length, By);
            add(&format!("{length} bytes"), tiny, Reason::DropBadFragment);
        }
        if protocol == TCP {
            // Its options are in the next one.
            let long = navigator_tests::packet::edit::patched(
                &part(&whole, 1, 0..24, By),
                14 + family.header() + if family == Family::V6 { 8 } else { 0 } + 12,
                &[0xf0],
            );
            add("TCP options cut off", long, Reason::DropBadFragment);
        }
        add(
            "and the next one finds nothing",
            part(&whole, 1, 24..32, By),
            Reason::DropFragment,
        );
    })
}

#[test]
fn places_that_cannot_be() -> Result<()> {
    table(|family, protocol, vip, add| {
        let whole = from(protocol, client(family), vip);
        add(
            "nothing in it",
            placed(&whole, 1, 0, By, &[]),
            Reason::DropBadFragment,
        );
        add(
            "nothing in a later one",
            placed(&whole, 1, 64, Nobody, &[]),
            Reason::DropBadFragment,
        );
        for length in [25, 30, 31] {
            add(
                &format!("{length} bytes, and more follow"),
                part(&whole, 1, 0..length, By),
                Reason::DropBadFragment,
            );
        }
        // "Ping of death": the packet would be longer than one can be.
        add(
            "an end beyond the longest packet",
            placed(&whole, 1, 65_528, Nobody, &[0; 8]),
            Reason::DropBadFragment,
        );
    })
}

/// RFC 1858 and 3128: what would overwrite the header that was judged.
#[test]
fn later_ones_that_lie_over_the_tcp_header() -> Result<()> {
    let mut rows = Vec::new();
    for family in Family::BOTH {
        let vip = family.vip(DROPS, PORT);
        let backend = family.backend(crate::world::BACKEND, PORT);
        for protocol in [TCP, UDP] {
            let whole = from(protocol, client(family), vip);
            rows.push(row(
                format!("{family:?}, {protocol}: the first"),
                part(&whole, 1, 0..24, By),
                l2(key(vip, protocol), backend),
            ));
            for offset in [8, 16, 24] {
                let name = format!("{family:?}, {protocol}: one at {offset}");
                let packet = placed(&whole, 1, offset, By, &[0x55; 16]);
                rows.push(if protocol == TCP && offset < 20 {
                    row(name, packet, dropped(Reason::DropBadFragment))
                } else {
                    row(name, packet, l2(key(vip, protocol), backend))
                });
            }
        }
    }
    l2_world()?.check(&rows)
}

/// A port that no VIP serves: all parts go to the host, or none.
#[test]
fn unserved_ports_and_protocols() -> Result<()> {
    table(|family, protocol, vip, add| {
        let unserved = if vip.ip() == family.vip(PASSES, PORT).ip() {
            Reason::PassUnserved
        } else {
            Reason::DropUnserved
        };
        let whole = from(protocol, client(family), SocketAddr::new(vip.ip(), 22));
        for (number, packet) in parts(&whole, 9).into_iter().enumerate() {
            add(&format!("port 22, part {number}"), packet, unserved);
        }
        let zero = from(protocol, client(family), SocketAddr::new(vip.ip(), 0));
        let [first, second, ..] = parts(&zero, 10);
        add("port 0, the first", first, Reason::DropPortZero);
        add("port 0, the second", second, Reason::DropFragment);
        let icmp = if family == Family::V4 { 1 } else { 58 };
        for (name, protocol, reason) in [("ICMP", icmp, Reason::PassIcmp), ("GRE", 47, unserved)] {
            let whole = other(client(family).ip(), vip.ip(), protocol, &[8; 64]);
            let first = part(&whole, 11, 0..32, By);
            let last = part(&whole, 11, 32..64, Nobody);
            add(&format!("{name}, the first"), first, reason);
            add(&format!("{name}, the last"), last, reason);
        }
    })
}

/// RFC 6946: a fragment header, and nothing is fragmented.
#[test]
fn atomic_ones_are_whole_packets() -> Result<()> {
    let family = Family::V6;
    let vip = family.vip(DROPS, PORT);
    let backend = family.backend(crate::world::BACKEND, PORT);
    let mut rows = Vec::new();
    for protocol in [TCP, UDP] {
        let whole = packet(protocol, vip, &payload(33));
        let content = 33 + crate::world::transport_header(protocol);
        rows.push(row(
            format!("{protocol}"),
            part(&whole, 5, 0..content, Nobody),
            l2(key(vip, protocol), backend),
        ));
        rows.push(row(
            format!("{protocol}: it is the first of nothing"),
            part(&whole, 5, 24..32, By),
            dropped(Reason::DropFragment),
        ));
        rows.push(row(
            format!("{protocol}: cut short"),
            part(&whole, 5, 0..7, Nobody),
            dropped(Reason::DropMalformed),
        ));
    }
    l2_world()?.check(&rows)
}

/// Later ones need not name the protocol: it stands behind a header that only the first has.
#[test]
fn ipv6_headers_in_what_is_fragmented() -> Result<()> {
    const OPTIONS: u8 = 60;
    let family = Family::V6;
    let mut rows = Vec::new();
    for protocol in [TCP, UDP] {
        for number in 0..20 {
            let client = family.client(number, 40_000);
            let vip = family.vip(1, PORT);
            let whole = from(protocol, client, vip);
            let transport = &whole[14 + 40..];
            let first = extended(
                client.ip(),
                vip.ip(),
                &[options(0, 0), fragment(6, 0, 1), options(OPTIONS, 1)],
                protocol.number(),
                &transport[..24],
            );
            let second = extended(
                client.ip(),
                vip.ip(),
                &[options(0, 0), fragment(6, 5, 0)],
                OPTIONS,
                &transport[24..],
            );
            for (name, packet) in [("the first", first), ("the second", second)] {
                rows.push(row(
                    format!("{protocol}, client {client}: {name}"),
                    packet,
                    l2(key(vip, protocol), owner(client, vip, protocol)),
                ));
            }
        }
    }
    spread(ForwardMode::L2)?.check(&rows)
}

#[test]
fn a_packet_is_forgotten_after_half_a_minute() -> Result<()> {
    let mut bed = l2_world()?;
    let aged = |bed: &Bed, units: u64| {
        for word in 0..FRAGMENT_SETS as usize * WAYS {
            let old = bed.store().load(Table::Fragments, word);
            let time = (old >> 33).wrapping_sub(units) & 0xfff;
            let new = old & !(0xfff << 33) | time << 33;
            if FragmentWord(old).ports() != 0 {
                bed.store().store(Table::Fragments, word, new);
            }
        }
    };
    for family in Family::BOTH {
        let vip = family.vip(DROPS, PORT);
        let backend = family.backend(crate::world::BACKEND, PORT);
        let [first, second, ..] = parts(&from(UDP, client(family), vip), 3);
        let sent = || l2(key(vip, UDP), backend);
        bed.check(&[row("the first", first.clone(), sent())])?;
        aged(&bed, u64::from(LIFETIME) - 1);
        bed.check(&[row("the second, late", second.clone(), sent())])?;
        aged(&bed, 2);
        bed.check(&[
            row(
                "the second, too late",
                second.clone(),
                dropped(Reason::DropFragment),
            ),
            row("the first again", first, sent()),
            row("the second again", second, sent()),
        ])?;
    }
    Ok(())
}

/// More packets than a set has room for: the newest stay, but for one that gives way.
#[test]
fn a_full_set_forgets_one_packet_for_another() -> Result<()> {
    let family = Family::V4;
    let vip = family.vip(DROPS, PORT);
    let client = client(family);
    let raw = |ip: std::net::IpAddr| match ip {
        std::net::IpAddr::V4(ip) => u32::from_ne_bytes(ip.octets()),
        std::net::IpAddr::V6(_) => unreachable!("it is IPv4"),
    };
    // Identifications whose packets fall into one set.
    let ids: Vec<u16> = (0..=u16::MAX)
        .filter(|id| {
            let id = u32::from(u16::from_ne_bytes(id.to_be_bytes()));
            let (source, destination) = (raw(client.ip()), raw(vip.ip()));
            let hash = navigator_common::hash::flow_v4(&bed::HASH_KEY, source, destination, id, 17);
            hash as u32 & (FRAGMENT_SETS - 1) == 5
        })
        .take(WAYS + 1)
        .collect();
    ensure!(ids.len() == WAYS + 1, "too few packets of one set");
    let whole = from(UDP, client, vip);
    let mut bed = l2_world()?;
    for &id in &ids {
        bed.run(&parts(&whole, id.into())[0])?;
    }
    let mut followed = 0;
    for &id in &ids {
        let outcome = bed.run(&parts(&whole, id.into())[1])?;
        followed += usize::from(!outcome.counted.contains_key("drop_fragment"));
    }
    ensure!(
        followed == WAYS,
        "{followed} packets of {} are known",
        WAYS + 1
    );
    let last = bed.run(&parts(&whole, (*ids.last().unwrap_or(&0)).into())[1])?;
    ensure!(
        !last.counted.contains_key("drop_fragment"),
        "the last packet is not known"
    );
    Ok(())
}

/// A window is open: fragments of an older flow go to its old owner, all of them.
#[test]
fn flows_at_risk() -> Result<()> {
    let mut bed = Bed::new()?;
    let mut rows = Vec::new();
    for family in Family::BOTH {
        let vip = family.vip(1, PORT);
        let (old, new) = (family.backend(1, PORT), family.backend(2, PORT));
        let settings = bed::vip(vip, TCP, ForwardMode::L2);
        bed.serve(&settings, &[(old, Role::Active)])?;
        bed.serve(&settings, &[(old, Role::Draining), (new, Role::Active)])?;
        let [first, second, ..] = parts(&from(TCP, client(family), vip), 3);
        let to_old =
            |event: Event| move |packet: &[u8]| l2(key(vip, TCP), old)(packet).with(&[event]);
        rows.push(row(
            format!("{family:?}: the first"),
            first,
            to_old(Event::FlowRemembered),
        ));
        rows.push(row(
            format!("{family:?}: the second"),
            second,
            to_old(Event::FlowHit),
        ));
    }
    bed.check(&rows)
}
