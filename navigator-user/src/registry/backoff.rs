//! How long to wait before the next attempt.

use std::time::Duration;

/// No two attempts are closer than this, whatever the dice say.
const FLOOR: Duration = Duration::from_millis(20);

/// Full jitter: any time up to a ceiling that doubles with every failure, so
/// that a thousand clients of a registry that returns do not come back at once.
#[derive(Debug)]
pub(crate) struct Backoff {
    base: Duration,
    cap: Duration,
    failures: u32,
}

impl Backoff {
    /// The first wait is at most `base`, every later one at most `cap`.
    pub(crate) fn new(base: Duration, cap: Duration) -> Self {
        Self {
            base,
            cap: cap.max(FLOOR),
            failures: 0,
        }
    }

    /// Counts one more failure and says how long to wait.
    pub(crate) fn next_wait(&mut self) -> Duration {
        let ceiling = self.ceiling();
        self.failures = self.failures.saturating_add(1);
        rand::random_range(FLOOR..=ceiling)
    }

    /// An attempt succeeded: the next failure starts from `base` again.
    pub(crate) fn reset(&mut self) {
        self.failures = 0;
    }

    /// Failures since the last success.
    pub(crate) fn failures(&self) -> u32 {
        self.failures
    }

    fn ceiling(&self) -> Duration {
        let factor = 1_u32.checked_shl(self.failures).unwrap_or(u32::MAX);
        self.base.saturating_mul(factor).clamp(FLOOR, self.cap)
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    #[test]
    fn doubles_up_to_the_cap_and_starts_again() {
        let mut backoff = Backoff::new(Duration::from_millis(500), Duration::from_secs(30));
        let ceilings: Vec<u128> = (0..8)
            .map(|_| {
                let ceiling = backoff.ceiling().as_millis();
                backoff.next_wait();
                ceiling
            })
            .collect();
        assert_eq!(
            ceilings,
            [500, 1_000, 2_000, 4_000, 8_000, 16_000, 30_000, 30_000]
        );
        backoff.reset();
        assert_eq!(backoff.ceiling().as_millis(), 500);
    }

    proptest! {
        #[test]
        fn stays_between_floor_and_cap(base in 0_u64..100_000, cap in 0_u64..100_000, failures in 0_usize..80) {
            let cap = Duration::from_millis(cap);
            let mut backoff = Backoff::new(Duration::from_millis(base), cap);
            for _ in 0..failures {
                let wait = backoff.next_wait();
                prop_assert!(wait >= FLOOR && wait <= cap.max(FLOOR));
            }
        }
    }
}
