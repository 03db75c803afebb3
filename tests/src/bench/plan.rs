//! `bench plan`: what a slot table costs to build, how exact its shares are
//! and how many slots a removal moves that need not move.

use anyhow::Context;
use navigator_core::plan::maglev;
use nix::time::{ClockId, clock_gettime};
use std::{
    net::{Ipv4Addr, SocketAddr},
    time::Duration,
};

const SEED: u64 = 0x006e_6176_6967_6174;
const SLOTS: u32 = 65_537;
const RUNS: usize = 15;

const LIMIT_BUILD_MS: f64 = 5.0;
const LIMIT_MOVED_PCT: f64 = 1.0;
const LIMIT_ERROR_SLOTS: u32 = 2;
const LIMIT_SWEEP_MS: f64 = 10.0;

type Weighted = Vec<(SocketAddr, u16)>;

/// Measures and prints a table of the figures beside their limits, or, as
/// JSON, one object of `build_ms`, `build_ms_min`, `moved_extra_pct`, `share_error_slots`, `sweep_ms`
/// and `sweep_ms_max`.
///
/// Times are those of one thread's CPU, so that other work on the machine
/// does not count. Figures over a limit are printed, not an error.
///
/// # Errors
/// Where the thread's CPU clock cannot be read.
pub fn run(json: bool) -> anyhow::Result<()> {
    let (build_ms_min, build_ms) = build_times(&spread(1000))?;
    let moved = moved_extra_pct(&equal(100));
    let error = share_error_slots();
    let (sweep_ms, sweep_ms_max) = super::sweep::longest_sweep_ms()?;
    if json {
        let figures = serde_json::json!({
            "build_ms": build_ms,
            "build_ms_min": build_ms_min,
            "moved_extra_pct": moved,
            "share_error_slots": error,
            "sweep_ms": sweep_ms,
            "sweep_ms_max": sweep_ms_max,
        });
        println!("{figures}");
        return Ok(());
    }
    let mut table = comfy_table::Table::new();
    table.load_style(comfy_table::presets::NOTHING);
    table.set_header(["figure", "measured", "limit"]);
    table.add_row([
        format!("{SLOTS} slots over 1,000 weighted backends: CPU time, median of {RUNS}"),
        format!("{build_ms:.2} ms (minimum {build_ms_min:.2})"),
        format!("{LIMIT_BUILD_MS} ms"),
    ]);
    table.add_row([
        "one of 100 backends removed: slots moved beyond its own, worst of 100".into(),
        format!("{moved:.2} %"),
        format!("{LIMIT_MOVED_PCT} %"),
    ]);
    table.add_row([
        "distance from the ideal share, worst of several weightings".into(),
        format!("{error} slots"),
        format!("{LIMIT_ERROR_SLOTS} slots"),
    ]);
    table.add_row([
        "longest sweep through a flow cache of 2^20 flows that all matter: CPU time, median".into(),
        format!("{sweep_ms:.2} ms (maximum {sweep_ms_max:.2})"),
        format!("{LIMIT_SWEEP_MS} ms"),
    ]);
    println!("{table}");
    Ok(())
}

/// Minimum and median CPU time of a build, in milliseconds.
fn build_times(weighted: &Weighted) -> anyhow::Result<(f64, f64)> {
    std::hint::black_box(maglev::build(SEED, SLOTS, weighted));
    let mut times = Vec::with_capacity(RUNS);
    for run in 0..RUNS as u64 {
        let start = cpu_time()?;
        std::hint::black_box(maglev::build(SEED + run, SLOTS, weighted));
        times.push((cpu_time()? - start).as_secs_f64() * 1e3);
    }
    times.sort_by(f64::total_cmp);
    Ok((times[0], times[RUNS / 2]))
}

pub(super) fn cpu_time() -> anyhow::Result<Duration> {
    let time = clock_gettime(ClockId::CLOCK_THREAD_CPUTIME_ID).context("read the CPU clock")?;
    Ok(time.into())
}

/// The worst over all removals: slots that change hands between two backends
/// that both stay, in percent of all slots.
fn moved_extra_pct(before: &Weighted) -> f64 {
    let old = owners(before);
    let moved = |gone: usize| {
        let mut after = before.clone();
        let (left, _) = after.remove(gone);
        let pairs = old.iter().zip(owners(&after));
        pairs
            .filter(|(was, is)| **was != left && *was != is)
            .count()
    };
    let worst = (0..before.len()).map(moved).max().unwrap_or(0);
    worst as f64 * 100.0 / f64::from(SLOTS)
}

/// The worst over several weightings.
fn share_error_slots() -> u32 {
    let weightings = [
        equal(3),
        equal(100),
        equal(655),
        spread(100),
        spread(1000),
        (0..100)
            .map(|i| (backend(i), if i % 10 == 0 { 1000 } else { 1 }))
            .collect(),
        (1..=100).map(|i| (backend(i), i as u16)).collect(),
    ];
    let error = |weighted: &Weighted| {
        maglev::quality(&maglev::build(SEED, SLOTS, weighted), weighted).max_error_slots
    };
    weightings.iter().map(error).max().unwrap_or(0)
}

fn owners(weighted: &Weighted) -> Vec<SocketAddr> {
    let table = maglev::build(SEED, SLOTS, weighted);
    table
        .iter()
        .map(|&index| weighted[index as usize].0)
        .collect()
}

fn equal(count: u32) -> Weighted {
    (0..count).map(|i| (backend(i), 100)).collect()
}

/// Weights from 1 to 1000 in no order.
fn spread(count: u32) -> Weighted {
    (0..count)
        .map(|i| (backend(i), 1 + (i * 7919 % 1000) as u16))
        .collect()
}

fn backend(i: u32) -> SocketAddr {
    SocketAddr::new(Ipv4Addr::from(0x0a00_0000 + i).into(), 80)
}
