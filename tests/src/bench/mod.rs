//! Benchmarks: `cargo xtask bench packet`, `live`, `plan` and `e2e`.

pub mod e2e;
pub mod packet;
pub mod plan;
