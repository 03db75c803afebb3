//! `bench packet`: nanoseconds per packet of each path through the program,
//! beside frozen floors and the classic design.
//!
//! Every program runs behind the same wrapper (see `tests/bench-ebpf`), which
//! undoes what the run before did to the frame and varies the flow. All cases are
//! interleaved in one run, round by round, so that a slow moment of the machine
//! hits all of them; what counts are ratios of minima.

mod frozen;
mod product;
mod report;
mod runner;

use anyhow::{Context, Result, bail, ensure};
use aya::programs::ProgramFd;
use runner::{RUNS, Runner};
use std::net::SocketAddr;

/// Rounds that count; one before them warms up.
const ROUNDS: usize = 15;
/// Numbers of flows that each case is measured with.
const FLOWS: [u32; 3] = [1, 1_000, 1_000_000];

/// The most of these.
const MOST_FLOWS: u32 = FLOWS[FLOWS.len() - 1];

/// XDP_PASS and XDP_TX of the kernel's interface.
const PASS: u32 = 2;
const TX: u32 = 3;

/// One path through one program.
struct Case {
    name: &'static str,
    program: ProgramFd,
    frame: Vec<u8>,
    /// Bytes that the program puts in front of the frame.
    growth: u32,
    /// The XDP action that it must return.
    verdict: u32,
    /// Run once for every flow before anything is measured, to open them.
    opening: Option<Vec<u8>>,
}

/// What one case took with one number of flows.
struct Figure {
    case: &'static str,
    flows: u32,
    min: f64,
    median: f64,
}

/// Measures and prints: a table with the ratios that matter, or a JSON array of
/// `{"case", "flows", "ns_min", "ns_median"}`. Of all cases, or of those that `only` names.
///
/// # Errors
/// Without root or BPF, when there is no such case, or when a program did not do what its case says.
pub fn run(json: bool, only: &[String]) -> Result<()> {
    ensure!(
        nix::unistd::geteuid().is_root(),
        "the packet benchmark loads BPF programs: run it as root"
    );
    let mut product = product::Product::new().context("Navigator's program")?;
    let mut runner = Runner::new(frozen::load()?)?;
    let mut cases = frozen::cases(runner.object())?;
    cases.extend(product.cases()?);
    choose(&mut cases, only)?;
    let figures = measure(&mut runner, &cases)?;
    product.check(&cases)?;
    report::print(&figures, json)
}

/// Where the packets for `vip` come from; the wrapper varies the address.
fn client_of(vip: SocketAddr) -> SocketAddr {
    match vip {
        SocketAddr::V4(_) => SocketAddr::from(([11, 0, 0, 0], 40_000)),
        SocketAddr::V6(_) => SocketAddr::from(([0x2001, 0xdb8, 0, 0, 0, 0, 0, 0], 40_000)),
    }
}

/// Leaves the cases that are asked for; nobody asked for leaves all.
fn choose(cases: &mut Vec<Case>, only: &[String]) -> Result<()> {
    let known: Vec<&str> = cases.iter().map(|case| case.name).collect();
    if let Some(unknown) = only.iter().find(|name| !known.contains(&name.as_str())) {
        bail!(
            "there is no case `{unknown}`; the cases are {}",
            known.join(", ")
        );
    }
    cases.retain(|case| only.is_empty() || only.iter().any(|name| name == case.name));
    Ok(())
}

/// Packets that each case's program was given, over all rounds and numbers of flows.
fn runs_of_a_case() -> u64 {
    (ROUNDS as u64 + 1) * FLOWS.len() as u64 * u64::from(RUNS)
}

fn measure(runner: &mut Runner, cases: &[Case]) -> Result<Vec<Figure>> {
    for case in cases {
        if let Some(opening) = &case.opening {
            runner.aim(&case.program, opening, case.growth, MOST_FLOWS)?;
            runner
                .time(opening, RUNS, case.verdict)
                .with_context(|| format!("{}: opening flows", case.name))?;
        }
    }
    let mut times = vec![Vec::with_capacity(ROUNDS); cases.len() * FLOWS.len()];
    for round in 0..=ROUNDS {
        eprint!("\rround {round} of {ROUNDS} ");
        for (which, times) in times.iter_mut().enumerate() {
            let (case, flows) = (&cases[which / FLOWS.len()], FLOWS[which % FLOWS.len()]);
            runner.aim(&case.program, &case.frame, case.growth, flows)?;
            let time = runner
                .time(&case.frame, RUNS, case.verdict)
                .with_context(|| format!("{} with {flows} flows", case.name))?;
            if round > 0 {
                times.push(time);
            }
        }
    }
    eprintln!();
    let figure = |(which, mut times): (usize, Vec<f64>)| {
        times.sort_by(f64::total_cmp);
        Figure {
            case: cases[which / FLOWS.len()].name,
            flows: FLOWS[which % FLOWS.len()],
            min: times[0],
            median: times[times.len() / 2],
        }
    };
    Ok(times.into_iter().enumerate().map(figure).collect())
}
