use super::*;
use proptest::prelude::*;
use std::collections::{BTreeMap, BTreeSet};

const SEED: u64 = 0x5eed;
const SLOTS: u32 = 65_537;

fn backend(i: u32) -> SocketAddr {
    SocketAddr::new(IpAddr::from((0x0a00_0000 + i).to_be_bytes()), 80)
}

fn equal(count: u32) -> Vec<(SocketAddr, u16)> {
    (0..count).map(|i| (backend(i), 100)).collect()
}

/// The table as instances instead of indexes.
fn owners(slots: u32, weighted: &[(SocketAddr, u16)]) -> Vec<SocketAddr> {
    let table = build(SEED, slots, weighted);
    table.iter().map(|&i| weighted[i as usize].0).collect()
}

/// Slots that changed hands between two backends that both stayed, in percent of all.
fn moved_extra_percent(before: &[(SocketAddr, u16)], after: &[(SocketAddr, u16)]) -> f64 {
    let stay: BTreeSet<_> = after.iter().map(|(address, _)| *address).collect();
    let moved = owners(SLOTS, before)
        .into_iter()
        .zip(owners(SLOTS, after))
        .filter(|(old, new)| old != new && stay.contains(old))
        .count();
    moved as f64 * 100.0 / f64::from(SLOTS)
}

/// A few weights of very different sizes, so that minimum slots come into play.
fn weights() -> impl Strategy<Value = Vec<u16>> {
    proptest::collection::vec(prop_oneof![0u16..4, 1u16..=1000, Just(100)], 1..120)
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(64))]

    #[test]
    fn the_table_is_full_and_its_shares_are_exact(weights in weights(), prime in prop::sample::select(vec![127u32, 251, 4093, 12_289])) {
        prop_assume!(weights.iter().any(|&weight| weight > 0));
        let weighted: Vec<_> = (0..).map(backend).zip(weights).collect();
        let quality = quality(&build(SEED, prime, &weighted), &weighted);
        prop_assert_eq!(quality.empty_slots, 0);
        prop_assert!(quality.min_slots >= 1);
        if table_warning(prime, weighted.len()).is_none() {
            prop_assert!(quality.max_error_slots <= 2, "{:?}", quality);
        }
    }

    #[test]
    fn the_table_does_not_depend_on_the_order_of_the_input(weights in weights(), by in 0usize..120) {
        prop_assume!(weights.iter().any(|&weight| weight > 0));
        let weighted: Vec<_> = (0..).map(backend).zip(weights).collect();
        let mut other = weighted.clone();
        other.reverse();
        other.rotate_left(by % weighted.len());
        prop_assert_eq!(owners(1009, &weighted), owners(1009, &other));
    }

    #[test]
    fn quotas_add_up_and_no_other_split_has_a_smaller_largest_error(weights in proptest::collection::vec(1u16..=1000, 1..60), slots in 1u32..5000) {
        let quotas = shares::quotas(slots, &weights);
        prop_assert_eq!(quotas.iter().sum::<u32>(), slots);
        let total: f64 = weights.iter().map(|&weight| f64::from(weight)).sum();
        let errors: Vec<f64> = quotas.iter().zip(&weights).map(|(&quota, &weight)| f64::from(quota) - f64::from(slots) * f64::from(weight) / total).collect();
        let spare = |i: &usize| slots < weights.len() as u32 || quotas[*i] > 1;
        let highest = (0..quotas.len()).filter(spare).map(|i| errors[i]).fold(f64::MIN, f64::max);
        let lowest = errors.iter().copied().fold(f64::MAX, f64::min);
        prop_assert!(highest - lowest <= 1.0 + 1e-9, "a slot could go from +{highest} to {lowest}");
    }
}

#[test]
fn removing_one_of_a_hundred_moves_at_most_one_percent_beyond_its_own() {
    let before = equal(100);
    for gone in (0..before.len()).step_by(9) {
        let mut after = before.clone();
        after.remove(gone);
        let extra = moved_extra_percent(&before, &after);
        assert!(extra <= 1.0, "{extra} % without backend {gone}");
    }
}

#[test]
fn adding_and_reweighting_move_little_beyond_what_they_must() {
    let before = equal(100);
    let mut added = before.clone();
    added.push((backend(1000), 100));
    let gained = |after: &[(SocketAddr, u16)]| {
        let count = |list: &[SocketAddr]| {
            let mut counts = BTreeMap::new();
            for &owner in list {
                *counts.entry(owner).or_insert(0u32) += 1;
            }
            counts
        };
        let (old, new) = (owners(SLOTS, &before), owners(SLOTS, after));
        let changed = old.iter().zip(&new).filter(|(a, b)| a != b).count() as u32;
        let (old, new) = (count(&old), count(&new));
        let needed: u32 = new
            .iter()
            .map(|(owner, &now)| now.saturating_sub(*old.get(owner).unwrap_or(&0)))
            .sum();
        f64::from(changed - needed) * 100.0 / f64::from(SLOTS)
    };
    let extra = gained(&added);
    assert!(extra <= 1.0, "{extra} % when one is added");
    for weight in [1, 50, 101, 200] {
        let mut after = before.clone();
        after[37].1 = weight;
        let extra = gained(&after);
        assert!(extra <= 1.0, "{extra} % when a weight becomes {weight}");
    }
}

#[test]
fn a_thousand_weighted_backends_get_their_shares() {
    let weighted: Vec<_> = (0..1000)
        .map(|i| (backend(i), 1 + (i * 7919 % 1000) as u16))
        .collect();
    let quality = quality(&build(SEED, SLOTS, &weighted), &weighted);
    assert!(quality.max_error_slots <= 2, "{quality:?}");
    assert!(quality.min_slots >= 1, "{quality:?}");
}

#[test]
fn without_a_backend_nobody_owns_a_slot() {
    assert!(build(SEED, 251, &[]).iter().all(|&owner| owner == NOBODY));
    let drained = [(backend(1), 0), (backend(2), 0)];
    assert!(
        build(SEED, 251, &drained)
            .iter()
            .all(|&owner| owner == NOBODY)
    );
    assert!(build(SEED, 0, &equal(3)).is_empty());
}

#[test]
fn any_number_of_slots_gives_a_full_table() {
    for slots in [1, 2, 4, 100, 65_536] {
        let table = build(SEED, slots, &equal(3));
        assert!(table.iter().all(|&owner| owner < 3), "{slots} slots");
    }
}

#[test]
fn fewer_slots_than_backends_go_to_the_heaviest() {
    let weighted = [(backend(1), 1), (backend(2), 900), (backend(3), 800)];
    let mut table = build(SEED, 2, &weighted);
    table.sort_unstable();
    assert_eq!(table, [1, 2]);
}

#[test]
fn the_seed_changes_the_table() {
    assert_ne!(build(1, 251, &equal(5)), build(2, 251, &equal(5)));
}

/// Nodes of different versions share flows: a change here is a change of protocol.
#[test]
fn the_table_stays_what_it_was_in_earlier_versions() {
    let v6 = SocketAddr::new(IpAddr::from([0x2001, 0xdb8, 0, 0, 0, 0, 0, 1]), 443);
    let weighted = [(backend(1), 100), (backend(2), 50), (v6, 100)];
    let table = build(SEED, 13, &weighted);
    assert_eq!(table, [0, 2, 2, 1, 1, 2, 2, 2, 0, 1, 0, 0, 0]);
    let digest = |table: Vec<u32>| {
        let step = |hash: u64, &owner: &u32| mix(hash ^ u64::from(owner)).wrapping_add(STEP);
        table.iter().fold(0, step)
    };
    assert_eq!(digest(build(SEED, 4093, &weighted)), 0x5298_eed6_40ab_83b4);
    assert_eq!(
        digest(build(SEED, SLOTS, &equal(100))),
        0x1549_42c8_7876_b444
    );
}

#[test]
fn few_slots_are_warned_of() {
    assert_eq!(table_warning(65_537, 655), None);
    assert!(table_warning(65_537, 656).is_some_and(|text| text.contains("at least 65600")));
}
