//! What a second's part of a pass through the flow cache costs the daemon's loop.

use super::plan::cpu_time;
use anyhow::{Context, Result};
use navigator_common::flow::{FlowWord, WAYS};
use navigator_core::{
    model::{ForwardMode, Protocol, UdpPolicy, UnservedPolicy, VipKey},
    plan::members::{Member, State},
};
use navigator_user::dataplane::{
    Dataplane as _, Steering, VipPlan, VipSettings,
    memory::{MemoryDataplane, MemoryStore},
    store::{Sizes, Store as _, Table},
};
use std::net::SocketAddr;

const SLOTS: u32 = 65_537;
/// Passes that are timed.
const PASSES: usize = 5;
/// Sweeps of one pass through a cache of the default size, and a few in which nothing is done.
const SWEEPS: usize = 40;

/// The longest sweep over a cache of the default size in which every entry holds a flow that
/// leads elsewhere than its slot does: CPU time in milliseconds, median and maximum of some passes.
///
/// # Errors
/// Where the thread's CPU clock cannot be read.
pub(super) fn longest_sweep_ms() -> Result<(f64, f64)> {
    let store = MemoryStore::new(Sizes::default());
    let mut plane = MemoryDataplane::adopt_from(store.clone());
    // The second one had all slots for a moment: they are tracked, and not at risk.
    for owner in [0, 1, 0] {
        plane.apply(&plan(owner))?;
    }
    let mut random = 1u64;
    for entry in 0..store.sizes().flow_sets as usize * WAYS {
        random = random.wrapping_mul(0x5851_f42d_4c95_7f2d).wrapping_add(1);
        let word = FlowWord::new((random >> 32) as u32, 2, true, 0);
        store.store(Table::Flows, entry, word.0);
    }
    let mut longest = Vec::with_capacity(PASSES);
    for _ in 0..PASSES {
        let mut times = Vec::with_capacity(SWEEPS);
        for _ in 0..SWEEPS {
            let start = cpu_time()?;
            plane.sweep();
            times.push((cpu_time()? - start).as_secs_f64() * 1e3);
        }
        times.sort_by(f64::total_cmp);
        longest.push(times.pop().context("no sweep")?);
    }
    longest.sort_by(f64::total_cmp);
    Ok((longest[PASSES / 2], longest[PASSES - 1]))
}

fn plan(owner: u32) -> VipPlan {
    let member = |last: u8| Member {
        address: SocketAddr::from(([10, 0, 0, last], 80)),
        weight: 100,
        state: State::Active,
        why: String::new(),
        takes_new: true,
        usable: true,
    };
    VipPlan {
        vip: VipSettings {
            key: VipKey::new([192, 0, 2, 1].into(), Protocol::Tcp, 80),
            slots: SLOTS,
            mode: ForwardMode::L2,
            udp: UdpPolicy::Rehash,
            unserved: UnservedPolicy::Drop,
            steering: Steering::default(),
        },
        members: vec![member(1), member(2)],
        table: vec![owner; SLOTS as usize],
    }
}
