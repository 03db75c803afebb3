//! Real 802.1Q devices at all ends: packets come in by one VLAN and go out by another.

use crate::support::{BACKENDS, NAMES, PLAN, REQUESTS, ask, received, run, settle};
use anyhow::{Result, ensure};
use navigator_tests::lab::{
    self, Lab,
    config::{Config, Mode, RegistryKind},
    curl::upload,
    navigator::{self, Navigator},
    nginx::Nginx,
};
use std::net::{IpAddr, Ipv4Addr, SocketAddr};

/// VLANs of the clients and of the backends; the number is also part of the addresses.
const CLIENTS: u8 = 5;
const SERVERS: u8 = 6;

fn address(vlan: u8, last: u8) -> IpAddr {
    IpAddr::V4(Ipv4Addr::new(10, 79, vlan, last))
}

/// Lines of `ip` that bring a host into a VLAN.
fn join(vlan: u8, last: u8) -> Vec<String> {
    vec![
        format!("link add link eth0 name eth0.{vlan} type vlan id {vlan}"),
        format!("address add {}/24 dev eth0.{vlan}", address(vlan, last)),
        format!("link set eth0.{vlan} up"),
    ]
}

/// The last number of a backend's addresses.
fn last(index: u8) -> u8 {
    21 + index
}

/// Tags the cables: clients and balancer in one VLAN, balancer and backends in the other.
/// Backends answer by the clients' VLAN.
fn tag(lab: &Lab, vip: IpAddr) -> Result<()> {
    let ip = |host: &lab::host::Host, lines: Vec<String>| {
        let lines: Vec<_> = lines.iter().map(String::as_str).collect();
        host.ip(&lines)
    };
    let mut client = join(CLIENTS, 11);
    client.push(format!("route add {vip}/32 via {}", address(CLIENTS, 2)));
    ip(lab.client(), client)?;
    ip(&lab.balancer, join(CLIENTS, 2))?;
    ip(&lab.balancer, join(SERVERS, 2))?;
    for (index, host) in (0..).zip(&lab.backends) {
        ip(host, join(SERVERS, last(index)))?;
        ip(host, join(CLIENTS, last(index)))?;
    }
    Ok(())
}

#[test]
fn packets_change_their_vlan() {
    run(PLAN, |lab| {
        let vip = lab::vip4(1);
        tag(lab, vip)?;
        let mut servers = Vec::new();
        for host in &lab.backends {
            navigator::backend_up(host, &[vip])?;
            servers.push(Nginx::start(lab, host)?);
        }
        let instances: Vec<_> = (0..BACKENDS)
            .map(|index| (SocketAddr::new(address(SERVERS, last(index)), 80), 100))
            .collect();
        let config = Config::new(RegistryKind::Embedded)
            .vip("web", vip, "web", Mode::L2)
            .service("web", &instances);
        let daemon = Navigator::start(lab, &config)?;
        settle(&daemon, "web", NAMES.len())?;
        let device = format!("eth0.{SERVERS}");
        let before = received(&lab.backends[0], &device)?;
        ask(lab.client(), vip, REQUESTS, &NAMES)?;
        upload(lab, lab.client(), (vip, 80).into(), 200 << 10)?;
        let arrived = received(&lab.backends[0], &device)? - before;
        ensure!(
            arrived as usize > REQUESTS / 4,
            "{arrived} packets came in by {device}"
        );
        Ok(())
    });
}
