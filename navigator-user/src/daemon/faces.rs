//! What others see of the daemon: the API on its socket and on its TLS listeners.

use super::stopped;
use crate::{
    api::{self, ApiState, Listener, tls::Tls},
    config::{ApiConfig, Config},
    dns::{self, DnsSockets},
    events::{self, EventLog},
    registry::Registry,
    snapshot::Snapshot,
    trace::hub::Hub,
};
use anyhow::{Context, Result};
use navigator_core::entry::Rules;
use std::{
    io,
    sync::Arc,
    time::{SystemTime, UNIX_EPOCH},
};
use tokio::{net::TcpListener, sync::watch, task::JoinSet};

/// The number before that of the first snapshot: milliseconds since 1970. Numbers go on where an
/// earlier daemon's ended, as there are never a thousand snapshots a second.
pub(super) fn first_number() -> u64 {
    let since = SystemTime::now().duration_since(UNIX_EPOCH);
    u64::try_from(since.unwrap_or_default().as_millis()).unwrap_or(0)
}

/// Opens the socket and the TLS listeners.
pub(super) async fn listen(config: &Config) -> Result<Vec<Listener>> {
    let mut listeners = Vec::new();
    for face in &config.api.listeners {
        let tls = Arc::new(Tls::new(face.files.clone())?);
        let listener = TcpListener::bind(face.address)
            .await
            .with_context(|| format!("cannot listen on {}", face.address))?;
        listeners.push(Listener::Tls(listener, tls));
    }
    // Last: nothing that fails after it leaves the socket behind.
    listeners.push(Listener::Unix(api::bind(&config.socket)?));
    Ok(listeners)
}

/// Answers DNS questions, if that is wanted.
pub(super) async fn answer_dns(
    config: &Config,
    snapshots: watch::Receiver<(u64, Arc<Snapshot>)>,
) -> Result<()> {
    let Some(dns) = &config.dns else {
        return Ok(());
    };
    let sockets = DnsSockets::bind(dns.listen)
        .await
        .with_context(|| format!("DNS: cannot listen on {}", dns.listen))?;
    tokio::spawn(dns::serve(sockets, dns.zone.clone(), snapshots));
    Ok(())
}

/// What the API works with.
pub(super) fn state(
    config: &Config,
    snapshots: watch::Receiver<(u64, Arc<Snapshot>)>,
    registry: Arc<dyn Registry>,
    rules: &Rules,
    tracers: Arc<Hub>,
) -> ApiState {
    let log = Arc::new(EventLog::new(first_number() * 1000));
    tokio::spawn(events::follow(snapshots.clone(), log.clone()));
    ApiState {
        snapshots,
        events: log,
        registry,
        config_keys: Arc::new(config.entries().into_iter().map(|(key, _)| key).collect()),
        rules: Arc::new(rules.clone()),
        tracers,
        leases: Arc::default(),
    }
}

/// Answers on all of them until `ends`; the first that breaks ends the others.
pub(super) async fn serve(
    listeners: Vec<Listener>,
    state: ApiState,
    config: ApiConfig,
    ends: watch::Receiver<bool>,
) -> io::Result<()> {
    let router = api::router(state, config.access, config.rate);
    let mut serving = JoinSet::new();
    for listener in listeners {
        let (router, mut ends) = (router.clone(), ends.clone());
        let limits = config.limits;
        serving.spawn(async move {
            api::serve(listener, router, limits, async { stopped(&mut ends).await }).await
        });
    }
    while let Some(served) = serving.join_next().await {
        served.map_err(io::Error::other)??;
    }
    Ok(())
}
