//! Health: what the checks of one instance say, as a state machine without
//! I/O and without a clock.
//!
//! ```text
//!              first result
//!   Unknown ────────────────► Healthy ◄──────────────────► Unhealthy
//!                                `fall` failures in a row ─►
//!                                ◄─ `rise` passes in a row
//! ```
//!
//! The prober asks [`Machine::pause`] how long to wait, checks, and tells
//! [`Machine::observe`] what it found.

use crate::model::CheckSpec;
use serde::{Deserialize, Serialize};
use std::time::Duration;

/// What the checks of an instance say.
#[derive(
    Clone, Copy, PartialEq, Eq, Hash, Debug, Default, Serialize, Deserialize, utoipa::ToSchema,
)]
#[serde(rename_all = "snake_case")]
pub enum Health {
    /// No verdict yet.
    #[default]
    Unknown,
    /// The checks pass.
    Healthy,
    /// The checks fail.
    Unhealthy,
}

/// The shortest time between two checks of one instance.
pub const MIN_INTERVAL: Duration = Duration::from_millis(100);

/// How often an instance is checked, and how many results make a verdict.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub struct Settings {
    /// From the start of one check to the start of the next, while nothing changes.
    pub interval: Duration,
    /// Time after which an unanswered check has failed.
    pub timeout: Duration,
    /// Passes in a row that make an unhealthy instance healthy.
    pub rise: u32,
    /// Failures in a row that make a healthy instance unhealthy.
    pub fall: u32,
    /// The interval while a change is under way.
    pub fast_interval: Duration,
}

impl Default for Settings {
    fn default() -> Self {
        Self {
            interval: Duration::from_secs(5),
            timeout: Duration::from_secs(2),
            rise: 2,
            fall: 3,
            fast_interval: Duration::from_secs(1),
        }
    }
}

impl Settings {
    /// The settings of one check: its own where it has some, these for the
    /// rest, brought into bounds. The interval is at least [`MIN_INTERVAL`];
    /// timeout and fast interval are at most the interval.
    #[must_use]
    pub fn for_check(&self, check: &CheckSpec) -> Self {
        let interval = check.interval.unwrap_or(self.interval).max(MIN_INTERVAL);
        let timeout = check.timeout.unwrap_or(self.timeout);
        Self {
            interval,
            timeout: timeout.clamp(Duration::from_millis(1), interval),
            rise: check.rise.unwrap_or(self.rise).max(1),
            fall: check.fall.unwrap_or(self.fall).max(1),
            fast_interval: self.fast_interval.clamp(MIN_INTERVAL, interval),
        }
    }

    /// The longest time from an instance's death to the verdict: it dies just
    /// after a check began that it still passes, and every further check of
    /// it runs into its timeout. One that refuses is found out sooner, by the timeouts.
    pub fn detection_bound(&self) -> Duration {
        let pauses = self.interval + self.fast_interval * self.fall.saturating_sub(1);
        pauses + pauses / 10 + self.timeout * self.fall
    }
}

/// The state of one instance's checks.
#[derive(Clone, Debug)]
pub struct Machine {
    settings: Settings,
    health: Health,
    /// A result of this process decided `health`.
    settled: bool,
    /// Results in a row that contradict `health`.
    contrary: u32,
}

impl Machine {
    /// For an instance that nothing is known of.
    pub fn new(settings: Settings) -> Self {
        Self::with_initial(settings, Health::Unknown)
    }

    /// For an instance whose health was known before a restart. It holds
    /// until the first result, which decides at once all the same.
    pub fn with_initial(settings: Settings, health: Health) -> Self {
        Self {
            settings,
            health,
            settled: false,
            contrary: 0,
        }
    }

    /// Goes on with other times and counts; results so far stand.
    pub fn set_settings(&mut self, settings: Settings) {
        self.settings = settings;
    }

    /// What the checks say.
    pub fn health(&self) -> Health {
        self.health
    }

    /// Takes the result of one check; the new health if it changed.
    pub fn observe(&mut self, pass: bool) -> Option<Health> {
        let said = if pass {
            Health::Healthy
        } else {
            Health::Unhealthy
        };
        if said == self.health {
            self.settled = true;
            self.contrary = 0;
            return None;
        }
        self.contrary += 1;
        let needed = match said {
            _ if !self.settled => 1,
            Health::Healthy => self.settings.rise,
            _ => self.settings.fall,
        };
        if self.contrary < needed {
            return None;
        }
        self.settled = true;
        self.contrary = 0;
        self.health = said;
        Some(said)
    }

    /// From the start of the check before to the start of the next one: the fast
    /// interval while there is no verdict, or while results contradict it.
    /// [`jittered`] spreads it.
    pub fn pause(&self) -> Duration {
        if self.health == Health::Unknown || self.contrary > 0 {
            self.settings.fast_interval
        } else {
            self.settings.interval
        }
    }
}

/// `pause` shortened or lengthened by up to a tenth, so that checks that
/// began together drift apart. `fraction` is random, from 0 up to but not
/// including 1. Never longer than 1.1 × `pause`.
pub fn jittered(pause: Duration, fraction: f64) -> Duration {
    let fraction = if fraction.is_nan() { 0.5 } else { fraction };
    let spread = (pause / 5).mul_f64(fraction.clamp(0.0, 1.0));
    (pause - pause / 10).saturating_add(spread)
}

#[cfg(test)]
mod tests;
