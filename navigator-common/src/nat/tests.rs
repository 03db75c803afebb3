extern crate std;
use super::*;
use crate::{
    checksum::{adjust, fold},
    mac,
};
use core::net::{IpAddr, Ipv4Addr, Ipv6Addr};
use proptest::prelude::*;
use std::{collections::HashSet, vec::Vec};

const KEY: HashKey = HashKey::from_words([7, 11, 13, 17, 19]);

fn address(v6: bool, n: u128) -> Addr {
    let ip: IpAddr = if v6 {
        Ipv6Addr::from(n | 1 << 127).into()
    } else {
        Ipv4Addr::from(n as u32).into()
    };
    ip.into()
}

fn flow(v6: bool, addresses: [u128; 4], ports: [u16; 4], protocol: u8) -> NatFlow {
    let [client, vip, source, backend] = addresses.map(|n| address(v6, n));
    let [a, b, c, d] = ports;
    NatFlow {
        client: NatTuple::new(client, vip, raw_ports(a, b), protocol),
        backend: NatTuple::new(source, backend, raw_ports(c, d), protocol),
        id: 77,
    }
}

/// The sum that a checksum over a packet with this tuple contains.
fn sum(tuple: &NatTuple, with_ports: bool) -> u16 {
    let mut bytes = Vec::new();
    for addr in [tuple.source, tuple.destination] {
        bytes.extend(addr.hi.to_le_bytes());
        bytes.extend(addr.lo.to_le_bytes());
    }
    if with_ports {
        bytes.extend(tuple.ports().to_le_bytes());
    }
    let words = bytes
        .chunks(2)
        .map(|w| u32::from(u16::from_le_bytes([w[0], w[1]])));
    fold(words.sum())
}

proptest! {
    #[test]
    fn both_entries_tell_the_same_flow(v6: bool, addresses: [u128; 4], ports: [u16; 4], hash: u64, reverse: u64) {
        let flow = flow(v6, addresses, ports, 6);
        let (state, path) = (NatState::new(hash, seen::SYN, 9), NatPath::new(0x0605_0403_0201, 3, hash));
        let forward = flow.forward(hash, reverse, state, path);
        let back = flow.reverse(reverse, state, path);
        prop_assert_eq!(back.client(), forward.tuple);
        prop_assert_eq!(turned(&turned(&back.tuple)), back.tuple);
        prop_assert_eq!((forward.backend(), back.backend(), forward.reverse), (77, 77, reverse));
        prop_assert!(NatRewrite(forward.rewrite).ends(hash) && NatRewrite(back.rewrite).ends(reverse));
        prop_assert_eq!(forward.ports as u32, raw_ports(ports[2], ports[3]));
        prop_assert_eq!(back.ports as u32, raw_ports(ports[1], ports[0]));
    }

    #[test]
    fn checksums_follow_the_rewrite(v6: bool, addresses: [u128; 4], ports: [u16; 4], rest in 1u16..) {
        let flow = flow(v6, addresses, ports, 17);
        let forward = flow.forward(1, 2, NatState(0), NatPath(0));
        let back = flow.reverse(2, NatState(0), NatPath(0));
        for (rewrite, old, new) in [
            (forward.rewrite, flow.client, flow.backend),
            (back.rewrite, flow.reply(), turned(&flow.client)),
        ] {
            for with_ports in [false, true] {
                let full = |tuple| !fold(u32::from(sum(tuple, with_ports)) + u32::from(rest));
                let rewrite = NatRewrite(rewrite);
                let change = if with_ports { rewrite.all() } else { rewrite.addresses() };
                prop_assert_eq!(adjust(full(&old), change), full(&new));
            }
        }
    }

    #[test]
    fn ports_lie_in_their_range(hash: u64, attempt in 0..PORT_TRIES, first in LOWEST_PORT.., count in 1u32..=64_512) {
        prop_assume!(u32::from(first) + count <= 1 << 16);
        let port = nat_port(hash, attempt, first, count);
        prop_assert!((u32::from(first)..u32::from(first) + count).contains(&u32::from(port)));
    }

    #[test]
    fn words_survive_the_round_trip(hash: u64, flags: u8, time: u32, mac: u64, egress in 0u32..256) {
        let state = NatState::new(hash, flags, time);
        prop_assert_eq!((state.seen(), state.time(), state.age(time)), (flags, time, 0));
        let path = NatPath::new(mac, egress, hash);
        prop_assert_eq!(path.hop(), mac & mac::MASK | u64::from(egress) << 48);
        prop_assert_eq!(path.of(!hash).of(hash), path);
    }

    #[test]
    fn a_word_is_renewed_only_for_news(hash: u64, flags: u8, time: u32, later in 0u32..1000, other: u8) {
        let state = NatState::new(hash, flags, time);
        let now = time.wrapping_add(later);
        match state.renewed(other, now) {
            None => prop_assert!(other == flags && later <= words::RENEWAL),
            Some(new) => prop_assert_eq!(new, NatState::new(hash, other, now)),
        }
    }
}

#[test]
fn records_are_their_words_in_the_order_of_memory() {
    fn check<R: Record + PartialEq + core::fmt::Debug>() {
        let words: Vec<u64> = (1..=R::WORDS as u64).collect();
        let record = R::from_words(&words);
        let mut back = Vec::new();
        record
            .iter()
            .for_each(|r| r.put_words(|word| back.push(word)));
        assert_eq!(back, words);
        assert!(R::from_words(&words[1..]).is_none());
    }
    check::<NatForward>();
    check::<NatReverse>();
    let forward = NatForward::from_words(&(0..12).collect::<Vec<_>>());
    assert_eq!(
        forward.map(|f| f.state),
        Some(core::mem::offset_of!(NatForward, state) as u64 / 8)
    );
    let reverse = NatReverse::from_words(&(0..13).collect::<Vec<_>>());
    assert_eq!(
        reverse.map(|r| r.rewrite),
        Some(core::mem::offset_of!(NatReverse, rewrite) as u64 / 8)
    );
}

#[test]
fn the_tries_of_a_flow_are_nearly_all_different() {
    for hash in (1..1000u64).map(|n| n.wrapping_mul(0x9e37_79b9_7f4a_7c15)) {
        let tries: HashSet<u16> = (0..PORT_TRIES)
            .map(|attempt| nat_port(hash, attempt, 1024, 31_744))
            .collect();
        assert!(tries.len() >= 15, "{hash:x}: {tries:?}");
    }
}

#[test]
fn flows_spread_over_the_sources() {
    let mut load = [0u32; 3];
    for n in 0..30_000u32 {
        let tuple = NatTuple::new(
            address(false, 0x0a00_0000 + u128::from(n)),
            address(false, 1),
            raw_ports(40_000, 80),
            6,
        );
        load[nat_source(tuple.hash(&KEY), 3) as usize] += 1;
    }
    assert!(load.iter().all(|n| (9_500..10_500).contains(n)), "{load:?}");
}

#[test]
fn a_connection_is_seen_to_open_and_to_close() {
    let steps = [
        (0x02, seen::SYN),
        (0x10, seen::SYN | seen::DATA),
        (0x18, seen::SYN | seen::DATA),
        (0x11, seen::SYN | seen::DATA | seen::FIN),
        (0x04, seen::SYN | seen::DATA | seen::FIN | seen::RST),
        (0x02, seen::SYN),
    ];
    let mut state = 0;
    for (header, want) in steps {
        state = seen::after_tcp(state, header);
        assert_eq!(state, want, "after flags {header:#x}");
    }
}

#[test]
fn a_repeated_syn_ends_nothing() {
    let established = seen::SYN | seen::DATA;
    assert_eq!(seen::after_tcp(established, 0x02), established);
}
