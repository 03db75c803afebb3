//! The keyed flow hash: one 64-bit value per flow. Its high half picks the
//! slot and is the flow's tag in the flow cache, its low half picks the set
//! there.
//!
//! A round is an exclusive-or, a multiplication by a secret odd word and a
//! byte swap: the product's high bytes depend on every bit below them, and
//! the swap feeds them to the low end of the next round. Who does not know
//! the key cannot aim flows at one slot or one set. It is not a
//! cryptographic hash: an attacker who could watch which backend answers
//! each of very many chosen flows might learn something about the key.
//!
//! The hash is a function of the packet and the key alone, so that all
//! balancers of a cluster agree on it.

use crate::addr::Addr;

/// The secret of a cluster: made once, kept in the registry, the same on every node.
#[repr(C)]
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub struct HashKey {
    /// Added to the first word.
    pub seed: u64,
    /// Multipliers of the rounds; odd.
    pub multipliers: [u64; 4],
}

impl HashKey {
    /// A key from five random words; multipliers are made odd.
    pub const fn from_words(words: [u64; 5]) -> Self {
        let [seed, a, b, c, d] = words;
        Self {
            seed,
            multipliers: [a | 1, b | 1, c | 1, d | 1],
        }
    }

    /// The words that [`HashKey::from_words`] takes.
    pub const fn words(self) -> [u64; 5] {
        let [a, b, c, d] = self.multipliers;
        [self.seed, a, b, c, d]
    }
}

#[inline(always)]
const fn round(state: u64, word: u64, multiplier: u64) -> u64 {
    (state ^ word).wrapping_mul(multiplier).swap_bytes()
}

#[inline(always)]
const fn finish(state: u64, multiplier: u64) -> u64 {
    let product = state.wrapping_mul(multiplier);
    product ^ product >> 32
}

/// The hash of an IPv4 flow. Addresses and `ports` (source, then destination)
/// are the packet's bytes as loaded natively.
#[inline(always)]
pub const fn flow_v4(
    key: &HashKey,
    source: u32,
    destination: u32,
    ports: u32,
    protocol: u8,
) -> u64 {
    let [a, b, c, _] = key.multipliers;
    let state = round(key.seed, (source as u64) << 32 | ports as u64, a);
    let state = round(state, (protocol as u64) << 32 | destination as u64, b);
    finish(state, c)
}

/// The hash of an IPv6 flow. Addresses and `ports` (source, then destination)
/// are the packet's bytes as loaded natively.
#[inline(always)]
pub const fn flow_v6(
    key: &HashKey,
    source: Addr,
    destination: Addr,
    ports: u32,
    protocol: u8,
) -> u64 {
    let [a, b, c, d] = key.multipliers;
    let state = round(key.seed, source.hi, a);
    // The destination is one of a few VIPs that no outsider chooses: one word is enough for it.
    let state = round(state, destination.hi.rotate_left(17) ^ destination.lo, b);
    let state = round(state, source.lo, c);
    // A round moves what differs in a word's last bytes to the state's first ones only, where a
    // difference in the next word could cancel it. So between two words that a client chooses
    // there is a round with none: the destination's, and this one.
    let state = round(state, 0, d);
    let state = round(state, ports as u64 | (protocol as u64) << 32, a);
    finish(state, b)
}

/// The hash of an IPv4 client, whatever its ports and protocol.
#[inline(always)]
pub const fn client_v4(key: &HashKey, source: u32, destination: u32) -> u64 {
    flow_v4(key, source, destination, 0, 0)
}

/// The hash of an IPv6 client, whatever its ports and protocol.
#[inline(always)]
pub const fn client_v6(key: &HashKey, source: Addr, destination: Addr) -> u64 {
    flow_v6(key, source, destination, 0, 0)
}

/// What a client is remembered by in a VIP whose [`crate::vip::Vip::port`] this is: one client
/// may have another backend in each VIP of an address. The half that picks the slot stays.
#[inline(always)]
pub const fn client_of_vip(hash: u64, port: u64) -> u64 {
    hash ^ (port.wrapping_mul(0x9e37_79b9_7f4a_7c15) >> 32)
}

#[cfg(test)]
mod tests {
    extern crate std;
    use super::*;
    use crate::slot::slot_index;
    use std::{vec, vec::Vec};

    const KEY: HashKey = HashKey::from_words([
        0x243f_6a88_85a3_08d3,
        0x1319_8a2e_0370_7344,
        0xa409_3822_299f_31d0,
        0x082e_fa98_ec4e_6c89,
        0x4528_21e6_38d0_1377,
    ]);

    fn v4(source: u32, port: u16) -> u64 {
        flow_v4(
            &KEY,
            source.to_be(),
            0x0100_0a0a,
            u32::from(port.to_be()) | 0x5000_0000,
            6,
        )
    }

    fn v6(source: u128, port: u16) -> u64 {
        let source = Addr {
            hi: (source.to_be()) as u64,
            lo: (source.to_be() >> 64) as u64,
        };
        flow_v6(
            &KEY,
            source,
            Addr { hi: 1, lo: 2 },
            u32::from(port.to_be()),
            6,
        )
    }

    /// Chi-square of `buckets` against a uniform law, as standard deviations from its mean.
    fn deviation(buckets: &[u32]) -> f64 {
        let n: u32 = buckets.iter().sum();
        let want = f64::from(n) / buckets.len() as f64;
        let chi: f64 = buckets
            .iter()
            .map(|&b| (f64::from(b) - want).powi(2) / want)
            .sum();
        let freedom = (buckets.len() - 1) as f64;
        (chi - freedom) / (2.0 * freedom).sqrt()
    }

    #[test]
    fn clients_that_differ_little_spread_evenly_over_slots_and_sets() {
        let patterns: [(&str, Vec<u64>); 4] = [
            (
                "ports of one client",
                (0..=u16::MAX).map(|p| v4(0x0a00_0001, p)).collect(),
            ),
            (
                "neighbouring clients",
                (0..65_536).map(|i| v4(0x0a00_0000 + i, 40_000)).collect(),
            ),
            (
                "clients a /16 apart",
                (0..65_536).map(|i| v4(i << 16, 40_000)).collect(),
            ),
            (
                "IPv6 clients of one /64",
                (0..65_536)
                    .map(|i| v6(0x2001_0db8 << 96 | i, 40_000))
                    .collect(),
            ),
        ];
        for (name, hashes) in patterns {
            let mut slots = vec![0u32; 251];
            let mut sets = vec![0u32; 256];
            for hash in hashes {
                slots[slot_index(hash, 251) as usize] += 1;
                sets[hash as usize & 255] += 1;
            }
            assert!(
                deviation(&slots) < 5.0,
                "{name}: slots deviate by {}",
                deviation(&slots)
            );
            assert!(
                deviation(&sets) < 5.0,
                "{name}: sets deviate by {}",
                deviation(&sets)
            );
        }
    }

    /// Two flows of one hash are one flow to the flow cache.
    #[test]
    fn neighbours_do_not_collide() {
        let source = |prefix: u64, host: u64| Addr {
            hi: 0xb80d_0120 | prefix << 56,
            lo: host,
        };
        let hash =
            |source: Addr, port: u64| flow_v6(&KEY, source, Addr { hi: 1, lo: 2 }, port as u32, 6);
        // In all of them two numbers of 8 and 12 bits differ, each at an end of its word.
        type Flow = fn(u64, u64) -> (u64, u64, u64);
        let flows: [(&str, Flow); 4] = [
            ("last byte of the host, port", |i, j| (1, i << 56, j)),
            ("first byte of the host, port", |i, j| (1, i, j << 4)),
            ("last byte of the prefix, port", |i, j| (i, 1, j)),
            ("last byte of the prefix, host", |i, j| (i, j, 1)),
        ];
        for (what, flow) in flows {
            let mut hashes: Vec<u64> = (0..1 << 20)
                .map(|n| flow(n & 0xff, n >> 8))
                .map(|(prefix, host, port)| hash(source(prefix, host), port))
                .collect();
            hashes.sort_unstable();
            hashes.dedup();
            assert_eq!(hashes.len(), 1 << 20, "{what}");
        }
    }

    #[test]
    fn one_flipped_input_bit_flips_about_half_of_the_output() {
        for bit in 0..48u32 {
            let mut flipped = 0;
            for i in 0..1000u32 {
                let (source, port) = (i.wrapping_mul(0x9e37_79b9), i as u16);
                let other = if bit < 32 {
                    v4(source ^ 1 << bit, port)
                } else {
                    v4(source, port ^ 1 << (bit - 32))
                };
                flipped += (v4(source, port) ^ other).count_ones();
            }
            let mean = f64::from(flipped) / 1000.0;
            assert!(
                (24.0..40.0).contains(&mean),
                "bit {bit} flips {mean} of 64 on average"
            );
        }
    }
}
