//! Reads: all of them render the latest snapshot.

use super::{
    ApiState, INDEX_HEADER, Problem,
    blocking::{Blocking, BlockingQuery, json, tagged_json},
};
use crate::snapshot::{InstanceView, ServiceSummary, ServiceView, Snapshot, VipView};
use axum::{
    extract::{
        Path, Query, State,
        rejection::{PathRejection, QueryRejection},
    },
    http::{HeaderMap, HeaderValue, StatusCode},
    response::{IntoResponse, Response},
};
use serde::Deserialize;
use utoipa::IntoParams;

/// Which instances are asked for.
#[derive(Deserialize, IntoParams)]
#[serde(deny_unknown_fields)]
#[into_params(parameter_in = Query)]
pub(super) struct ServiceQuery {
    #[param(nullable = false)]
    /// The index of what the caller has: the answer comes when there is another, or `wait` is over.
    index: Option<u64>,
    /// How long the answer may wait, in seconds.
    #[param(nullable = false, minimum = 0, maximum = 60)]
    wait: Option<f64>,
    /// Only instances that take new clients.
    #[param(nullable = false)]
    available: Option<bool>,
}

/// Everything, as of one moment.
#[utoipa::path(
    get,
    path = "/v1/snapshot",
    params(Blocking),
    responses((status = OK, body = Snapshot, headers(("x-navigator-index" = u64)))),
    security(("token" = ["read"]))
)]
pub(super) async fn snapshot(
    State(state): State<ApiState>,
    query: BlockingQuery,
) -> Result<Response, Problem> {
    let Query(query) = query?;
    let (seq, snapshot) = query.read(&state, |seq, _| seq).await?;
    json(seq, &*snapshot)
}

/// The services, with how many instances each has.
#[utoipa::path(
    get,
    path = "/v1/services",
    params(Blocking),
    responses(
        (status = OK, body = [ServiceSummary], headers(("x-navigator-index" = u64), ("etag"))),
        (status = NOT_MODIFIED, description = "`If-None-Match` names what there is.")
    ),
    security(("token" = ["read"]))
)]
pub(super) async fn services(
    State(state): State<ApiState>,
    query: BlockingQuery,
    headers: HeaderMap,
) -> Result<Response, Problem> {
    let Query(query) = query?;
    let (_, snapshot) = query
        .read(&state, |_, snapshot| snapshot.services_index)
        .await?;
    let services: Vec<_> = snapshot.services.iter().map(|s| s.summary()).collect();
    tagged_json(snapshot.services_index, "", &headers, &services)
}

/// One service with its instances. Each service has an index of its own; that of one that does not
/// exist is 0, and with `index=0` the answer waits until it does.
#[utoipa::path(
    get,
    path = "/v1/services/{name}",
    params(("name" = String, Path, description = "Name of the service."), ServiceQuery),
    responses(
        (status = OK, body = ServiceView, headers(("x-navigator-index" = u64), ("etag"))),
        (status = NOT_MODIFIED, description = "`If-None-Match` names what there is.")
    ),
    security(("token" = ["read"]))
)]
pub(super) async fn service(
    State(state): State<ApiState>,
    path: Result<Path<String>, PathRejection>,
    query: Result<Query<ServiceQuery>, QueryRejection>,
    headers: HeaderMap,
) -> Result<Response, Problem> {
    let Path(name) = path?;
    let Query(query) = query?;
    let available = query.available.unwrap_or(false);
    let blocking = Blocking {
        index: query.index,
        wait: query.wait,
    };
    let index = |_, snapshot: &Snapshot| find(snapshot, &name).map_or(0, |service| service.index);
    let (_, snapshot) = blocking.read(&state, index).await?;
    match find(&snapshot, &name) {
        Some(service) if available => {
            let mut some = service.clone();
            some.instances.retain(InstanceView::takes_new);
            tagged_json(service.index, "-available", &headers, &some)
        }
        Some(service) => tagged_json(service.index, "", &headers, service),
        None => Ok(missing(&snapshot, &name)),
    }
}

fn find<'a>(snapshot: &'a Snapshot, name: &str) -> Option<&'a ServiceView> {
    let services = &snapshot.services;
    // They stand in the order of their names.
    let at = services.binary_search_by(|service| service.name.as_str().cmp(name));
    at.ok().map(|at| &*services[at])
}

// Before the registry was read an unknown service may be one that it knows.
fn missing(snapshot: &Snapshot, name: &str) -> Response {
    let problem = if snapshot.registry.synced {
        Problem::not_found(format!("no instance of a service {name:?} is registered"))
    } else {
        Problem::new(
            StatusCode::SERVICE_UNAVAILABLE,
            "not_ready",
            format!(
                "service {name:?} is not known, but the registry has not been read yet: ask again"
            ),
        )
    };
    let mut answer = problem.into_response();
    let headers = answer.headers_mut();
    headers.insert(INDEX_HEADER, HeaderValue::from_static("0"));
    answer
}

/// The VIPs with their backends.
#[utoipa::path(
    get,
    path = "/v1/vips",
    params(Blocking),
    responses((status = OK, body = [VipView], headers(("x-navigator-index" = u64)))),
    security(("token" = ["read"]))
)]
pub(super) async fn vips(
    State(state): State<ApiState>,
    query: BlockingQuery,
) -> Result<Response, Problem> {
    let Query(query) = query?;
    let (seq, snapshot) = query.read(&state, |seq, _| seq).await?;
    json(seq, &snapshot.vips)
}

/// One VIP with its backends.
#[utoipa::path(
    get,
    path = "/v1/vips/{name}",
    params(("name" = String, Path, description = "Name of the VIP."), Blocking),
    responses((status = OK, body = VipView, headers(("x-navigator-index" = u64)))),
    security(("token" = ["read"]))
)]
pub(super) async fn vip(
    State(state): State<ApiState>,
    path: Result<Path<String>, PathRejection>,
    query: BlockingQuery,
) -> Result<Response, Problem> {
    let Path(name) = path?;
    let Query(query) = query?;
    let (seq, snapshot) = query.read(&state, |seq, _| seq).await?;
    match snapshot.vips.iter().find(|vip| vip.name == name) {
        Some(vip) => json(seq, vip),
        None => Err(Problem::not_found(format!("there is no VIP {name:?}"))),
    }
}

/// Whether the daemon runs.
#[utoipa::path(
    get,
    path = "/livez",
    responses((status = OK, body = String)),
    security(("token" = ["read"]))
)]
pub(super) async fn livez() -> &'static str {
    "ok\n"
}

/// Whether it forwards as the registry says; in words how old that is.
#[utoipa::path(
    get,
    path = "/readyz",
    responses(
        (status = OK, body = String),
        (status = SERVICE_UNAVAILABLE, body = String, description = "Not yet.")
    ),
    security(("token" = ["read"]))
)]
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
