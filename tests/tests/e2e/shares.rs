//! New connections spread as the weights say.

use crate::support::{Web, address, plan, tally, web4, web6};
use anyhow::{Result, ensure};
use navigator_tests::{
    lab::{Lab, client::ask_many, config::RegistryKind},
    stats::chi_square_p,
};
use navigator_user::snapshot::VipView;
use std::net::SocketAddr;

const WEIGHTS: &[u16] = &[100, 50, 25, 125];
const CONNECTIONS: usize = 2000;
/// A true spread fails once in a thousand samples: then a second one decides.
const UNLIKELY: f64 = 0.001;

over_both_registries!(shares_follow_weights, crate::support::plan(4));

fn shares_follow_weights(lab: &Lab, registry: RegistryKind) -> Result<()> {
    ensure!(plan(4).backends as usize == WEIGHTS.len());
    let web = Web::start(lab, registry, WEIGHTS)?;
    let vips: Vec<VipView> = web.daemon.cli_json(&["backends"])?;
    ensure!(vips.len() == 2, "{vips:?}");
    for vip in &vips {
        slots_are_exact(vip)?;
    }
    for target in [web4(), web6()] {
        let (p, first) = sample(lab, target)?;
        if p <= UNLIKELY {
            let (p, second) = sample(lab, target)?;
            ensure!(
                p > UNLIKELY,
                "{target}: {first:?}, then {second:?} for weights {WEIGHTS:?}: p = {p}"
            );
        }
    }
    Ok(())
}

fn slots_are_exact(vip: &VipView) -> Result<()> {
    let total: u32 = WEIGHTS.iter().copied().map(u32::from).sum();
    let owned: u32 = vip.backends.iter().map(|b| b.slots).sum();
    ensure!(
        owned == vip.slots,
        "{owned} of {} slots are owned",
        vip.slots
    );
    for (index, &weight) in (0..).zip(WEIGHTS) {
        let backend = navigator_tests::lab::navigator::backend(vip, address(index))?;
        let ideal = f64::from(vip.slots) * f64::from(weight) / f64::from(total);
        ensure!(
            (f64::from(backend.slots) - ideal).abs() < 1.0,
            "{}: {} slots for weight {weight}, ideal {ideal}",
            backend.address,
            backend.slots
        );
        let share = f64::from(backend.slots) / f64::from(vip.slots);
        ensure!(
            (backend.share - share).abs() < 1e-9,
            "share {}",
            backend.share
        );
    }
    Ok(())
}

fn sample(lab: &Lab, target: SocketAddr) -> Result<(f64, Vec<u64>)> {
    let counts = tally(&ask_many(lab.client(), target, CONNECTIONS))?;
    let names = ["b1", "b2", "b3", "b4"];
    let observed = names
        .map(|name| counts.get(name).copied().unwrap_or(0))
        .to_vec();
    let shares: Vec<_> = WEIGHTS.iter().copied().map(f64::from).collect();
    Ok((chi_square_p(&observed, &shares), observed))
}
