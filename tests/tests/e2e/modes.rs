//! Forwarding modes and address families, each with real traffic in both directions.

use crate::support::{SOON, active_backends, all_answered, run, serve, tally};
use anyhow::{Result, ensure};
use navigator_tests::lab::{
    self, Lab, Plan,
    client::ask_many,
    config::{Config, Mode, RegistryKind},
    curl::{Download, upload},
    navigator::Navigator,
    wait,
};
use std::net::{IpAddr, SocketAddr};

/// Two backends on the LAN, two behind the router.
const PLAN: Plan = Plan {
    clients: 1,
    backends: 2,
    far: 2,
};

/// The near backends, the far ones, or all, by their addresses of one family.
fn instances(v6: bool, near: bool, far: bool) -> Vec<(SocketAddr, u16)> {
    let pick = |(v4, v6_address): (IpAddr, IpAddr)| if v6 { v6_address } else { v4 };
    let near = (0..2).filter(|_| near).map(lab::backend).map(pick);
    let far = (0..2).filter(|_| far).map(lab::far).map(pick);
    near.chain(far)
        .map(|address| (SocketAddr::new(address, 80), 100))
        .collect()
}

/// Serves four kinds of VIP with all their backends: requests, a download, an upload.
fn serves(lab: &Lab, config: &Config, vips: &[(&str, IpAddr)], names: &[&str]) -> Result<()> {
    let addresses: Vec<_> = vips.iter().map(|&(_, address)| address).collect();
    let _servers = serve(lab, &addresses)?;
    let daemon = Navigator::start(lab, config)?;
    for &(vip, address) in vips {
        let what = format!("{vip} has {} active backends", names.len());
        daemon.vip_until(vip, &what, SOON, |v| active_backends(v) == names.len())?;
        let target = SocketAddr::new(address, 80);
        let counts = tally(&ask_many(lab.client(), target, 30 * names.len()))?;
        let answered: Vec<_> = counts.keys().map(String::as_str).collect();
        ensure!(answered == names, "{vip}: {counts:?}");
        for number in 0..4 {
            let name = format!("{vip}-{number}");
            Download::start(lab, lab.client(), &name, target, 1)?.finish()?;
            // Full frames on the way that is tunnelled.
            upload(lab, lab.client(), target, 2 << 20)?;
        }
    }
    Ok(())
}

#[test]
fn l2_serves_both_families() {
    run(PLAN, |lab| {
        let config = Config::new(RegistryKind::Embedded)
            .vip("four", lab::vip4(1), "near", Mode::L2)
            .vip("six", lab::vip6(1), "near6", Mode::L2)
            .service("near", &instances(false, true, false))
            .service("near6", &instances(true, true, false));
        let vips = [("four", lab::vip4(1)), ("six", lab::vip6(1))];
        serves(lab, &config, &vips, &["b1", "b2"])
    });
}

#[test]
fn ipip_reaches_backends_behind_a_router_in_every_pair_of_families() {
    tunnels(Mode::Ipip);
}

#[test]
fn gue_reaches_backends_behind_a_router_in_every_pair_of_families() {
    tunnels(Mode::Gue);
}

fn tunnels(mode: Mode) {
    run(PLAN, |lab| {
        let mut config = Config::new(RegistryKind::Embedded)
            .service("all4", &instances(false, true, true))
            .service("all6", &instances(true, true, true));
        let vips = [
            ("four-in-four", lab::vip4(1), "all4"),
            ("four-in-six", lab::vip4(2), "all6"),
            ("six-in-four", lab::vip6(3), "all4"),
            ("six-in-six", lab::vip6(4), "all6"),
        ];
        for (name, address, service) in vips {
            config = config.vip(name, address, service, mode);
        }
        let vips = vips.map(|(name, address, _)| (name, address));
        serves(lab, &config, &vips, &["b1", "b2", "f1", "f2"])
    });
}

/// With `announce = "address"` the VIPs are addresses of the LAN that the
/// balancer answers ARP and NDP for; they stay when the daemon stops.
#[test]
fn held_vips_are_found_by_arp_and_ndp() {
    run(PLAN, |lab| {
        let (four, six) = (lab::v4(200), lab::v6(200));
        let mut config = Config::new(RegistryKind::Embedded)
            .vip("four", four, "near", Mode::L2)
            .vip("six", six, "near6", Mode::L2)
            .service("near", &instances(false, true, false))
            .service("near6", &instances(true, true, false));
        config.hold_vips = true;
        let _servers = serve(lab, &[four, six])?;
        let mut daemon = Navigator::start(lab, &config)?;
        for (name, address) in [("four", four), ("six", six)] {
            daemon.vip_until(name, "two active backends", SOON, |vip| {
                active_backends(vip) == 2 && vip.announced
            })?;
            all_answered(&ask_many(lab.client(), (address, 80).into(), 40))?;
        }
        let held = lab.balancer.sh("ip -o address show dev eth0")?;
        ensure!(held.contains(&four.to_string()), "{held}");
        let line = held.lines().find(|line| line.contains(&six.to_string()));
        ensure!(line.is_some_and(|l| l.contains("deprecated")), "{held}");

        daemon.stop()?;
        for address in [four, six] {
            lab.client().sh("ip neighbour flush all")?;
            all_answered(&ask_many(lab.client(), (address, 80).into(), 10))?;
        }
        let config = daemon.config().to_string_lossy().into_owned();
        daemon.cli_ok(&["detach", "--config", &config])?;
        wait::until("the addresses are gone", SOON, || {
            let held = lab.balancer.sh("ip -o address show dev eth0")?;
            let there = held.contains(&format!("{four}/")) || held.contains(&format!("{six}/"));
            ensure!(!there, "{held}");
            anyhow::Ok(())
        })?;
        Ok(())
    });
}
