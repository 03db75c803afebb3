//! More than one interface: clients on one and backends on the other, packets
//! that come in by both, and neighbours that go away and come back.

use crate::support::{
    SOON, active_backends, all_answered, counter, run, serve, slots_of, state_of, tally,
};
use anyhow::{Result, ensure};
use navigator_core::plan::members::State;
use navigator_tests::lab::{
    self, Lab, Plan,
    client::{Load, ask_many},
    config::{Config, Mode, RegistryKind},
    curl::{Download, upload},
    host::Host,
    navigator::Navigator,
    wait,
};
use std::{
    net::{IpAddr, SocketAddr},
    time::Duration,
};

/// Two backends on the LAN, two on the far one.
const PLAN: Plan = Plan {
    clients: 1,
    backends: 2,
    far: 2,
};

/// Longest time from when a neighbour stops to answer until that is known: here the kernel trusts
/// an answer for 3 s at most, looks every 5, waits for 5, gives up after 3; then the doubt is checked.
const LOST: Duration = Duration::from_secs(30);

/// The far backends, by their addresses of one family.
fn far(v6: bool) -> Vec<(SocketAddr, u16)> {
    instances((0..2).map(lab::far), v6)
}

/// The near ones.
fn near(v6: bool) -> Vec<(SocketAddr, u16)> {
    instances((0..2).map(lab::backend), v6)
}

fn instances(hosts: impl Iterator<Item = (IpAddr, IpAddr)>, v6: bool) -> Vec<(SocketAddr, u16)> {
    let address = |(v4, v6_address)| if v6 { v6_address } else { v4 };
    hosts
        .map(|host| (SocketAddr::new(address(host), 80), 100))
        .collect()
}

/// Requests, a download and an upload, from `client` to a VIP that these backends serve.
fn serves(
    lab: &Lab,
    daemon: &Navigator<'_>,
    client: &Host,
    vip: &str,
    names: &[&str],
) -> Result<()> {
    let what = format!("{vip} has {} active backends", names.len());
    let view = daemon.vip_until(vip, &what, SOON, |v| active_backends(v) == names.len())?;
    let target = SocketAddr::new(view.address, 80);
    let counts = tally(&ask_many(client, target, 30 * names.len()))?;
    let answered: Vec<_> = counts.keys().map(String::as_str).collect();
    ensure!(answered == names, "{vip}: {counts:?}");
    let name = format!("{vip}-{}", client.name());
    Download::start(lab, client, &name, target, 1)?.finish()?;
    upload(lab, client, target, 2 << 20)
}

#[test]
fn backends_behind_another_interface_are_served_in_every_mode() {
    run(PLAN, |lab| {
        let _eth1 = lab.second_interface()?;
        let mut config = Config::new(RegistryKind::Embedded)
            .service("far", &far(false))
            .service("far6", &far(true));
        let vips = [
            ("l2-four", lab::vip4(1), "far", Mode::L2),
            ("l2-six", lab::vip6(1), "far6", Mode::L2),
            ("ipip-four", lab::vip4(2), "far", Mode::Ipip),
            ("ipip-six", lab::vip6(2), "far6", Mode::Ipip),
            ("gue-four", lab::vip4(3), "far", Mode::Gue),
            ("gue-six", lab::vip6(3), "far6", Mode::Gue),
        ];
        for (name, address, service, mode) in vips {
            config = config.vip(name, address, service, mode);
        }
        let _servers = serve(lab, &vips.map(|(_, address, ..)| address))?;
        let daemon = Navigator::start(lab, &config)?;
        for (name, ..) in vips {
            serves(lab, &daemon, lab.client(), name, &["f1", "f2"])?;
        }
        Ok(())
    });
}

#[test]
fn packets_come_in_by_two_interfaces_and_leave_by_both() {
    run(PLAN, |lab| {
        let _eth1 = lab.second_interface()?;
        let far_client = lab.far_client()?;
        let all = [near(false), far(false)].concat();
        let all6 = [near(true), far(true)].concat();
        let mut config = Config::new(RegistryKind::Embedded)
            .vip("l2-four", lab::vip4(1), "all", Mode::L2)
            .vip("ipip-six", lab::vip6(1), "all6", Mode::Ipip)
            .service("all", &all)
            .service("all6", &all6);
        config.interfaces = "\"eth0\", \"eth1\"";
        let _servers = serve(lab, &[lab::vip4(1), lab::vip6(1)])?;
        let daemon = Navigator::start(lab, &config)?;
        for client in [lab.client(), &far_client] {
            for vip in ["l2-four", "ipip-six"] {
                serves(lab, &daemon, client, vip, &["b1", "b2", "f1", "f2"])?;
            }
        }
        Ok(())
    });
}

/// A backend whose neighbour entry dies gets no new flows although nobody checks its health;
/// when the neighbour is back, so is the backend.
#[test]
fn a_neighbour_goes_away_and_comes_back() {
    run(PLAN, |lab| {
        let _eth1 = lab.second_interface()?;
        let config = Config::new(RegistryKind::Embedded)
            .vip("web", lab::vip4(1), "far", Mode::L2)
            .unchecked_service("far", &far(false));
        let _servers = serve(lab, &[lab::vip4(1)])?;
        // As it comes, a kernel trusts a neighbour's answer for up to 45 s.
        lab.balancer
            .sysctl("net/ipv4/neigh/eth1/base_reachable_time_ms", "2000")?;
        let daemon = Navigator::start(lab, &config)?;
        let target = SocketAddr::new(lab::vip4(1), 80);
        let f1 = SocketAddr::new(lab::far(0).0, 80);
        serves(lab, &daemon, lab.client(), "web", &["f1", "f2"])?;
        lab.unplug_far(0)?;
        let vip = daemon.vip_until("web", "f1 is unreachable", LOST, |vip| {
            state_of(vip, f1) == Some(State::Unreachable) && slots_of(vip, f1) == 0
        })?;
        ensure!(active_backends(&vip) == 1, "{vip:?}");
        let load = Load::start(lab.client(), &[target], 4, Duration::from_millis(5));
        std::thread::sleep(Duration::from_secs(2));
        let without = load.finish();
        all_answered(&without)?;
        let counts = tally(&without)?;
        ensure!(!counts.contains_key("f1"), "{counts:?}");
        let status = daemon.cli_ok(&["status"])?;
        let said = format!("backends on {} cannot be reached", f1.ip());
        ensure!(status.contains(&said), "{status}");
        let (_, metrics) = daemon.api("GET", "/metrics", "")?;
        let metric = "navigator_vip_unreachable_backends{vip=\"web\"} 1";
        ensure!(metrics.contains(metric), "{metrics}");

        lab.plug_far(0)?;
        daemon.vip_until("web", "f1 is back", LOST, |vip| active_backends(vip) == 2)?;
        let counts = tally(&ask_many(lab.client(), target, 60))?;
        ensure!(counts.len() == 2, "{counts:?}");
        Ok(())
    });
}

/// The balancer's way to the backends takes less than a client's packet and the tunnel header:
/// the client is told, and sends less.
#[test]
fn a_client_is_told_what_the_way_takes() {
    run(crate::support::plan(1), |lab| {
        let (b4, b6) = lab::backend(0);
        lab.balancer.ip(&[
            &format!("route add {b4}/32 dev eth0 mtu 1450"),
            &format!("route add {b6}/128 dev eth0 mtu 1450"),
        ])?;
        let mut config = Config::new(RegistryKind::Embedded)
            .service("four", &[(SocketAddr::new(b4, 80), 100)])
            .service("six", &[(SocketAddr::new(b6, 80), 100)]);
        let vips = [
            ("four-in-four", lab::vip4(1), "four", Mode::Ipip, 1430),
            ("six-in-six", lab::vip6(1), "six", Mode::Ipip, 1410),
            ("six-in-gue", lab::vip6(2), "four", Mode::Gue, 1418),
            ("four-in-gue", lab::vip4(2), "six", Mode::Gue, 1398),
        ];
        for (name, address, service, mode, _) in vips {
            config = config.vip(name, address, service, mode);
        }
        let _servers = serve(lab, &vips.map(|(_, address, ..)| address))?;
        let daemon = Navigator::start(lab, &config)?;
        for (name, address, _, _, mtu) in vips {
            let before = counter(&daemon, "reply_too_big")?;
            daemon.vip_until(name, "one active backend", SOON, |v| {
                active_backends(v) == 1
            })?;
            upload(lab, lab.client(), SocketAddr::new(address, 80), 2 << 20)?;
            let route = lab.client().sh(&format!("ip route get {address}"))?;
            ensure!(route.contains(&format!("mtu {mtu}")), "{name}: {route}");
            wait::until("it is counted", SOON, || {
                let after = counter(&daemon, "reply_too_big")?;
                ensure!(after > before, "{name}: reply_too_big stays {before}");
                anyhow::Ok(())
            })?;
        }
        Ok(())
    });
}
