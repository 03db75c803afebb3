//! What the suites share: real programs to run against, started and stopped safely.

pub mod etcd;
pub mod forwarder;
