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
    io,
    num::NonZero,
    path::PathBuf,
    process::ExitCode,
    thread::{self, ScopedJoinHandle},
    time::Instant,
};

use anyhow::{Context as _, Result, bail};
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
const MINUTES: u32 = 20;

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
        rows = run(workspace, &kernels, options);
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

/// Boots the kernels, as many at once as there are processors, and runs the tests on them, one row
/// a kernel. A kernel that cannot be had, does not boot, hangs or runs no test is a failure.
pub(crate) fn run(workspace: &Workspace, kernels: &[&str], options: &Options) -> Vec<Row> {
    let at_once = thread::available_parallelism().map_or(1, NonZero::get);
    kernels
        .chunks(at_once)
        .flat_map(|kernels| run_at_once(workspace, kernels, options))
        .collect()
}

fn run_at_once(workspace: &Workspace, kernels: &[&str], options: &Options) -> Vec<Row> {
    let _lock = match directory(workspace).and_then(|dir| lock(&dir)) {
        Ok(lock) => lock,
        Err(error) => {
            say(format_args!("{error:#}"));
            return kernels
                .iter()
                .map(|it| row(it, Tally::FAILED, Instant::now()))
                .collect();
        }
    };
    thread::scope(|scope| {
        let mut machines = Vec::new();
        for &version in kernels {
            let start = Instant::now();
            let packed = pack(workspace, version, options);
            let prefix = match kernels {
                [_] => String::new(),
                _ => format!("{version:5}| "),
            };
            let boot = move || {
                let (kernel, initramfs) = packed?;
                step(&format!("booting {}", kernel.release), || {
                    let out = &mut io::stdout();
                    boot::run(&kernel, &initramfs, options.minutes, &prefix, out)
                })
            };
            machines.push((version, start, scope.spawn(boot)));
        }
        let finish = |(version, start, machine): (&str, Instant, ScopedJoinHandle<'_, _>)| {
            let counted = machine
                .join()
                .unwrap_or_else(|_| bail!("the test panicked"));
            let tally = counted.unwrap_or_else(|error: anyhow::Error| {
                say(format_args!("Linux {version}: {error:#}"));
                Tally::FAILED
            });
            row(version, tally, start)
        };
        machines.into_iter().map(finish).collect()
    })
}

fn row(version: &str, tally: Tally, start: Instant) -> Row {
    Row {
        name: format!("vm {version}"),
        tally,
        time: start.elapsed(),
    }
}

/// Fetches a kernel, and packs what its machine runs.
fn pack(workspace: &Workspace, version: &str, options: &Options) -> Result<(Kernel, PathBuf)> {
    say(format_args!("Linux {version} in an emulated machine"));
    let dir = directory(workspace)?;
    let kernel = Kernel::fetch(&dir, version)?;
    let payload = Payload::build(workspace, &options.suites)?;
    let initramfs = step(
        &format!("packing the initramfs for {}", kernel.release),
        || image::pack(&dir, &kernel, &payload, &options.extra),
    )?;
    Ok((kernel, initramfs))
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
