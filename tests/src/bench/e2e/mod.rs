//! `bench e2e`: requests per second, latency and throughput through Navigator, beside proxies and
//! plain routing, on one small network.
//!
//! ```text
//!              ┌── lb      Navigator: l2, ipip, nat ┐
//!  c1 client ──┤                                    ├── b1, b2 (nginx)
//!              └── rival   HAProxy, nginx, routing ─┘
//! ```
//!
//! All of them share the cables, the backends and the processors of this machine, one is under
//! load at a time, and they take turns round by round, so that a slow moment of the machine hits
//! all of them. What counts are ratios of medians.

mod load;
mod paths;
mod report;
mod rival;

use crate::lab::{Lab, Plan};
use anyhow::{Context, Result, ensure};
use load::Kind;
use paths::Path;

/// How much to measure.
#[derive(Clone, Copy, Debug)]
pub struct Effort {
    /// Rounds that count.
    pub rounds: usize,
    /// How long each path is under each kind of load, in one round.
    pub seconds: u32,
}

impl Default for Effort {
    fn default() -> Self {
        Self {
            rounds: 9,
            seconds: 2,
        }
    }
}

const PLAN: Plan = Plan {
    clients: 1,
    backends: 2,
    far: 0,
};

/// What one path did under one kind of load, medians over the rounds.
struct Figure {
    path: &'static str,
    kind: Kind,
    /// Requests, or gigabits for bulk transfers.
    per_second: f64,
    /// 99 % of requests took no longer; not for bulk transfers.
    p99_ms: Option<f64>,
}

/// Measures and prints: a table with the ratios that matter, or a JSON array of
/// `{"path", "kind", "requests_per_s", "p99_ms"}`, for bulk transfers with `"gbit_per_s"` instead
/// of both. Draws the plot of the documents if a file is named.
///
/// # Errors
/// Without root, when something does not start, or when requests failed.
pub fn run(json: bool, effort: Effort, plot: Option<&std::path::Path>) -> Result<()> {
    ensure!(
        nix::unistd::geteuid().is_root(),
        "the benchmark makes network namespaces: run it as root"
    );
    ensure!(
        effort.rounds > 0 && effort.seconds > 0,
        "nothing is measured in no time"
    );
    let lab = Lab::new(PLAN).context("cannot build the network")?;
    let figures = measure(&lab, effort).inspect_err(|_| eprintln!("{}", lab.logs()))?;
    if let Some(file) = plot {
        report::draw(&figures, file)?;
    }
    report::print(&figures, json)
}

fn measure(lab: &Lab, effort: Effort) -> Result<Vec<Figure>> {
    let setting = paths::Setting::build(lab)?;
    let cases: Vec<(&Path, Kind)> = setting
        .paths()
        .iter()
        .flat_map(|path| Kind::ALL.map(|kind| (path, kind)))
        .collect();
    for path in setting.paths() {
        path.answers(lab).with_context(|| path.name)?;
    }
    let mut results = vec![Vec::with_capacity(effort.rounds); cases.len()];
    for round in 1..=effort.rounds {
        for ((path, kind), results) in cases.iter().zip(&mut results) {
            eprint!(
                "\rround {round} of {}: {:14} {:12}",
                effort.rounds,
                path.name,
                kind.word()
            );
            let result = load::run(lab, path.target, *kind, effort.seconds);
            results.push(result.with_context(|| format!("{} {}", path.name, kind.word()))?);
        }
    }
    eprintln!();
    let figure = |((path, kind), results): ((&Path, Kind), Vec<load::Sample>)| Figure {
        path: path.name,
        kind,
        per_second: median(results.iter().map(|sample| sample.per_second)),
        p99_ms: (kind != Kind::Bulk).then(|| median(results.iter().map(|sample| sample.p99_ms))),
    };
    Ok(cases.into_iter().zip(results).map(figure).collect())
}

fn median(values: impl Iterator<Item = f64>) -> f64 {
    let mut values: Vec<_> = values.collect();
    values.sort_by(f64::total_cmp);
    values.get(values.len() / 2).copied().unwrap_or(f64::NAN)
}
