//! What the clients saw: by VIP and backend, as of now and by step.

use crate::lab::client::{Load, Sample};
use std::{
    collections::BTreeMap,
    net::SocketAddr,
    time::{Duration, Instant},
};

/// The time over which the live view adds up.
const WINDOW: Duration = Duration::from_secs(1);

/// Follows what the clients of a [`Load`] see.
#[derive(Debug)]
pub(super) struct Meter {
    load: Load,
    read: usize,
    window: Vec<Sample>,
    step: Vec<Sample>,
}

/// What was seen in the last second.
#[derive(Clone, PartialEq, Debug, Default)]
pub(super) struct Now {
    /// Answers by VIP and backend.
    pub(super) answers: BTreeMap<(SocketAddr, String), u64>,
    /// Requests, answered or not.
    pub(super) requests: u64,
}

impl Now {
    /// The part of a VIP's answers that came from a backend, 0 to 1.
    pub(super) fn share(&self, vip: SocketAddr, backend: &str) -> f64 {
        let of_vip = self.answers.iter().filter(|((v, _), _)| *v == vip);
        let total: u64 = of_vip.clone().map(|(_, count)| count).sum();
        let own = of_vip.filter(|((_, name), _)| name == backend);
        let own: u64 = own.map(|(_, count)| count).sum();
        own as f64 / total.max(1) as f64
    }
}

impl Meter {
    pub(super) fn new(load: Load) -> Self {
        Self {
            load,
            read: 0,
            window: Vec::new(),
            step: Vec::new(),
        }
    }

    /// Reads what happened since the last time, and adds up the last second.
    pub(super) fn update(&mut self) -> Now {
        let fresh = self.load.since(self.read);
        self.read += fresh.len();
        self.step.extend_from_slice(&fresh);
        self.window.extend(fresh);
        let now = Instant::now();
        self.window
            .retain(|sample| now.duration_since(sample.start + sample.took) < WINDOW);
        let mut seen = Now::default();
        for sample in &self.window {
            seen.requests += 1;
            if let Ok(backend) = &sample.outcome {
                let key = (sample.target, backend.clone());
                *seen.answers.entry(key).or_default() += 1;
            }
        }
        seen
    }

    /// Failed requests of the step so far.
    pub(super) fn failed(&self) -> u64 {
        failed(&self.step)
    }

    /// Ends a step and returns what was seen in it.
    pub(super) fn end_step(&mut self) -> Vec<Sample> {
        self.update();
        std::mem::take(&mut self.step)
    }
}

/// How many of these requests failed.
pub(super) fn failed(samples: &[Sample]) -> u64 {
    samples.iter().filter(|s| s.outcome.is_err()).count() as u64
}

/// How long after `since` the last request was begun that `matches`.
pub(super) fn last(
    samples: &[Sample],
    since: Instant,
    matches: impl Fn(&Sample) -> bool,
) -> Duration {
    let starts = samples.iter().filter(|s| matches(s)).map(|s| s.start);
    starts
        .max()
        .map_or(Duration::ZERO, |last| last.saturating_duration_since(since))
}

/// How long after `since` the first request was answered that `matches`.
pub(super) fn first(
    samples: &[Sample],
    since: Instant,
    matches: impl Fn(&Sample) -> bool,
) -> Option<Duration> {
    let ends = samples.iter().filter(|s| matches(s));
    let ends = ends.map(|s| s.start + s.took);
    ends.min().map(|end| end.saturating_duration_since(since))
}

/// Whether a backend answered this request.
pub(super) fn answered_by(name: &str) -> impl Fn(&Sample) -> bool {
    move |sample| sample.outcome.as_deref() == Ok(name)
}
