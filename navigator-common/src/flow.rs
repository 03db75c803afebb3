//! The flow cache: which backend a flow of an at-risk slot belongs to.
//!
//! A set is one cache line of four entries; a flow's hash names its set and,
//! whole, is its fingerprint. An entry is claimed by a compare-and-exchange
//! of its fingerprint to [`BUSY`], its word is written, then its fingerprint
//! is published; a reader that meets `BUSY` sees no match.

/// Entries in a set.
pub const WAYS: usize = 4;

/// Fingerprint of an entry that was never used.
pub const FREE: u64 = 0;

/// Fingerprint of an entry that a CPU is writing.
pub const BUSY: u64 = 1;

/// One remembered flow.
#[repr(C)]
#[derive(Clone, Copy, PartialEq, Eq, Debug, Default)]
pub struct FlowEntry {
    /// See [`fingerprint`].
    pub fingerprint: u64,
    /// A [`FlowWord`].
    pub word: u64,
}

/// One cache line of flows.
#[repr(C, align(64))]
#[derive(Clone, Copy, PartialEq, Eq, Debug, Default)]
pub struct FlowSet {
    /// The entries, in no order.
    pub ways: [FlowEntry; WAYS],
}

/// What is remembered of a flow: one word, always replaced whole.
///
/// | bits | meaning |
/// |---|---|
/// | 0–23 | backend |
/// | 24 | established: a non-SYN segment was seen after the entry was made |
/// | 25–31 | zero |
/// | 32–63 | when it was last seen, see [`coarse_time`] |
#[repr(transparent)]
#[derive(Clone, Copy, PartialEq, Eq, Debug, Default)]
pub struct FlowWord(pub u64);

impl FlowWord {
    const ESTABLISHED: u64 = 1 << 24;

    /// Packs a word.
    #[inline(always)]
    pub const fn new(backend: u32, established: bool, time: u32) -> Self {
        Self(backend as u64 & 0xff_ffff | (established as u64) << 24 | (time as u64) << 32)
    }

    /// The backend that serves the flow.
    #[inline(always)]
    pub const fn backend(self) -> u32 {
        (self.0 & 0xff_ffff) as u32
    }

    /// Whether the flow outlived its first packet; such entries are never evicted while they live.
    #[inline(always)]
    pub const fn is_established(self) -> bool {
        self.0 & Self::ESTABLISHED != 0
    }

    /// When the flow was last seen, in units of [`coarse_time`].
    #[inline(always)]
    pub const fn time(self) -> u32 {
        (self.0 >> 32) as u32
    }

    /// For how long the flow was silent at `now`. Another CPU may have seen it in a unit of time
    /// that this one has not read yet: that is no silence at all, not one of 146 years.
    #[inline(always)]
    pub const fn age(self, now: u32) -> u32 {
        let age = now.wrapping_sub(self.time());
        if age as i32 >= 0 { age } else { 0 }
    }

    /// Whether the flow was silent for longer than `lifetime` at `now`.
    #[inline(always)]
    pub const fn is_expired(self, now: u32, lifetime: u32) -> bool {
        self.age(now) > lifetime
    }
}

/// Monotonic nanoseconds as units of 2^30 ns (about 1.07 s): cheap to derive,
/// and 32 bits of it last for 146 years.
#[inline(always)]
pub const fn coarse_time(nanoseconds: u64) -> u32 {
    (nanoseconds >> 30) as u32
}

/// Seconds as units of [`coarse_time`], rounded up.
pub const fn coarse_seconds(seconds: u64) -> u32 {
    ((seconds * 1_000_000_000) >> 30) as u32 + 1
}

/// How old a flow's time may grow before the program renews it, in units of [`coarse_time`] (about
/// half a minute). Against a lifetime of hours that is exact enough, and a busy flow neither
/// dirties its cache line nor pulls it from CPU to CPU with every packet.
pub const RENEWAL: u32 = 32;

/// Units of [`coarse_time`] after which a flow is forgotten that is to be remembered for
/// `seconds` of silence: the time in its entry may be [`RENEWAL`] older than its last packet.
pub const fn lifetime(seconds: u64) -> u32 {
    coarse_seconds(seconds) + RENEWAL
}

/// A flow's fingerprint: its hash, kept clear of [`FREE`] and [`BUSY`].
#[inline(always)]
pub const fn fingerprint(hash: u64) -> u64 {
    if hash <= BUSY { hash + 2 } else { hash }
}

const _: () = {
    assert!(size_of::<FlowEntry>() == 16);
    assert!(size_of::<FlowSet>() == 64);
    assert!(core::mem::offset_of!(FlowEntry, word) == 8);
};

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    proptest! {
        #[test]
        fn words_survive_the_round_trip(backend in 0u32..1 << 24, established: bool, time: u32) {
            let word = FlowWord::new(backend, established, time);
            prop_assert_eq!((word.backend(), word.is_established(), word.time()), (backend, established, time));
        }

        #[test]
        fn a_flow_expires_after_its_lifetime_even_when_the_clock_wraps(time: u32, age in 0u32..1_000_000, lifetime in 0u32..1_000_000) {
            let word = FlowWord::new(1, true, time);
            prop_assert_eq!(word.is_expired(time.wrapping_add(age), lifetime), age > lifetime);
        }

        #[test]
        fn a_flow_seen_by_a_cpu_whose_clock_is_ahead_is_young(time: u32, ahead in 1u32..1000, lifetime in 0u32..1_000_000) {
            let word = FlowWord::new(1, true, time.wrapping_add(ahead));
            prop_assert!(!word.is_expired(time, lifetime));
            prop_assert_eq!(word.age(time), 0);
        }

        #[test]
        fn no_fingerprint_is_reserved(hash: u64) {
            prop_assert!(fingerprint(hash) > BUSY);
        }
    }
}
