//! `cargo xtask test`: checks, unit tests, and the suites of `tests/tests`.
//!
//! Whatever happens, the last line on standard output is `N passed, N failed`, and the exit code
//! agrees with it. Nothing is skipped: a check or a suite that cannot run, breaks off or runs no
//! test counts as a failure.

mod checks;
mod runner;
mod suites;
pub(crate) mod tally;

use std::{io, process::ExitCode, time::Instant};

use anyhow::{Result, bail};

use self::{suites::Suite, tally::Row};
use crate::{
    build::{self, BENCH, NAVIGATOR},
    process,
    progress::{say, step},
    setup::{self, Scope},
    vm,
    workspace::Workspace,
};

/// Runs the named suites, or everything; prints a table and the sum.
pub(crate) fn command(workspace: &Workspace, names: &[String], extra: &[String]) -> ExitCode {
    let mut rows = Vec::new();
    let outcome = run(workspace, names, extra, &mut rows);
    tally::conclude(&rows, outcome)
}

fn run(
    workspace: &Workspace,
    names: &[String],
    extra: &[String],
    rows: &mut Vec<Row>,
) -> Result<()> {
    let chosen = suites::choose(suites::discover(workspace)?, names)?;
    require_root(&chosen)?;
    prepare(workspace, &chosen, extra)?;
    for suite in chosen {
        say(format_args!("suite {suite}"));
        match suite {
            Suite::Checks => rows.extend(checks::run(workspace)),
            Suite::Vm => {
                let options = vm::Options::everything(extra);
                rows.extend(vm::run(workspace, &vm::IN_THE_SUITE, &options));
            }
            Suite::Unit | Suite::File(_) => {
                let start = Instant::now();
                let tally = runner::run(&mut suite.command(workspace, extra), &mut io::stdout());
                rows.push(Row {
                    name: suite.to_string(),
                    tally,
                    time: start.elapsed(),
                });
            }
        }
    }
    Ok(())
}

/// The suites make network namespaces and load programs into the kernel.
fn require_root(chosen: &[Suite]) -> Result<()> {
    if process::is_root() || !chosen.iter().any(Suite::needs_root) {
        return Ok(());
    }
    bail!(
        "the suites make network namespaces and load BPF programs, which only root may do: run \
         `sudo -E env \"PATH=$PATH\" cargo xtask test`, or only what needs no root: \
         `cargo xtask test --suite checks,unit`"
    );
}

fn prepare(workspace: &Workspace, chosen: &[Suite], extra: &[String]) -> Result<()> {
    let in_kernel = chosen.iter().any(Suite::runs_the_daemon);
    let scope = if in_kernel { Scope::All } else { Scope::Build };
    let toolchain = setup::ensure(workspace, scope)?;
    build::bpf(workspace, &toolchain, &[NAVIGATOR, BENCH])?;
    if in_kernel {
        // Suites start the daemon as users do.
        step("building the workspace", || {
            process::run(workspace.cargo().arg("build"))
        })?;
    }
    // Built first, so that the time of a suite is that of its tests. One that does not compile is
    // that suite's failure, when its turn comes.
    for suite in chosen.iter().filter(|suite| **suite != Suite::Checks) {
        let built = match suite {
            Suite::Vm => vm::build(workspace, &vm::Options::everything(extra)).map(drop),
            suite => step(&format!("building suite {suite}"), || {
                process::run(suite.cargo(workspace).arg("--no-run"))
            }),
        };
        if let Err(error) = built {
            say(format_args!("{error:#}"));
        }
    }
    Ok(())
}
