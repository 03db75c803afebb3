//! Tags: taken off in front of a packet for a VIP, and there again, to the
//! byte, wherever the frame is not forwarded.

use crate::world::{
    BACKEND, DROPS, PASSES, PORT, TCP, UDP, client, key, l2_world, packet, payload,
};
use anyhow::{Context as _, Result};
use navigator_common::{egress::EgressWord, maps::EGRESS_ENTRIES, reason::Reason};
use navigator_core::model::ForwardMode;
use navigator_tests::packet::{
    Family, LOCAL_MAC,
    bed::{self, Bed, Role},
    edit::{cut, patched, sent_from, sent_to, tagged, tagged_as},
    expect::{Outcome, dropped, gue, ipip, l2, passed},
    fragment::{Followed, part},
    frame::{ETH, TYPE_IPV4, TYPE_IPV6, framed, other},
    icmp::{echo, replied},
    row::{Row, row},
};
use navigator_user::dataplane::store::{Store as _, Table};

const PROVIDER: u16 = 0x88a8;

/// Every stack of tags that is taken off, by name.
fn stacks(frame: &[u8]) -> Vec<(&'static str, Vec<u8>)> {
    vec![
        ("802.1Q", tagged(frame, 7)),
        ("the largest id", tagged(frame, 4094)),
        ("priority and DEI", tagged(frame, 0xf007)),
        ("a priority without a VLAN", tagged(frame, 0xa000)),
        ("802.1ad alone", tagged_as(frame, PROVIDER, 9)),
        ("QinQ", tagged_as(&tagged(frame, 7), PROVIDER, 9)),
        ("802.1Q twice", tagged(&tagged(frame, 7), 9)),
        (
            "QinQ with priorities",
            tagged_as(&tagged(frame, 0x6064), PROVIDER, 0xe0c8),
        ),
    ]
}

/// Rows with every stack in front of `frame`; what comes out is what comes of the bare one.
fn rows_of(name: &str, frame: &[u8], expect: impl Fn(&[u8]) -> Outcome) -> Vec<Row> {
    let rows = stacks(frame).into_iter().map(|(stack, tagged)| {
        let outcome = expect(frame);
        row(format!("{name}, {stack}"), tagged, |_| outcome)
    });
    rows.collect()
}

/// As [`rows_of`], where the frame stays as it came.
fn untouched(name: &str, frame: &[u8], expect: impl Fn(&[u8]) -> Outcome) -> Vec<Row> {
    let rows = stacks(frame).into_iter();
    rows.map(|(stack, tagged)| row(format!("{name}, {stack}"), tagged, &expect))
        .collect()
}

#[test]
fn what_is_forwarded_leaves_as_its_way_out_wants_it() -> Result<()> {
    let mut bed = Bed::new()?;
    let mut rows = Vec::new();
    for inner in Family::BOTH {
        for (number, mode) in [
            (1, ForwardMode::L2),
            (2, ForwardMode::Ipip),
            (3, ForwardMode::Gue),
        ] {
            for protocol in [TCP, UDP] {
                let (vip, backend) = (inner.vip(number, PORT), inner.backend(number, PORT));
                bed.serve(&bed::vip(vip, protocol, mode), &[(backend, Role::Active)])?;
                let bare = packet(protocol, vip, &payload(100));
                let name = format!("{inner:?}, {mode}, {protocol}");
                rows.extend(match mode {
                    ForwardMode::Ipip => {
                        let sent = ipip(key(vip, protocol), backend, inner.local());
                        rows_of(&name, &bare, sent)
                    }
                    ForwardMode::Gue => {
                        let sent = gue(key(vip, protocol), backend, inner.local());
                        rows_of(&name, &bare, sent)
                    }
                    _ => rows_of(&name, &bare, l2(key(vip, protocol), backend)),
                });
            }
        }
    }
    bed.check(&rows)
}

#[test]
fn what_goes_to_the_host_keeps_them() -> Result<()> {
    let mut rows = Vec::new();
    for family in Family::BOTH {
        let name = |what: &str| format!("{family:?}: {what}");
        for length in [0, 1, 100, 1400] {
            rows.extend(untouched(
                &name(&format!("a port that nobody serves, {length} bytes")),
                &packet(TCP, family.vip(PASSES, 22), &payload(length)),
                passed(Reason::PassUnserved),
            ));
        }
        rows.extend(untouched(
            &name("no VIP"),
            &packet(TCP, family.vip(200, PORT), b"GET /"),
            passed(Reason::PassNotVip),
        ));
        rows.extend(untouched(
            &name("a fragment of ICMP"),
            &part(
                &other(
                    client(family).ip(),
                    family.vip(DROPS, PORT).ip(),
                    if family == Family::V4 { 1 } else { 58 },
                    &payload(64),
                ),
                1,
                0..32,
                Followed::By,
            ),
            passed(Reason::PassIcmp),
        ));
        rows.extend(untouched(
            &name("another MAC address"),
            &sent_to(
                &packet(TCP, family.vip(DROPS, PORT), b"GET /"),
                [0x02, 0x11, 0x22, 0x33, 0x44, 0x55],
            ),
            passed(Reason::PassOtherMac),
        ));
    }
    rows.extend(untouched(
        "ARP",
        &framed(0x0806, &[0; 28]),
        passed(Reason::PassNotIp),
    ));
    let bare = packet(TCP, Family::V4.vip(DROPS, PORT), b"GET /");
    for (name, packet) in [
        ("three tags", tagged(&tagged(&tagged(&bare, 1), 2), 3)),
        (
            "a tag of 802.1ad inside",
            tagged(&tagged_as(&bare, PROVIDER, 2), 3),
        ),
        ("a tag of an older kind", tagged_as(&bare, 0x9100, 3)),
        ("a type with its bytes swapped", tagged_as(&bare, 0x0081, 3)),
    ] {
        rows.push(row(name, packet, passed(Reason::PassNotIp)));
    }
    l2_world()?.check(&rows)
}

#[test]
fn frames_cut_short_inside_of_them() -> Result<()> {
    let mut rows = Vec::new();
    for family in Family::BOTH {
        let bare = packet(TCP, family.vip(DROPS, PORT), b"GET /");
        for (tags, whole) in [(1, tagged(&bare, 7)), (2, tagged(&tagged(&bare, 7), 9))] {
            for length in ETH..ETH + tags * 4 + family.header() {
                rows.push(row(
                    format!("{family:?}, {tags} tags, cut to {length} bytes"),
                    cut(&whole, length),
                    passed(Reason::PassTruncated),
                ));
            }
        }
    }
    l2_world()?.check(&rows)
}

/// What is dropped is dropped under its reason, with tags as without.
#[test]
fn what_is_dropped_is_dropped() -> Result<()> {
    let mut rows = Vec::new();
    for family in Family::BOTH {
        let vip = family.vip(DROPS, PORT);
        let good = packet(TCP, vip, b"GET /");
        for (name, bare, reason) in [
            (
                "an unserved port",
                packet(TCP, family.vip(DROPS, 22), b"hello"),
                Reason::DropUnserved,
            ),
            (
                "cut short",
                cut(&good, good.len() - 1),
                Reason::DropMalformed,
            ),
            (
                "a wrong version",
                patched(&good, ETH, &[0x75]),
                Reason::DropMalformed,
            ),
            (
                "from ourselves",
                sent_from(&good, LOCAL_MAC),
                Reason::DropLoop,
            ),
        ] {
            rows.extend(rows_of(
                &format!("{family:?}: {name}"),
                &bare,
                dropped(reason),
            ));
        }
    }
    l2_world()?.check(&rows)
}

/// A tag behind one family's type is not the other's.
#[test]
fn types_that_do_not_fit_the_packet() -> Result<()> {
    let v4 = packet(TCP, Family::V4.vip(DROPS, PORT), &payload(64));
    let v6 = packet(TCP, Family::V6.vip(DROPS, PORT), &payload(64));
    let rows = [
        ("IPv4 as IPv6", framed(TYPE_IPV6, &v4[ETH..])),
        ("IPv6 as IPv4", framed(TYPE_IPV4, &v6[ETH..])),
    ]
    .map(|(name, bare)| row(name, tagged(&bare, 7), passed(Reason::PassNotVip)));
    l2_world()?.check(&rows)
}

/// The backend is behind a VLAN device: the way out has a tag, whatever the way in had.
#[test]
fn a_way_out_with_a_tag() -> Result<()> {
    const VLAN: u16 = 0x123;
    crate::redirect::beside_another_interface(|ifindex| {
        let mut bed = Bed::new()?;
        let mut rows = Vec::new();
        for family in Family::BOTH {
            for (number, mode) in [
                (1, ForwardMode::L2),
                (2, ForwardMode::Ipip),
                (3, ForwardMode::Gue),
            ] {
                let (vip, backend) = (family.vip(number, PORT), family.backend(number, PORT));
                bed.serve(&bed::vip(vip, TCP, mode), &[(backend, Role::Active)])?;
                bed.reach(backend.ip(), ifindex)?;
                let bare = packet(TCP, vip, &payload(100));
                let sent = match mode {
                    ForwardMode::Ipip => ipip(key(vip, TCP), backend, family.local())(&bare),
                    ForwardMode::Gue => gue(key(vip, TCP), backend, family.local())(&bare),
                    _ => l2(key(vip, TCP), backend)(&bare),
                };
                let mut sent = sent.redirected(crate::redirect::OTHER_MAC);
                sent.frame = tagged(&sent.frame, VLAN);
                let name = format!("{family:?}, {mode}");
                for (stack, packet) in stacks(&bare) {
                    let sent = sent.clone();
                    rows.push(row(format!("{name}, {stack}"), packet, |_| sent));
                }
                rows.push(row(format!("{name}, no tag"), bare, |_| sent));
            }
        }
        let other = EgressWord::new(crate::redirect::OTHER_MAC, None).0;
        let store = bed.store();
        let index = (0..EGRESS_ENTRIES as usize)
            .find(|&index| store.load(Table::Egress, index) == other)
            .context("the other interface has no egress index")?;
        let word = EgressWord::new(crate::redirect::OTHER_MAC, Some(VLAN)).0;
        store.store(Table::Egress, index, word);
        bed.check(&rows)
    })
}

/// An answer goes back to where the question came from.
#[test]
fn what_is_answered_keeps_them() -> Result<()> {
    let mut rows = Vec::new();
    for family in Family::BOTH {
        let (client, vip) = (client(family).ip(), family.vip(DROPS, PORT).ip());
        let bare = echo(client, vip, [0, 1, 0, 1], &payload(56));
        let answer = replied(&bare);
        for ((stack, asked), (_, answered)) in stacks(&bare).into_iter().zip(stacks(&answer.frame))
        {
            let mut answer = answer.clone();
            answer.frame = answered;
            rows.push(row(format!("{family:?}, {stack}"), asked, |_| answer));
        }
    }
    l2_world()?.check(&rows)
}

/// Frames of several buffers.
#[test]
fn jumbo_frames() -> Result<()> {
    let mut rows = Vec::new();
    for family in Family::BOTH {
        let vip = family.vip(DROPS, PORT);
        let bare = packet(UDP, vip, &payload(9000));
        let name = format!("{family:?}");
        rows.extend(rows_of(
            &name,
            &bare,
            l2(key(vip, UDP), family.backend(BACKEND, PORT)),
        ));
        let bare = packet(UDP, family.vip(PASSES, 22), &payload(9000));
        rows.extend(untouched(
            &format!("{name}, to the host"),
            &bare,
            passed(Reason::PassUnserved),
        ));
    }
    l2_world()?.check(&rows)
}
