//! The fuzzer's command; run it through `cargo xtask fuzz`.

use clap::{Parser, ValueEnum};
use navigator_tests::fuzz::{self, Options};
use std::{path::PathBuf, time::SystemTime};

#[derive(Parser)]
#[command(about = "Random packets through Navigator's programs")]
struct Arguments {
    /// What to fuzz.
    #[arg(value_enum)]
    what: What,
    /// How many packets.
    #[arg(long, default_value_t = 10_000_000, value_name = "N")]
    count: u64,
    /// Which packets; another one each time, if it is not given.
    #[arg(long, value_name = "NUMBER")]
    seed: Option<u64>,
    /// Where a packet that goes wrong is kept.
    #[arg(long, default_value = "target/fuzz", value_name = "DIR")]
    keep: PathBuf,
}

#[derive(Clone, Copy, ValueEnum)]
enum What {
    /// The packet path, by BPF_PROG_TEST_RUN; needs root.
    Packets,
}

fn main() -> anyhow::Result<()> {
    let Arguments {
        what: What::Packets,
        count,
        seed,
        keep,
    } = Arguments::parse();
    let seed = seed.unwrap_or_else(time_as_seed);
    eprintln!("seed {seed}");
    let mut told = 0;
    let tally = fuzz::packets(&Options { count, seed, keep }, |tally| {
        let tenths = tally.runs * 20 / count.max(1);
        if tenths > told {
            told = tenths;
            eprintln!("{:>10} packets, {:.0} a second", tally.runs, tally.rate());
        }
    })?;
    println!("{tally}");
    Ok(())
}

fn time_as_seed() -> u64 {
    let now = SystemTime::now().duration_since(SystemTime::UNIX_EPOCH);
    now.map_or(0, |time| time.as_secs())
}
