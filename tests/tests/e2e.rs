//! The whole of Navigator on real traffic, in network namespaces of its own.
//!
//! `tests/README.md` has the topology and says what each test proves. Root is
//! needed, and what `cargo xtask setup` installs.

#[path = "e2e/support.rs"]
#[macro_use]
mod support;

#[path = "e2e/changes.rs"]
mod changes;
#[path = "e2e/errors.rs"]
mod errors;
#[path = "e2e/etcd.rs"]
mod etcd;
#[path = "e2e/failures.rs"]
mod failures;
#[path = "e2e/icmp.rs"]
mod icmp;
#[path = "e2e/interfaces.rs"]
mod interfaces;
#[path = "e2e/kinds.rs"]
mod kinds;
#[path = "e2e/lab.rs"]
mod lab;
#[path = "e2e/modes.rs"]
mod modes;
#[path = "e2e/nat.rs"]
mod nat;
#[path = "e2e/restart.rs"]
mod restart;
#[path = "e2e/services.rs"]
mod services;
#[path = "e2e/shares.rs"]
mod shares;
#[path = "e2e/trace.rs"]
mod trace;
#[path = "e2e/vips.rs"]
mod vips;
