//! A hundred thousand connections through a thousand changes: the real program, by test runs,
//! beside a plain model. Needs root.
//!
//! `NAVIGATOR_MODEL_SEED=N` repeats a life; the seed of a run that fails is in its message.

use anyhow::{Context, Result, ensure};
use navigator_tests::model::{self, Settings};

#[test]
fn no_connection_whose_backend_stays_usable_is_moved() -> Result<()> {
    let seed = match std::env::var("NAVIGATOR_MODEL_SEED") {
        Ok(text) => text.parse().context("NAVIGATOR_MODEL_SEED")?,
        Err(_) => 1,
    };
    let report = model::run(Settings {
        seed,
        flows: 100_000,
        changes: 1_000,
    })?;
    println!("{report}");
    ensure!(
        report.not_remembered == 0,
        "seed {seed}: {} packets found no room for their flow: the cache is not sized for this life",
        report.not_remembered
    );
    ensure!(
        report.moved.is_empty(),
        "seed {seed}: {} connections were moved off a usable backend; the first ones:\n{}",
        report.moved.len(),
        report
            .moved
            .iter()
            .take(5)
            .cloned()
            .collect::<Vec<_>>()
            .join("\n")
    );
    // A life in which nothing was at stake would prove nothing.
    let broken = &report.points.last().context("no changes")?.broken;
    ensure!(broken.iter().all(|&broken| broken > 1_000), "{report}");
    ensure!(
        report.windows_closed > 10_000 && report.settled > 1_000,
        "{report}"
    );
    Ok(())
}
