//! Navigator's build tool.
fn main() {}
