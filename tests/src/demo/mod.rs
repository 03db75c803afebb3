//! The demonstration: real traffic in a lab, and what can happen to it.

mod meter;
mod scene;
mod signals;
mod story;
mod table;
mod view;

use crate::lab::config::RegistryKind;
use anyhow::Result;
use signals::Interruption;
pub use signals::{INTERRUPTED, Interrupted};
use std::time::Instant;

/// What can be chosen.
#[derive(Clone, Copy, PartialEq, Eq, Debug, clap::Parser)]
#[command(about = "Shows Navigator at work in a network of its own on this machine")]
pub struct Options {
    /// Where services are registered.
    #[arg(long, value_enum, default_value_t = Registry::Embedded)]
    pub registry: Registry,
}

/// Where services are registered.
#[derive(Clone, Copy, PartialEq, Eq, Debug, clap::ValueEnum)]
pub enum Registry {
    /// In the daemon itself.
    Embedded,
    /// In an etcd of the lab.
    Etcd,
}

impl From<Registry> for RegistryKind {
    fn from(registry: Registry) -> Self {
        match registry {
            Registry::Embedded => Self::Embedded,
            Registry::Etcd => Self::Etcd,
        }
    }
}

/// Runs the demonstration; everything that it made is gone when it returns.
///
/// # Errors
/// It was interrupted, something that it needs is missing, or Navigator did
/// not keep what it promises.
pub fn run(options: Options) -> Result<()> {
    let start = Instant::now();
    let interruption = Interruption::watch()?;
    // Before anything is built.
    crate::lab::navigator::binary()?;
    let report = story::tell(options.registry.into(), &interruption)?;
    println!("\n{}", table::render(&report.rows));
    println!(
        "{:.0} s; nothing of it is left on this machine.",
        start.elapsed().as_secs_f64()
    );
    report.verdict()
}
