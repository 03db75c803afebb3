//! `register`, `services register`, `services deregister`: instances in the registry, through the daemon or straight in etcd.

use super::{
    args::{EntryArgs, EtcdArgs, RegisterArgs},
    client::Client,
    failure::{Exit, Failure, Outcome},
    lease_client::SocketRegistry,
    wrap,
};
use crate::{
    registrant::{LeaseClient, Transition, keep_registered_with},
    registry::{
        Registry, RegistryError,
        etcd::{EtcdRegistry, EtcdSettings},
    },
};
use navigator_core::{
    entry::{Rules, parse_instance},
    model::{InstanceKey, SERVER_ID_LABEL, keys},
};
use serde_json::{Value, json};
use std::{path::Path, process::ExitCode};
use tokio::signal::unix::{SignalKind, signal};

impl EtcdArgs {
    /// The registry in etcd, if endpoints are named.
    pub fn registry(&self) -> Option<EtcdRegistry> {
        let named = self.etcd.iter().map(|endpoint| endpoint.trim());
        let endpoints: Vec<String> = named
            .filter(|endpoint| !endpoint.is_empty())
            .map(with_scheme)
            .collect();
        (!endpoints.is_empty()).then(|| {
            EtcdRegistry::new(EtcdSettings {
                endpoints,
                ..EtcdSettings::default()
            })
        })
    }
}

fn with_scheme(endpoint: &str) -> String {
    if endpoint.contains("://") {
        endpoint.to_owned()
    } else {
        format!("http://{endpoint}")
    }
}

impl From<RegistryError> for Failure {
    fn from(error: RegistryError) -> Self {
        let exit = match &error {
            RegistryError::Unreachable { .. } => Exit::Unreachable,
            _ => Exit::Error,
        };
        Self::new(exit, error.to_string())
    }
}

/// Keeps an instance registered until SIGTERM or SIGINT, or for as long as its command runs.
pub(super) async fn register(socket: &Path, args: RegisterArgs) -> Outcome<ExitCode> {
    match args.etcd.registry() {
        Some(etcd) => register_in(&etcd, &args).await,
        None => register_in(&SocketRegistry::new(socket), &args).await,
    }
}

async fn register_in<C: LeaseClient>(registry: &C, args: &RegisterArgs) -> Outcome<ExitCode> {
    if args.command.is_empty() {
        keep(registry, args, stop_signal()?).await?;
        return Ok(ExitCode::SUCCESS);
    }
    wrap::run(registry, args).await
}

/// Registers an instance until somebody deregisters it.
pub(super) async fn register_for_good(
    client: &Client,
    entry: &EntryArgs,
    etcd: &EtcdArgs,
) -> Outcome {
    let key = entry.instance.key();
    let value = checked_value(entry)?;
    match etcd.registry() {
        Some(etcd) => Registry::put(&etcd, &keys::instance(&key), value, None).await?,
        None => {
            let path = format!("/v1/services/{}/instances/{}", key.service, key.address);
            client.put(&path, value).await?;
        }
    }
    eprintln!("{key}: registered until it is deregistered");
    Ok(())
}

/// The value of the entry, which must be a valid one; what it is checked for is as for all.
pub(super) fn checked_value(entry: &EntryArgs) -> Outcome<Vec<u8>> {
    let key = entry.instance.key();
    let value = value(entry).to_string().into_bytes();
    parse_instance(&keys::instance(&key), &value, true, &Rules::default())
        .map_err(|rejection| Failure::error(format!("{key}: {}", rejection.detail)))?;
    Ok(value)
}

/// Keeps an instance registered until `stop`.
pub(super) async fn keep<C: LeaseClient>(
    registry: &C,
    args: &RegisterArgs,
    stop: impl Future,
) -> Outcome {
    let key = args.entry.instance.key();
    let value = checked_value(&args.entry)?;
    let report = |transition| eprintln!("{key}: {}", words(transition));
    let path = keys::instance(&key);
    keep_registered_with(registry, &path, value, args.ttl, report, stop).await?;
    Ok(())
}

pub(super) fn words(transition: Transition) -> String {
    match transition {
        Transition::Registered => "registered until this command ends".to_owned(),
        Transition::Lost(why) => format!("not registered for certain: {why}; trying on"),
        Transition::Renewed => "registration renewed, nothing was lost".to_owned(),
        Transition::Deregistered => "deregistered".to_owned(),
    }
}

fn stop_signal() -> Outcome<impl Future<Output = ()>> {
    let on = |kind| {
        signal(kind).map_err(|error| Failure::error(format!("cannot wait for signals: {error}")))
    };
    let mut terminate = on(SignalKind::terminate())?;
    let mut interrupt = on(SignalKind::interrupt())?;
    Ok(async move {
        tokio::select! {
            _ = terminate.recv() => {}
            _ = interrupt.recv() => {}
        }
    })
}

fn value(args: &EntryArgs) -> Value {
    let mut value = json!({
        "name": args.instance.name.as_str(),
        "address": args.instance.address.ip(),
        "port": args.instance.address.port(),
        "health_check_endpoint": args.check_http.as_deref().unwrap_or_default(),
        "weight": args.weight,
    });
    if !args.quic_server_id.is_empty() {
        let ids: Vec<String> = args
            .quic_server_id
            .iter()
            .map(ToString::to_string)
            .collect();
        value[SERVER_ID_LABEL] = ids.into();
    }
    if args.no_check {
        value["check"] = json!({"kind": "none"});
    }
    value
}

/// Takes an instance out of the registry.
pub(super) async fn deregister(client: &Client, key: &InstanceKey, etcd: &EtcdArgs) -> Outcome {
    match etcd.registry() {
        Some(etcd) => {
            if !etcd.delete(&keys::instance(key)).await? {
                return Err(Failure::not_found(format!("{key} is not registered")));
            }
        }
        None => {
            let path = format!("/v1/services/{}/instances/{}", key.service, key.address);
            client.delete(&path).await?;
        }
    }
    eprintln!("{key}: deregistered");
    Ok(())
}
