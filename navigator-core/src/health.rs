//! Health: what the checks of one instance say, as a state machine without
//! I/O. Time is an argument.

use serde::{Deserialize, Serialize};

/// What the checks of an instance say.
#[derive(Clone, Copy, PartialEq, Eq, Hash, Debug, Default, Serialize, Deserialize)]
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
