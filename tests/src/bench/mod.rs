//! Benchmarks: `cargo xtask bench packet`, `cargo xtask bench plan`.

pub mod packet;
pub mod plan;
mod sweep;
