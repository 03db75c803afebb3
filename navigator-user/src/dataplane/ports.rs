//! Port tables: where the ports of one address stand. Single ports lie in a
//! perfect hash; ranges behind it, the narrowest first.

use navigator_common::vip::{AddrWord, MAX_RANGES, PortWord};
use navigator_core::model::{Ports, VipKey};

/// Multipliers tried for each table size.
const TRIES: u16 = 4096;
/// The largest table has 2^16 entries.
const MAX_LOG2: u8 = 16;

/// The words of an address's part of the ports array.
pub(super) struct PortTable {
    /// What leads to it, with base 0 and no flags.
    pub(super) word: AddrWord,
    /// Its entries, [`AddrWord::entries`] of them.
    pub(super) entries: Vec<u64>,
}

/// Why there is no table for some ports.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub(super) enum NoTable {
    /// Not even the largest table gives each port an entry of its own.
    Ports,
    /// There are more than [`MAX_RANGES`].
    Ranges,
}

impl PortTable {
    /// The table of these words.
    pub(super) fn of(words: &[PortWord]) -> Result<Self, NoTable> {
        let (mut ranges, single): (Vec<PortWord>, Vec<PortWord>) =
            words.iter().partition(|word| word.is_range());
        if ranges.len() > MAX_RANGES as usize {
            return Err(NoTable::Ranges);
        }
        ranges.sort_by_key(|word| (word.last() - word.port(), word.port(), word.protocol()));
        let ports: Vec<_> = single
            .iter()
            .map(|word| (word.port(), word.protocol()))
            .collect();
        let (log2, multiplier) = find_table(&ports).ok_or(NoTable::Ports)?;
        let word = AddrWord::new(0, log2, 0, multiplier).with_ranges(ranges.len() as u32);
        let mut entries = vec![0; word.entries() as usize];
        for port in single {
            entries[word.port_index(port.port(), port.protocol()) as usize] = port.0;
        }
        for (range, place) in ranges.iter().zip(word.range_base() as usize..) {
            entries[place] = range.0;
        }
        Ok(Self { word, entries })
    }
}

/// The words of a VIP: one for each protocol.
pub(super) fn words(key: &VipKey, id: u16) -> Vec<PortWord> {
    let numbers = key.protocol.numbers().iter();
    numbers.map(|&number| word(key.ports, number, id)).collect()
}

/// The word for ports of a protocol.
pub(super) fn word(ports: Ports, protocol: u8, id: u16) -> PortWord {
    match ports.single() {
        Some(port) => PortWord::new(port, protocol, id),
        None => PortWord::range(ports.first(), ports.last(), protocol, id),
    }
}

/// The ports that a word is for; `None` if it contradicts itself.
pub(super) fn ports(word: PortWord) -> Option<Ports> {
    if word.is_range() {
        Ports::range(word.port(), word.last()).filter(|ports| ports.width() > 0)
    } else {
        (word.port() > 0).then(|| Ports::one(word.port()))
    }
}

/// The smallest table size and a multiplier that give every pair of port and
/// protocol an entry of its own; `None` if even the largest one has none.
fn find_table(ports: &[(u16, u8)]) -> Option<(u8, u16)> {
    let smallest = ports.len().next_power_of_two().trailing_zeros() as u8;
    let mut last_try = vec![0u32; 1 << smallest.min(MAX_LOG2)];
    let mut round = 0;
    for log2 in smallest..=MAX_LOG2 {
        last_try.resize(1 << log2, 0);
        for multiplier in 1..=TRIES {
            round += 1;
            let table = AddrWord::new(0, log2, 0, multiplier);
            let collides = ports.iter().any(|&(port, protocol)| {
                let seen = &mut last_try[table.port_index(port, protocol) as usize];
                std::mem::replace(seen, round) == round
            });
            if !collides {
                return Some((log2, multiplier));
            }
        }
    }
    None
}

#[cfg(test)]
mod tests {
    use super::*;
    use navigator_core::model::Protocol;
    use proptest::prelude::*;
    use std::collections::BTreeSet;

    proptest! {
        #[test]
        fn every_port_has_an_entry_of_its_own(ports in prop::collection::btree_set((any::<u16>(), prop::sample::select(vec![6u8, 17])), 1..60)) {
            let ports: Vec<_> = ports.into_iter().collect();
            let found = find_table(&ports);
            prop_assert!(found.is_some());
            let (log2, multiplier) = found.unwrap_or_default();
            let table = AddrWord::new(7, log2, 0, multiplier);
            let places: BTreeSet<_> = ports.iter().map(|&(port, protocol)| table.port_index(port, protocol)).collect();
            prop_assert_eq!(places.len(), ports.len());
        }
    }

    /// What a search by the words finds, step by step as the program does it.
    fn find(table: &PortTable, port: u16, protocol: u8) -> u32 {
        let at = |index: u32| PortWord(table.entries[index as usize]);
        let exact = at(table.word.port_index(port, protocol));
        if exact.is_for(port, protocol) {
            return exact.vip();
        }
        let ranges = (0..table.word.range_room()).map(|n| at(table.word.range_base() + n));
        ranges
            .into_iter()
            .find(|word| word.has(port, protocol))
            .map_or(0, PortWord::vip)
    }

    fn any_ports() -> impl Strategy<Value = Ports> {
        let small = (1u16..60, 0u16..40);
        prop_oneof![
            4 => (1u16..100).prop_map(Ports::one),
            3 => small.prop_map(|(first, more)| Ports::range(first, first + more).unwrap_or(Ports::ALL)),
            1 => (1u16.., any::<u16>()).prop_map(|(first, more)| {
                Ports::range(first, first.saturating_add(more)).unwrap_or(Ports::ALL)
            }),
            1 => Just(Ports::ALL),
        ]
    }

    proptest! {
        /// The model: of all VIPs that have the port and the protocol the one with the fewest ports.
        #[test]
        fn the_most_specific_vip_is_found(wanted in prop::collection::vec((any_ports(), 0usize..3), 1..25), probes in prop::collection::vec((0u16..110, any::<u16>(), any::<bool>()), 50)) {
            let address = "192.0.2.1".parse().map_err(|_| TestCaseError::fail("address"))?;
            let mut vips: Vec<VipKey> = Vec::new();
            for (ports, protocol) in wanted {
                let protocol = [Protocol::Tcp, Protocol::Udp, Protocol::Both][protocol];
                let key = VipKey { ports, ..VipKey::new(address, protocol, 1) };
                if !vips.iter().any(|other| other.rivals(&key)) {
                    vips.push(key);
                }
            }
            let all: Vec<_> = vips.iter().zip(1u16..).flat_map(|(key, id)| words(key, id)).collect();
            let table = PortTable::of(&all).map_err(|_| TestCaseError::fail("no table"))?;
            prop_assert_eq!(table.entries.len(), table.word.entries() as usize);
            for (near, anywhere, udp) in probes {
                let protocol = if udp { 17 } else { 6 };
                for port in [near, anywhere] {
                    let best = vips
                        .iter()
                        .zip(1u32..)
                        .filter(|(key, _)| key.ports.contains(port) && key.protocol.numbers().contains(&protocol))
                        .min_by_key(|(key, _)| key.ports.width());
                    prop_assert_eq!(find(&table, port, protocol), best.map_or(0, |(_, id)| id));
                }
            }
        }

        #[test]
        fn words_and_ports_say_the_same(ports in any_ports(), protocol in prop::sample::select(vec![6u8, 17]), id in 1u16..) {
            prop_assert_eq!(super::ports(word(ports, protocol, id)), Some(ports));
        }
    }

    #[test]
    fn there_is_an_end_to_ranges() {
        let range = |n: u16| PortWord::range(100 * n + 1, 100 * n + 50, 6, n + 1);
        let of = |n| PortTable::of(&(0..n).map(range).collect::<Vec<_>>());
        assert!(of(MAX_RANGES as u16).is_ok_and(|table| table.word.range_room() == MAX_RANGES));
        assert_eq!(of(MAX_RANGES as u16 + 1).err(), Some(NoTable::Ranges));
        assert_eq!(ports(PortWord::range(9, 8, 6, 1)), None);
        assert_eq!(ports(PortWord::range(9, 9, 6, 1)), None);
        assert_eq!(ports(PortWord::new(0, 6, 1)), None);
    }

    #[test]
    fn a_thousand_ports_of_one_address_fit() {
        let ports: Vec<_> = (0..1000).map(|i| (8000 + i, 6)).collect();
        assert!(find_table(&ports).is_some());
    }

    #[test]
    fn one_port_needs_one_entry() {
        assert_eq!(find_table(&[(443, 6)]), Some((0, 1)));
    }
}
