//! The navigator command.
fn main() {}
