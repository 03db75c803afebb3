//! The commands.

pub mod config;
pub mod backend;
