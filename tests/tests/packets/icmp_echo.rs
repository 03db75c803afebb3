//! Echo requests to a VIP's address are answered by the program; every other
//! message that asks for something is the host's.

use crate::world::{DROPS, PASSES, PORT, TCP, UDP, client, l2_world, payload};
use anyhow::{Result, ensure};
use navigator_common::{limit, reason::Reason};
use navigator_core::model::ForwardMode;
use navigator_tests::packet::{
    Family, LOCAL_MAC, bed,
    edit::{V4_FRAGMENT, V4_TTL, claiming, cut, padded, patched, sent_from, with_checksum},
    expect::{Action, dropped, passed},
    frame::{ETH, ip_packet, other},
    icmp::{self, echo, message, replied},
    row::{Row, row},
};
use nix::{sched::CpuSet, unistd::Pid};
use rand::{RngExt as _, SeedableRng as _, rngs::StdRng};
use std::net::IpAddr;

const REST: [u8; 4] = [0x12, 0x34, 0, 1];

fn vip(family: Family) -> IpAddr {
    family.vip(DROPS, PORT).ip()
}

/// A request from the usual client.
fn request(family: Family, payload: &[u8]) -> Vec<u8> {
    echo(client(family).ip(), vip(family), REST, payload)
}

#[test]
fn requests_of_every_size_are_answered() -> Result<()> {
    let mut rows = Vec::new();
    for family in Family::BOTH {
        for length in (0..70).chain([1400, 1452, 1472, 3490, 9000, 65_000]) {
            rows.push(row(
                format!("{family:?}: {length} bytes"),
                request(family, &payload(length)),
                replied,
            ));
        }
        for padding in [1, 6, 46] {
            let bare = request(family, b"");
            rows.push(row(
                format!("{family:?}: in a frame with {padding} bytes of padding"),
                padded(&bare, bare.len() + padding),
                replied,
            ));
        }
    }
    l2_world()?.check(&rows)
}

/// Whatever the address's policy for unserved ports is, and whether a backend is there or not.
#[test]
fn every_vip_address_answers() -> Result<()> {
    let mut rows = Vec::new();
    let mut bed = l2_world()?;
    for family in Family::BOTH {
        let (udp, empty) = (family.vip(50, 53), family.vip(51, PORT));
        bed.serve(&bed::vip(udp, UDP, ForwardMode::Ipip), &[])?;
        bed.serve(&bed::vip(empty, TCP, ForwardMode::L2), &[])?;
        for (name, address) in [
            ("policy drop", vip(family)),
            ("policy pass", family.vip(PASSES, PORT).ip()),
            ("UDP only, in a tunnel", udp.ip()),
            ("no backend", empty.ip()),
        ] {
            rows.push(row(
                format!("{family:?}: {name}"),
                echo(client(family).ip(), address, REST, b"ping"),
                replied,
            ));
        }
    }
    bed.check(&rows)
}

/// Where one's complement zero has two spellings, and where a carry could get lost.
#[test]
fn checksums_at_their_edges() -> Result<()> {
    let mut rows = Vec::new();
    for family in Family::BOTH {
        let mut add = |name: String, rest, payload: &[u8]| {
            let request = echo(client(family).ip(), vip(family), rest, payload);
            rows.push(row(format!("{family:?}: {name}"), request, replied));
        };
        add("all zero but the type".into(), [0; 4], &[0; 32]);
        add("nothing but the type".into(), [0; 4], &[]);
        add("all ones".into(), [0xff; 4], &[0xff; 33]);
        let bare = request(family, &[0; 2]);
        let sum = u16::from_be_bytes(field(&bare));
        // The payload that makes the request's checksum each of these.
        for want in [
            0x0000u16, 0x0001, 0x00ff, 0x0100, 0x0101, 0x07ff, 0x0800, 0xf7fe, 0xf7ff, 0xf800,
            0xfeff, 0xff00, 0xfffe,
        ] {
            // sum = !(rest + 0), so !want = !sum + payload.
            let word = (u32::from(!want) + u32::from(sum)) % 0xffff;
            let payload = (word as u16).to_be_bytes();
            add(
                format!("a request's checksum of {want:#06x}"),
                REST,
                &payload,
            );
        }
    }
    l2_world()?.check(&rows)
}

/// The checksum in an untouched frame of the usual kind.
fn field(frame: &[u8]) -> [u8; 2] {
    let at = ETH + if frame[ETH] >> 4 == 4 { 20 } else { 40 } + 2;
    [frame[at], frame[at + 1]]
}

#[test]
fn random_requests_have_right_replies_and_damaged_ones_wrong_ones() -> Result<()> {
    let mut random = StdRng::seed_from_u64(0x6563_686f);
    let mut bed = l2_world()?;
    for round in 0..700 {
        let family = Family::BOTH[round % 2];
        let length = random.random_range(0..80);
        let payload: Vec<u8> = (0..length)
            .map(|_| *[0, 0xff, random.random()].get(round % 3).unwrap_or(&0))
            .collect();
        let rest = if round % 5 == 0 {
            [0; 4]
        } else {
            random.random()
        };
        let mut packet = echo(client(family).ip(), vip(family), rest, &payload);
        let damaged = round % 4 == 3;
        if damaged {
            let at = ETH + family.header() + 2;
            let wrong = u16::from_be_bytes(field(&packet)) ^ 1 << random.random_range(0..16);
            packet[at..at + 2].copy_from_slice(&wrong.to_be_bytes());
        }
        ensure!(icmp::is_right(ip_packet(&packet)) != damaged);
        let reply = bed.run(&packet)?;
        ensure!(reply.action == Action::Tx, "{packet:02x?}: {reply:?}");
        ensure!(
            icmp::is_right(ip_packet(&reply.frame)) != damaged,
            "{packet:02x?} became {:02x?}",
            reply.frame
        );
    }
    Ok(())
}

#[test]
fn the_reply_has_a_fresh_ttl_and_the_rest_of_the_headers() -> Result<()> {
    let mut rows = Vec::new();
    let good = request(Family::V4, b"ping");
    for ttl in [2, 63, 64, 65, 255] {
        rows.push(row(
            format!("V4: TTL {ttl}"),
            v4_with(&good, V4_TTL, &[ttl]),
            replied,
        ));
    }
    for (name, offset, bytes) in [
        ("DSCP and ECN", ETH + 1, vec![0xff]),
        ("no flags", V4_FRAGMENT, vec![0, 0]),
        ("an identification", ETH + 4, vec![0xab, 0xcd]),
    ] {
        rows.push(row(
            format!("V4: {name}"),
            v4_with(&good, offset, &bytes),
            replied,
        ));
    }
    let good = request(Family::V6, b"ping");
    for limit in [2, 63, 64, 65, 255] {
        let packet = patched(&good, ETH + 7, &[limit]);
        rows.push(row(format!("V6: hop limit {limit}"), packet, replied));
    }
    let packet = patched(&good, ETH, &[0x6f, 0xff, 0xff, 0xff]);
    rows.push(row("V6: traffic class and flow label", packet, replied));
    l2_world()?.check(&rows)
}

/// A frame with other bytes in its IPv4 header and the checksum that goes with them.
fn v4_with(frame: &[u8], offset: usize, bytes: &[u8]) -> Vec<u8> {
    with_checksum(&patched(frame, offset, bytes))
}

#[test]
fn what_cannot_be_answered_is_dropped() -> Result<()> {
    let mut rows: Vec<Row> = Vec::new();
    for family in Family::BOTH {
        let good = request(family, b"ping");
        for length in ETH + family.header()..good.len() {
            rows.push(row(
                format!("{family:?}: cut to {length} bytes"),
                cut(&good, length),
                dropped(Reason::DropMalformed),
            ));
        }
        let outside = if family == Family::V4 { 0 } else { 40 };
        let right = ip_packet(&good).len() - outside;
        let least = family.header() + 8 - outside;
        for claim in (0..least).chain([right + 1, 0xffff - outside]) {
            rows.push(row(
                format!("{family:?}: a length field of {claim}"),
                claiming(&good, claim),
                dropped(Reason::DropMalformed),
            ));
        }
    }
    l2_world()?.check(&rows)
}

/// Above the limit requests are dropped, both families count, and nothing else is held up.
#[test]
fn replies_are_limited() -> Result<()> {
    // Each CPU has a bucket of its own.
    let mut one = CpuSet::new();
    one.set(nix::sched::sched_getcpu()?)?;
    nix::sched::sched_setaffinity(Pid::from_raw(0), &one)?;
    let mut bed = l2_world()?;
    let (mut answered, mut limited) = (0, 0);
    let started = std::time::Instant::now();
    for round in 0..4 * limit::BURST {
        let packet = request(Family::BOTH[round as usize % 2], b"flood");
        let outcome = bed.run_uncounted(&packet)?;
        match outcome.0 {
            Action::Tx => answered += 1,
            Action::Drop => {
                limited += 1;
                ensure!(outcome.1 == packet, "a dropped request was changed");
            }
            other => anyhow::bail!("{other:?}"),
        }
    }
    // The coarse clock may run a tick behind.
    let time = started.elapsed().as_secs_f64() + 0.01;
    let due = limit::BURST + (time * limit::ANSWERS_PER_SECOND as f64) as u64;
    ensure!(
        (limit::BURST..=due).contains(&answered),
        "{answered} of {} requests were answered",
        4 * limit::BURST
    );
    ensure!(limited > 0);
    let packet = request(Family::V4, b"one more");
    for _ in 0..limit::BURST {
        // The coarse clock may just have given tokens for a tick.
        let outcome = bed.run(&packet)?;
        if outcome.action == Action::Drop {
            ensure!(
                outcome == dropped(Reason::DropEchoLimit)(&packet),
                "{outcome:?}"
            );
            break;
        }
    }
    std::thread::sleep(std::time::Duration::from_millis(50));
    bed.check(&[
        row("a request after a pause", packet, replied),
        row(
            "an ordinary packet",
            crate::world::packet(TCP, Family::V4.vip(DROPS, PORT), b"GET /"),
            navigator_tests::packet::expect::l2(
                crate::world::key(Family::V4.vip(DROPS, PORT), TCP),
                Family::V4.backend(crate::world::BACKEND, PORT),
            ),
        ),
    ])
}

/// To the host as it came.
fn to_host(rows: &mut Vec<Row>, name: String, packet: Vec<u8>) {
    rows.push(row(name, packet, passed(Reason::PassIcmp)));
}

#[test]
fn every_other_type_is_the_hosts() -> Result<()> {
    let mut rows = Vec::new();
    for family in Family::BOTH {
        let (handled, errors): (u8, &[u8]) = match family {
            Family::V4 => (8, &[3, 4, 11, 12]),
            Family::V6 => (128, &[1, 2, 3, 4]),
        };
        for kind in (0..=255).filter(|kind| *kind != handled && !errors.contains(kind)) {
            for number in [DROPS, PASSES] {
                let vip = family.vip(number, PORT).ip();
                let packet = message(client(family).ip(), vip, kind, 0, REST, &[0; 16]);
                to_host(
                    &mut rows,
                    format!("{family:?}: type {kind}, address {number}"),
                    packet,
                );
            }
        }
        let packet = message(client(family).ip(), vip(family), handled, 1, REST, b"ping");
        to_host(
            &mut rows,
            format!("{family:?}: an echo request of code 1"),
            packet,
        );
    }
    l2_world()?.check(&rows)
}

/// A held VIP is found, and checked again, by neighbour solicitations to its address.
#[test]
fn neighbour_discovery_is_the_hosts() -> Result<()> {
    let (peer, vip) = (client(Family::V6).ip(), vip(Family::V6));
    let IpAddr::V6(target) = vip else {
        unreachable!("it is IPv6")
    };
    let option = [1, 1, 2, 0x4e, 0x41, 0x56, 0, 9];
    let rows = [
        ("a solicitation", 135, [0; 4]),
        ("an advertisement", 136, [0x60, 0, 0, 0]),
    ]
    .map(|(name, kind, rest)| {
        let payload = [&target.octets()[..], &option].concat();
        let packet = message(peer, vip, kind, 0, rest, &payload);
        row(
            name,
            patched(&packet, ETH + 7, &[255]),
            passed(Reason::PassIcmp),
        )
    });
    l2_world()?.check(&rows)
}

/// A reply goes back to the MAC address that the request came from.
#[test]
fn requests_without_a_way_back() -> Result<()> {
    let mut rows = Vec::new();
    for family in Family::BOTH {
        let good = request(family, b"ping");
        rows.push(row(
            format!("{family:?}: from this interface itself"),
            sent_from(&good, LOCAL_MAC),
            dropped(Reason::DropLoop),
        ));
    }
    l2_world()?.check(&rows)
}

/// What needs more than swapped addresses is left to a host that holds the VIP.
#[test]
fn requests_with_options_are_the_hosts() -> Result<()> {
    let mut rows = Vec::new();
    let good = request(Family::V4, b"ping");
    let options = [7, 7, 4, 0, 0, 0, 0, 0];
    let mut with_options = good.clone();
    with_options.splice(ETH + 20..ETH + 20, options);
    with_options[ETH] = 0x47;
    let length = ip_packet(&good).len() + options.len();
    to_host(
        &mut rows,
        "V4: an option".into(),
        claiming(&with_options, length),
    );
    l2_world()?.check(&rows)
}

#[test]
fn the_other_familys_icmp_is_not_icmp() -> Result<()> {
    let rows = [(Family::V4, 58), (Family::V6, 1)].map(|(family, protocol)| {
        row(
            format!("{family:?}: protocol {protocol}"),
            other(
                client(family).ip(),
                vip(family),
                protocol,
                &[128, 0, 0, 0, 0, 0, 0, 0],
            ),
            dropped(Reason::DropUnserved),
        )
    });
    l2_world()?.check(&rows)
}

/// A reply would go to many, to nobody, or back to the VIP.
#[test]
fn sources_that_cannot_be_answered() -> Result<()> {
    let mut rows = Vec::new();
    for source in [
        "0.0.0.0",
        "0.1.2.3",
        "127.0.0.1",
        "127.255.255.255",
        "224.0.0.1",
        "239.255.255.255",
        "255.255.255.255",
        "::",
        "::1",
        "ff02::1",
        "ff0e::1:2",
    ] {
        let source: IpAddr = source.parse()?;
        let packet = echo(source, vip(Family::of(source)), REST, b"ping");
        rows.push(row(
            format!("from {source}"),
            packet,
            dropped(Reason::DropSource),
        ));
    }
    for family in Family::BOTH {
        let packet = echo(vip(family), vip(family), REST, b"ping");
        rows.push(row(
            format!("{family:?}: from the VIP itself"),
            packet,
            dropped(Reason::DropSource),
        ));
    }
    l2_world()?.check(&rows)
}
