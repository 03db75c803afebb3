//! The benchmarks' command; run it through `cargo xtask bench`.

use clap::{Parser, ValueEnum};
use navigator_tests::bench;

#[derive(Parser)]
#[command(about = "Navigator's benchmarks")]
struct Arguments {
    /// What to measure.
    #[arg(value_enum)]
    what: What,
    /// How to print it.
    #[arg(long, value_enum, default_value_t = Format::Table)]
    format: Format,
    /// `packet`: only these cases; ratios need both of theirs.
    #[arg(long, value_delimiter = ',', value_name = "CASE")]
    only: Vec<String>,
    /// `model`: what everything random follows from.
    #[arg(long, default_value_t = 1)]
    seed: u64,
    /// `model`: where to draw the plot, for example docs/connections.svg.
    #[arg(long, value_name = "FILE")]
    plot: Option<std::path::PathBuf>,
}

#[derive(Clone, Copy, ValueEnum)]
enum What {
    /// Nanoseconds a packet, by BPF_PROG_TEST_RUN; needs root.
    Packet,
    /// Connections that each way to balance breaks in one long life of a VIP; needs root.
    Model,
    /// Slot tables: time to build one, exactness of shares, moves.
    Plan,
}

#[derive(Clone, Copy, PartialEq, Eq, ValueEnum)]
enum Format {
    Table,
    Json,
}

fn main() -> anyhow::Result<()> {
    let Arguments {
        what,
        format,
        only,
        seed,
        plot,
    } = Arguments::parse();
    let json = format == Format::Json;
    match what {
        What::Packet => bench::packet::run(json, &only),
        What::Model => bench::model::run(&bench::model::Options { seed, plot }, json),
        What::Plan => bench::plan::run(json),
    }
}
