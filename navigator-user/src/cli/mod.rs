//! The commands of `navigator`.
//!
//! Data goes to standard output, everything else to standard error; a failure
//! is one line and an exit code ([`failure::Exit`]).

pub mod args;
pub mod backend;
pub mod client;
pub mod config;
mod discover;
mod events;
pub mod failure;
mod lease_client;
mod orders;
mod output;
pub mod readers;
mod reasons;
mod register;
pub mod render;
#[cfg(test)]
mod tests;
mod token;
mod trace;
mod vip;
mod wrap;
mod yaml;

pub use lease_client::SocketRegistry;

use crate::{
    config::{Config, DEFAULT_PINS},
    daemon, logging,
};
use args::{Cli, Command, ConfigCommand, DetachArgs, RunArgs, ServicesCommand, TokenCommand};
use clap::{CommandFactory, Parser};
use client::Client;
use failure::{Exit, Failure, Outcome};
use readers::View;
use std::{path::Path, process::ExitCode};
use tokio::runtime::Builder;

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
        Ok(exit) => exit,
        Err(failure) => {
            eprintln!("navigator: {failure}");
            failure.exit.into()
        }
    }
}

fn run(cli: Cli) -> Outcome<ExitCode> {
    let mut builder = match cli.command {
        Command::Run(_) => Builder::new_multi_thread(),
        _ => Builder::new_current_thread(),
    };
    let runtime = builder
        .enable_all()
        .build()
        .map_err(|error| Failure::error(format!("cannot start: {error}")))?;
    runtime.block_on(carry_out(&cli.socket, cli.command))
}

async fn carry_out(socket: &Path, command: Command) -> Outcome<ExitCode> {
    let client = Client::new(socket);
    match command {
        Command::Run(args) => run_daemon(&args).await,
        Command::Config(ConfigCommand::Check { file }) => return Ok(config::check(&file)),
        Command::Detach(args) => detach(args).await,
        Command::Backend(command) => return Ok(backend::run(command).await?),
        Command::Status(args) => readers::show(&client, &View::Status, args).await,
        Command::Trace(args) => trace::trace(&client, *args).await,
        Command::Reasons { output } => reasons::list(output),
        Command::Vips(args) => readers::show(&client, &View::Vips, args).await,
        Command::Backends { vip, reader } => {
            readers::show(&client, &View::Backends(vip), reader).await
        }
        Command::Services(command) => services(&client, command).await,
        Command::Instances(command) => orders::order(&client, command).await,
        Command::Health { name, reader } => {
            let view = View::Health(name.clone());
            readers::show(&client, &view, reader).await?;
            readers::must_be_healthy(&client, name.as_ref()).await
        }
        Command::Events(args) => events::events(&client, &args).await,
        Command::Discover { name, reader, etcd } => {
            discover::discover(client, &name, reader, &etcd).await
        }
        Command::Register(args) => return register::register(socket, *args).await,
        Command::Vip(command) => vip::vip(&client, command).await,
        Command::Token(TokenCommand::New) => token::new(),
        Command::Completions { shell } => completions(shell),
    }
    .map(|()| ExitCode::SUCCESS)
}

async fn services(client: &Client, command: ServicesCommand) -> Outcome {
    match command {
        ServicesCommand::List(reader) => readers::show(client, &View::Services, reader).await,
        ServicesCommand::Get {
            name,
            rejected,
            reader,
        } => {
            let view = match rejected {
                true => View::Rejected(name),
                false => View::Service(name),
            };
            readers::show(client, &view, reader).await
        }
        ServicesCommand::Register { entry, etcd } => {
            register::register_for_good(client, &entry, &etcd).await
        }
        ServicesCommand::Deregister { instance, etcd } => {
            register::deregister(client, &instance.key(), &etcd).await
        }
    }
}

async fn run_daemon(args: &RunArgs) -> Outcome {
    logging::init(None).map_err(|error| Failure::new(Exit::Usage, error.to_string()))?;
    Ok(daemon::run(load(&args.config)?, args.log_drops).await?)
}

async fn detach(args: DetachArgs) -> Outcome {
    let pins = match (args.pins, args.config) {
        (Some(pins), _) => pins,
        (None, Some(file)) => load(&file)?.pins,
        (None, None) => DEFAULT_PINS.into(),
    };
    output::print(&daemon::detach(&pins).await?).map(drop)
}

fn load(file: &Path) -> Outcome<Config> {
    Config::load(file).map_err(|error| Failure::error(error.to_string()))
}

fn completions(shell: clap_complete::Shell) -> Outcome {
    let mut script = Vec::new();
    clap_complete::generate(shell, &mut Cli::command(), "navigator", &mut script);
    output::print(&String::from_utf8_lossy(&script)).map(drop)
}
