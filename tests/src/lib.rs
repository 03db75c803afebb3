//! Navigator's test harness: a small network of real parts, statistics, the demo.

pub mod demo;
pub mod lab;
pub mod stats;
