//! `cargo xtask demo` runs this.

use clap::Parser;
use navigator_tests::demo::{self, INTERRUPTED, Interrupted, Options};
use std::process::ExitCode;

fn main() -> ExitCode {
    match demo::run(Options::parse()) {
        Ok(()) => ExitCode::SUCCESS,
        Err(why) => {
            eprintln!("demo: {why:#}");
            if why.is::<Interrupted>() {
                return INTERRUPTED.into();
            }
            ExitCode::FAILURE
        }
    }
}
