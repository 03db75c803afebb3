//! Random packets through the programs: fewer than `cargo xtask fuzz packets` runs, the same
//! ones each time, and other ones each time. Root is needed.

use anyhow::{Result, ensure};
use navigator_common::reason::Reason;
use navigator_tests::fuzz::{self, Options, judge::Fate, tally::Tally};
use std::{path::PathBuf, time::SystemTime};

const COUNT: u64 = 150_000;

fn run(seed: u64) -> Result<Tally> {
    let keep = PathBuf::from(env!("CARGO_TARGET_TMPDIR"));
    fuzz::packets(
        &Options {
            count: COUNT,
            seed,
            keep,
        },
        |_| {},
    )
}

/// A fuzzer whose packets all fall at the first hurdle finds nothing.
#[test]
fn the_same_packets_every_time_reach_every_reason() -> Result<()> {
    let tally = run(1)?;
    println!("{tally}");
    for fate in [Fate::Passed, Fate::Dropped, Fate::Replied, Fate::Forwarded] {
        let share = tally.of(fate) * 100 / tally.runs;
        ensure!(
            share >= 1 || fate == Fate::Replied,
            "{fate:?}: {share} %\n{tally}"
        );
        ensure!(tally.of(fate) > 0, "none was {fate:?}\n{tally}");
    }
    let seen = |reason: &&Reason| tally.counted.get(reason.name()).is_some_and(|n| *n > 0);
    let missed: Vec<_> = Reason::ALL
        .iter()
        .filter(|reason| !UNREACHED.contains(reason) && !seen(reason))
        .map(|reason| reason.name())
        .collect();
    ensure!(missed.is_empty(), "never seen: {missed:?}\n{tally}");
    Ok(())
}

/// Reasons that no packet alone can bring about here.
const UNREACHED: &[Reason] = &[
    // It depends on how fast they come.
    Reason::DropEchoLimit,
    // Headroom is always there in a test run, as is the only interface.
    Reason::DropNoHeadroom,
    Reason::DropNoEgress,
    // The tables are sound.
    Reason::DropCorrupt,
    // So few packets open too few flows; the tables `nat_life` fill maps and ports. Nobody makes two
    // flows of one hash.
    Reason::DropNatFull,
    Reason::DropNatPorts,
    Reason::DropNatCollision,
    // Whether a way is narrow, or a flow's backend dead, just when a packet comes is a matter of luck.
    Reason::ReplyTooBig,
    Reason::DropTooBig,
    Reason::DropNatGone,
];

#[test]
fn other_packets_every_time() -> Result<()> {
    let now = SystemTime::now().duration_since(SystemTime::UNIX_EPOCH)?;
    let seed = now.as_secs();
    println!("seed {seed}");
    run(seed).map(drop)
}
