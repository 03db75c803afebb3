//! `navigator run`: puts the parts together, and `navigator detach`.

mod announcer;
mod faces;
mod identity;

use crate::{
    announce::address::AddressHolder,
    config::{Announce, Config, RegistryConfig},
    dataplane::{
        Dataplane,
        kernel::{Detacher, InterfaceSettings, KernelDataplane, KernelSettings},
        nat::NatSettings,
        neighbours::{Resolver, release_neighbours},
    },
    netlink::Netlink,
    probes::{Prober, ProberSettings},
    reconcile::{self, Announcer, DaemonFacts, Parts},
    registry::{
        Registry,
        embedded::EmbeddedRegistry,
        etcd::{EtcdRegistry, EtcdSettings},
    },
    snapshot::{DaemonView, InterfaceView, RegistryView, Snapshot},
    trace::hub::Hub,
};
use announcer::AddressAnnouncer;
use anyhow::{Context, Result, bail};
use navigator_core::{catalog::Catalog, entry::Rules};
use std::{collections::BTreeSet, path::Path, sync::Arc};
use tokio::{
    signal::unix::{SignalKind, signal},
    sync::{mpsc, watch},
};

/// Health reports that may wait for the loop.
const REPORTS: usize = 1024;

/// Runs the daemon until SIGTERM or SIGINT; with `log_drops` every dropped packet is a log line. Forwarding is left as it is then.
///
/// # Errors
/// If it cannot start. Once it runs, errors become problems that `navigator status` shows.
pub async fn run(config: Config, log_drops: bool) -> Result<()> {
    let mut stop = stop_signal()?;
    for warning in &config.warnings {
        tracing::warn!("{}", warning.line(&config.source_name));
    }
    let registry = open_registry(&config)?;
    let nat = nat_settings(&config).await?;
    let rules = rules(&config).await?;
    let first = (faces::first_number(), Arc::new(starting(&*registry)));
    let (snapshots, readers) = watch::channel(first);
    faces::answer_dns(&config, readers.clone()).await?;
    let listeners = faces::listen(&config).await?;
    let tracers = Arc::<Hub>::default();
    let state = faces::state(&config, readers, registry.clone(), &rules, tracers.clone());
    let (end_api, api_ends) = watch::channel(false);
    let api = tokio::spawn(faces::serve(listeners, state, config.api.clone(), api_ends));

    let work = work(
        &config,
        (log_drops, nat),
        registry,
        rules,
        snapshots,
        tracers,
        stop.clone(),
    );
    let outcome = tokio::select! {
        outcome = work => outcome,
        () = stopped(&mut stop) => Ok(()),
    };
    // Also when the work failed: the API removes its socket.
    end_api.send_replace(true);
    let served = api.await;
    outcome?;
    served.context("the API ended badly")?.context("API")?;
    sd_notify_quietly(&[sd_notify::NotifyState::Stopping]);
    tracing::info!("stopped; forwarding goes on with the last tables");
    Ok(())
}

async fn work(
    config: &Config,
    (log_drops, nat): (bool, NatSettings),
    registry: Arc<dyn Registry>,
    rules: Rules,
    snapshots: watch::Sender<(u64, Arc<Snapshot>)>,
    tracers: Arc<Hub>,
    mut stop: watch::Receiver<bool>,
) -> Result<()> {
    let settings = |identity: &identity::Identity| KernelSettings {
        pins: Some(config.pins.clone()),
        interfaces: config
            .interfaces
            .iter()
            .map(|name| InterfaceSettings {
                name: name.clone(),
                attach: config.attach,
                log_drops,
            })
            .collect(),
        hash_key: identity.hash_key,
        plan_seed: identity.plan_seed,
        sizes: config.limits,
        window: config.window,
        tunnels: config.tunnels.clone(),
        nat: nat.clone(),
    };
    let pinned = KernelDataplane::pinned_identity(&config.pins);
    let identity = identity::find(pinned, &*registry, |why| {
        snapshots.send_modify(|(number, snapshot)| {
            *number += 1;
            Arc::make_mut(snapshot).registry.why = why.to_owned();
        });
    })
    .await?;
    let mut dataplane = KernelDataplane::open(settings(&identity))?;
    dataplane.trace_for(tracers.clone());
    let facts = DaemonFacts {
        interfaces: dataplane
            .interfaces()
            .into_iter()
            .map(|(name, attach)| InterfaceView {
                name,
                attach: attach.name().to_owned(),
            })
            .collect(),
        registry: registry.describe(),
    };
    let adopted = dataplane.adopted();
    if !adopted.is_empty() {
        tracing::info!(
            vips = adopted.len(),
            "took over the pinned state of an earlier daemon"
        );
    }
    let mut catalog = Catalog::new(rules);
    catalog.set_config(config.entries());
    let (reports, reported) = mpsc::channel(REPORTS);
    let resolver = Resolver::start()?;
    let parts = Parts {
        dataplane,
        catalog,
        registry: registry.watch(),
        reports: reported,
        prober: Prober::start(ProberSettings::new(config.health), reports),
        hosts: resolver.hosts,
        hops: resolver.changes,
        announcer: announcer(config).await?,
        sources: nat
            .sources
            .iter()
            .copied()
            .filter(|source| !nat.own.contains(source))
            .collect(),
        snapshots,
        plan_seed: identity.plan_seed,
        facts,
        tracers,
    };
    sd_notify_quietly(&[sd_notify::NotifyState::Ready]);
    tracing::info!(registry = registry.describe(), interfaces = ?config.interfaces, "running");
    reconcile::run(parts, stopped(&mut stop)).await;
    Ok(())
}

/// Takes everything that Navigator put into the kernel out again: held addresses first, or
/// the kernel would answer their clients with resets. Returns what was done, for people.
///
/// # Errors
/// If a daemon runs on these pins, or the kernel refuses.
pub async fn detach(pins: &Path) -> Result<String> {
    let Some(detacher) = Detacher::lock(pins)? else {
        return Ok(format!(
            "nothing is pinned in {}: nothing to detach\n",
            pins.display()
        ));
    };
    let mut report = String::new();
    for interface in detacher.interfaces()? {
        // An interface that is gone took its addresses with it.
        let Ok(mut holder) = AddressHolder::new(&interface).await else {
            continue;
        };
        for address in holder.held() {
            report += &format!("released {address} on {interface}\n");
        }
        holder.release_all().await?;
    }
    report += &format!("{}\n", detacher.remove()?);
    release_neighbours().await?;
    Ok(report)
}

fn open_registry(config: &Config) -> Result<Arc<dyn Registry>> {
    Ok(match &config.registry {
        RegistryConfig::Embedded => {
            Arc::new(EmbeddedRegistry::open(&config.state.join("registry.redb"))?)
        }
        RegistryConfig::Etcd { endpoints } => Arc::new(EtcdRegistry::new(EtcdSettings {
            endpoints: endpoints.clone(),
            ..EtcdSettings::default()
        })),
    })
}

/// What instances are judged by: where they may be, and which addresses are this host's own.
/// Held VIPs do not count: they are Navigator's, not the host's.
async fn rules(config: &Config) -> Result<Rules> {
    let addresses = Netlink::open()?.addresses().await?;
    let host_addresses = addresses
        .iter()
        .filter(|address| !address.ours)
        .map(|address| address.ip)
        .chain(config.nat.addresses.iter().copied())
        .collect();
    Ok(Rules {
        backend_cidrs: config.backend_cidrs.clone(),
        host_addresses,
    })
}

/// How NAT is done here: which of the addresses are the host's own, and which ports its own
/// connections leave.
async fn nat_settings(config: &Config) -> Result<NatSettings> {
    let addresses = Netlink::open()?.addresses().await?;
    let own = addresses.iter().filter(|address| !address.ours);
    let own: BTreeSet<_> = own.map(|address| address.ip).collect();
    let sources = config.nat.addresses.clone();
    let settings = NatSettings {
        own: sources
            .iter()
            .copied()
            .filter(|ip| own.contains(ip))
            .collect(),
        sources,
        timeouts: config.nat.timeouts,
        ..NatSettings::default()
    };
    if settings.sources.is_empty() {
        return Ok(settings);
    }
    const LOCAL_PORTS: &str = "/proc/sys/net/ipv4/ip_local_port_range";
    let text = std::fs::read_to_string(LOCAL_PORTS).context(LOCAL_PORTS)?;
    let mut ports = text.split_whitespace().map(str::parse::<u16>);
    let (Some(Ok(first)), Some(Ok(last))) = (ports.next(), ports.next()) else {
        bail!("{LOCAL_PORTS} holds {text:?}, which is no range of ports");
    };
    Ok(settings.settle(config.nat.ports, (first, last))?)
}

async fn announcer(config: &Config) -> Result<Option<Box<dyn Announcer>>> {
    let Some(first) = config.interfaces.first() else {
        bail!("no interface is configured")
    };
    Ok(match config.announce {
        Announce::None => None,
        Announce::Address => Some(Box::new(AddressAnnouncer::new(
            AddressHolder::new(first).await?,
        ))),
    })
}

/// What readers see before the loop runs.
fn starting(registry: &dyn Registry) -> Snapshot {
    Snapshot {
        daemon: DaemonView {
            version: env!("CARGO_PKG_VERSION").to_owned(),
            pid: std::process::id(),
            ..DaemonView::default()
        },
        registry: RegistryView {
            kind: registry.describe(),
            ..RegistryView::default()
        },
        problems: vec!["starting: the cluster's identity has not been read yet".to_owned()],
        ..Snapshot::default()
    }
}

/// Turns true at the first SIGTERM or SIGINT.
fn stop_signal() -> Result<watch::Receiver<bool>> {
    let mut terminate = signal(SignalKind::terminate()).context("SIGTERM cannot be caught")?;
    let mut interrupt = signal(SignalKind::interrupt()).context("SIGINT cannot be caught")?;
    let (stop, stopped) = watch::channel(false);
    tokio::spawn(async move {
        tokio::select! {
            _ = terminate.recv() => {}
            _ = interrupt.recv() => {}
        }
        stop.send_replace(true);
    });
    Ok(stopped)
}

async fn stopped(stop: &mut watch::Receiver<bool>) {
    // An error means that the signal task is gone, with the runtime: that is a stop as well.
    let _ = stop.wait_for(|stop| *stop).await;
}

fn sd_notify_quietly(states: &[sd_notify::NotifyState<'_>]) {
    if let Err(error) = sd_notify::notify(states) {
        tracing::debug!("systemd was not told: {error}");
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[tokio::test]
    async fn a_daemon_that_cannot_start_leaves_no_socket_behind() -> Result<()> {
        let dir = tempfile::tempdir()?;
        let at = |name: &str| dir.path().join(name).display().to_string();
        let text = format!(
            "interfaces = [\"lo\"]\nsocket = {:?}\npins = {:?}\nstate = {:?}\n",
            at("socket"),
            at("no-bpf-file-system"),
            at("state"),
        );
        assert!(run(Config::parse(&text, "test")?, false).await.is_err());
        assert!(dir.path().join("state").exists(), "it came as far as this");
        assert!(!dir.path().join("socket").exists());
        Ok(())
    }
}
