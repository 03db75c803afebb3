//! Weighted Maglev: slot tables.
//!
//! Every backend has its own permutation of the slots, drawn from its
//! identity. The backends take turns, as often as their weights say; at its
//! turn a backend takes the next slot of its permutation that is still free.
//! Three things differ from the well-known algorithm:
//!
//! * How many slots each backend gets is settled beforehand ([`shares`]), so
//!   shares are exact, not merely close.
//! * When a backend's turns come depends on its own identity and weight only
//!   ([`turns`]): one that leaves does not reorder the others.
//! * A turn that meets taken slots only is put off until all others were
//!   taken. When a backend leaves, those that chose after it get on faster;
//!   short turns keep that from spreading, and a third fewer slots move than
//!   with turns that always succeed.
//!
//! All arithmetic is on integers and nothing depends on the order of the
//! input: every node that knows the same backends builds the same table.

mod shares;
mod turns;

pub use shares::{Quality, quality, table_warning};

use crate::prime::is_prime;
use std::net::{IpAddr, SocketAddr};

/// The entry of a slot without a backend.
pub const NOBODY: u32 = u32::MAX;

/// Builds the table of `slots` entries, each an index into `weighted`, which
/// pairs an instance with its weight. Instances of weight 0 get no slot;
/// every other one gets at least one where there are enough, and is within
/// two slots of its ideal share unless those minimum slots cost more.
///
/// `seed` is the cluster's. `slots` should be prime: else the permutations
/// are mere rotations, and changes move far more slots than need be. Without any weight all
/// entries are [`NOBODY`].
pub fn build(seed: u64, slots: u32, weighted: &[(SocketAddr, u16)]) -> Vec<u32> {
    let mut walkers = walkers(seed, slots, weighted);
    let weights: Vec<u16> = walkers.iter().map(|walker| walker.weight).collect();
    let mut turns = turns::order(slots, &walkers, &shares::quotas(slots, &weights));
    let mut table = vec![NOBODY; slots as usize];
    let mut taken = Bitmap::new(slots);
    while !turns.is_empty() {
        turns.retain(|&turn| {
            let walker = &mut walkers[turn as usize];
            let slot = walker.take(slots, &mut taken);
            if let Some(slot) = slot {
                table[slot as usize] = walker.index;
            }
            slot.is_none()
        });
    }
    table
}

/// Slots that a backend may try at one turn; found by measurement.
const TRIES: u32 = 2;

/// A backend on its way through its permutation: `at`, `at + skip`, … modulo the slots.
struct Walker {
    at: u32,
    skip: u32,
    /// Where in its first period its first turn comes, as a fraction of 2^32.
    phase: u32,
    weight: u16,
    /// Its place in the caller's slice.
    index: u32,
}

impl Walker {
    fn new(slots: u32, identity: u64, weight: u16, index: u32, prime: bool) -> Self {
        let [start, skip, phase] = [1, 2, 3].map(|salt| mix(identity.wrapping_add(salt)));
        Self {
            at: scale(start, slots),
            // Any step leads through all slots if their number is prime; 1 always does.
            skip: if prime { 1 + scale(skip, slots - 1) } else { 1 },
            phase: (phase >> 32) as u32,
            weight,
            index,
        }
    }

    /// Takes the first free one of the next [`TRIES`] slots, if there is one.
    #[inline(always)]
    fn take(&mut self, slots: u32, taken: &mut Bitmap) -> Option<u32> {
        let room = slots - self.skip;
        for _ in 0..TRIES {
            let slot = self.at;
            self.at = if slot < room {
                slot + self.skip
            } else {
                slot - room
            };
            if taken.insert(slot) {
                return Some(slot);
            }
        }
        None
    }
}

/// A set of slots.
struct Bitmap(Vec<u64>);

impl Bitmap {
    fn new(slots: u32) -> Self {
        Self(vec![0; slots as usize / 64 + 1])
    }

    /// Adds a slot; `false` if it was in the set before.
    #[inline(always)]
    fn insert(&mut self, slot: u32) -> bool {
        let word = &mut self.0[slot as usize / 64];
        let bit = 1 << (slot % 64);
        let new = *word & bit == 0;
        *word |= bit;
        new
    }
}

/// Those that have a weight, in an order that is the same on every node.
fn walkers(seed: u64, slots: u32, weighted: &[(SocketAddr, u16)]) -> Vec<Walker> {
    let mut sorted: Vec<_> = weighted
        .iter()
        .zip(0..)
        .filter(|((_, weight), _)| *weight > 0)
        .map(|(&(address, weight), index)| (identity(seed, address), address, weight, index))
        .collect();
    sorted.sort_unstable();
    let prime = is_prime(slots);
    sorted
        .into_iter()
        .map(|(identity, _, weight, index)| Walker::new(slots, identity, weight, index, prime))
        .collect()
}

/// A number for an instance under a seed, the same on every node and in every version.
fn identity(seed: u64, address: SocketAddr) -> u64 {
    let ip = match address.ip() {
        IpAddr::V4(ip) => ip.to_ipv6_mapped().to_bits(),
        IpAddr::V6(ip) => ip.to_bits(),
    };
    let words = [(ip >> 64) as u64, ip as u64, u64::from(address.port())];
    words
        .into_iter()
        .fold(mix(seed), |state, word| mix(state ^ word))
}

/// The finaliser of SplitMix64: a bijection that spreads every bit over all others.
fn mix(word: u64) -> u64 {
    let word = word.wrapping_add(0x9e37_79b9_7f4a_7c15);
    let word = (word ^ word >> 30).wrapping_mul(0xbf58_476d_1ce4_e5b9);
    let word = (word ^ word >> 27).wrapping_mul(0x94d0_49bb_1331_11eb);
    word ^ word >> 31
}

/// A number below `limit` (or 0) from a random word.
fn scale(word: u64, limit: u32) -> u32 {
    ((word >> 32) * u64::from(limit) >> 32) as u32
}

#[cfg(test)]
mod tests;
