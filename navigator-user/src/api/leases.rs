//! Leases, for registrants that speak to the daemon instead of etcd.

use super::{ApiState, Problem};
use crate::registry::LeaseId;
use axum::{
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

/// Shortest and longest life of a lease, in seconds.
const TTL_SECONDS: std::ops::RangeInclusive<u64> = 1..=86_400;

/// What is asked of a new lease.
#[derive(Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub(crate) struct Grant {
    /// Its life without renewal.
    pub(crate) ttl_seconds: u64,
}

/// A new lease.
#[derive(Serialize, Deserialize)]
pub(crate) struct Granted {
    /// Its number.
    pub(crate) lease: LeaseId,
}

type LeasePath = Result<Path<String>, PathRejection>;

pub(super) async fn grant(
    State(state): State<ApiState>,
    body: Result<Bytes, BytesRejection>,
) -> Result<Response, Problem> {
    let body = body?;
    let Grant { ttl_seconds } = serde_json::from_slice(&body).map_err(|error| {
        let detail = format!("{error}; the body is to be {{\"ttl_seconds\": 15}}");
        Problem::bad_request("bad_json", detail)
    })?;
    if !TTL_SECONDS.contains(&ttl_seconds) {
        let (low, high) = (TTL_SECONDS.start(), TTL_SECONDS.end());
        let detail = format!("ttl_seconds is {ttl_seconds}: use {low} to {high}");
        return Err(Problem::bad_request("bad_ttl", detail));
    }
    let lease = state
        .registry
        .grant(Duration::from_secs(ttl_seconds))
        .await?;
    Ok(axum::Json(Granted { lease }).into_response())
}

pub(super) async fn renew(
    State(state): State<ApiState>,
    path: LeasePath,
) -> Result<StatusCode, Problem> {
    state.registry.keep_alive(lease_id(path)?).await?;
    Ok(StatusCode::NO_CONTENT)
}

pub(super) async fn revoke(
    State(state): State<ApiState>,
    path: LeasePath,
) -> Result<StatusCode, Problem> {
    state.registry.revoke(lease_id(path)?).await?;
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
