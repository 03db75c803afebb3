//! The flow cache: which backend a flow of an at-risk slot belongs to.
//!
//! A set is one cache line of eight entries, each one word, so that an entry is read,
//! replaced and given to another flow by one atomic access. The low half of a flow's
//! hash names its set, the high half, which also picks its slot, is its tag there. Two
//! flows of one set and tag are one to the cache; that a backend is of the flow's own
//! VIP is asked apart.

/// Entries in a set.
pub const WAYS: usize = 8;

/// One cache line of remembered flows, each a [`FlowWord`].
#[repr(C, align(64))]
#[derive(Clone, Copy, PartialEq, Eq, Debug, Default)]
pub struct FlowSet {
    /// The entries; a flow's own one, if it was free, is that of [`own_way`].
    pub ways: [u64; WAYS],
}

/// A remembered flow: one word, always replaced whole.
///
/// | bits | meaning |
/// |---|---|
/// | 0–18 | backend; 0 marks a free entry |
/// | 19 | established: a non-SYN segment was seen after the entry was made |
/// | 20–31 | when it was last seen, see [`time`] |
/// | 32–63 | the flow's [`tag`] |
#[repr(transparent)]
#[derive(Clone, Copy, PartialEq, Eq, Debug, Default)]
pub struct FlowWord(pub u64);

/// The largest id of a backend that flows can be remembered for.
pub const MAX_BACKEND: u32 = (1 << 19) - 1;

const ESTABLISHED: u64 = 1 << 19;
const TIME_SHIFT: u32 = 20;
const TIME_MASK: u32 = (1 << 12) - 1;
/// Ages above this are those of flows that a CPU saw whose clock is ahead.
const OLDEST: u32 = TIME_MASK - 8;

impl FlowWord {
    /// A free entry.
    pub const FREE: Self = Self(0);

    /// Packs a word.
    #[inline(always)]
    pub const fn new(tag: u32, backend: u32, established: bool, time: u32) -> Self {
        Self(
            (backend & MAX_BACKEND) as u64
                | (established as u64) << ESTABLISHED.trailing_zeros()
                | ((time & TIME_MASK) as u64) << TIME_SHIFT
                | (tag as u64) << 32,
        )
    }

    /// The flow's tag.
    #[inline(always)]
    pub const fn tag(self) -> u32 {
        (self.0 >> 32) as u32
    }

    /// The backend that serves the flow.
    #[inline(always)]
    pub const fn backend(self) -> u32 {
        self.0 as u32 & MAX_BACKEND
    }

    /// Whether the flow outlived its first packet; such entries are never evicted while they live.
    #[inline(always)]
    pub const fn is_established(self) -> bool {
        self.0 & ESTABLISHED != 0
    }

    /// When the flow was last seen, in units of [`time`].
    #[inline(always)]
    pub const fn time(self) -> u32 {
        (self.0 >> TIME_SHIFT) as u32 & TIME_MASK
    }

    /// For how many units the flow was silent at `now`. Another CPU may have seen it in a unit of
    /// time that this one has not read yet: that is no silence at all, not one of 39 hours.
    #[inline(always)]
    pub const fn age(self, now: u32) -> u32 {
        let age = now.wrapping_sub(self.time()) & TIME_MASK;
        if age > OLDEST { 0 } else { age }
    }

    /// Whether the flow was silent for longer than `lifetime` units at `now`.
    #[inline(always)]
    pub const fn is_expired(self, now: u32, lifetime: u32) -> bool {
        self.age(now) > lifetime
    }

    /// The same flow at another backend.
    #[must_use]
    pub const fn at(self, backend: u32) -> Self {
        Self::new(self.tag(), backend, self.is_established(), self.time())
    }

    /// The same flow, seen `units` earlier.
    #[must_use]
    pub const fn aged(self, units: u32) -> Self {
        let time = self.time().wrapping_sub(units);
        Self::new(self.tag(), self.backend(), self.is_established(), time)
    }
}

/// What a flow of this hash is known by in its set.
#[inline(always)]
pub const fn tag(hash: u64) -> u32 {
    (hash >> 32) as u32
}

/// The entry of its set that a flow takes if it is free, so that it is found at the first look.
#[inline(always)]
pub const fn own_way(tag: u32) -> usize {
    tag as usize % WAYS
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

/// Units of [`coarse_time`] in one of those in which a flow's time is kept: about half a minute.
/// A busy flow's entry is written that often and no more, so that it neither dirties its cache
/// line nor pulls it from CPU to CPU with every packet.
pub const TIME_UNIT: u32 = 32;

/// A moment of [`coarse_time`] as a flow's entry keeps it: of its low 12 bits, which last for
/// 39 hours. Who was silent for longer may seem young again, until its window closes.
#[inline(always)]
pub const fn time(coarse: u32) -> u32 {
    coarse / TIME_UNIT
}

/// Units of [`time`] after which a flow is forgotten that is to be remembered for `seconds` of
/// silence: its time may be one unit older than its last packet.
pub const fn lifetime(seconds: u64) -> u32 {
    coarse_seconds(seconds).div_ceil(TIME_UNIT) + 1
}

const _: () = assert!(size_of::<FlowSet>() == 64);

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    proptest! {
        #[test]
        fn words_survive_the_round_trip(tag: u32, backend in 0..=MAX_BACKEND, established: bool, time in 0..=TIME_MASK) {
            let word = FlowWord::new(tag, backend, established, time);
            prop_assert_eq!((word.tag(), word.backend(), word.is_established(), word.time()), (tag, backend, established, time));
            prop_assert_eq!(word.at(7), FlowWord::new(tag, 7, established, time));
            prop_assert_eq!(word.aged(3).aged(3u32.wrapping_neg()), word);
        }

        #[test]
        fn a_flow_expires_after_its_lifetime_even_when_the_clock_wraps(time: u32, age in 0..=OLDEST, lifetime in 0..=OLDEST) {
            let word = FlowWord::new(0, 1, true, time);
            prop_assert_eq!(word.is_expired(time.wrapping_add(age), lifetime), age > lifetime);
        }

        #[test]
        fn a_flow_seen_by_a_cpu_whose_clock_is_ahead_is_young(time: u32, ahead in 1..8u32) {
            let word = FlowWord::new(0, 1, true, time.wrapping_add(ahead));
            prop_assert!(!word.is_expired(time, 0));
            prop_assert_eq!(word.age(time), 0);
        }

        #[test]
        fn a_flow_is_remembered_for_as_long_as_it_should_be(seen: u32, seconds in 1u64..86_400) {
            let word = FlowWord::new(0, 1, true, time(seen));
            let limit = coarse_seconds(seconds);
            let at = |silent: u32| word.is_expired(time(seen + silent), lifetime(seconds));
            prop_assume!(seen < u32::MAX - limit - 3 * TIME_UNIT);
            prop_assert!(!at(limit) && at(limit + 3 * TIME_UNIT));
        }
    }
}
