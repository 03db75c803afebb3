//! The memory of fragmented packets. Only the first fragment holds the ports;
//! they are remembered for as long as a receiver waits for the others.
//!
//! A packet's hash (of source, destination, identification and protocol,
//! keyed as a flow's) names a set of entries, which is one cache line; an entry
//! is a single word, always replaced whole, so that no CPU sees half of one.

use crate::flow::coarse_seconds;

/// Entries in a set.
pub const WAYS: usize = 8;

/// Coarse time units for which a packet is remembered: Linux gives up on one after 30 s.
pub const LIFETIME: u32 = coarse_seconds(30);

/// One set.
#[repr(C, align(64))]
#[derive(Clone, Copy, PartialEq, Eq, Debug, Default)]
pub struct FragmentSet {
    /// [`FragmentWord`]s, in no order.
    pub ways: [u64; WAYS],
}

/// What is remembered of one packet.
///
/// | bits | meaning |
/// |---|---|
/// | 0–31 | source and destination port as the packet holds them; 0 marks a free entry |
/// | 32 | 1 for UDP, 0 for TCP |
/// | 33–44 | when the first fragment came: low bits of [`crate::flow::coarse_time`] |
/// | 45–63 | high bits of the packet's hash |
#[repr(transparent)]
#[derive(Clone, Copy, PartialEq, Eq, Debug, Default)]
pub struct FragmentWord(pub u64);

const TIME_MASK: u64 = 0xfff;
const TAG_SHIFT: u32 = 45;

impl FragmentWord {
    /// Packs a word.
    #[inline(always)]
    pub const fn new(hash: u64, ports: u32, udp: bool, time: u32) -> Self {
        Self(
            ports as u64
                | (udp as u64) << 32
                | (time as u64 & TIME_MASK) << 33
                | hash >> TAG_SHIFT << TAG_SHIFT,
        )
    }

    /// The ports as the packet holds them; 0 for a free entry.
    #[inline(always)]
    pub const fn ports(self) -> u32 {
        self.0 as u32
    }

    /// Whether the packet is UDP, not TCP.
    #[inline(always)]
    pub const fn is_udp(self) -> bool {
        self.0 & 1 << 32 != 0
    }

    /// Whether this may be the packet with this hash: of others one in half a million looks so.
    #[inline(always)]
    pub const fn is_of(self, hash: u64) -> bool {
        self.ports() != 0 && (self.0 ^ hash) >> TAG_SHIFT == 0
    }

    /// Coarse time units since the first fragment came. They come round after more than an hour.
    /// Another CPU may have written in a unit that this one has not read yet: that is 0.
    #[inline(always)]
    pub const fn age(self, now: u32) -> u32 {
        let age = now.wrapping_sub((self.0 >> 33) as u32) & TIME_MASK as u32;
        if age == TIME_MASK as u32 { 0 } else { age }
    }

    /// Whether a receiver may still wait for fragments of it.
    #[inline(always)]
    pub const fn is_alive(self, now: u32) -> bool {
        self.ports() != 0 && self.age(now) <= LIFETIME
    }
}

const _: () = {
    assert!(size_of::<FragmentSet>() == 64);
    assert!(LIFETIME < TIME_MASK as u32 / 2);
};

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    proptest! {
        #[test]
        fn words_survive_the_round_trip(hash: u64, ports in 1u32.., udp: bool, time: u32, age in 0u32..4095) {
            let word = FragmentWord::new(hash, ports, udp, time);
            prop_assert_eq!((word.ports(), word.is_udp()), (ports, udp));
            prop_assert!(word.is_of(hash));
            prop_assert!(!word.is_of(hash ^ 1 << 63) && !word.is_of(hash ^ 1 << 45));
            prop_assert_eq!(word.age(time.wrapping_add(age)), age);
            prop_assert_eq!(word.is_alive(time.wrapping_add(age)), age <= LIFETIME);
        }

        #[test]
        fn a_cpu_whose_clock_is_behind_sees_it_new(hash: u64, ports in 1u32.., time: u32) {
            let word = FragmentWord::new(hash, ports, false, time);
            prop_assert_eq!(word.age(time.wrapping_sub(1)), 0);
        }

        #[test]
        fn a_free_entry_is_nobodys(hash: u64, now: u32) {
            prop_assert!(!FragmentWord::default().is_of(hash) && !FragmentWord::default().is_alive(now));
        }
    }
}
