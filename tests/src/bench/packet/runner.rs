//! Runs programs behind the wrapper by BPF_PROG_TEST_RUN and times them.

use anyhow::{Context, Result, ensure};
use aya::{
    Ebpf,
    maps::{Array, MapData, ProgramArray},
    programs::{ProgramFd, TestRun as _, TestRunOptions, Xdp},
};
use nix::time::{ClockId, clock_gettime};
use std::time::Duration;

/// Runs in one call of the kernel; at least as many as there are flows, so that a timed
/// call meets each of them.
pub(super) const RUNS: u32 = 1 << 20;

/// What the wrapper restores before each run; the layout is `wrapper.rs`'s in the frozen programs.
#[repr(C)]
#[derive(Clone, Copy)]
struct WrapperFrame {
    growth: u32,
    grown: u32,
    ethernet_first: u64,
    ethernet_second: u32,
    ethernet_type: u32,
    v6: u64,
    ttl_protocol: u32,
    sum: u32,
    destination_ports: u64,
    flows: u64,
    flow: u64,
}

// SAFETY: integers without padding, any bytes are a value.
unsafe impl aya::Pod for WrapperFrame {}

/// The wrapper, loaded.
pub(super) struct Runner {
    object: Ebpf,
}

impl Runner {
    /// Takes over the object with the frozen programs and loads the wrapper.
    pub(super) fn new(mut object: Ebpf) -> Result<Self> {
        program(&mut object, "wrapper")?
            .load()
            .context("the wrapper does not load")?;
        Ok(Self { object })
    }

    /// Makes `program` the one that is measured, over `flows` flows of `frame`;
    /// it puts `growth` bytes in front of it. Needed before each call of [`Runner::time`].
    pub(super) fn aim(
        &mut self,
        program: &ProgramFd,
        frame: &[u8],
        growth: u32,
        flows: u32,
    ) -> Result<()> {
        let mut next: ProgramArray<&mut MapData> = self
            .object
            .map_mut("WRAPPER_NEXT")
            .context("WRAPPER_NEXT is missing")?
            .try_into()?;
        next.set(0, program, 0)?;
        let half = |at: usize| -> Result<u32> {
            Ok(u16::from_ne_bytes(frame[at..at + 2].try_into()?).into())
        };
        let word = |at: usize| -> Result<u32> { Ok(half(at)? | half(at + 2)? << 16) };
        // All words of an IPv4 header but its checksum and its source address.
        let summed = [14, 16, 18, 20, 22, 30, 32].map(half).into_iter();
        let restored = WrapperFrame {
            growth,
            grown: 0,
            ethernet_first: u64::from_ne_bytes(frame[..8].try_into()?),
            ethernet_second: word(8)?,
            ethernet_type: half(12)?,
            v6: u64::from(frame[12..14] == [0x86, 0xdd]),
            ttl_protocol: half(22)?,
            sum: summed.sum::<Result<u32>>()?,
            destination_ports: u64::from(word(30)?) | u64::from(word(34)?) << 32,
            flows: u64::from(flows),
            flow: 0,
        };
        let mut map: Array<&mut MapData, WrapperFrame> = self
            .object
            .map_mut("WRAPPER_FRAME")
            .context("WRAPPER_FRAME is missing")?
            .try_into()?;
        map.set(0, restored, 0)?;
        Ok(())
    }

    /// Runs what was aimed at `runs` times; nanoseconds per packet. `verdict` is the XDP action
    /// that the last run must have returned.
    pub(super) fn time(&mut self, frame: &[u8], runs: u32, verdict: u32) -> Result<f64> {
        let wrapper = program(&mut self.object, "wrapper")?;
        let mut options = TestRunOptions::new();
        options.data_in = Some(frame);
        options.repeat = runs;
        // The kernel's own figure counts whole nanoseconds, and what it waited for the CPU as well.
        let before = cpu_time()?;
        let result = wrapper.test_run(options)?;
        let elapsed = (cpu_time()? - before).as_secs_f64() * 1e9 / f64::from(runs);
        ensure!(
            result.return_value == verdict,
            "the program under test returned XDP action {}, not {verdict}: nothing was measured",
            result.return_value
        );
        Ok(elapsed)
    }

    /// The frozen programs' object, to fill maps of and load programs from.
    pub(super) fn object(&mut self) -> &mut Ebpf {
        &mut self.object
    }
}

/// CPU time that this thread has used.
fn cpu_time() -> Result<Duration> {
    Ok(clock_gettime(ClockId::CLOCK_THREAD_CPUTIME_ID)?.into())
}

/// The XDP program `name` of `object`.
pub(super) fn program<'a>(object: &'a mut Ebpf, name: &str) -> Result<&'a mut Xdp> {
    let program = object
        .program_mut(name)
        .with_context(|| format!("program {name} is missing from its object"))?;
    Ok(program.try_into()?)
}
