//! Formatting, lints and documentation.

use std::{env::consts::ARCH, process::Command, time::Instant};

use anyhow::{Context as _, Result};

use super::tally::{Row, Tally};
use crate::{
    build::{BENCH, NAVIGATOR},
    process,
    progress::say,
    workspace::Workspace,
};

/// Runs every check, whatever the ones before it say. A check that passes is no test passed.
pub(crate) fn run(workspace: &Workspace) -> Vec<Row> {
    let checks = [
        ("fmt", Ok(fmt(workspace))),
        ("clippy", Ok(clippy(workspace))),
        ("clippy (BPF)", clippy_bpf(workspace)),
        ("doc", Ok(doc(workspace))),
    ];
    checks.map(|(name, command)| check(name, command)).into()
}

fn check(name: &str, command: Result<Command>) -> Row {
    let start = Instant::now();
    let result = command.and_then(|mut command| {
        say(process::describe(&command));
        process::run(&mut command)
    });
    let tally = match result {
        Ok(()) => Tally::default(),
        Err(error) => {
            say(format_args!("{name}: {error:#}"));
            Tally::FAILED
        }
    };
    Row {
        name: name.to_owned(),
        tally,
        time: start.elapsed(),
    }
}

fn fmt(workspace: &Workspace) -> Command {
    let mut command = workspace.cargo();
    command.args(["fmt", "--all", "--check"]);
    command
}

fn clippy(workspace: &Workspace) -> Command {
    let mut command = workspace.cargo();
    command.args(["clippy", "--all-targets"]);
    command.args(["--", "-Dwarnings"]);
    command
}

/// Lints the BPF crates as if they were for this host: the compiler that builds them for BPF often
/// comes without clippy, and another version's clippy cannot read the `core` that it built. Like
/// BPF programs, crates without `std` have no way to unwind, and they use features that are open
/// to nightly only.
fn clippy_bpf(workspace: &Workspace) -> Result<Command> {
    let flags = format!("-Cpanic=abort\u{1f}--cfg=bpf_target_arch=\"{ARCH}\"");
    let mut command = workspace.cargo();
    command
        .env("RUSTC_BOOTSTRAP", "1")
        .env("CARGO_ENCODED_RUSTFLAGS", flags)
        .args(["clippy", "--target", &host()?])
        .arg("--target-dir")
        .arg(workspace.target.join("bpf-clippy"))
        .args(["--package", NAVIGATOR, "--package", BENCH])
        .args(["--", "-Dwarnings"]);
    Ok(command)
}

fn doc(workspace: &Workspace) -> Command {
    let mut command = workspace.cargo();
    command.env("RUSTDOCFLAGS", "-Dwarnings");
    command.args(["doc", "--no-deps"]);
    command
}

fn host() -> Result<String> {
    let text = process::capture(Command::new("rustc").arg("-vV"))?;
    let host = text.lines().find_map(|line| line.strip_prefix("host: "));
    Ok(host.context("rustc -vV names no host")?.to_owned())
}
