//! `cargo xtask demo`, `bench` and `fuzz`: what they need, then the binary of that name.

use std::{os::unix::process::CommandExt as _, process::Command};

use anyhow::{Result, anyhow};

use crate::{
    build::{self, BENCH, NAVIGATOR},
    process,
    progress::step,
    setup::{self, Scope},
    workspace::Workspace,
};

/// Shows Navigator at work; does not return unless something fails before.
pub(crate) fn demo(workspace: &Workspace, args: &[String]) -> Result<()> {
    let toolchain = setup::ensure(workspace, Scope::All)?;
    build::bpf(workspace, &toolchain, &[NAVIGATOR])?;
    binaries(workspace)?;
    replace(binary(workspace, "demo").args(args))
}

/// Runs a benchmark; does not return unless something fails before.
pub(crate) fn bench(
    workspace: &Workspace,
    kind: &str,
    scope: Scope,
    args: &[String],
) -> Result<()> {
    let toolchain = setup::ensure(workspace, scope)?;
    build::bpf(workspace, &toolchain, &[NAVIGATOR, BENCH])?;
    binaries(workspace)?;
    replace(binary(workspace, "bench").arg(kind).args(args))
}

/// Runs a fuzzer; does not return unless something fails before.
pub(crate) fn fuzz(workspace: &Workspace, args: &[String]) -> Result<()> {
    let toolchain = setup::ensure(workspace, Scope::Build)?;
    build::bpf(workspace, &toolchain, &[NAVIGATOR, BENCH])?;
    binaries(workspace)?;
    replace(binary(workspace, "fuzz").args(args))
}

/// The daemon, which the demo starts as its users do, and the binaries of the tests crate.
fn binaries(workspace: &Workspace) -> Result<()> {
    step("building Navigator (release)", || {
        process::run(workspace.cargo().args([
            "build",
            "--release",
            "--package=navigator-user",
            "--package=navigator-tests",
            "--bins",
        ]))
    })
}

fn binary(workspace: &Workspace, name: &str) -> Command {
    let mut command = workspace.cargo();
    command.args(["run", "--release", "--quiet", "--package=navigator-tests"]);
    command.args(["--bin", name, "--"]);
    command
}

/// Becomes the program: an interrupt then reaches it alone, and the terminal comes back only when
/// it has cleaned up.
fn replace(command: &mut Command) -> Result<()> {
    let error = command.exec();
    Err(anyhow!(error).context(process::cannot_start(command)))
}
