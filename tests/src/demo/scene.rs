//! The parts of the demonstration.

use super::{meter::Meter, signals::Interruption};
use crate::lab::{
    self, Lab, Plan,
    client::Load,
    config::{Config, Mode, RegistryKind, Timing},
    etcd::Etcd,
    navigator::{self, Navigator, binary},
    nginx::Nginx,
    process::Process,
    wait,
};
use anyhow::{Context, Result, ensure};
use navigator_core::plan::members::State;
use std::{
    net::{IpAddr, SocketAddr},
    time::Duration,
};

/// Backends that there are from the start.
pub(super) const FIRST: u8 = 4;
/// The services: the IPv4 and the IPv6 instances of the backends.
pub(super) const SERVICES: [&str; 2] = ["web", "web6"];
const PATIENCE: Duration = Duration::from_secs(15);
const WORKERS: usize = 12;
const PACE: Duration = Duration::from_millis(8);

/// One VIP of the demonstration.
#[derive(Clone, Copy, Debug)]
pub(super) struct DemoVip {
    /// Its name.
    pub(super) name: &'static str,
    mode: Mode,
    service: &'static str,
    /// Where clients connect to.
    pub(super) target: SocketAddr,
}

/// The VIPs: both modes, both families, and a tunnel of each family.
pub(super) fn vips() -> [DemoVip; 4] {
    let [four, six] = SERVICES;
    let vip = |name, mode, address: IpAddr, service| DemoVip {
        name,
        mode,
        service,
        target: SocketAddr::new(address, 80),
    };
    [
        vip("l2-v4", Mode::L2, lab::vip4(1), four),
        vip("l2-v6", Mode::L2, lab::vip6(1), six),
        vip("ipip-v4", Mode::Ipip, lab::vip4(2), four),
        vip("ipip-v6", Mode::Ipip, lab::vip6(2), six),
    ]
}

/// Everything that runs.
#[derive(Debug)]
pub(super) struct Scene<'lab> {
    /// The network.
    pub(super) lab: &'lab Lab,
    /// The daemon.
    pub(super) daemon: Navigator<'lab>,
    /// The servers; `None` where one was killed.
    pub(super) servers: Vec<Option<Nginx>>,
    registrants: Vec<Process>,
    etcd: Option<Etcd<'lab>>,
}

/// The network of the demonstration.
pub(super) fn network() -> Result<Lab> {
    Lab::new(Plan {
        clients: 1,
        backends: FIRST + 1,
        far: 0,
    })
}

/// Name of backend `index`.
pub(super) fn name(index: u8) -> String {
    format!("b{}", index + 1)
}

/// What backend `index` registers: an instance of each service.
pub(super) fn instances(index: u8) -> [(&'static str, SocketAddr); 2] {
    let [four, six] = SERVICES;
    let (v4, v6) = lab::backend(index);
    [
        (four, SocketAddr::new(v4, 80)),
        (six, SocketAddr::new(v6, 80)),
    ]
}

impl<'lab> Scene<'lab> {
    /// Starts everything but the clients, and says so.
    pub(super) fn set(
        lab: &'lab Lab,
        registry: RegistryKind,
        interruption: &Interruption,
    ) -> Result<Self> {
        let addresses = vips().map(|vip| vip.target.ip());
        let mut servers = Vec::new();
        for host in &lab.backends {
            interruption.check()?;
            navigator::backend_up(host, &addresses)?;
            servers.push(Some(Nginx::start(lab, host)?));
        }
        interruption.check()?;
        let etcd = match registry {
            RegistryKind::Etcd => Some(Etcd::start(lab)?),
            RegistryKind::Embedded => None,
        };
        let mut config = Config::new(registry);
        config.timing = Timing::QUICK;
        for vip in vips() {
            config = config.vip(vip.name, vip.target.ip(), vip.service, vip.mode);
        }
        let mut scene = Self {
            lab,
            daemon: Navigator::start(lab, &config)?,
            servers,
            registrants: Vec::new(),
            etcd,
        };
        for index in 0..FIRST {
            interruption.check()?;
            scene.register(index)?;
        }
        scene.wait_for_first_backends(interruption)?;
        Ok(scene)
    }

    fn wait_for_first_backends(&self, interruption: &Interruption) -> Result<()> {
        wait::until("the first backends take connections", PATIENCE, || {
            for vip in vips() {
                interruption.check()?;
                let view = self.daemon.vip(vip.name)?;
                let ready = view.backends.iter().filter(|b| b.reachable && b.slots > 0);
                let ready = ready.count();
                ensure!(
                    ready == usize::from(FIRST),
                    "{}: {:?}",
                    vip.name,
                    view.backends
                );
            }
            anyhow::Ok(())
        })?;
        Ok(())
    }

    /// Starts `navigator register` for a backend: on its own host where there is
    /// etcd, else beside the daemon.
    pub(super) fn register(&mut self, index: u8) -> Result<()> {
        let host = match self.etcd {
            Some(_) => &self.lab.backends[usize::from(index)],
            None => &self.lab.balancer,
        };
        for (service, address) in instances(index) {
            let mut command = host.command(binary()?);
            command
                .args(["register", service, &address.to_string()])
                .args(["--check-http", "/health"]);
            if self.etcd.is_some() {
                command.args(["--etcd", Etcd::ENDPOINT]);
            }
            let what = format!("register-{service}-{}", name(index));
            self.registrants.push(host.start(&what, command)?);
        }
        Ok(())
    }

    /// Starts the clients.
    pub(super) fn clients(&self) -> Meter {
        let targets = vips().map(|vip| vip.target);
        Meter::new(Load::start(self.lab.client(), &targets, WORKERS, PACE))
    }

    /// The state of every backend in the first VIP; empty while the daemon is away.
    pub(super) fn states(&self) -> Vec<(String, State)> {
        let Ok(view) = self.daemon.vip(vips()[0].name) else {
            return Vec::new();
        };
        let known = (0..=FIRST).filter_map(|index| {
            let [(_, address), _] = instances(index);
            let backend = view.backends.iter().find(|b| b.address == address)?;
            Some((name(index), backend.state))
        });
        known.collect()
    }

    /// Kills the nginx of a backend.
    pub(super) fn kill(&mut self, index: u8) -> Result<()> {
        let server = self.servers.get_mut(usize::from(index));
        let server = server
            .and_then(Option::take)
            .context("it is dead already")?;
        server.kill();
        Ok(())
    }
}
