//! Leases, for registrants that speak to the daemon instead of etcd.

use super::{ApiState, Problem, access::Caller};
use crate::registry::LeaseId;
use axum::{
    Extension,
    body::Bytes,
    extract::{
        Path, State,
        rejection::{BytesRejection, PathRejection},
    },
    http::StatusCode,
    response::{IntoResponse, Response},
};
use serde::{Deserialize, Serialize};
use std::time::Duration;
use utoipa::ToSchema;

/// Shortest and longest life of a lease, in seconds.
const TTL_SECONDS: std::ops::RangeInclusive<u64> = 1..=86_400;

/// What is asked of a new lease.
#[derive(Serialize, Deserialize, ToSchema)]
#[serde(deny_unknown_fields)]
pub(crate) struct Grant {
    /// Its life without renewal.
    #[schema(minimum = 1, maximum = 86400)]
    pub(crate) ttl_seconds: u64,
}

/// A new lease.
#[derive(Serialize, Deserialize, ToSchema)]
pub(crate) struct Granted {
    /// Its number.
    #[schema(value_type = i64)]
    pub(crate) lease: LeaseId,
}

type LeasePath = Result<Path<String>, PathRejection>;

/// Grants a lease: what is bound to it goes when it ends.
#[utoipa::path(
    post,
    path = "/v1/leases",
    request_body = Grant,
    responses((status = OK, body = Granted)),
    security(("token" = ["register"]))
)]
pub(super) async fn grant(
    State(state): State<ApiState>,
    Extension(caller): Extension<Caller>,
    body: Result<Bytes, BytesRejection>,
) -> Result<Response, Problem> {
    let body = body?;
    let Grant { ttl_seconds } = serde_json::from_slice(&body).map_err(|error| {
        let detail = format!("{error}; the body is to be {{\"ttl_seconds\": 15}}");
        Problem::bad_request("bad_json", detail)
    })?;
    let granted = grant_lease(&state, &caller, ttl_seconds).await?;
    Ok(axum::Json(granted).into_response())
}

/// Grants a lease to a caller.
pub(super) async fn grant_lease(
    state: &ApiState,
    caller: &Caller,
    ttl_seconds: u64,
) -> Result<Granted, Problem> {
    if !TTL_SECONDS.contains(&ttl_seconds) {
        let (low, high) = (TTL_SECONDS.start(), TTL_SECONDS.end());
        let detail = format!("ttl_seconds is {ttl_seconds}: use {low} to {high}");
        return Err(Problem::bad_request("bad_ttl", detail));
    }
    state.leases.has_room(caller)?;
    let ttl = Duration::from_secs(ttl_seconds);
    let lease = state.registry.grant(ttl).await?;
    state.leases.granted(caller, lease, ttl);
    Ok(Granted { lease })
}

/// Renews a lease: it lives for its whole time again.
#[utoipa::path(
    post,
    path = "/v1/leases/{id}/renew",
    params(("id" = i64, Path, description = "Number of the lease.")),
    responses((status = NO_CONTENT, description = "Renewed.")),
    security(("token" = ["register"]))
)]
pub(super) async fn renew(
    State(state): State<ApiState>,
    Extension(caller): Extension<Caller>,
    path: LeasePath,
) -> Result<StatusCode, Problem> {
    let lease = lease_id(path)?;
    state.leases.check(&caller, lease)?;
    state.registry.keep_alive(lease).await?;
    Ok(StatusCode::NO_CONTENT)
}

/// Ends a lease and deletes what is bound to it.
#[utoipa::path(
    delete,
    path = "/v1/leases/{id}",
    params(("id" = i64, Path, description = "Number of the lease.")),
    responses((status = NO_CONTENT, description = "Ended.")),
    security(("token" = ["register"]))
)]
pub(super) async fn revoke(
    State(state): State<ApiState>,
    Extension(caller): Extension<Caller>,
    path: LeasePath,
) -> Result<StatusCode, Problem> {
    let lease = lease_id(path)?;
    state.leases.check(&caller, lease)?;
    state.registry.revoke(lease).await?;
    state.leases.ended(lease);
    Ok(StatusCode::NO_CONTENT)
}

fn lease_id(path: LeasePath) -> Result<LeaseId, Problem> {
    let Path(text) = path?;
    parse_lease(&text)
}

pub(super) fn parse_lease(text: &str) -> Result<LeaseId, Problem> {
    text.parse().map(LeaseId).map_err(|_| {
        let detail = format!("{text:?} is no lease: POST /v1/leases grants one");
        Problem::bad_request("bad_lease", detail)
    })
}
