//! How many packets the program may answer by itself. Each kind of answer has
//! a token bucket per CPU, kept as one word: when the bucket will be full
//! again (the generic cell rate algorithm). CPUs share nothing.

/// A kind of packet that the program makes up as an answer.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
#[repr(u32)]
pub enum Answer {
    /// Replies to ICMP and ICMPv6 echo requests.
    Echo,
    /// ICMP errors: "fragmentation needed" and "packet too big".
    Error,
}

/// Entries of the array of buckets, which [`Answer`] indexes.
pub const BUCKETS: u32 = 2;

/// Answers of one kind that a CPU gives in a second, if it is asked without pause.
pub const ANSWERS_PER_SECOND: u64 = 1000;

/// Answers of one kind that a CPU may give at once after it gave none for a second.
pub const BURST: u64 = ANSWERS_PER_SECOND;

/// Nanoseconds that an answer costs.
const COST: u64 = 1_000_000_000 / ANSWERS_PER_SECOND;

/// Takes a token at `now` (nanoseconds) from a bucket that will be full at `full_at`: when it
/// will be full then, or `None` if it is empty.
#[inline(always)]
pub const fn take(full_at: u64, now: u64) -> Option<u64> {
    let full_at = if full_at > now { full_at } else { now };
    if full_at - now > (BURST - 1) * COST {
        None
    } else {
        Some(full_at + COST)
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    /// Answers to questions asked after these pauses.
    fn answered(mut now: u64, pauses: impl IntoIterator<Item = u64>) -> u64 {
        let (mut full_at, mut answers) = (0, 0);
        for pause in pauses {
            now += pause;
            if let Some(later) = take(full_at, now) {
                (full_at, answers) = (later, answers + 1);
            }
        }
        answers
    }

    #[test]
    fn a_burst_is_answered_and_no_more() {
        assert_eq!(answered(0, [0; 5000]), BURST);
        assert_eq!(answered(1 << 60, [0; 5000]), BURST);
    }

    proptest! {
        #[test]
        fn no_more_than_the_burst_and_the_rate(start in 0u64..1 << 62, pauses in prop::collection::vec(0u64..3 * COST, 1..4000)) {
            let time: u64 = pauses.iter().skip(1).sum();
            prop_assert!(answered(start, pauses) <= BURST + time / COST);
        }

        #[test]
        fn who_asks_at_the_rate_is_always_answered(start in 0u64..1 << 62, more in prop::collection::vec(0u64..COST, 1..4000)) {
            let count = more.len() as u64;
            prop_assert_eq!(answered(start, more.into_iter().map(|extra| COST + extra)), count);
        }
    }
}
