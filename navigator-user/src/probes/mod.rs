//! Health checks: one task a target, bounded in number, each a thin prober
//! around the state machine in `navigator-core`.

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
    /// `health` differs from the report before.
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
}
