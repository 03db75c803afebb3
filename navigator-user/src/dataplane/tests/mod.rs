//! The tables' logic over words in memory: random histories, checked by a
//! reader that shares no code with the writer.
#![allow(
    clippy::unwrap_used,
    reason = "a test that cannot go on has failed; the panic says where"
)]

mod cases;
mod histories;
mod nat;
mod reader;
mod ways;
mod world;
