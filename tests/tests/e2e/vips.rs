//! VIPs come and go while the daemon runs.

use crate::support::{SOON, Web, active_backends, counter, web4, web6};
use anyhow::{Result, ensure};
use navigator_tests::lab::{
    self, Lab,
    client::{ask, ask_many},
    config::RegistryKind,
    navigator::backend_up,
    wait,
};
use std::net::{SocketAddr, TcpStream};
use std::time::Duration;

over_both_registries!(a_vip_comes_and_goes, crate::support::plan(2));

/// `navigator vip set` and `vip remove`; the other VIPs do not notice.
fn a_vip_comes_and_goes(lab: &Lab, registry: RegistryKind) -> Result<()> {
    let web = Web::start(lab, registry, &[100, 100])?;
    let extra = SocketAddr::new(lab::vip4(5), 80);
    for host in &lab.backends {
        backend_up(host, &[web4().ip(), web6().ip(), extra.ip()])?;
    }
    let address = extra.ip().to_string();
    let args = ["--address", &address, "--port", "80", "--service", "web"];
    let set = [&["vip", "set", "extra"], &args[..], &["--mode", "ipip"]].concat();
    web.daemon.cli_ok(&set)?;
    web.daemon
        .vip_until("extra", "two active backends", SOON, |vip| {
            active_backends(vip) == 2
        })?;
    crate::support::all_answered(&ask_many(lab.client(), extra, 50))?;

    web.daemon.cli_ok(&["vip", "remove", "extra"])?;
    wait::until("the VIP is gone", SOON, || {
        ensure!(web.daemon.vip("extra").is_err(), "it is there");
        anyhow::Ok(())
    })?;
    let sample = lab.client().enter(move || ask(extra));
    ensure!(sample.outcome.is_err(), "it still answers: {sample:?}");
    crate::support::all_answered(&ask_many(lab.client(), web4(), 50))?;

    // What the configuration file lists, only the configuration file removes.
    let listed = web.daemon.cli(&["vip", "remove", "web4"])?;
    ensure!(listed.code == 1, "{listed:?}");
    let unknown = web.daemon.cli(&["vip", "remove", "extra"])?;
    ensure!(unknown.code == 3, "{unknown:?}");
    Ok(())
}

over_both_registries!(other_ports_are_dropped_and_counted, crate::support::plan(1));

/// A port of a VIP address that no VIP serves: dropped under its own name.
fn other_ports_are_dropped_and_counted(lab: &Lab, registry: RegistryKind) -> Result<()> {
    let web = Web::start(lab, registry, &[100])?;
    let before = counter(&web.daemon, "drop_unserved")?;
    let unserved = SocketAddr::new(web4().ip(), 81);
    let patience = Duration::from_millis(500);
    let answer = lab
        .client()
        .enter(move || TcpStream::connect_timeout(&unserved, patience));
    ensure!(answer.is_err(), "{unserved} answers");
    wait::until("it is counted", SOON, || {
        let after = counter(&web.daemon, "drop_unserved")?;
        ensure!(after > before, "drop_unserved: {before}, then {after}");
        anyhow::Ok(())
    })?;
    Ok(())
}
