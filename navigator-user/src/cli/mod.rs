//! The commands.

pub mod backend;
