//! Why an entry is refused.

use serde::{Deserialize, Serialize};
use std::fmt;

/// The named reasons for refusing an entry.
#[derive(Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash, Debug, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum RejectReason {
    /// Not JSON, half-written, nested too deep, or not an object.
    BadJson,
    /// The value is over [`super::MAX_VALUE`].
    TooLarge,
    /// Key and value disagree on name, address or port.
    KeyMismatch,
    /// Not an address that an instance can have, or not in canonical text.
    BadAddress,
    /// The address is a VIP, or one of this host's own.
    IsVip,
    /// The address is outside `backend_cidrs`.
    NotAllowed,
    /// Not a port from 1 to 65535.
    BadPort,
    /// Not a weight from 0 to 1000.
    BadWeight,
    /// The health check cannot be made.
    BadCheck,
    /// The service's or VIP's name is not a DNS label.
    BadName,
    /// A field of a VIP is missing or wrong.
    BadVip,
    /// A field of an operator's order is unknown or wrong.
    BadOrder,
    /// Something else has this key, or this address, port and protocol already.
    Duplicate,
    /// There are as many instances as there may be.
    OverLimit,
}

impl RejectReason {
    /// The name in counters, logs and views.
    pub const fn name(self) -> &'static str {
        match self {
            Self::BadJson => "bad_json",
            Self::TooLarge => "too_large",
            Self::KeyMismatch => "key_mismatch",
            Self::BadAddress => "bad_address",
            Self::IsVip => "is_vip",
            Self::NotAllowed => "not_allowed",
            Self::BadPort => "bad_port",
            Self::BadWeight => "bad_weight",
            Self::BadCheck => "bad_check",
            Self::BadName => "bad_name",
            Self::BadVip => "bad_vip",
            Self::BadOrder => "bad_order",
            Self::Duplicate => "duplicate",
            Self::OverLimit => "over_limit",
        }
    }

    pub(crate) fn because(self, detail: impl Into<String>) -> Flaw {
        Flaw {
            reason: self,
            detail: detail.into(),
        }
    }
}

impl fmt::Display for RejectReason {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(self.name())
    }
}

/// What is wrong with a value, before it is known whose value it is.
#[derive(Clone, PartialEq, Eq, Debug, thiserror::Error)]
#[error("{detail}")]
pub struct Flaw {
    /// The named reason.
    pub reason: RejectReason,
    /// The field, its value and what to do, in words.
    pub detail: String,
}

impl Flaw {
    pub(crate) fn of(self, key: &str) -> Rejection {
        Rejection {
            key: key.to_owned(),
            reason: self.reason,
            detail: self.detail,
        }
    }
}

/// A refused entry.
#[derive(Clone, PartialEq, Eq, Debug, thiserror::Error)]
#[error("{key}: {detail} ({reason})")]
pub struct Rejection {
    /// Its key.
    pub key: String,
    /// The named reason.
    pub reason: RejectReason,
    /// The field, its value and what to do, in words.
    pub detail: String,
}
