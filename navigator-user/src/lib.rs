//! Navigator's daemon and command line, as a library.
//!
//! Data flows one way: [`registry`] and [`probes`] → [`reconcile`] →
//! [`dataplane`] and [`announce`] → [`snapshot`] → [`api`] and [`cli`].
//! Beside it, single packets: [`trace`].

pub mod announce;
pub mod api;
pub mod backend_host;
pub mod cli;
pub mod config;

pub mod daemon;
pub mod dataplane;
pub mod dns;
pub mod events;
pub mod logging;
pub mod netlink;
pub mod probes;
pub mod reconcile;
pub mod registrant;
pub mod registry;
pub mod snapshot;
pub mod trace;
