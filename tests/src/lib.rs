//! Navigator's test harness: a small network of real parts, statistics, the demo.

pub mod bench;
pub mod demo;
pub mod lab;
pub mod packet;
pub mod stats;
