//! Weighted Maglev: slot tables.
//!
//! Every backend has its own endless sequence of slots, drawn from its
//! identity. The backends take turns, as often as their weights say; at its
//! turn a backend takes the next slot of its sequence, if that is still
//! free. This is Maglev with four changes, each for a reason:
//!
//! * How many slots each backend gets is settled beforehand, so shares are
//!   exact, not merely close.
//! * When a backend's turns come depends on its own identity and weight only:
//!   one that leaves does not reorder the others.
//! * A turn that meets a taken slot is put off until all others have had
//!   theirs, instead of going on until it finds a free one. When a backend
//!   leaves, those that chose after it find free slots sooner; short turns
//!   keep that from spreading, and a quarter fewer slots move.
//! * Sequences are hashes, not arithmetic progressions: two progressions of
//!   related steps trail each other, and where the first one's backend leaves,
//!   the second one's moves almost whole.
//!
//! The last few slots would take most of the time to find, so there each
//! slot chooses among the backends instead.
//!
//! All arithmetic is on integers and nothing depends on the order of the
//! input: every node that knows the same backends builds the same table.

mod shares;
mod turns;

pub use shares::{Quality, quality, table_warning};

use std::net::{IpAddr, SocketAddr};

/// The entry of a slot without a backend.
pub const NOBODY: u32 = u32::MAX;

/// Free slots from which on slots choose; by measurement the cheapest power of two.
const LAST_SLOTS: usize = 256;

/// Builds the table of `slots` entries, each an index into `weighted`, which
/// pairs an instance with its weight. Instances of weight 0 get no slot;
/// every other one gets at least one where there are enough, and is within
/// two slots of its ideal share unless those minimum slots cost more.
///
/// `seed` is the cluster's. Without any weight all entries are [`NOBODY`].
pub fn build(seed: u64, slots: u32, weighted: &[(SocketAddr, u16)]) -> Vec<u32> {
    let mut backends = backends(seed, weighted);
    let weights: Vec<u16> = backends.iter().map(|backend| backend.weight).collect();
    let quotas = shares::quotas(slots, &weights);
    let mut turns = turns::order(slots, &backends, &quotas);
    let mut table = vec![NOBODY; slots as usize];
    let mut taken = Bitmap::new(slots);
    while turns.len() > LAST_SLOTS {
        let mut put_off = 0;
        for i in 0..turns.len() {
            let turn = turns[i];
            let backend = &mut backends[turn as usize];
            let slot = backend.draw(slots);
            if taken.insert(slot) {
                table[slot as usize] = backend.index;
            } else {
                turns[put_off] = turn;
                put_off += 1;
            }
        }
        turns.truncate(put_off);
    }
    choose_last(&mut table, turns, &backends);
    table
}

/// Gives each slot that is left to the backend, of those that have turns
/// left, whose hash with the slot is lowest.
fn choose_last(table: &mut [u32], mut turns: Vec<u32>, backends: &[Backend]) {
    for (owner, slot) in table.iter_mut().zip(0u64..) {
        if *owner != NOBODY {
            continue;
        }
        let hash = |&i: &usize| mix(backends[turns[i] as usize].identity ^ slot);
        if let Some(lowest) = (0..turns.len()).min_by_key(|i| (hash(i), turns[*i])) {
            *owner = backends[turns.swap_remove(lowest) as usize].index;
        }
    }
}

/// A backend that takes slots.
struct Backend {
    identity: u64,
    /// Where it is in its sequence.
    state: u64,
    /// Its place in the caller's slice.
    index: u32,
    weight: u16,
}

impl Backend {
    /// The next slot of its sequence. A generator in the manner of wyrand,
    /// with one multiplication cheaper than [`mix`].
    #[inline(always)]
    fn draw(&mut self, slots: u32) -> u32 {
        self.state = self.state.wrapping_add(STEP);
        let product = u128::from(self.state) * u128::from(self.state ^ TWIST);
        let word = (product >> 64) as u64 ^ product as u64;
        (((word >> 32) * u64::from(slots)) >> 32) as u32
    }
}

/// Any odd word of many ones and zeros.
const TWIST: u64 = 0xe703_7ed1_a0b4_28db;

/// Those that have a weight, in an order that is the same on every node.
fn backends(seed: u64, weighted: &[(SocketAddr, u16)]) -> Vec<Backend> {
    let mut sorted: Vec<_> = weighted
        .iter()
        .zip(0..)
        .filter(|((_, weight), _)| *weight > 0)
        .map(|(&(address, weight), index)| (identity(seed, address), address, weight, index))
        .collect();
    sorted.sort_unstable();
    sorted
        .into_iter()
        .map(|(identity, _, weight, index)| Backend {
            identity,
            state: mix(identity),
            index,
            weight,
        })
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
        .fold(mix(seed.wrapping_add(STEP)), |state, word| {
            mix((state ^ word).wrapping_add(STEP))
        })
}

/// The step of SplitMix64, which visits every 64-bit number: 2^64 over the golden ratio.
const STEP: u64 = 0x9e37_79b9_7f4a_7c15;

/// The finaliser of SplitMix64: a bijection that spreads every bit over all others.
#[inline(always)]
fn mix(word: u64) -> u64 {
    let word = (word ^ word >> 30).wrapping_mul(0xbf58_476d_1ce4_e5b9);
    let word = (word ^ word >> 27).wrapping_mul(0x94d0_49bb_1331_11eb);
    word ^ word >> 31
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
        if *word & bit != 0 {
            return false;
        }
        *word |= bit;
        true
    }
}

#[cfg(test)]
mod tests;
