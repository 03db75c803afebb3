//! Health checks: one task a target, bounded in number, each a thin prober
//! around the state machine in `navigator-core`.
//!
//! [`Prober`] owns the tasks. A check (`check`) says pass or fail and why;
//! the machine turns that into a verdict; the `outbox` brings the verdict
//! to whoever reads the reports, without ever holding up a check.

mod check;
mod figures;
mod http;
mod outbox;
mod prober;
mod task;

#[cfg(test)]
mod tests;

pub use figures::ProberFigures;
pub use prober::{Prober, ProberSettings};

use navigator_core::{
    health::Health,
    model::{CheckSpec, InstanceKey},
};
use std::time::{Duration, SystemTime};

/// What one check found.
#[derive(Clone, PartialEq, Eq, Debug)]
pub struct ProbeReport {
    /// Which instance.
    pub key: InstanceKey,
    /// What its checks say now.
    pub health: Health,
    /// `health` differs from the report before, or from [`Target::initial`] for the first one.
    pub changed: bool,
    /// When the check ended.
    pub at: SystemTime,
    /// How long it took.
    pub took: Duration,
    /// What was found, in words: `HTTP 200`, `connection refused`, `no answer within 2s`.
    pub detail: String,
}

/// What is to be checked.
#[derive(Clone, PartialEq, Eq, Debug)]
pub struct Target {
    /// Which instance.
    pub key: InstanceKey,
    /// How.
    pub check: CheckSpec,
    /// What counts until the first verdict; looked at only when the target is new.
    pub initial: Health,
}
