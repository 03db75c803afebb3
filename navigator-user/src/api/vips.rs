//! VIPs in the registry: set and removed.

use super::{
    ApiState, Problem,
    instances::{Body, Done, OnePath, not_in_config, refused, service_name},
};
use axum::{extract::State, http::StatusCode};
use navigator_core::{
    entry::{check_prefix, parse_vip},
    model::{Vip, keys},
};
use serde::Serialize;
use utoipa::ToSchema;

/// A VIP as it stands in the registry. What is left out has its default.
#[derive(Serialize, ToSchema)]
#[schema(example = json!({"address": "192.0.2.10", "port": 80, "service": "web", "mode": "l2"}))]
pub(super) struct VipEntry {
    /// Virtual address, or a prefix.
    address: String,
    /// Port, a range such as `8000-8999`, or 0 for all ports.
    #[schema(schema_with = crate::snapshot::ports)]
    port: String,
    /// The service whose instances serve it.
    service: String,
    /// `tcp`, `udp` or `both`.
    #[schema(required = false)]
    protocol: String,
    /// `l2`, `ipip`, `gue` or `nat`.
    #[schema(required = false)]
    mode: String,
    /// Slots of its table: a prime, fixed for its life.
    #[schema(required = false)]
    slots: u32,
    /// How long a drained backend keeps its flows, for example `5m`.
    #[schema(required = false)]
    drain: String,
}

/// Adds a VIP, or changes it.
#[utoipa::path(
    put,
    path = "/v1/vips/{name}",
    params(("name" = String, Path, description = "Name of the VIP.")),
    request_body = VipEntry,
    responses((status = NO_CONTENT, description = "Set.")),
    security(("token" = ["operate"]))
)]
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

/// Removes a VIP: its packets are no longer forwarded.
#[utoipa::path(
    delete,
    path = "/v1/vips/{name}",
    params(("name" = String, Path, description = "Name of the VIP.")),
    responses((status = NO_CONTENT, description = "Removed.")),
    security(("token" = ["operate"]))
)]
pub(super) async fn delete_vip(State(state): State<ApiState>, path: OnePath) -> Done {
    let name = service_name(path?.0)?;
    let key = keys::vip(&name);
    not_in_config(&state, &key)?;
    match state.registry.delete(&key).await? {
        true => Ok(StatusCode::NO_CONTENT),
        false => Err(Problem::not_found(format!("no VIP {name} is registered"))),
    }
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
