//! Services register, find each other, and go.

use crate::support::{SOON, Web, address, plan, run, tally, web4};
use anyhow::{Context, Result, ensure};
use navigator_tests::lab::{
    Lab,
    client::ask_many,
    config::RegistryKind,
    etcd::Etcd,
    host::Host,
    navigator::{binary, cli_ok},
    process::Process,
    wait,
};
use nix::sys::signal::Signal;
use serde_json::Value;
use std::{net::SocketAddr, time::Duration};

/// Time to live of the registrations.
const TTL: &str = "3s";

over_both_registries!(a_registered_service_gets_traffic, crate::support::plan(2));

/// Registered while `navigator register` runs; gone at once after SIGTERM,
/// and after its TTL when it is killed.
fn a_registered_service_gets_traffic(lab: &Lab, registry: RegistryKind) -> Result<()> {
    let web = Web::start(lab, registry, &[])?;
    let mut first = register(&web, 0)?;
    let second = register(&web, 1)?;
    web.settle(2)?;
    let counts = tally(&ask_many(lab.client(), web4(), 100))?;
    ensure!(counts.len() == 2, "{counts:?}");
    ensure!(discovered(&web)? == [address(0), address(1)]);

    first.signal(Signal::SIGTERM);
    let status = first.wait(SOON)?;
    ensure!(status.success(), "after SIGTERM: {status}");
    discovered_soon(&web, &[address(1)])?;
    web.settle(1)?;

    drop(second);
    wait::until("the lease ends", Duration::from_secs(20), || {
        let left = discovered(&web)?;
        ensure!(left.is_empty(), "{left:?}");
        anyhow::Ok(())
    })?;
    Ok(())
}

over_both_registries!(deregister_ends_a_registration, crate::support::plan(2));

/// `navigator services deregister` takes out what was put there by hand.
fn deregister_ends_a_registration(lab: &Lab, registry: RegistryKind) -> Result<()> {
    let web = Web::start(lab, registry, &[100, 100])?;
    ensure!(discovered(&web)? == [address(0), address(1)]);
    let target = address(0).to_string();
    let args = ["services", "deregister", "web", &target];
    cli_ok(registrant(&web, 0), &[&args[..], &etcd_args(&web)].concat())?;
    discovered_soon(&web, &[address(1)])?;
    web.settle(1)?;
    let again = web.daemon.cli(&[&args[..], &etcd_args(&web)].concat())?;
    ensure!(
        again.code == 3,
        "deregistering what is not there: {again:?}"
    );
    Ok(())
}

/// A registration outlives an etcd that was away for longer than its lease.
#[test]
fn a_registration_survives_an_etcd_restart() {
    run(plan(1), |lab| {
        let mut web = Web::start(lab, RegistryKind::Etcd, &[])?;
        let mut registrant = register(&web, 0)?;
        web.settle(1)?;
        let etcd = web.etcd.as_mut().context("no etcd")?;
        etcd.stop()?;
        std::thread::sleep(Duration::from_secs(5));
        etcd.resume()?;
        // Longer than the lease: what is there then was renewed or registered anew.
        std::thread::sleep(Duration::from_secs(6));
        let (_, took) = wait::until("it is registered", Duration::from_secs(40), || {
            let found = discovered(&web)?;
            ensure!(found == [address(0)], "{found:?}");
            anyhow::Ok(())
        })?;
        ensure!(registrant.is_running(), "it ended: {}", registrant.stderr());
        eprintln!("registered again {took:?} after 6 s with etcd");
        web.settle(1)
    });
}

/// The port of the wrapped server.
const OWN: u16 = 8081;

/// Registered once it passes its check; deregistered before it is told to end, and with its own exit code.
#[test]
fn a_wrapped_command_is_registered_while_it_runs() {
    run(plan(1), |lab| {
        let web = Web::start(lab, RegistryKind::Etcd, &[])?;
        let host = registrant(&web, 0);
        let address = SocketAddr::new(address(0).ip(), OWN);
        let wrap = |name: &str, script: &str| {
            let mut command = host.command(binary()?);
            command
                .args(["register", "own", &address.to_string()])
                .args(etcd_args(&web))
                .args(["--", "sh", "-c", script]);
            host.start(name, command)
        };
        // The server comes up late, and takes its time to end.
        let mut wrapped = wrap(
            "wrapped",
            "trap 'sleep 4; kill $server; exit 7' TERM; sleep 2; \
             python3 -m http.server 8081 & server=$!; wait",
        )?;
        std::thread::sleep(Duration::from_secs(1));
        ensure!(found(&web, "own")?.is_empty(), "before it serves");
        wait::until("it is registered", SOON, || {
            ensure!(wrapped.is_running(), "it ended: {}", wrapped.stderr());
            let found = found(&web, "own")?;
            ensure!(found == [address], "{found:?}");
            anyhow::Ok(())
        })?;
        wrapped.signal(Signal::SIGTERM);
        wait::until("it is deregistered", Duration::from_secs(2), || {
            let found = found(&web, "own")?;
            ensure!(found.is_empty(), "{found:?}");
            anyhow::Ok(())
        })?;
        ensure!(
            wrapped.is_running(),
            "it is not killed: {}",
            wrapped.stderr()
        );
        let status = wrapped.wait(SOON)?;
        ensure!(status.code() == Some(7), "its own exit code: {status}");
        let mut failing = wrap("failing", "exit 3")?;
        let status = failing.wait(SOON)?;
        ensure!(status.code() == Some(3), "its own exit code: {status}");
        ensure!(found(&web, "own")?.is_empty(), "it never served");
        Ok(())
    });
}

/// Long before a lease of [`TTL`] would end.
fn discovered_soon(web: &Web<'_>, expected: &[SocketAddr]) -> Result<()> {
    wait::until("it is deregistered", Duration::from_secs(1), || {
        let found = discovered(web)?;
        ensure!(found == expected, "{found:?}");
        anyhow::Ok(())
    })?;
    Ok(())
}

/// Instances that `navigator discover` lists, in order.
fn discovered(web: &Web<'_>) -> Result<Vec<SocketAddr>> {
    found(web, "web")
}

/// The same of any service.
fn found(web: &Web<'_>, service: &str) -> Result<Vec<SocketAddr>> {
    const NOT_FOUND: i32 = 3;
    let args = ["discover", service, "-o", "json"];
    let ended = web.daemon.cli(&[&args[..], &etcd_args(web)].concat())?;
    if ended.code == NOT_FOUND {
        return Ok(Vec::new());
    }
    ensure!(ended.code == 0, "discover: {ended:?}");
    let text = ended.stdout;
    let list: Vec<Value> = serde_json::from_str(&text).with_context(|| text.clone())?;
    let mut addresses = Vec::new();
    for instance in &list {
        let address = instance["address"].as_str();
        let address = address.with_context(|| format!("no address: {text}"))?;
        addresses.push(address.parse().with_context(|| text.clone())?);
    }
    addresses.sort();
    Ok(addresses)
}

/// Starts `navigator register` with a short lease and waits until it is registered.
fn register(web: &Web<'_>, index: u8) -> Result<Process> {
    let host = registrant(web, index);
    let mut command = host.command(binary()?);
    command
        .args(["register", "web", &address(index).to_string()])
        .args(["--check-http", "/health", "--ttl", TTL])
        .args(etcd_args(web));
    let mut process = host.start(&format!("register-{index}"), command)?;
    wait::until("it is registered", SOON, || {
        ensure!(process.is_running(), "it ended: {}", process.stderr());
        let found = discovered(web)?;
        ensure!(found.contains(&address(index)), "{found:?}");
        anyhow::Ok(())
    })?;
    Ok(process)
}

/// With etcd a service registers from its own host, else through the daemon's socket.
fn registrant<'a>(web: &Web<'a>, index: u8) -> &'a Host {
    match web.etcd {
        Some(_) => &web.lab().backends[usize::from(index)],
        None => &web.lab().balancer,
    }
}

fn etcd_args(web: &Web<'_>) -> Vec<&'static str> {
    match web.etcd {
        Some(_) => vec!["--etcd", Etcd::ENDPOINT],
        None => Vec::new(),
    }
}
