//! Navigator's pure core: the model of services, instances and VIPs, the
//! catalog that turns registry entries into it, the planner and the health
//! state machine.
//!
//! Nothing here does I/O, knows a kernel id or reads a clock: time is an
//! argument, in the form of a [`std::time::Duration`] since a start that the
//! caller chose.
#![forbid(unsafe_code)]

pub mod catalog;
pub mod entry;
pub mod health;
pub mod model;
pub mod plan;
mod prime;
