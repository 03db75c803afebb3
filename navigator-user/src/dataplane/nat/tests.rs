#![allow(
    clippy::unwrap_used,
    reason = "a test that cannot go on has failed; the panic says where"
)]

use super::*;
use crate::dataplane::memory::{MemoryEntries, MemoryStore};
use navigator_common::{
    flow::coarse_seconds,
    hash::HashKey,
    nat::{NatFlow, NatForward, NatPath, NatReverse, NatState, NatTuple, raw_ports, seen},
};
use proptest::prelude::*;
use std::{
    collections::BTreeMap,
    io,
    net::{Ipv4Addr, Ipv6Addr},
};

const KEY: HashKey = HashKey::from_words([3, 5, 7, 9, 11]);
const NOW: u32 = 1_000_000;

type Tables = NatTables<MemoryEntries<NatForward>, MemoryEntries<NatReverse>>;

fn tables() -> Tables {
    MemoryStore::new(crate::dataplane::store::Sizes {
        slots: 1,
        backends: 2,
        flow_sets: 1,
        nat_flows: 1,
    })
    .nat_tables()
}

fn copies(tables: &Tables) -> Tables {
    NatTables {
        forward: tables.forward.clone(),
        reverse: tables.reverse.clone(),
    }
}

fn collector(tables: &Tables) -> Collector<MemoryEntries<NatForward>, MemoryEntries<NatReverse>> {
    Collector::new(copies(tables), KEY, Timeouts::default(), 1000)
}

/// One side of a flow: what was seen of it, and for how long it was silent.
type Side = (u8, u32);

/// The `number`-th flow to backend `id`.
fn flow(number: u16, id: u32, protocol: u8) -> NatFlow {
    let ip = |last: u16| -> IpAddr {
        if number.is_multiple_of(2) {
            Ipv4Addr::new(10, 0, 0, last as u8).into()
        } else {
            Ipv6Addr::new(0xfd00, 0, 0, 0, 0, 0, 0, last + 1).into()
        }
    };
    let tuple = |source: IpAddr, destination: IpAddr, ports| {
        NatTuple::new(source.into(), destination.into(), ports, protocol)
    };
    NatFlow {
        client: tuple(ip(1), ip(2), raw_ports(number, 80)),
        backend: tuple(ip(3), ip(4), raw_ports(number.wrapping_add(1024), 8080)),
        id,
    }
}

/// Puts a flow into the tables, as the program would.
fn open(tables: &Tables, flow: &NatFlow, client: Side, backend: Side) -> (u64, u64) {
    let (key, reverse) = (flow.client.hash(&KEY), flow.reply().hash(&KEY));
    let state = |hash, (seen, age): Side| NatState::new(hash, seen, NOW.wrapping_sub(age));
    let entry = flow.reverse(reverse, state(reverse, backend), NatPath(0));
    assert!(tables.reverse.put(reverse, &entry).unwrap());
    let entry = flow.forward(key, reverse, state(key, client), NatPath(0));
    assert!(tables.forward.put(key, &entry).unwrap());
    (key, reverse)
}

fn there(tables: &Tables, (key, reverse): (u64, u64)) -> (bool, bool) {
    let forward = tables.forward.get(key).unwrap().is_some();
    (forward, tables.reverse.get(reverse).unwrap().is_some())
}

#[test]
fn phases_follow_what_was_seen() {
    const TCP: u8 = 6;
    const UDP: u8 = 17;
    use seen::{DATA, FIN, RST, SYN};
    let rows = [
        (TCP, SYN, 0, Phase::Opening),
        (TCP, SYN, SYN, Phase::Opening),
        (TCP, SYN | DATA, 0, Phase::Opening),
        (TCP, SYN | DATA, SYN, Phase::Established),
        (TCP, SYN | DATA, SYN | DATA, Phase::Established),
        (TCP, SYN | DATA | FIN, SYN | DATA, Phase::HalfClosed),
        (TCP, SYN | DATA, SYN | DATA | FIN, Phase::HalfClosed),
        (TCP, SYN | DATA | FIN, SYN | DATA | FIN, Phase::Closed),
        (TCP, SYN, RST, Phase::Closed),
        (TCP, SYN | DATA | RST, SYN | DATA, Phase::Closed),
        (UDP, DATA, 0, Phase::Unreplied),
        (UDP, DATA, DATA, Phase::Replied),
    ];
    for (protocol, client, backend, phase) in rows {
        assert_eq!(
            Phase::of(protocol, client, backend),
            phase,
            "protocol {protocol}: client {client:#x}, backend {backend:#x}"
        );
    }
}

#[test]
fn ports_keep_clear_of_the_hosts_own() {
    let settle = |ports, local| {
        NatSettings::default()
            .settle(ports, local)
            .map(|it| it.ports)
    };
    let rows = [
        (None, (32_768, 60_999), Ok((1024, 32_767))),
        (None, (1024, 40_000), Ok((40_001, 65_535))),
        (None, (20_000, 65_535), Ok((1024, 19_999))),
        (
            Some((61_000, 65_535)),
            (32_768, 60_999),
            Ok((61_000, 65_535)),
        ),
        (Some((2000, 2000)), (32_768, 60_999), Ok((2000, 2000))),
    ];
    for (ports, local, want) in rows {
        assert_eq!(settle(ports, local), want, "{ports:?} beside {local:?}");
    }
    for (first, last) in [
        (32_768, 32_768),
        (1024, 32_768),
        (60_999, 65_535),
        (1024, 65_535),
    ] {
        let refused = settle(Some((first, last)), (32_768, 60_999));
        let why = refused.unwrap_err().to_string();
        assert!(
            why.contains("nat.ports") && why.contains("ip_local_port_range"),
            "{why}"
        );
    }
    let many = NatSettings {
        sources: (1..=17)
            .map(|n| Ipv4Addr::new(10, 0, 0, n).into())
            .collect(),
        ..NatSettings::default()
    };
    assert_eq!(
        many.settle(None, (32_768, 60_999)),
        Err(SourceError::TooMany(17))
    );
}

#[test]
fn a_flow_lives_as_long_as_its_phase_allows() {
    use seen::{DATA, FIN, RST, SYN};
    let timeouts = Timeouts::default();
    let rows: [(u8, u8, u8, std::time::Duration); 6] = [
        (6, SYN, SYN, timeouts.opening),
        (6, SYN | DATA, SYN, timeouts.established),
        (6, SYN | DATA | FIN, SYN | DATA, timeouts.half_closed),
        (6, SYN | DATA, SYN | RST, timeouts.closed),
        (17, DATA, 0, timeouts.udp),
        (17, DATA, DATA, timeouts.udp_replied),
    ];
    for (number, (protocol, client, backend, timeout)) in (0..).zip(rows) {
        let limit = coarse_seconds(timeout.as_secs());
        // Whichever side was heard last counts.
        for (client_age, backend_age, lives) in [
            (limit, limit, true),
            (limit + 1, limit + 1, false),
            (limit + 1, limit, true),
            (limit, limit + 1, true),
        ] {
            let tables = tables();
            let keys = open(
                &tables,
                &flow(number, 1, protocol),
                (client, client_age),
                (backend, backend_age),
            );
            let ended = collector(&tables).pass(&Desk::default(), NOW).unwrap();
            assert_eq!(
                there(&tables, keys),
                (lives, lives),
                "{protocol}, {client:x}, {backend:x}"
            );
            assert_eq!(ended, u64::from(!lives));
        }
    }
}

#[test]
fn a_full_table_makes_room_early_but_not_from_open_connections() {
    use seen::{DATA, FIN, SYN};
    let tables = tables();
    let mut kept = Vec::new();
    let mut gone = Vec::new();
    let (open_side, closed) = (SYN | DATA, SYN | DATA | FIN);
    for number in 0..400 {
        let quiet = flow(number, 1, 6);
        kept.push(open(&tables, &quiet, (open_side, 3600), (open_side, 3600)));
        let over = flow(1000 + number, 1, 6);
        gone.push(open(&tables, &over, (closed, 20), (closed, 20)));
    }
    let mut collector = collector(&tables);
    // The first pass finds out that there are 800 flows of 1,000, the second acts on it.
    assert_eq!(collector.pass(&Desk::default(), NOW).unwrap(), 0);
    assert_eq!(collector.pass(&Desk::default(), NOW).unwrap(), 400);
    assert!(
        kept.into_iter()
            .all(|keys| there(&tables, keys) == (true, true))
    );
    assert!(
        gone.into_iter()
            .all(|keys| there(&tables, keys) == (false, false))
    );
}

#[test]
fn half_a_flow_goes_when_no_insert_can_be_under_way() {
    let limit = coarse_seconds(Timeouts::default().opening.as_secs());
    for (age, lives) in [(limit, true), (limit + 1, false)] {
        let tables = tables();
        let only_reverse = open(&tables, &flow(1, 1, 6), (seen::SYN, age), (0, age));
        let only_forward = open(&tables, &flow(2, 1, 6), (seen::SYN, age), (0, age));
        tables.forward.take(only_reverse.0).unwrap();
        tables.reverse.take(only_forward.1).unwrap();
        collector(&tables).pass(&Desk::default(), NOW).unwrap();
        assert_eq!(there(&tables, only_reverse), (false, lives));
        assert_eq!(there(&tables, only_forward), (lives, false));
    }
}

/// Entries of which one hears a packet just before it is taken out.
struct Busy<V> {
    entries: MemoryEntries<V>,
    hears: fn(&mut V),
}

impl<V: Copy + Send> Entries<V> for Busy<V> {
    fn batch(&self, cursor: Option<u32>, out: &mut Vec<(u64, V)>) -> io::Result<Option<u32>> {
        self.entries.batch(cursor, out)
    }

    fn get(&self, key: u64) -> io::Result<Option<V>> {
        self.entries.get(key)
    }

    fn take(&self, key: u64) -> io::Result<Option<V>> {
        let taken = self.entries.take(key)?;
        Ok(taken.map(|mut entry| {
            (self.hears)(&mut entry);
            entry
        }))
    }

    fn put(&self, key: u64, value: &V) -> io::Result<bool> {
        self.entries.put(key, value)
    }
}

#[test]
fn a_packet_in_the_last_moment_saves_its_flow() {
    let renew_forward = |entry: &mut NatForward| {
        entry.state = NatState::new(entry.state, seen::DATA, NOW).0;
    };
    let renew_reverse = |entry: &mut NatReverse| {
        entry.state = NatState::new(entry.state, seen::DATA, NOW).0;
    };
    type Hears<V> = fn(&mut V);
    let saves: [(Hears<NatForward>, Hears<NatReverse>); 2] =
        [(renew_forward, |_| {}), (|_| {}, renew_reverse)];
    for (forward, reverse) in saves {
        let tables = tables();
        let keys = open(
            &tables,
            &flow(1, 1, 17),
            (seen::DATA, 9000),
            (seen::DATA, 9000),
        );
        let busy = NatTables {
            forward: Busy {
                entries: tables.forward.clone(),
                hears: forward,
            },
            reverse: Busy {
                entries: tables.reverse.clone(),
                hears: reverse,
            },
        };
        let mut collector = Collector::new(busy, KEY, Timeouts::default(), 1000);
        assert_eq!(collector.pass(&Desk::default(), NOW).unwrap(), 0);
        assert_eq!(there(&tables, keys), (true, true));
    }
}

#[test]
fn an_order_is_done_when_a_pass_that_knew_it_met_nothing() {
    let tables = tables();
    let keys = open(&tables, &flow(1, 7, 6), (seen::SYN, 0), (0, 0));
    let other = open(&tables, &flow(2, 8, 6), (seen::SYN, 0), (0, 0));
    let desk = Desk::default();
    let mut collector = collector(&tables);
    let begun_before = collector.begin(&desk);
    let ids = BTreeSet::from([7]);
    assert!(desk.end(&ids).is_empty());
    collector.finish(&begun_before, &desk);
    assert!(
        desk.end(&ids).is_empty(),
        "that pass knew nothing of the order"
    );
    assert_eq!(collector.pass(&desk, NOW).unwrap(), 1);
    assert_eq!(
        (there(&tables, keys), there(&tables, other)),
        ((false, false), (true, true))
    );
    assert!(desk.end(&ids).is_empty(), "that pass met a flow");
    collector.pass(&desk, NOW).unwrap();
    assert_eq!(desk.end(&ids), ids);
    // The id is used again and retired again: that is another order.
    assert!(desk.end(&BTreeSet::new()).is_empty());
    let stale = collector.begin(&desk);
    assert!(desk.end(&ids).is_empty());
    collector.finish(&stale, &desk);
    assert!(desk.end(&ids).is_empty());
}

#[test]
fn figures_count_flows_and_the_ports_of_the_busiest_backend() {
    let tables = tables();
    for number in [0, 2, 4, 1] {
        open(&tables, &flow(number, 1, 6), (seen::SYN, 0), (0, 0));
    }
    let desk = Desk::default();
    collector(&tables).pass(&desk, NOW).unwrap();
    assert_eq!(desk.figures(), NatFigures { flows: 4, ports: 3 });
}

proptest! {
    /// Whatever there is, a pass ends exactly the flows whose time is over or whose backend is
    /// to go, always both entries.
    #[test]
    fn a_pass_ends_what_the_rules_say(
        flows in prop::collection::btree_map(
            any::<u16>(),
            (1u32..5, prop::sample::select(vec![6u8, 17]), (0u8..16, 0u32..9000), (0u8..16, 0u32..9000)),
            0..120,
        ),
        ordered in prop::collection::btree_set(1u32..5, 0..3),
    ) {
        let tables = tables();
        let desk = Desk::default();
        desk.end(&ordered);
        let mut want = BTreeMap::new();
        let timeouts = Timeouts::default();
        for (&number, &(id, protocol, client, backend)) in &flows {
            let keys = open(&tables, &flow(number, id, protocol), client, backend);
            let limit = timeouts.lifetime(Phase::of(protocol, client.0, backend.0), false);
            let lives = client.1.min(backend.1) <= limit && !ordered.contains(&id);
            want.insert(keys, lives);
        }
        let ended = collector(&tables).pass(&desk, NOW).unwrap();
        for (&keys, &lives) in &want {
            prop_assert_eq!(there(&tables, keys), (lives, lives));
        }
        prop_assert_eq!(ended, want.values().filter(|lives| !**lives).count() as u64);
    }
}
