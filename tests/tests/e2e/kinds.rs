//! Kinds of VIPs, with real clients and servers.

use crate::support::{SOON, Web, active_backends, all_answered, plan, run, tally};
use anyhow::{Context, Result, ensure};
use navigator_tests::lab::{
    self, Lab,
    client::{ask, ask_many},
    config::RegistryKind,
    navigator::backend_up,
    nginx::Nginx,
    store,
};
use std::{
    net::{IpAddr, SocketAddr},
    time::Duration,
};

/// `navigator vip set NAME …`, then waits until the VIP has so many active backends.
fn set(web: &Web<'_>, name: &str, address: &str, more: &[&str], active: usize) -> Result<()> {
    let head = ["vip", "set", name, "--address", address];
    web.daemon.cli_ok(&[&head[..], more].concat())?;
    let what = format!("{active} active backends");
    web.daemon
        .vip_until(name, &what, SOON, |vip| active_backends(vip) == active)?;
    Ok(())
}

fn silent(lab: &Lab, target: SocketAddr) -> Result<()> {
    let sample = lab.client().enter(move || ask(target));
    ensure!(sample.outcome.is_err(), "{target} answers: {sample:?}");
    Ok(())
}

/// Who answers these many requests; it must be one.
fn only_one(lab: &Lab, target: SocketAddr, count: usize) -> Result<String> {
    let names = tally(&ask_many(lab.client(), target, count))?;
    ensure!(names.len() == 1, "{target}: {names:?}");
    names.into_keys().next().context("nobody")
}

/// Instances that are registered, and checked, on port 80 serve the ports of the range.
#[test]
fn a_range_of_ports() {
    run(plan(2), |lab| {
        let web = Web::start(lab, RegistryKind::Embedded, &[100, 100])?;
        let vip = lab::vip4(5);
        let mut more = Vec::new();
        for host in &lab.backends {
            backend_up(
                host,
                &[
                    crate::support::web4().ip(),
                    crate::support::web6().ip(),
                    vip,
                ],
            )?;
            for port in [8000, 8999, 9000] {
                more.push(Nginx::start_on(lab, host, port)?);
            }
        }
        let range = ["--port", "8000-8999", "--service", "web"];
        set(&web, "range", &vip.to_string(), &range, 2)?;
        for port in [8000, 8999] {
            let target = SocketAddr::new(vip, port);
            all_answered(&ask_many(lab.client(), target, 40))?;
        }
        silent(lab, SocketAddr::new(vip, 9000))?;
        let narrow = web.daemon.cli(&[
            "vip",
            "set",
            "narrow",
            "--address",
            &vip.to_string(),
            "--port",
            "8500-9499",
            "--service",
            "web",
        ])?;
        ensure!(
            narrow.code == 1 && narrow.stderr.contains("range"),
            "{narrow:?}"
        );
        drop(more);
        Ok(())
    });
}

/// A client stays at its backend: on all ports, when others come, and while it drains.
#[test]
fn source_affinity() {
    run(plan(3), |lab| {
        let web = Web::start(lab, RegistryKind::Embedded, &[100, 100])?;
        let vip = lab::vip4(6);
        let mut more = Vec::new();
        for host in &lab.backends {
            backend_up(
                host,
                &[
                    crate::support::web4().ip(),
                    crate::support::web6().ip(),
                    vip,
                ],
            )?;
            more.push(Nginx::start_on(lab, host, 8080)?);
        }
        let all = [
            "--port",
            "0",
            "--protocol",
            "both",
            "--service",
            "web",
            "--affinity",
            "source",
        ];
        set(&web, "sticky", &vip.to_string(), &all, 2)?;
        let (one, two) = (SocketAddr::new(vip, 80), SocketAddr::new(vip, 8080));
        let own = only_one(lab, one, 60)?;
        ensure!(only_one(lab, two, 60)? == own);
        web.register(2, 1000)?;
        let what = "three active backends";
        web.daemon
            .vip_until("sticky", what, SOON, |vip| active_backends(vip) == 3)?;
        ensure!(
            only_one(lab, one, 60)? == own,
            "it moved to the new backend"
        );
        let index = lab.backends.iter().position(|host| host.name() == own);
        let index = index.context("no such backend")? as u8;
        web.order("drain", index, &[])?;
        std::thread::sleep(Duration::from_millis(500));
        ensure!(
            only_one(lab, two, 60)? == own,
            "it moved when its backend drained"
        );
        drop(more);
        Ok(())
    });
}

/// Any address of the prefix is served, but for one that is a VIP of its own.
#[test]
fn an_ipv6_prefix() {
    run(plan(2), |lab| {
        let web = Web::start(lab, RegistryKind::Embedded, &[100, 100])?;
        let prefix = "fd77:1:0:0:5::/80";
        for (host, index) in lab.backends.iter().zip(0u8..) {
            host.ip(&[&format!("-6 route add local {prefix} dev lo")])?;
            let address = SocketAddr::new(lab::backend(index).1, 80);
            web.store()
                .put("six", address, &store::instance("six", address, 100))?;
        }
        set(
            &web,
            "prefix",
            prefix,
            &["--port", "80", "--service", "six"],
            2,
        )?;
        let own: IpAddr = "fd77:1::5:0:0:7".parse()?;
        for last in ["::1", "::ffff", ":1:2:3"] {
            let text = format!("fd77:1:0:0:5{last}");
            let address: IpAddr = text.parse().with_context(|| text.clone())?;
            all_answered(&ask_many(lab.client(), SocketAddr::new(address, 80), 20))?;
        }
        // An address of its own wins, and has no port 80 here.
        set(
            &web,
            "own",
            &own.to_string(),
            &["--port", "81", "--service", "six"],
            0,
        )?;
        web.daemon
            .vip_until("own", "applied", SOON, |vip| vip.applied)?;
        silent(lab, SocketAddr::new(own, 80))?;
        web.daemon.cli_ok(&["vip", "remove", "prefix"])?;
        Ok(())
    });
}
