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
}

#[derive(Clone, Copy, ValueEnum)]
enum What {
    /// Nanoseconds a packet, by BPF_PROG_TEST_RUN; needs root.
    Packet,
    /// Slot tables: time to build one, exactness of shares, moves.
    Plan,
}

#[derive(Clone, Copy, PartialEq, Eq, ValueEnum)]
enum Format {
    Table,
    Json,
}

fn main() -> anyhow::Result<()> {
    let Arguments { what, format, only } = Arguments::parse();
    let json = format == Format::Json;
    match what {
        What::Packet => bench::packet::run(json, &only),
        What::Plan => bench::plan::run(json),
    }
}
