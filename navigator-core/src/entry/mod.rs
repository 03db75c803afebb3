//! One registry entry: parsed, validated, or refused with a named reason.
//!
//! Whatever a registry or a configuration file holds comes through here as
//! bytes and leaves as a value of the [`crate::model`] or as a [`Rejection`].
//! Nothing is corrected silently.

mod address;
mod check;
mod cidr;
mod duration;
mod instance;
mod json;
mod order;
mod reject;
mod vip;

pub use address::parse_endpoint;
pub use cidr::{BadCidr, Cidr};
pub use duration::{BadDuration, format_duration, parse_duration};
pub use instance::{instance_json, parse_instance};
pub use order::parse_order;
pub use reject::{Flaw, RejectReason, Rejection};
pub use vip::{MAX_SLOTS, MIN_SLOTS, check_prefix, parse_vip, vip_json};

use std::net::IpAddr;

/// The largest value of an entry, in bytes.
pub const MAX_VALUE: usize = 16 * 1024;

/// What the operator allows, beyond what is possible.
#[derive(Clone, PartialEq, Eq, Debug, Default)]
pub struct Rules {
    /// Where instances may be; anywhere if empty.
    pub backend_cidrs: Vec<Cidr>,
    /// This host's own addresses, which cannot be backends of it. Loopback ones may stand
    /// here or not: instances there can be discovered but not forwarded to.
    pub host_addresses: Vec<IpAddr>,
}

#[cfg(test)]
mod tests;
