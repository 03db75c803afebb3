//! What the tests have in common.

use anyhow::{Context, Result, ensure};
use navigator_core::plan::members::State;
use navigator_tests::lab::{self, Lab, Plan, client::ask_many, host::Host, navigator::Navigator};
use navigator_user::snapshot::VipView;
use std::{
    collections::BTreeSet,
    net::{IpAddr, SocketAddr},
    time::Duration,
};

/// Longest wait for a change to arrive in the tables.
const SOON: Duration = Duration::from_secs(10);

/// One client and two backends on the balancer's LAN.
pub(crate) const PLAN: Plan = Plan {
    clients: 1,
    backends: BACKENDS,
    far: 0,
};
pub(crate) const BACKENDS: u8 = 2;
pub(crate) const NAMES: [&str; 2] = ["b1", "b2"];

/// Requests for a VIP; enough that both backends get some.
pub(crate) const REQUESTS: usize = 24;

/// Runs a test in a lab of its own.
pub(crate) fn run(plan: Plan, test: impl FnOnce(&Lab) -> Result<()>) {
    assert!(
        std::env::var_os("NAVIGATOR_VM").is_some(),
        "this needs tunnel and VLAN devices of the kernel: run `cargo xtask vm`"
    );
    let lab = Lab::new(plan).unwrap_or_else(|why| panic!("cannot build the lab: {why:#}"));
    if let Err(why) = test(&lab) {
        panic!("{why:#}");
    }
}

/// The addresses of the first `count` backends, of one family, as instances.
pub(crate) fn instances(v6: bool, count: u8) -> Vec<(SocketAddr, u16)> {
    let pick = |(v4, v6_address): (IpAddr, IpAddr)| if v6 { v6_address } else { v4 };
    let addresses = (0..count).map(lab::backend).map(pick);
    addresses
        .map(|address| (SocketAddr::new(address, 80), 100))
        .collect()
}

/// Waits until so many backends of a VIP take new flows.
pub(crate) fn settle(daemon: &Navigator<'_>, vip: &str, active: usize) -> Result<()> {
    let count = |vip: &VipView| {
        let backends = vip.backends.iter();
        backends
            .filter(|b| b.state == State::Active && b.reachable && b.slots > 0)
            .count()
    };
    daemon.vip_until(vip, &format!("{vip} has {active} backends"), SOON, |view| {
        count(view) == active
    })?;
    Ok(())
}

/// Asks a VIP `requests` times; every backend must have answered, and nothing failed.
pub(crate) fn ask(client: &Host, vip: IpAddr, requests: usize, backends: &[&str]) -> Result<()> {
    let samples = ask_many(client, SocketAddr::new(vip, 80), requests);
    let mut answered = BTreeSet::new();
    for sample in &samples {
        let name = sample.outcome.as_ref();
        let name = name.map_err(|why| anyhow::anyhow!("{vip}: {why}"))?;
        answered.insert(name.as_str());
    }
    let expected: BTreeSet<_> = backends.iter().copied().collect();
    ensure!(
        answered == expected,
        "{vip}: answers came from {answered:?}"
    );
    Ok(())
}

/// Packets that a device has received.
pub(crate) fn received(host: &Host, device: &str) -> Result<u64> {
    let path = format!("/sys/class/net/{device}/statistics/rx_packets");
    let text = host.sh(&format!("cat {path}"))?;
    text.trim()
        .parse()
        .with_context(|| format!("{path}: {text}"))
}
