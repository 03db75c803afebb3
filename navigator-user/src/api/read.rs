//! Reads: all of them render the latest snapshot.

use super::{ApiState, MAX_WAIT, Problem};
use crate::snapshot::Snapshot;
use axum::{
    extract::{
        Path, Query, State,
        rejection::{PathRejection, QueryRejection},
    },
    http::{StatusCode, header::CONTENT_TYPE},
    response::{IntoResponse, Response},
};
use serde::{Deserialize, Serialize};
use std::{sync::Arc, time::Duration};

/// The response header that carries a snapshot's number.
pub const SEQ_HEADER: &str = "x-navigator-seq";

/// The query of a blocking read.
#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
pub(super) struct Blocking {
    after: Option<u64>,
    wait: Option<f64>,
}

type BlockingQuery = Result<Query<Blocking>, QueryRejection>;

pub(super) async fn snapshot(
    State(state): State<ApiState>,
    query: BlockingQuery,
) -> Result<Response, Problem> {
    let (seq, snapshot) = latest(&state, query).await?;
    json(seq, &*snapshot)
}

pub(super) async fn service(
    State(state): State<ApiState>,
    path: Result<Path<String>, PathRejection>,
    query: BlockingQuery,
) -> Result<Response, Problem> {
    let Path(name) = path?;
    let (seq, snapshot) = latest(&state, query).await?;
    match snapshot.services.iter().find(|s| s.name == name) {
        Some(service) => json(seq, &**service),
        None if !snapshot.registry.synced => Err(not_ready(&name)),
        None => Err(Problem::not_found(format!(
            "no instance of a service {name:?} is registered"
        ))),
    }
}

pub(super) async fn livez() -> &'static str {
    "ok\n"
}

pub(super) async fn readyz(State(state): State<ApiState>) -> Response {
    let (_, snapshot) = state.snapshots.borrow().clone();
    let registry = &snapshot.registry;
    let registry = if registry.connected {
        "registry connected".to_owned()
    } else {
        format!(
            "registry not connected for {:.0}s: {}",
            registry.stale_seconds, registry.why
        )
    };
    let (status, word) = if snapshot.daemon.ready {
        (StatusCode::OK, "ready")
    } else {
        (StatusCode::SERVICE_UNAVAILABLE, "not ready")
    };
    (status, format!("{word}; {registry}\n")).into_response()
}

// Before the registry was read an unknown service may be one that it knows.
fn not_ready(name: &str) -> Problem {
    Problem::new(
        StatusCode::SERVICE_UNAVAILABLE,
        "not_ready",
        format!("service {name:?} is not known, but the registry has not been read yet: ask again"),
    )
}

async fn latest(state: &ApiState, query: BlockingQuery) -> Result<(u64, Arc<Snapshot>), Problem> {
    let Query(Blocking { after, wait }) = query?;
    let wait = match wait {
        None => Duration::ZERO,
        Some(seconds) if (0.0..=MAX_WAIT.as_secs_f64()).contains(&seconds) => {
            Duration::from_secs_f64(seconds)
        }
        Some(seconds) => {
            let detail = format!("wait={seconds}: use 0 to {} seconds", MAX_WAIT.as_secs());
            return Err(Problem::bad_request("bad_query", detail));
        }
    };
    let mut snapshots = state.snapshots.clone();
    if let Some(after) = after {
        // Neither the time-out nor the daemon's end is an error: the caller sees by its number
        // that the snapshot is the old one.
        let newer = snapshots.wait_for(|(seq, _)| *seq > after);
        let _ = tokio::time::timeout(wait, newer).await;
    }
    Ok(snapshots.borrow().clone())
}

fn json(seq: u64, body: &impl Serialize) -> Result<Response, Problem> {
    let text = serde_json::to_vec(body).map_err(|error| {
        Problem::new(
            StatusCode::INTERNAL_SERVER_ERROR,
            "internal",
            error.to_string(),
        )
    })?;
    let seq = (SEQ_HEADER, seq.to_string());
    let kind = (CONTENT_TYPE.as_str(), "application/json".to_owned());
    Ok(([seq, kind], text).into_response())
}
