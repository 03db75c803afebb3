//! The daemon may go and come: forwarding does not depend on it.

use crate::support::{SOON, Web, address, slots_of, web_config, web4, web6};
use anyhow::{Result, ensure};
use navigator_tests::lab::{
    Lab,
    client::ask,
    config::RegistryKind,
    kernel::{PINS, Table},
    navigator::cli,
    wait,
    wrk::{Connections, Wrk},
};
use std::time::Duration;

over_both_registries!(a_killed_daemon_is_not_missed, crate::support::plan(3));

/// SIGKILL under two running wrks: no request fails; the next daemon adopts
/// what it finds and writes no slot.
fn a_killed_daemon_is_not_missed(lab: &Lab, registry: RegistryKind) -> Result<()> {
    let mut web = Web::start(lab, registry, &[100, 100, 50])?;
    let table = Table::find(&lab.balancer, web4())?;
    let before = table.read(&lab.balancer)?;
    let kept = Wrk::start(lab.client(), web4(), 7, Connections::KeptAlive)?;
    let single = Wrk::start(lab.client(), web6(), 7, Connections::OnePerRequest)?;

    std::thread::sleep(Duration::from_secs(1));
    web.daemon.kill();
    std::thread::sleep(Duration::from_secs(1));
    ensure!(
        table.read(&lab.balancer)? == before,
        "the kill changed slots"
    );
    web.daemon.start_again(None)?;
    web.settle(3)?;
    let snapshot = web.daemon.snapshot()?;
    ensure!(snapshot.daemon.adopted, "nothing was adopted");
    ensure!(
        snapshot.daemon.slots_written == 0,
        "{} slots written without a change",
        snapshot.daemon.slots_written
    );
    ensure!(
        Table::find(&lab.balancer, web4())? == table && table.read(&lab.balancer)? == before,
        "the restart changed slots"
    );

    for (wrk, what) in [(kept, "kept alive"), (single, "one per request")] {
        let report = wrk.finish()?;
        ensure!(report.requests > 500, "{what}: {report:?}");
        ensure!(report.errors == 0, "{what}: {report:?}");
    }
    web.register(2, 200)?;
    web.until("b3 has half", |vip| {
        slots_of(vip, address(2)) > vip.slots / 10 * 4
    })?;
    Ok(())
}

over_both_registries!(
    what_happened_meanwhile_is_caught_up,
    crate::support::plan(3)
);

/// A backend that died while the daemon was away is out once it is back.
fn what_happened_meanwhile_is_caught_up(lab: &Lab, registry: RegistryKind) -> Result<()> {
    let mut web = Web::start(lab, registry, &[100, 100, 100])?;
    web.daemon.stop()?;
    for target in [web4(), web6()] {
        let sample = lab.client().enter(move || ask(target));
        ensure!(sample.outcome.is_ok(), "after SIGTERM: {sample:?}");
    }
    web.servers.remove(0).kill();
    if let Some(etcd) = &web.etcd {
        let key = format!("/services/web/{}", address(1));
        etcd.ctl(&["del", &key])?;
    }
    let left = if web.etcd.is_some() { 1 } else { 2 };
    web.daemon.start_again(None)?;
    web.settle(left)?;
    web.until("b1 is out", |vip| slots_of(vip, address(0)) == 0)?;
    Ok(())
}

over_both_registries!(detach_takes_everything_out, crate::support::plan(1));

/// `navigator detach` leaves neither pins nor a program.
fn detach_takes_everything_out(lab: &Lab, registry: RegistryKind) -> Result<()> {
    let mut web = Web::start(lab, registry, &[100])?;
    ensure!(lab.balancer.sh("ip link show eth0")?.contains("xdp"));
    let config = web.daemon.config().to_string_lossy().into_owned();
    let running = cli(&lab.balancer, &["detach", "--config", &config])?;
    ensure!(
        running.code == 1,
        "detach beside a running daemon: {running:?}"
    );
    ensure!(!running.stderr.trim().is_empty(), "no reason: {running:?}");

    web.daemon.stop()?;
    web.daemon.cli_ok(&["detach", "--config", &config])?;
    let pins = lab
        .balancer
        .sh(&format!("ls -A {PINS} 2>/dev/null || true"))?;
    ensure!(pins.is_empty(), "pins are left: {pins}");
    wait::until("the program is gone", SOON, || {
        let link = lab.balancer.sh("ip link show eth0")?;
        ensure!(!link.contains("xdp"), "{link}");
        anyhow::Ok(())
    })?;
    web.daemon.cli_ok(&["detach", "--config", &config])?;

    web.daemon.start_again(Some(&web_config(registry)))?;
    web.settle(1)?;
    let snapshot = web.daemon.snapshot()?;
    ensure!(!snapshot.daemon.adopted, "adopted what was detached");
    Ok(())
}
