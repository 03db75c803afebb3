//! What the tests have in common.

use anyhow::{Context, Result, ensure};
use navigator_core::plan::members::State;
use navigator_tests::lab::{
    self, Lab, Plan,
    client::Sample,
    config::{Config, Mode, RegistryKind},
    etcd::Etcd,
    host::Host,
    navigator::{self, Navigator},
    nginx::Nginx,
    store::{self, Store},
};
use navigator_user::snapshot::VipView;
use std::{
    collections::BTreeMap,
    net::{IpAddr, SocketAddr},
    sync::{Mutex, PoisonError},
    time::Duration,
};

/// Longest wait for a change to arrive in the tables.
pub(crate) const SOON: Duration = Duration::from_secs(10);

/// Runs a test in a lab of its own, alone: times that are measured would be
/// those of the other tests.
pub(crate) fn run(plan: Plan, test: impl FnOnce(&Lab) -> Result<()>) {
    static TURN: Mutex<()> = Mutex::new(());
    let _turn = TURN.lock().unwrap_or_else(PoisonError::into_inner);
    let lab = Lab::new(plan).unwrap_or_else(|why| panic!("cannot build the lab: {why:#}"));
    if let Err(why) = test(&lab) {
        panic!("{why:#}");
    }
}

/// Makes two tests, `NAME::embedded` and `NAME::etcd`, of a function
/// `fn(&Lab, RegistryKind) -> Result<()>`.
macro_rules! over_both_registries {
    ($name:ident, $plan:expr) => {
        mod $name {
            use navigator_tests::lab::config::RegistryKind;

            #[test]
            fn embedded() {
                crate::support::run($plan, |lab| super::$name(lab, RegistryKind::Embedded));
            }

            #[test]
            fn etcd() {
                crate::support::run($plan, |lab| super::$name(lab, RegistryKind::Etcd));
            }
        }
    };
}

/// One client and some backends on the balancer's LAN.
pub(crate) const fn plan(backends: u8) -> Plan {
    Plan {
        clients: 1,
        backends,
        far: 0,
    }
}

/// A service `web` of IPv4 backends behind the VIPs `web4`, in mode `l2`, and `web6`, in
/// mode `ipip`.
pub(crate) struct Web<'lab> {
    lab: &'lab Lab,
    /// The daemon.
    pub(crate) daemon: Navigator<'lab>,
    /// etcd, if that is the registry.
    pub(crate) etcd: Option<Etcd<'lab>>,
    /// How many backends were registered at the start.
    pub(crate) first: usize,
    /// The servers, by the number of their backend.
    pub(crate) servers: Vec<Nginx>,
}

/// Address of backend `index` as the instance that it registers.
pub(crate) fn address(index: u8) -> SocketAddr {
    SocketAddr::new(lab::backend(index).0, 80)
}

/// The IPv4 VIP.
pub(crate) fn web4() -> SocketAddr {
    SocketAddr::new(lab::vip4(1), 80)
}

/// The IPv6 VIP.
pub(crate) fn web6() -> SocketAddr {
    SocketAddr::new(lab::vip6(1), 80)
}

/// The configuration with both VIPs.
pub(crate) fn web_config(registry: RegistryKind) -> Config {
    Config::new(registry)
        .vip("web4", web4().ip(), "web", Mode::L2)
        .vip("web6", web6().ip(), "web", Mode::Ipip)
}

impl<'lab> Web<'lab> {
    /// Starts all of it; the first backends are registered with these weights.
    pub(crate) fn start(lab: &'lab Lab, registry: RegistryKind, weights: &[u16]) -> Result<Self> {
        Self::start_with(lab, &web_config(registry), weights)
    }

    /// The same with another configuration of the same VIPs.
    pub(crate) fn start_with(lab: &'lab Lab, config: &Config, weights: &[u16]) -> Result<Self> {
        let servers = serve(lab, &[web4().ip(), web6().ip()])?;
        let etcd = match config.registry {
            RegistryKind::Etcd => Some(Etcd::start(lab)?),
            RegistryKind::Embedded => None,
        };
        let daemon = Navigator::start(lab, config)?;
        let web = Self {
            lab,
            daemon,
            etcd,
            first: weights.len(),
            servers,
        };
        for (index, &weight) in (0..).zip(weights) {
            web.register(index, weight)?;
        }
        web.settle(weights.len())?;
        Ok(web)
    }

    /// The registry.
    pub(crate) fn store(&self) -> Store<'_> {
        match &self.etcd {
            Some(etcd) => Store::Etcd(etcd),
            None => Store::Embedded(&self.daemon),
        }
    }

    /// Registers a backend, or gives it another weight.
    pub(crate) fn register(&self, index: u8, weight: u16) -> Result<()> {
        let value = store::instance("web", address(index), weight);
        self.store().put("web", address(index), &value)
    }

    /// Waits until exactly so many backends take new flows, in both VIPs.
    pub(crate) fn settle(&self, active: usize) -> Result<()> {
        for name in ["web4", "web6"] {
            let what = format!("{name} has {active} active backends");
            self.daemon
                .vip_until(name, &what, SOON, |vip| active_backends(vip) == active)?;
        }
        Ok(())
    }

    /// Waits until the IPv4 VIP is as it should be.
    pub(crate) fn until(&self, what: &str, is: impl Fn(&VipView) -> bool) -> Result<VipView> {
        self.daemon.vip_until("web4", what, SOON, is)
    }

    /// Runs `navigator instances ACTION web ADDRESS …`.
    pub(crate) fn order(&self, action: &str, index: u8, more: &[&str]) -> Result<()> {
        let address = address(index).to_string();
        let args = [&["instances", action, "web", &address], more].concat();
        self.daemon.cli_ok(&args).map(drop)
    }

    /// The lab.
    pub(crate) fn lab(&self) -> &'lab Lab {
        self.lab
    }
}

/// Starts nginx on every backend of the lab and makes each a backend for the VIPs.
pub(crate) fn serve(lab: &Lab, vips: &[IpAddr]) -> Result<Vec<Nginx>> {
    let near = serve_on(lab, &lab.backends, vips)?;
    let far = serve_on(lab, &lab.far, vips)?;
    Ok(near.into_iter().chain(far).collect())
}

/// The same on these hosts only.
pub(crate) fn serve_on(lab: &Lab, hosts: &[Host], vips: &[IpAddr]) -> Result<Vec<Nginx>> {
    let serve = |host| {
        navigator::backend_up(host, vips)?;
        Nginx::start(lab, host)
    };
    hosts.iter().map(serve).collect()
}

/// How many backends of a VIP take new flows and have slots.
pub(crate) fn active_backends(vip: &VipView) -> usize {
    let active = |b: &&navigator_user::snapshot::BackendView| {
        b.state == State::Active && b.reachable && b.slots > 0
    };
    vip.backends.iter().filter(active).count()
}

/// Slots of the backend at `address`; 0 if there is no such backend.
pub(crate) fn slots_of(vip: &VipView, address: SocketAddr) -> u32 {
    navigator::backend(vip, address).map_or(0, |b| b.slots)
}

/// The state of the backend at `address`.
pub(crate) fn state_of(vip: &VipView, address: SocketAddr) -> Option<State> {
    navigator::backend(vip, address).ok().map(|b| b.state)
}

/// How many requests each backend answered; all must have been answered.
pub(crate) fn tally(samples: &[Sample]) -> Result<BTreeMap<String, u64>> {
    let mut counts = BTreeMap::new();
    for sample in samples {
        let name = sample
            .outcome
            .as_ref()
            .map_err(|why| anyhow::anyhow!("{}: {why}", sample.target))?;
        *counts.entry(name.clone()).or_default() += 1;
    }
    Ok(counts)
}

/// Fails if any request failed, and says how.
pub(crate) fn all_answered(samples: &[Sample]) -> Result<()> {
    ensure!(!samples.is_empty(), "no request was made");
    tally(samples).map(drop).with_context(|| {
        let failed = samples.iter().filter(|s| s.outcome.is_err()).count();
        format!("{failed} of {} requests failed", samples.len())
    })
}

/// Packets that the daemon counts under a reason or event.
pub(crate) fn counter(daemon: &Navigator<'_>, name: &str) -> Result<u64> {
    let snapshot = daemon.snapshot()?;
    let counter = snapshot.counters.iter().find(|c| c.name == name);
    Ok(counter
        .with_context(|| format!("no counter {name}"))?
        .packets)
}
