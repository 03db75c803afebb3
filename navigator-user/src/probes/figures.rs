//! How the prober itself is doing.

use std::{
    sync::{
        Mutex, PoisonError,
        atomic::{AtomicU64, Ordering::Relaxed},
    },
    time::Duration,
};
use tokio::time::Instant;

/// How the prober itself is doing, since it was started.
#[derive(Clone, Copy, PartialEq, Eq, Debug, Default)]
pub struct ProberFigures {
    /// Targets that are checked now, those with check kind `none` included.
    pub targets: usize,
    /// Checks that run now.
    pub in_flight: usize,
    /// Checks that may run at the same time.
    pub in_flight_limit: usize,
    /// Checks that ended.
    pub checks: u64,
    /// Checks that failed.
    pub failed: u64,
    /// Checks that could not be made for want of something on this host, and count for nothing.
    pub inconclusive: u64,
    /// Reports without a change that were dropped, because their reader was slow.
    pub reports_dropped: u64,
    /// How much later than due checks began, in sum.
    pub late_total: Duration,
    /// How much later than due a check began, at worst.
    pub late_max: Duration,
}

/// The counters behind [`ProberFigures`].
#[derive(Default)]
pub(super) struct Counters {
    pub(super) checks: AtomicU64,
    pub(super) failed: AtomicU64,
    pub(super) inconclusive: AtomicU64,
    pub(super) reports_dropped: AtomicU64,
    late_total_micros: AtomicU64,
    late_max_micros: AtomicU64,
    warned: Mutex<Option<Instant>>,
}

/// At most one warning about this host's own troubles in this time.
const WARNING_PAUSE: Duration = Duration::from_secs(60);

impl Counters {
    /// A check began `late` after it was due.
    pub(super) fn began(&self, late: Duration) {
        let micros = late.as_micros().try_into().unwrap_or(u64::MAX);
        self.late_total_micros.fetch_add(micros, Relaxed);
        self.late_max_micros.fetch_max(micros, Relaxed);
    }

    /// A check could not be made; warns, seldom.
    pub(super) fn could_not_check(&self, what: &dyn std::fmt::Display, why: &str) {
        self.inconclusive.fetch_add(1, Relaxed);
        let now = Instant::now();
        let mut warned = self.warned.lock().unwrap_or_else(PoisonError::into_inner);
        if warned.is_none_or(|last| now - last >= WARNING_PAUSE) {
            *warned = Some(now);
            tracing::warn!(
                instance = %what,
                "health checks cannot be made, verdicts stay as they are: {why}"
            );
        }
    }

    /// The counted part of the figures.
    pub(super) fn read(&self) -> ProberFigures {
        ProberFigures {
            checks: self.checks.load(Relaxed),
            failed: self.failed.load(Relaxed),
            inconclusive: self.inconclusive.load(Relaxed),
            reports_dropped: self.reports_dropped.load(Relaxed),
            late_total: Duration::from_micros(self.late_total_micros.load(Relaxed)),
            late_max: Duration::from_micros(self.late_max_micros.load(Relaxed)),
            ..ProberFigures::default()
        }
    }
}
