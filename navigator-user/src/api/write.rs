//! Writes: validated, checked against the configuration file, then put into the registry.

use super::{ApiState, Problem, leases::parse_lease};
use crate::registry::Registry;
use axum::{
    body::Bytes,
    extract::{
        Path, Query, State,
        rejection::{BytesRejection, PathRejection, QueryRejection},
    },
    http::{StatusCode, header::CONTENT_TYPE},
    response::{IntoResponse, Response},
};
use navigator_core::{
    entry::{Rejection, check_prefix, parse_endpoint, parse_instance, parse_order, parse_vip},
    model::{InstanceKey, ServiceName, Vip, keys},
};
use serde::Deserialize;

/// The query of a registration.
#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
pub(super) struct Binding {
    lease: Option<String>,
}

type OnePath = Result<Path<String>, PathRejection>;
type TwoPath = Result<Path<(String, String)>, PathRejection>;
type Body = Result<Bytes, BytesRejection>;
type Done = Result<StatusCode, Problem>;

pub(super) async fn put_instance(
    State(state): State<ApiState>,
    path: TwoPath,
    query: Result<Query<Binding>, QueryRejection>,
    body: Body,
) -> Done {
    let key = keys::instance(&instance_key(path)?);
    let Query(Binding { lease }) = query?;
    let lease = lease.as_deref().map(parse_lease).transpose()?;
    let body = body?;
    parse_instance(&key, &body, lease.is_some(), &state.rules).map_err(refused)?;
    not_in_config(&state, &key)?;
    state.registry.put(&key, body.into(), lease).await?;
    Ok(StatusCode::NO_CONTENT)
}

pub(super) async fn delete_instance(State(state): State<ApiState>, path: TwoPath) -> Done {
    let key = instance_key(path)?;
    not_in_config(&state, &keys::instance(&key))?;
    let what = || format!("no instance {} of service {}", key.address, key.service);
    delete(&*state.registry, &keys::instance(&key), what).await
}

pub(super) async fn put_vip(State(state): State<ApiState>, path: OnePath, body: Body) -> Done {
    let key = keys::vip(&service_name(path?.0)?);
    let body = body?;
    let vip = parse_vip(&key, &body).map_err(refused)?;
    check_prefix(&vip, &state.rules).map_err(refused)?;
    not_in_config(&state, &key)?;
    fits_what_is_applied(&state, &vip)?;
    state.registry.put(&key, body.into(), None).await?;
    Ok(StatusCode::NO_CONTENT)
}

pub(super) async fn delete_vip(State(state): State<ApiState>, path: OnePath) -> Done {
    let name = service_name(path?.0)?;
    let key = keys::vip(&name);
    not_in_config(&state, &key)?;
    delete(&*state.registry, &key, || format!("no VIP {name}")).await
}

pub(super) async fn get_order(
    State(state): State<ApiState>,
    path: TwoPath,
) -> Result<Response, Problem> {
    let key = instance_key(path)?;
    let order = keys::order(&key);
    let (entries, _) = state.registry.list(&order).await?;
    match entries.into_iter().find(|entry| entry.key == order) {
        Some(entry) => Ok(([(CONTENT_TYPE, "application/json")], entry.value).into_response()),
        None => Err(no_order(&key)),
    }
}

pub(super) async fn put_order(State(state): State<ApiState>, path: TwoPath, body: Body) -> Done {
    let key = keys::order(&instance_key(path)?);
    let body = body?;
    parse_order(&key, &body).map_err(refused)?;
    state.registry.put(&key, body.into(), None).await?;
    Ok(StatusCode::NO_CONTENT)
}

pub(super) async fn delete_order(State(state): State<ApiState>, path: TwoPath) -> Done {
    let key = instance_key(path)?;
    if state.registry.delete(&keys::order(&key)).await? {
        return Ok(StatusCode::NO_CONTENT);
    }
    Err(no_order(&key))
}

fn no_order(key: &InstanceKey) -> Problem {
    Problem::not_found(format!("nothing is ordered for {key}"))
}

async fn delete(registry: &dyn Registry, key: &str, what: impl Fn() -> String) -> Done {
    if registry.delete(key).await? {
        return Ok(StatusCode::NO_CONTENT);
    }
    Err(Problem::not_found(format!("{} is registered", what())))
}

fn service_name(name: String) -> Result<ServiceName, Problem> {
    name.try_into()
        .map_err(|error| Problem::bad_request("bad_name", format!("{error}")))
}

fn instance_key(path: TwoPath) -> Result<InstanceKey, Problem> {
    let Path((service, text)) = path?;
    let service = service_name(service)?;
    let address = parse_endpoint(&text)
        .map_err(|flaw| Problem::bad_request(flaw.reason.name(), flaw.detail))?;
    Ok(InstanceKey { service, address })
}

fn refused(rejection: Rejection) -> Problem {
    Problem::bad_request(rejection.reason.name(), rejection.detail)
}

fn not_in_config(state: &ApiState, key: &str) -> Result<(), Problem> {
    if !state.config_keys.contains(key) {
        return Ok(());
    }
    let cure = if key.starts_with(keys::VIPS) {
        "change it there and start the daemon again"
    } else {
        "change it there, or drain it instead: navigator instance drain NAME ADDR:PORT"
    };
    let detail = format!("{key} is listed by the configuration file: {cure}");
    Err(Problem::conflict("in_config", detail))
}

fn fits_what_is_applied(state: &ApiState, vip: &Vip) -> Result<(), Problem> {
    let (_, snapshot) = state.snapshots.borrow().clone();
    // Another one may hold a key that is not the same and still in the way.
    let rival = snapshot
        .vips
        .iter()
        .find(|there| there.name != vip.name.as_str() && there.key().rivals(&vip.key));
    let there = rival.or_else(|| snapshot.vips.iter().find(|there| there.key() == vip.key));
    match there {
        Some(there) if there.name != vip.name.as_str() => Err(Problem::conflict(
            "duplicate",
            format!(
                "VIP {}: {} is served by VIP {} already",
                vip.name,
                there.key(),
                there.name
            ),
        )),
        Some(there) if there.applied && there.slots != vip.slots => Err(Problem::conflict(
            "fixed_slots",
            format!(
                "VIP {}: its table has {} slots for its whole life, {} were asked for: say {}, or remove the VIP and add it again if its connections may break",
                vip.name, there.slots, vip.slots, there.slots
            ),
        )),
        _ => Ok(()),
    }
}
