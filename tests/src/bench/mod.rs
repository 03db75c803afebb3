//! Benchmarks: `cargo xtask bench packet`, `live`, `model`, `plan` and `e2e`.

pub mod e2e;
pub mod model;
pub mod packet;
pub mod plan;
mod sweep;
