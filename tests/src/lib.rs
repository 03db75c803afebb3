//! Navigator's test harness: packets, a small network of real parts, real
//! servers, statistics; the demo, the fuzzer and the benchmarks.

pub mod bench;
pub mod demo;
pub mod etcd;
pub mod forwarder;
pub mod fuzz;
pub mod lab;
pub mod model;
pub mod packet;
pub mod plot;
pub mod stats;
