//! Port tables: where the ports of one address stand, without collision.

use navigator_common::vip::AddrWord;

/// Multipliers tried for each table size.
const TRIES: u16 = 4096;
/// The largest table has 2^16 entries.
const MAX_LOG2: u8 = 16;

/// The smallest table size and a multiplier that give every pair of port and
/// protocol an entry of its own; `None` if even the largest one has none.
pub(super) fn find_table(ports: &[(u16, u8)]) -> Option<(u8, u16)> {
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
