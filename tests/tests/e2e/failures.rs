//! Backends that die, and backends that say that they are sick.

use crate::support::{
    SOON, Web, active_backends, address, all_answered, counter, slots_of, state_of, tally, web4,
    web6,
};
use anyhow::{Context, Result, ensure};
use navigator_core::plan::members::State;
use navigator_tests::lab::{
    Lab,
    client::{Load, ask, ask_many},
    config::{RegistryKind, Timing},
    curl::Download,
    nginx::Nginx,
    wait,
};
use std::time::{Duration, Instant};

over_both_registries!(
    a_dead_backend_gets_no_new_connection,
    crate::support::plan(3)
);

/// From when a backend refuses until the last connection that still went to it.
fn a_dead_backend_gets_no_new_connection(lab: &Lab, registry: RegistryKind) -> Result<()> {
    let mut web = Web::start(lab, registry, &[100, 100, 100])?;
    let pace = Duration::from_millis(5);
    let load = Load::start(lab.client(), &[web4(), web6()], 8, pace);
    std::thread::sleep(Duration::from_secs(1));
    let healthy = load.since(0);
    all_answered(&healthy)?;

    web.servers.remove(1).kill();
    let died = Instant::now();
    let limit = Timing::QUICK.longest_detection();
    std::thread::sleep(limit + Duration::from_secs(2));
    let samples = load.finish();
    let failed = samples.iter().filter(|s| s.outcome.is_err());
    let last = failed.map(|s| s.start).max();
    let last = last.context("no connection met the dead backend: nothing was proven")?;
    let took = last.saturating_duration_since(died);
    eprintln!("last connection to the dead backend after {took:?}, allowed {limit:?}");
    ensure!(took <= limit, "connections for {took:?}, allowed {limit:?}");
    let after = samples.iter().filter(|s| s.start > last).count();
    ensure!(after > 100, "only {after} requests after the last failure");

    let vip = web.until("b2 is unhealthy", |vip| {
        state_of(vip, address(1)) == Some(State::Unhealthy)
    })?;
    ensure!(slots_of(&vip, address(1)) == 0, "{vip:?}");
    Ok(())
}

over_both_registries!(
    a_sick_backend_keeps_its_connections,
    crate::support::plan(2)
);

/// A failing check ends new connections only; a passing one brings them back.
fn a_sick_backend_keeps_its_connections(lab: &Lab, registry: RegistryKind) -> Result<()> {
    let web = Web::start(lab, registry, &[100, 100])?;
    let mut downloads = Vec::new();
    for number in 0..12 {
        let name = format!("sick-{number}");
        let mut download = Download::start(lab, lab.client(), &name, web4(), 6)?;
        download.backend()?;
        downloads.push(download);
    }
    web.servers[0].set_sick(true)?;
    web.until("b1 is out", |vip| slots_of(vip, address(0)) == 0)?;
    let counts = tally(&ask_many(lab.client(), web4(), 100))?;
    ensure!(!counts.contains_key("b1"), "{counts:?}");
    web.servers[0].set_sick(false)?;
    web.settle(2)?;
    for download in downloads {
        download.finish()?;
    }
    let counts = tally(&ask_many(lab.client(), web4(), 100))?;
    ensure!(counts.len() == 2, "{counts:?}");
    Ok(())
}

over_both_registries!(all_dead_and_back, crate::support::plan(2));

/// Without a healthy backend new connections are dropped and counted as such;
/// the first that comes back serves.
fn all_dead_and_back(lab: &Lab, registry: RegistryKind) -> Result<()> {
    let mut web = Web::start(lab, registry, &[100, 100])?;
    for server in web.servers.drain(..) {
        server.kill();
    }
    web.until("nothing is healthy", |vip| active_backends(vip) == 0)?;
    let before = counter(&web.daemon, "drop_no_backend")?;
    // The view shows a verdict some milliseconds before the kernel has the
    // table that follows from it: the first request may still be refused.
    wait::until("it is counted", SOON, || {
        let sample = lab.client().enter(|| ask(web4()));
        ensure!(sample.outcome.is_err(), "{sample:?}");
        let after = counter(&web.daemon, "drop_no_backend")?;
        ensure!(after > before, "drop_no_backend: {before}, then {after}");
        anyhow::Ok(())
    })?;

    let _back = Nginx::start(lab, &lab.backends[1])?;
    web.settle(1)?;
    let counts = tally(&ask_many(lab.client(), web4(), 50))?;
    ensure!(counts.len() == 1 && counts.contains_key("b2"), "{counts:?}");
    Ok(())
}
