//! The commands of `navigator`.
//!
//! Data goes to standard output, everything else to standard error; a failure
//! is one line and an exit code ([`failure::Exit`]).

pub mod args;
pub mod backend;
pub mod client;
pub mod config;
mod discover;
pub mod failure;
mod lease_client;
mod orders;
mod output;
pub mod readers;
mod register;
pub mod render;
#[cfg(test)]
mod tests;
mod vip;

pub use lease_client::SocketRegistry;

use crate::{
    config::{Config, DEFAULT_PINS},
    daemon, logging,
};
use args::{Cli, Command, ConfigCommand, DetachArgs, RunArgs};
use clap::{CommandFactory, Parser};
use client::Client;
use failure::{Failure, Outcome};
use readers::View;
use std::{path::Path, process::ExitCode};

/// Carries out the command that was typed.
pub fn main() -> ExitCode {
    let cli = match Cli::try_parse() {
        Ok(cli) => cli,
        Err(error) => {
            // Nobody can be told that the message could not be written.
            let _ = error.print();
            return u8::try_from(error.exit_code()).map_or(ExitCode::FAILURE, ExitCode::from);
        }
    };
    match run(cli) {
        Ok(code) => code,
        Err(failure) => {
            eprintln!("navigator: {failure}");
            failure.exit.into()
        }
    }
}

fn run(cli: Cli) -> Outcome<ExitCode> {
    match cli.command {
        Command::Completions { shell } => completions(shell).map(|()| ExitCode::SUCCESS),
        Command::Config(ConfigCommand::Check { file }) => Ok(config::check(&file)),
        Command::Run(args) => run_daemon(&args).map(|()| ExitCode::SUCCESS),
        Command::Detach(args) => block_on(detach(args)).map(|()| ExitCode::SUCCESS),
        Command::Backend(command) => block_on(async {
            backend::run(command).await.map_err(|error| Failure::error(format!("{error:#}")))
        }),
        command => block_on(talk(&cli.socket, command)).map(|()| ExitCode::SUCCESS),
    }
}

fn run_daemon(args: &RunArgs) -> Outcome {
    logging::init(None).map_err(|error| Failure::new(failure::Exit::Usage, error.to_string()))?;
    let config = load(&args.config)?;
    let runtime = tokio::runtime::Builder::new_multi_thread()
        .enable_all()
        .build()
        .map_err(|error| Failure::error(format!("cannot start: {error}")))?;
    runtime.block_on(daemon::run(config)).map_err(|error| Failure::error(format!("{error:#}")))
}

async fn detach(args: DetachArgs) -> Outcome {
    let pins = match (args.pins, args.config) {
        (Some(pins), _) => pins,
        (None, Some(file)) => load(&file)?.pins,
        (None, None) => DEFAULT_PINS.into(),
    };
    let removed = daemon::detach(&pins).await.map_err(|error| Failure::error(format!("{error:#}")))?;
    output::print(&removed).map(drop)
}

fn load(file: &Path) -> Outcome<Config> {
    Config::load(file).map_err(|error| Failure::error(error.to_string()))
}

fn block_on<T>(command: impl Future<Output = Outcome<T>>) -> Outcome<T> {
    let runtime = tokio::runtime::Builder::new_current_thread()
        .enable_all()
        .build()
        .map_err(|error| Failure::error(format!("cannot start: {error}")))?;
    runtime.block_on(command)
}

async fn talk(socket: &Path, command: Command) -> Outcome {
    let client = Client::new(socket);
    match command {
        Command::Status(args) => readers::show(&client, &View::Status, args).await,
        Command::Vips(args) => readers::show(&client, &View::Vips, args).await,
        Command::Backends { vip, reader } => {
            readers::show(&client, &View::Backends(vip), reader).await
        }
        Command::Services { name, reader } => {
            readers::show(&client, &View::Services(name), reader).await
        }
        Command::Discover { name, reader, etcd } => {
            discover::discover(client, &name, reader, &etcd).await
        }
        Command::Register(args) => register::register(socket, args).await,
        Command::Deregister { instance, etcd } => {
            register::deregister(&client, &instance.key(), &etcd).await
        }
        Command::Instance(command) => orders::order(&client, command).await,
        Command::Vip(command) => vip::vip(&client, command).await,
        Command::Run(_)
        | Command::Config(_)
        | Command::Detach(_)
        | Command::Backend(_)
        | Command::Completions { .. } => Ok(()),
    }
}

fn completions(shell: clap_complete::Shell) -> Outcome {
    let mut script = Vec::new();
    clap_complete::generate(shell, &mut Cli::command(), "navigator", &mut script);
    output::print(&String::from_utf8_lossy(&script)).map(drop)
}
