//! Whose turn is when.

use super::{Backend, mix};

/// The order of all turns, as indexes into `backends`; as many of each as its quota.
///
/// The k-th turn of a backend comes at the time (k + phase) / weight, which
/// depends on nothing but the backend. Times are sorted by counting: into as
/// many buckets as about a quarter of the slots, and by backend within one.
pub(super) fn order(slots: u32, backends: &[Backend], quotas: &[u32]) -> Vec<u32> {
    let total: u64 = backends
        .iter()
        .map(|backend| u64::from(backend.weight))
        .sum();
    let end = (u64::from(slots) << 32) / total.max(1);
    let shift = shift(end, u64::from(slots) / 4 + 1);
    let buckets = (end >> shift) as usize + 1;
    let bucket = |time: u64| ((time >> shift) as usize).min(buckets - 1);

    let mut starts = vec![0u32; buckets + 1];
    each_turn(backends, quotas, |_, time| starts[bucket(time) + 1] += 1);
    for i in 1..starts.len() {
        starts[i] += starts[i - 1];
    }
    let mut order = vec![0u32; quotas.iter().sum::<u32>() as usize];
    each_turn(backends, quotas, |backend, time| {
        let next = &mut starts[bucket(time)];
        order[*next as usize] = backend;
        *next += 1;
    });
    order
}

fn each_turn(backends: &[Backend], quotas: &[u32], mut turn: impl FnMut(u32, u64)) {
    for (index, (backend, &quota)) in backends.iter().zip(quotas).enumerate() {
        let period = (1u64 << 32) / u64::from(backend.weight);
        // The first turn comes somewhere in the first period.
        let mut time = ((mix(!backend.identity) >> 32) * period) >> 32;
        for _ in 0..quota {
            turn(index as u32, time);
            time += period;
        }
    }
}

/// The smallest shift that brings `end` to at most `limit`.
fn shift(end: u64, limit: u64) -> u32 {
    (0..64).find(|&shift| end >> shift <= limit).unwrap_or(63)
}
