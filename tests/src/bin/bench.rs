//! The benchmarks' command; run it through `cargo xtask bench`.

use clap::{Parser, Subcommand, ValueEnum};
use navigator_tests::bench::{self, e2e::Effort};
use std::path::PathBuf;

#[derive(Parser)]
#[command(about = "Navigator's benchmarks")]
struct Arguments {
    /// What to measure.
    #[command(subcommand)]
    what: What,
    /// How to print it.
    #[arg(long, global = true, value_enum, default_value_t = Format::Table)]
    format: Format,
}

#[derive(Subcommand)]
enum What {
    /// Nanoseconds a packet, by BPF_PROG_TEST_RUN; needs root.
    Packet {
        /// Only these cases; ratios need both of theirs.
        #[arg(long, value_delimiter = ',', value_name = "CASE")]
        only: Vec<String>,
    },
    /// Packets per second through a cable, by live frames, beside a bare XDP_TX; needs root.
    Live,
    /// Slot tables: time to build one, exactness of shares, moves.
    Plan,
    /// Requests, latency and throughput, beside proxies and plain routing; needs root.
    #[command(name = "e2e")]
    EndToEnd {
        /// Rounds, of which the median counts.
        #[arg(long, default_value_t = Effort::default().rounds)]
        rounds: usize,
        /// Seconds of each kind of load on each path in a round.
        #[arg(long, default_value_t = Effort::default().seconds)]
        seconds: u32,
        /// Also draw a plot to this file.
        #[arg(long, value_name = "FILE.svg")]
        plot: Option<PathBuf>,
    },
}

#[derive(Clone, Copy, PartialEq, Eq, ValueEnum)]
enum Format {
    Table,
    Json,
}

fn main() -> anyhow::Result<()> {
    let Arguments { what, format } = Arguments::parse();
    let json = format == Format::Json;
    match what {
        What::Packet { only } => bench::packet::run(json, &only),
        What::Live => bench::packet::live::run(json),
        What::Plan => bench::plan::run(json),
        What::EndToEnd {
            rounds,
            seconds,
            plot,
        } => bench::e2e::run(json, Effort { rounds, seconds }, plot.as_deref()),
    }
}
