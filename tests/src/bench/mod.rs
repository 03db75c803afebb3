//! Benchmarks: `cargo xtask bench packet`, `cargo xtask bench plan`, `cargo xtask bench model`.

pub mod model;
pub mod packet;
pub mod plan;
mod sweep;
