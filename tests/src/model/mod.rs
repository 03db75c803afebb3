//! A long life of one VIP: the real program, by test runs, beside a plain model.
//!
//! [`world`] has the instances and what happens to them, [`balancer`] the real
//! tables and the real program, [`classic`] what other ways would have done
//! with the same packets, [`drive`] sends the packets and compares. What must
//! hold is simple enough to need no model of the balancer at all: a connection
//! goes where its first packet went, for as long as that backend is usable.

pub mod balancer;
pub mod classic;
pub mod drive;
pub mod world;

pub use drive::{Point, Report, Settings, run};
