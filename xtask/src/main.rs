//! Navigator's build tool: `cargo xtask setup`, `build`, `test`, `vm`, `demo`, `bench`, `fuzz`.
//!
//! Everything that a command needs it fetches or builds itself, inside the target directory where
//! that can be. Progress goes to standard error, so that standard output holds results only.

mod build;
mod process;
mod progress;
mod run;
mod setup;
mod test;
mod vm;
mod workspace;

use std::{path::PathBuf, process::ExitCode};

use anyhow::Result;
use clap::{Parser, Subcommand, ValueEnum};

use crate::{setup::Scope, workspace::Workspace};

/// Builds, tests and shows Navigator.
#[derive(Parser)]
#[command(name = "cargo xtask", bin_name = "cargo xtask")]
struct Cli {
    /// Where the BPF toolchain is kept [default: toolchain in the target directory]
    #[arg(
        long,
        global = true,
        value_name = "DIR",
        env = "NAVIGATOR_TOOLCHAIN_DIR"
    )]
    toolchain_dir: Option<PathBuf>,
    #[command(subcommand)]
    command: Command,
}

#[derive(Subcommand)]
enum Command {
    /// Find or install the BPF toolchain and what the tests and the demo need
    Setup {
        /// Only report what is there and what is missing (exit code 1 if anything is)
        #[arg(long)]
        check: bool,
    },
    /// Build the BPF programs and the workspace
    Build {
        /// Optimised
        #[arg(long)]
        release: bool,
    },
    /// Run checks, unit tests and suites; the last line is `N passed, N failed`
    Test {
        /// Only these: checks, unit, vm, or a file of tests/tests (repeat it or separate by commas)
        #[arg(long, value_name = "NAME", value_delimiter = ',')]
        suite: Vec<String>,
        /// Passed on to the test binaries (a filter, --nocapture, …)
        #[arg(last = true, value_name = "ARGS")]
        extra: Vec<String>,
    },
    /// Test on Debian's kernels, in emulated machines
    Vm {
        /// Versions of Linux
        #[arg(value_name = "KERNEL", default_values_t = vm::IN_THE_SUITE.map(str::to_owned))]
        kernels: Vec<String>,
        #[command(flatten)]
        options: vm::Options,
    },
    /// Show Navigator at work in network namespaces
    Demo {
        /// Passed on to the demo, for example `--registry etcd`; `-- --help` lists them
        #[arg(trailing_var_arg = true, allow_hyphen_values = true)]
        args: Vec<String>,
    },
    /// Measure the packet path, the planner, or all of it under load
    Bench {
        /// What to measure
        kind: Bench,
        /// Passed on to the benchmark, for example `--format json`
        #[arg(trailing_var_arg = true, allow_hyphen_values = true)]
        args: Vec<String>,
    },
    /// Run random packets through the programs: `fuzz packets [--count N] [--seed S]`
    Fuzz {
        /// Passed on to the fuzzer; `-- --help` lists them
        #[arg(trailing_var_arg = true, allow_hyphen_values = true)]
        args: Vec<String>,
    },
}

#[derive(Clone, Copy, ValueEnum)]
enum Bench {
    /// Nanoseconds per packet for each path
    Packet,
    /// Packets per second through a cable, by live frames
    Live,
    /// Requests, latency and throughput, beside proxies and plain routing
    #[value(name = "e2e")]
    EndToEnd,
    /// The slot table: time to build, slots moved, error of the shares
    Plan,
}

fn main() -> ExitCode {
    let cli = Cli::parse();
    dispatch(cli).unwrap_or_else(|error| {
        eprintln!("error: {error:#}");
        ExitCode::FAILURE
    })
}

fn dispatch(cli: Cli) -> Result<ExitCode> {
    let workspace = Workspace::locate(cli.toolchain_dir)?;
    match cli.command {
        Command::Setup { check: true } => return Ok(setup::report(&workspace)),
        Command::Setup { check: false } => {
            setup::ensure(&workspace, Scope::All)?;
            setup::report(&workspace);
        }
        Command::Build { release } => build::command(&workspace, release)?,
        Command::Test { suite, extra } => return Ok(test::command(&workspace, &suite, &extra)),
        Command::Vm { kernels, options } => {
            return Ok(vm::command(&workspace, &kernels, &options));
        }
        Command::Demo { args } => run::demo(&workspace, &args)?,
        Command::Fuzz { args } => run::fuzz(&workspace, &args)?,
        Command::Bench { kind, args } => {
            let (kind, scope) = match kind {
                Bench::Packet => ("packet", Scope::Build),
                Bench::Live => ("live", Scope::Build),
                Bench::EndToEnd => ("e2e", Scope::Bench),
                Bench::Plan => ("plan", Scope::Build),
            };
            run::bench(&workspace, kind, scope, &args)?;
        }
    }
    Ok(ExitCode::SUCCESS)
}

#[cfg(test)]
mod tests {
    use clap::{CommandFactory, Parser};

    use super::{Cli, Command};

    #[test]
    fn the_command_line_is_well_formed() {
        Cli::command().debug_assert();
    }

    #[test]
    fn what_follows_demo_and_bench_is_passed_on() {
        let cli = Cli::try_parse_from(["xtask", "demo", "--registry", "etcd"]);
        assert!(
            matches!(cli, Ok(Cli { command: Command::Demo { args }, .. })
            if args == ["--registry", "etcd"])
        );
        let cli = Cli::try_parse_from(["xtask", "bench", "packet", "--format", "json"]);
        assert!(
            matches!(cli, Ok(Cli { command: Command::Bench { args, .. }, .. })
            if args == ["--format", "json"])
        );
    }

    #[test]
    fn the_fuzzer_gets_its_arguments() {
        let cli = Cli::try_parse_from(["xtask", "fuzz", "packets", "--count", "9"]);
        assert!(
            matches!(cli, Ok(Cli { command: Command::Fuzz { args }, .. })
            if args == ["packets", "--count", "9"])
        );
    }

    #[test]
    fn suites_may_be_repeated_or_listed() {
        let cli = Cli::try_parse_from(["xtask", "test", "--suite", "unit,e2e", "--", "one"]);
        assert!(
            matches!(cli, Ok(Cli { command: Command::Test { suite, extra }, .. })
            if suite == ["unit", "e2e"] && extra == ["one"])
        );
    }
}
