//! Changes under traffic break nothing that could go on.

use crate::support::{Web, address, slots_of, state_of, web4, web6};
use anyhow::{Result, ensure};
use navigator_core::plan::members::State;
use navigator_tests::lab::{
    Lab,
    client::ask_many,
    config::RegistryKind,
    curl::Download,
    wrk::{Connections, Wrk},
};
use std::{collections::BTreeSet, time::Duration};

over_both_registries!(no_connection_breaks, crate::support::plan(4));

/// Long downloads from all backends and two wrks go on while a backend is
/// added, one is drained, one re-weighted and the drained one enabled again.
fn no_connection_breaks(lab: &Lab, registry: RegistryKind) -> Result<()> {
    let web = Web::start(lab, registry, &[100, 100, 100])?;
    let downloads = downloads(&web)?;
    let kept = Wrk::start(lab.client(), web4(), 8, Connections::KeptAlive)?;
    let single = Wrk::start(lab.client(), web6(), 8, Connections::OnePerRequest)?;

    pause();
    web.register(3, 100)?;
    web.settle(4)?;
    pause();
    web.order("drain", 1, &[])?;
    let drained = web.until("b2 drains", |vip| slots_of(vip, address(1)) == 0)?;
    ensure!(state_of(&drained, address(1)) == Some(State::Draining));
    no_new_connections_to("b2", lab)?;
    web.register(0, 300)?;
    web.until("b1 has three fifths", |vip| {
        slots_of(vip, address(0)) > vip.slots / 10 * 5
    })?;
    pause();
    web.order("enable", 1, &[])?;
    web.settle(4)?;

    for (number, download) in downloads.into_iter().enumerate() {
        download
            .finish()
            .map_err(|why| why.context(format!("download {number}")))?;
    }
    for (wrk, what) in [(kept, "kept alive"), (single, "one per request")] {
        let report = wrk.finish()?;
        ensure!(report.requests > 500, "{what}: {report:?}");
        ensure!(report.errors == 0, "{what}: {report:?}");
    }
    Ok(())
}

over_both_registries!(a_deregistered_backend_drains, crate::support::plan(3));

/// Taking an instance out of the registry ends new connections, not old ones.
fn a_deregistered_backend_drains(lab: &Lab, registry: RegistryKind) -> Result<()> {
    let web = Web::start(lab, registry, &[100, 100, 100])?;
    let downloads = downloads(&web)?;
    web.store().delete("web", address(2))?;
    web.until("b3 has no slots", |vip| slots_of(vip, address(2)) == 0)?;
    no_new_connections_to("b3", lab)?;
    for download in downloads {
        download.finish()?;
    }
    Ok(())
}

/// Downloads of ten seconds over both VIPs, at least one from each backend.
fn downloads(web: &Web<'_>) -> Result<Vec<Download>> {
    const BATCH: usize = 8;
    const MOST: usize = 64;
    const SECONDS: u64 = 10;
    let lab = web.lab();
    let (mut downloads, mut sources) = (Vec::new(), BTreeSet::new());
    while sources.len() < web.first {
        ensure!(downloads.len() < MOST, "all of {MOST} from {sources:?}");
        for number in downloads.len()..downloads.len() + BATCH {
            let target = [web4(), web6()][number % 2];
            let name = format!("long-{number}");
            downloads.push(Download::start(lab, lab.client(), &name, target, SECONDS)?);
        }
        for download in downloads.iter_mut().rev().take(BATCH) {
            sources.insert(download.backend()?);
        }
    }
    Ok(downloads)
}

fn no_new_connections_to(name: &str, lab: &Lab) -> Result<()> {
    for target in [web4(), web6()] {
        let counts = crate::support::tally(&ask_many(lab.client(), target, 200))?;
        ensure!(!counts.contains_key(name), "{target}: {counts:?}");
    }
    Ok(())
}

fn pause() {
    std::thread::sleep(Duration::from_millis(400));
}
