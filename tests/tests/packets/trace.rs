//! Seeing packets: what is written down of each, what the filters ask for, and that nobody pays
//! for it who does not look. That every row of every other table leaves a true record, and is
//! treated alike while somebody looks, `Row` and scripts check.

use crate::world::{BACKEND, DROPS, PASSES, PORT, TCP, UDP, client, key, l2_world, packet};
use anyhow::{Context, Result, ensure};
use navigator_common::{
    addr::Addr,
    backend::{BackendInfo, Mode},
    reason::Reason,
    slot::slot_index,
    trace::{FORWARDED, RING_BYTES, TraceFilter, TraceRecord, known},
};
use navigator_core::model::{ForwardMode, Protocol};
use navigator_tests::packet::{
    Family,
    bed::{self, Bed, EVERYTHING, Role, SLOTS},
    flow,
    frame::{self, Tcp},
};
use std::net::{IpAddr, SocketAddr};

/// The records of some packets, in their order.
fn records(bed: &mut Bed, packets: &[Vec<u8>]) -> Result<Vec<TraceRecord>> {
    for packet in packets {
        bed.run(packet)?;
    }
    let records = bed.records()?;
    Ok(std::iter::from_fn(|| records.next_record()).collect())
}

fn one(bed: &mut Bed, packet: Vec<u8>) -> Result<TraceRecord> {
    let mut records = records(bed, &[packet])?;
    ensure!(records.len() == 1, "{} records", records.len());
    records.pop().context("no record")
}

#[test]
fn a_forwarded_packet_is_told_with_its_slot_and_its_backend() -> Result<()> {
    let mut bed = l2_world()?;
    bed.observe(&EVERYTHING)?;
    for family in Family::BOTH {
        for protocol in [TCP, UDP] {
            let vip = family.vip(DROPS, PORT);
            let record = one(&mut bed, packet(protocol, vip, b"hello"))?;
            let hash = flow::hash(client(family), vip, protocol.number());
            assert_eq!((record.outcome, record.hash), (FORWARDED, hash));
            assert_eq!(record.slot_index, slot_index(hash, SLOTS));
            let slot = record.slot().context("no slot")?;
            assert!(!slot.is_at_risk() && !slot.is_tracked());
            assert_eq!(slot.current(), record.backend);
            assert_eq!(IpAddr::from(record.vip_address), vip.ip());
            let port = record.vip_port().context("no VIP")?;
            assert_eq!((port.port(), port.protocol()), (PORT, protocol.number()));
            let backend = family.backend(BACKEND, PORT);
            assert_eq!(IpAddr::from(record.backend_address), backend.ip());
            let info = record.backend().context("no backend")?;
            assert_eq!((info.port, info.mode), (PORT, Mode::L2 as u8));
            assert_eq!(record.filters, 1);
            assert_ne!(record.time, 0);
        }
    }
    Ok(())
}

#[test]
fn a_packet_is_told_as_far_as_it_came() -> Result<()> {
    let mut bed = l2_world()?;
    bed.observe(&EVERYTHING)?;
    let family = Family::V4;
    let vip = family.vip(DROPS, PORT);
    let nobody = bed::vip(family.vip(3, PORT), TCP, ForwardMode::L2);
    bed.serve(&nobody, &[(family.backend(3, PORT), Role::Dead)])?;
    let ports = known::ADDRESS | known::VIP;
    for (packet, reason, told) in [
        (
            packet(TCP, family.vip(77, PORT), b""),
            Reason::PassNotVip,
            0,
        ),
        (
            packet(TCP, family.vip(DROPS, 81), b""),
            Reason::DropUnserved,
            known::ADDRESS,
        ),
        (
            packet(TCP, family.vip(PASSES, 81), b""),
            Reason::PassUnserved,
            known::ADDRESS,
        ),
        (
            packet(TCP, vip, b"cut")[..50].to_vec(),
            Reason::DropMalformed,
            known::ADDRESS,
        ),
        (
            packet(TCP, family.vip(3, PORT), b""),
            Reason::DropNoBackend,
            ports | known::SLOT,
        ),
    ] {
        let record = one(&mut bed, packet)?;
        assert_eq!((record.reason(), record.known), (Some(reason), told));
        assert_eq!(record.sent(), b"");
    }
    bed.lose(family.backend(BACKEND, PORT).ip())?;
    let record = one(&mut bed, packet(TCP, vip, b""))?;
    assert_eq!(record.reason(), Some(Reason::DropNoNeighbour));
    assert_eq!(record.known, ports | known::SLOT | known::BACKEND);
    Ok(())
}

#[test]
fn a_tunnelled_packet_is_told_as_it_came_and_as_it_left() -> Result<()> {
    let mut bed = Bed::new()?;
    let vip = bed::vip(Family::V4.vip(1, PORT), TCP, ForwardMode::Ipip);
    bed.serve(&vip, &[(Family::V6.backend(1, PORT), Role::Active)])?;
    bed.observe(&EVERYTHING)?;
    let came = packet(TCP, Family::V4.vip(1, PORT), &[7; 300]);
    let record = one(&mut bed, came.clone())?;
    assert_eq!(record.packet(), &came[..128]);
    assert_eq!(
        record.sent()[12..15],
        [0x86, 0xdd, 0x60 | record.sent()[14] & 0xf]
    );
    assert_eq!(record.sent()[54..], came[14..88]);
    assert_eq!(record.sent_length, record.length + 40);
    let info = BackendInfo::unpack(record.backend_info);
    assert_eq!(info.mode, Mode::Ipip as u8);
    Ok(())
}

/// What each filter asks for, of five packets: forwarded to two VIPs from two clients, dropped at
/// the first VIP's address, and one that is none of Navigator's business.
#[test]
fn filters_ask_for_what_they_say() -> Result<()> {
    let mut bed = Bed::new()?;
    let (web, api) = (Family::V4.vip(1, PORT), Family::V4.vip(2, PORT));
    let clients = [Family::V4.client(1, 4000), Family::V4.client(2, 4000)];
    let ids = [(web, 1), (api, 2)].map(|(address, number)| -> Result<u32> {
        let vip = bed::vip(address, TCP, ForwardMode::L2);
        bed.serve(&vip, &[(Family::V4.backend(number, PORT), Role::Active)])?;
        bed.observe(&EVERYTHING)?;
        Ok(one(&mut bed, packet(TCP, address, b""))?.vip)
    });
    let [web_id, api_id] = ids;
    let (web_id, api_id) = (web_id?, api_id?);
    ensure!(web_id != api_id, "one id for two VIPs");
    let syn = |client, to| frame::tcp(client, to, Tcp::Syn, b"");
    let packets = [
        syn(clients[0], web),
        syn(clients[1], web),
        syn(clients[0], api),
        syn(clients[0], SocketAddr::new(web.ip(), 81)),
        syn(clients[0], Family::V4.vip(99, PORT)),
    ];
    let host = Addr {
        hi: u64::MAX,
        lo: u64::MAX,
    };
    let network = Addr {
        hi: u64::MAX,
        lo: u64::MAX >> 8,
    };
    let first = Addr::from(clients[0].ip());
    let address = |number| Addr::from(Family::V4.backend(number, PORT).ip());
    let outcome = |number: u32| {
        let mut outcomes = [0; 2];
        outcomes[number as usize / 64] = 1 << (number % 64);
        TraceFilter {
            outcomes,
            ..EVERYTHING
        }
    };
    let masked = |mask: Addr| TraceFilter {
        client: Addr {
            hi: first.hi & mask.hi,
            lo: first.lo & mask.lo,
        },
        client_mask: mask,
        ..EVERYTHING
    };
    let vip = |id| TraceFilter {
        vip: id,
        vip_address: web.ip().into(),
        ..EVERYTHING
    };
    let backend = |number, port| TraceFilter {
        backend: address(number),
        backend_port: port,
        ..EVERYTHING
    };
    let cases: [(&str, TraceFilter, &[usize]); 12] = [
        ("everything", EVERYTHING, &[0, 1, 2, 3, 4]),
        ("one client", masked(host), &[0, 2, 3, 4]),
        ("its network", masked(network), &[0, 1, 2, 3, 4]),
        (
            "no client",
            TraceFilter {
                client: Addr { hi: 0, lo: 1 },
                client_mask: host,
                ..EVERYTHING
            },
            &[],
        ),
        (
            "a VIP and what is dropped at its address",
            vip(web_id),
            &[0, 1, 3],
        ),
        (
            "a VIP that is not there",
            TraceFilter {
                vip_address: Addr::default(),
                ..vip(TraceFilter::NO_VIP)
            },
            &[],
        ),
        ("a backend", backend(2, 0), &[2]),
        ("a backend's port", backend(1, u32::from(PORT)), &[0, 1]),
        ("another port of it", backend(1, 81), &[]),
        ("forwarded", outcome(FORWARDED), &[0, 1, 2]),
        ("unserved", outcome(Reason::DropUnserved.index()), &[3]),
        (
            "only VIPs",
            TraceFilter {
                flags: TraceFilter::ONLY_VIPS,
                ..EVERYTHING
            },
            &[0, 1, 2, 3],
        ),
    ];
    for (name, filter, wanted) in cases {
        bed.observe(&filter)?;
        let got = records(&mut bed, &packets)?;
        let want: Vec<_> = wanted.iter().map(|&number| &packets[number][..]).collect();
        let got: Vec<_> = got.iter().map(TraceRecord::packet).collect();
        assert_eq!(got, want, "{name}");
    }
    Ok(())
}

#[test]
fn several_filters_are_told_apart_and_a_cleared_one_asks_for_nothing() -> Result<()> {
    let mut bed = l2_world()?;
    bed.observe(&EVERYTHING)?;
    let mut drops = EVERYTHING;
    drops.outcomes = [1 << Reason::DropUnserved.index(), 0];
    bed.filters()?.set(3, &drops)?;
    let forwarded = packet(UDP, Family::V6.vip(DROPS, PORT), b"");
    let dropped = packet(UDP, Family::V6.vip(DROPS, 81), b"");
    let both = [forwarded, dropped];
    let masks = |records: &[TraceRecord]| records.iter().map(|r| r.filters).collect::<Vec<_>>();
    assert_eq!(masks(&records(&mut bed, &both)?), [0b0001, 0b1001]);
    bed.filters()?.clear(0, &EVERYTHING)?;
    assert_eq!(masks(&records(&mut bed, &both)?), [0b1000]);
    bed.filters()?.clear(3, &drops)?;
    assert!(records(&mut bed, &both)?.is_empty());
    Ok(())
}

#[test]
fn a_sample_is_a_part_of_the_packets() -> Result<()> {
    const PACKETS: u32 = 4000;
    let mut bed = l2_world()?;
    bed.observe(&TraceFilter {
        sample: TraceFilter::one_in(10),
        ..EVERYTHING
    })?;
    bed.repeat(&packet(TCP, Family::V4.vip(DROPS, PORT), b""), PACKETS)?;
    let seen = records(&mut bed, &[])?.len();
    // Seven standard deviations around 400: wrong once in 10^11 runs.
    ensure!((267..=533).contains(&seen), "{seen} of {PACKETS}");
    Ok(())
}

#[test]
fn a_full_ring_loses_records_and_counts_them_but_no_packet() -> Result<()> {
    const RECORD: u32 = (size_of::<TraceRecord>() as u32 + 8).next_multiple_of(8);
    const ROOM: u32 = RING_BYTES / RECORD;
    let mut bed = l2_world()?;
    bed.observe(&EVERYTHING)?;
    let packet = packet(TCP, Family::V4.vip(DROPS, PORT), b"");
    bed.repeat(&packet, ROOM + 1000)?;
    let vip = key(Family::V4.vip(DROPS, PORT), Protocol::Tcp);
    let outcome = bed.run(&packet)?;
    let wanted = navigator_tests::packet::expect::l2(vip, Family::V4.backend(BACKEND, PORT));
    assert_eq!(outcome, wanted(&packet), "while the ring is full");
    let lost = bed.records()?.lost();
    let read = records(&mut bed, &[])?.len() as u64;
    ensure!(lost >= 1000, "{lost} lost");
    assert_eq!(read + lost, u64::from(ROOM) + 1001);
    assert_eq!(
        records(&mut bed, &[packet])?.len(),
        1,
        "once there is room again"
    );
    Ok(())
}

#[test]
fn the_program_that_runs_while_nobody_looks_knows_of_no_record() -> Result<()> {
    let mut bed = l2_world()?;
    let traced = |names: &[String]| names.iter().any(|name| name.starts_with("TRACE_"));
    let plain = bed.maps()?;
    ensure!(plain.iter().any(|name| name == "SLOTS"), "{plain:?}");
    ensure!(!traced(&plain), "{plain:?}");
    bed.observe(&EVERYTHING)?;
    ensure!(traced(&bed.maps()?), "the other one does not trace");
    Ok(())
}
