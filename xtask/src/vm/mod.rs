//! `cargo xtask vm KERNEL…`: the suites that depend on the kernel, on Debian's kernels, each in an
//! emulated machine.
//!
//! ```text
//!  Debian's package ──► kernel, modules ─┐
//!  test binaries, nginx, curl, ip, … ────┴─► initramfs ──► qemu ──► console ──► counted
//! ```
//!
//! The machine has no disk and no network card; everything that it runs is in its initramfs.
//! Kernels and images are kept in the target directory.

mod archive;
mod boot;
mod image;
mod init;
mod kernel;
mod modules;
mod payload;

use std::{
    fs::{self, File},
    io::{self, Write},
    path::PathBuf,
    process::ExitCode,
    time::Instant,
};

use anyhow::{Context as _, Result};
use clap::Args;

use self::{kernel::Kernel, payload::Payload};
use crate::{
    build::{self, BENCH, NAVIGATOR},
    process,
    progress::{say, step},
    setup::{self, Scope},
    test::tally::{Row, Tally, conclude},
    workspace::Workspace,
};

/// The kernels of `cargo xtask test`: those of Debian 12 and 13.
pub(crate) const IN_THE_SUITE: [&str; 2] = ["6.1", "6.12"];

/// A machine takes a few minutes.
const MINUTES: u32 = 10;

/// What to run in each machine.
#[derive(Args)]
pub(crate) struct Options {
    /// Only these of what runs in a machine: programs, guest, packets
    #[arg(long = "suite", value_name = "NAME", value_delimiter = ',')]
    suites: Vec<String>,
    /// A machine that is still running after so many minutes is turned off
    #[arg(long, default_value_t = MINUTES)]
    minutes: u32,
    /// Passed on to the test binaries (a filter, --nocapture, …)
    #[arg(last = true, value_name = "ARGS")]
    extra: Vec<String>,
}

impl Options {
    /// Everything, with what is passed on to the test binaries.
    pub(crate) fn everything(extra: &[String]) -> Self {
        Self {
            suites: Vec::new(),
            minutes: MINUTES,
            extra: extra.to_vec(),
        }
    }
}

/// Tests these kernels; prints a table and, as the last line, `N passed, N failed`.
pub(crate) fn command(workspace: &Workspace, kernels: &[String], options: &Options) -> ExitCode {
    let mut rows = Vec::new();
    let outcome = prepare(workspace, options).map(|()| {
        let kernels: Vec<_> = kernels.iter().map(String::as_str).collect();
        rows = run(workspace, &kernels, options, &mut io::stdout());
    });
    conclude(&rows, outcome)
}

/// Builds what the machines run.
fn prepare(workspace: &Workspace, options: &Options) -> Result<()> {
    let toolchain = setup::ensure(workspace, Scope::All)?;
    build::bpf(workspace, &toolchain, &[NAVIGATOR, BENCH])?;
    step("building the workspace", || {
        process::run(workspace.cargo().arg("build"))
    })?;
    build(workspace, options).map(drop)
}

/// Builds the test binaries that the machines run, or those of these names.
///
/// # Errors
/// One does not compile, or there is none of that name.
pub(crate) fn build(workspace: &Workspace, options: &Options) -> Result<Payload> {
    step("building the tests for emulated machines", || {
        Payload::build(workspace, &options.suites)
    })
}

/// Boots each kernel and runs the tests on it, one row a kernel. A kernel that cannot be had, does
/// not boot, hangs or runs no test is a failure.
pub(crate) fn run(
    workspace: &Workspace,
    kernels: &[&str],
    options: &Options,
    out: &mut impl Write,
) -> Vec<Row> {
    let test = |&version: &&str| {
        let start = Instant::now();
        say(format_args!("Linux {version} in an emulated machine"));
        let tally = test(workspace, version, options, out).unwrap_or_else(|error| {
            say(format_args!("Linux {version}: {error:#}"));
            Tally::FAILED
        });
        Row {
            name: format!("vm {version}"),
            tally,
            time: start.elapsed(),
        }
    };
    kernels.iter().map(test).collect()
}

fn test(
    workspace: &Workspace,
    version: &str,
    options: &Options,
    out: &mut impl Write,
) -> Result<Tally> {
    let dir = directory(workspace)?;
    let _lock = lock(&dir)?;
    let kernel = Kernel::fetch(&dir, version)?;
    let payload = Payload::build(workspace, &options.suites)?;
    let initramfs = step(
        &format!("packing the initramfs for {}", kernel.release),
        || image::pack(&dir, &kernel, &payload, &options.extra),
    )?;
    step(&format!("booting {}", kernel.release), || {
        boot::run(&kernel, &initramfs, options.minutes, out)
    })
}

fn directory(workspace: &Workspace) -> Result<PathBuf> {
    let dir = workspace.target.join("vm");
    fs::create_dir_all(&dir).with_context(|| format!("cannot create {}", dir.display()))?;
    Ok(dir)
}

/// Two runs would pack the same image.
fn lock(dir: &std::path::Path) -> Result<File> {
    let path = dir.join("lock");
    let file = File::create(&path).with_context(|| format!("cannot create {}", path.display()))?;
    file.lock()
        .with_context(|| format!("cannot lock {}", path.display()))?;
    Ok(file)
}
