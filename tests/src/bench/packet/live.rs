//! `bench live`: packets that really leave. The kernel makes frames, runs the program on each and
//! sends those that it answers with XDP_TX through a veth cable (BPF_F_TEST_XDP_LIVE_FRAMES); at
//! the far end a program counts and drops them. All on one core, so that the figure is the cost
//! of the whole way: the program, the driver's sending and receiving.
//!
//! A live frame comes back to the program as it left, so the program under test runs behind the
//! same wrapper as in `bench packet`, and so does `tx`, which only says XDP_TX: both touch the
//! frame. `tx-bare` has no wrapper and touches nothing.

use super::{TX, frozen, product::Product, runner::Runner, runner::program};
use crate::lab::{host::Host, scratch::Scratch};
use anyhow::{Context, Result, ensure};
use aya::{
    Ebpf,
    maps::{MapData, PerCpuArray},
    programs::{ProgramFd, TestRun as _, TestRunAttrs, TestRunOptions, Xdp, xdp::XdpMode},
};
use nix::{
    net::if_::if_nametoindex,
    sched::{CloneFlags, CpuSet, sched_getaffinity, sched_setaffinity, setns},
    unistd::Pid,
};
use serde::Serialize;
use std::{
    fs::File,
    time::{Duration, Instant},
};

/// Rounds that count; one before them warms up. A round is short, so that some of them are not
/// disturbed.
const ROUNDS: usize = 151;
const PACKETS: u32 = 1 << 15;
/// Packets that the kernel runs the program on before it sends.
const BATCH: u32 = 64;
/// What Navigator promises: its packets per second, by those of a program that only says XDP_TX.
const AT_LEAST: f64 = 0.7;

/// A program, and how many flows it meets; behind the wrapper unless that is 0.
struct Lane {
    name: &'static str,
    program: ProgramFd,
    flows: u32,
}

/// Packets per second of one program.
#[derive(Serialize)]
struct Figure {
    case: &'static str,
    flows: u32,
    packets_per_s_max: f64,
    packets_per_s_median: f64,
}

/// Measures and prints: a table with the ratio, or a JSON array of
/// `{"case", "flows", "packets_per_s_max", "packets_per_s_median"}`.
///
/// # Errors
/// Without root or BPF, or when frames did not arrive.
pub fn run(json: bool) -> Result<()> {
    ensure!(
        nix::unistd::geteuid().is_root(),
        "the benchmark loads BPF programs and makes a network namespace: run it as root"
    );
    let mut product = Product::new().context("Navigator's program")?;
    let mut runner = Runner::new(frozen::load()?)?;
    let cases = product.cases()?;
    let l2 = cases
        .iter()
        .find(|case| case.name == "l2" && case.verdict == TX);
    let l2 = l2.context("there is no case l2")?;
    let floor = program(runner.object(), "floor_return")?;
    floor.load()?;
    let floor = floor.fd()?.try_clone()?;
    let lane = |name, of: &ProgramFd, flows| -> Result<Lane> {
        let program = of.try_clone()?;
        Ok(Lane {
            name,
            program,
            flows,
        })
    };
    let lanes = [
        lane("tx-bare", &floor, 0)?,
        lane("tx", &floor, 1)?,
        lane("l2", &l2.program, 1)?,
        lane("l2", &l2.program, 1_000_000)?,
    ];

    let cable = Cable::new()?;
    let mut sink = cable.sink()?;
    one_core()?;
    let mut rates = vec![Vec::with_capacity(ROUNDS); lanes.len()];
    for round in 0..=ROUNDS {
        eprint!("\rround {round} of {ROUNDS} ");
        for (lane, rates) in lanes.iter().zip(&mut rates) {
            runner.aim(&lane.program, &l2.frame, l2.growth, lane.flows)?;
            let bare = lane.flows == 0;
            let entry = if bare { "floor_return" } else { "wrapper" };
            let program = program(runner.object(), entry)?;
            let rate = send(program, &l2.frame, cable.ifindex, &mut sink)?;
            if round > 0 {
                rates.push(rate);
            }
        }
    }
    eprintln!();
    let figures: Vec<_> = lanes
        .iter()
        .zip(rates)
        .map(|(lane, rates)| figure(lane, rates))
        .collect();
    print(&figures, json)
}

/// A namespace with a veth cable; the calling thread is in it from then on.
struct Cable {
    ifindex: u32,
    _host: Host,
    _scratch: Scratch,
}

impl Cable {
    fn new() -> Result<Self> {
        let scratch = Scratch::new()?;
        let host = Host::new("live", scratch.path())?;
        host.ip(&[
            "link add near0 type veth peer name far0",
            "link set near0 up",
            "link set far0 up",
        ])?;
        let netns = File::open(host.netns())?;
        setns(netns, CloneFlags::CLONE_NEWNET).context("cannot enter the namespace")?;
        Ok(Self {
            ifindex: if_nametoindex("near0")?,
            _host: host,
            _scratch: scratch,
        })
    }

    /// The counting program at both ends: an interface that XDP sends from needs one as well.
    fn sink(&self) -> Result<Ebpf> {
        let mut object = frozen::load()?;
        let sink: &mut Xdp = program(&mut object, "sink")?;
        sink.load()?;
        for end in ["near0", "far0"] {
            sink.attach(end, XdpMode::Driver)
                .with_context(|| format!("no XDP program on {end}"))?;
        }
        Ok(object)
    }
}

/// Keeps the calling thread on the first CPU that it may use.
fn one_core() -> Result<()> {
    let allowed = sched_getaffinity(Pid::from_raw(0))?;
    let first = (0..CpuSet::count()).find(|&cpu| allowed.is_set(cpu).unwrap_or(false));
    let mut one = CpuSet::new();
    one.set(first.context("there is no CPU to run on")?)?;
    Ok(sched_setaffinity(Pid::from_raw(0), &one)?)
}

/// Packets per second that arrive of those that a program is given.
fn send(program: &Xdp, frame: &[u8], ifindex: u32, sink: &mut Ebpf) -> Result<f64> {
    let before = arrived(sink)?;
    let context = context(frame.len(), ifindex)?;
    let mut options = TestRunOptions::new();
    options.data_in = Some(frame);
    options.ctx_in = Some(&context);
    options.repeat = PACKETS;
    options.attrs = TestRunAttrs::new().xdp_live_frames(BATCH);
    let start = Instant::now();
    program.test_run(options).context("live frames")?;
    let time = start.elapsed();
    // The last ones are on their way.
    std::thread::sleep(Duration::from_millis(2));
    let arrived = arrived(sink)? - before;
    ensure!(
        arrived * 10 >= u64::from(PACKETS) * 9,
        "only {arrived} of {PACKETS} packets arrived: something else was measured"
    );
    Ok(arrived as f64 / time.as_secs_f64())
}

/// The kernel's `struct xdp_md` of a frame that came in by an interface.
fn context(length: usize, ifindex: u32) -> Result<Vec<u8>> {
    let length = u32::try_from(length)?;
    let words = [0, length, 0, ifindex, 0, 0];
    Ok(words.into_iter().flat_map(u32::to_ne_bytes).collect())
}

fn arrived(sink: &mut Ebpf) -> Result<u64> {
    let map = sink.map_mut("SINK_COUNT");
    let map = map.context("SINK_COUNT is missing")?;
    let counts = PerCpuArray::<&mut MapData, u64>::try_from(map)?;
    Ok(counts.get(&0, 0)?.iter().sum())
}

fn figure(lane: &Lane, mut rates: Vec<f64>) -> Figure {
    rates.sort_by(f64::total_cmp);
    Figure {
        case: lane.name,
        flows: lane.flows,
        packets_per_s_max: rates.last().copied().unwrap_or(0.0).round(),
        packets_per_s_median: rates.get(rates.len() / 2).copied().unwrap_or(0.0).round(),
    }
}

fn print(figures: &[Figure], json: bool) -> Result<()> {
    if json {
        println!("{}", serde_json::to_string_pretty(figures)?);
        return Ok(());
    }
    println!("million packets per second through a cable, on one core: best round (median)");
    let best = |case: &str| {
        let found = figures.iter().find(|figure| figure.case == case);
        found.map_or(f64::NAN, |figure| figure.packets_per_s_max)
    };
    let (bare, tx) = (best("tx-bare"), best("tx"));
    for figure in figures {
        let (max, median) = (figure.packets_per_s_max, figure.packets_per_s_median);
        println!(
            "  {:8}{:>8} flows {:6.2} ({:.2})  {:.2} of tx-bare, {:.2} of tx",
            figure.case,
            figure.flows,
            max / 1e6,
            median / 1e6,
            max / bare,
            max / tx
        );
    }
    let ratio = best("l2") / bare;
    let missed = if ratio < AT_LEAST { "  missed" } else { "" };
    println!("l2 / tx-bare {ratio:.2}, at least {AT_LEAST:.2}{missed}");
    Ok(())
}
