//! The ways from the client to the backends.

use super::rival::{self, Rival};
use crate::lab::{
    self, Lab,
    client::ask_many,
    config::{Config, Mode, RegistryKind},
    host::Host,
    navigator::{self, Navigator},
    nginx::Nginx,
    wait,
};
use anyhow::{Result, ensure};
use std::{
    collections::BTreeSet,
    net::{IpAddr, SocketAddr},
    time::Duration,
};

/// Navigator's modes.
const MODES: [(Mode, u8); 3] = [(Mode::L2, 1), (Mode::Ipip, 2), (Mode::Nat, 3)];

/// Names of those that are not Navigator's.
pub(super) const HAPROXY: &str = "haproxy";
pub(super) const NGINX: &str = "nginx-stream";
pub(super) const ROUTING: &str = "routing";

/// One way.
pub(super) struct Path {
    pub(super) name: &'static str,
    /// What the client connects to.
    pub(super) target: SocketAddr,
}

impl Path {
    /// Whether requests reach all backends by it.
    pub(super) fn answers(&self, lab: &Lab) -> Result<()> {
        let backends: BTreeSet<_> = lab.backends.iter().map(Host::name).collect();
        let samples = ask_many(lab.client(), self.target, 40);
        let failed = samples
            .iter()
            .find_map(|sample| sample.outcome.as_ref().err());
        ensure!(failed.is_none(), "a request failed: {failed:?}");
        let answered: BTreeSet<_> = samples
            .iter()
            .filter_map(|sample| sample.outcome.as_deref().ok())
            .collect();
        ensure!(answered == backends, "answers came from {answered:?} only");
        Ok(())
    }
}

/// Everything that takes part.
pub(super) struct Setting<'lab> {
    paths: Vec<Path>,
    _servers: Vec<Nginx>,
    _daemon: Navigator<'lab>,
    _rival: Rival,
}

impl<'lab> Setting<'lab> {
    /// Starts servers, Navigator and its rivals.
    pub(super) fn build(lab: &'lab Lab) -> Result<Self> {
        let count = u8::try_from(lab.backends.len())?;
        let backends: Vec<IpAddr> = (0..count).map(|index| lab::backend(index).0).collect();
        let vips = MODES.map(|(_, last)| lab::vip4(last));
        let held: Vec<_> = vips.into_iter().chain([rival::ROUTED]).collect();
        let mut servers = Vec::new();
        for host in &lab.backends {
            navigator::backend_up(host, &held)?;
            servers.push(Nginx::start(lab, host)?);
        }
        let rival = Rival::start(lab, &backends)?;
        let daemon = start_navigator(lab, &backends)?;
        let http = |address| SocketAddr::new(address, 80);
        let mut paths: Vec<_> = MODES
            .iter()
            .map(|&(mode, last)| Path {
                name: mode.word(),
                target: http(lab::vip4(last)),
            })
            .collect();
        for (name, target) in [
            (HAPROXY, rival.haproxy),
            (NGINX, rival.nginx),
            (ROUTING, http(rival::ROUTED)),
        ] {
            paths.push(Path { name, target });
        }
        Ok(Self {
            paths,
            _servers: servers,
            _daemon: daemon,
            _rival: rival,
        })
    }

    /// The ways, Navigator's first.
    pub(super) fn paths(&self) -> &[Path] {
        &self.paths
    }
}

fn start_navigator<'lab>(lab: &'lab Lab, backends: &[IpAddr]) -> Result<Navigator<'lab>> {
    let instances: Vec<_> = backends
        .iter()
        .map(|&address| (SocketAddr::new(address, 80), 100))
        .collect();
    // As hosts are by default; those of the lab leave no ports for NAT.
    lab.balancer
        .sysctl("net/ipv4/ip_local_port_range", "32768 60999")?;
    // A connection's port is kept for a minute after its end: one address has too few of them.
    let sources = [lab::BALANCER, 5, 6].map(lab::v4);
    for address in &sources[1..] {
        let line = format!("address add {address}/24 dev eth0");
        lab.balancer.ip(&[&line])?;
    }
    let mut config = Config::new(RegistryKind::Embedded)
        .nat(&sources)
        .service("web", &instances);
    for (mode, last) in MODES {
        config = config.vip(mode.word(), lab::vip4(last), "web", mode);
    }
    let daemon = Navigator::start(lab, &config)?;
    for (mode, _) in MODES {
        wait::until("all backends take part", Duration::from_secs(15), || {
            let vip = daemon.vip(mode.word())?;
            let active = vip.backends.iter().filter(|b| b.reachable && b.slots > 0);
            ensure!(active.count() == instances.len(), "it is {vip:?}");
            anyhow::Ok(())
        })?;
    }
    Ok(daemon)
}
