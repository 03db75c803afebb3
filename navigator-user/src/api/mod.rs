//! The HTTP API: HTTP/1.1, JSON, RFC 9457 problems; on a Unix socket, and over TLS.
//!
//! What each route takes, answers and needs stands beside its handler (`#[utoipa::path]`); the
//! OpenAPI document at `/v1/openapi.json` and the rules of [`access`] are made of that.
//!
//! Reads render the snapshot and never wait for the reconciler. Writes are
//! validated, then go to the registry, from where the reconciler learns of
//! them like of any other change.

pub mod access;
mod action;
mod blocking;
mod events;
#[cfg(test)]
pub(crate) mod fixture;
mod instances;
mod leases;
mod metrics;
mod openapi;
mod orders;
mod problem;
mod read;
mod server;
mod socket;
mod stall;
#[cfg(test)]
pub(crate) mod tests;
pub mod tls;
pub mod trace;
mod vips;

pub(crate) use leases::{Grant, Granted};
pub use problem::{Problem, ProblemBody};
pub use server::{Limits, Listener, serve};
pub use socket::{BindError, GROUP, bind};

use crate::{events::EventLog, registry::Registry, snapshot::Snapshot, trace::hub::Hub};
use access::{Access, LeaseBook, Principal, Rate};
use axum::{
    Router,
    extract::{DefaultBodyLimit, Request},
    http::header::CONTENT_LENGTH,
    middleware::{self, Next},
    response::{IntoResponse, Response},
};
use http_body_util::{BodyExt, Limited};
use navigator_core::entry::Rules;
use std::{collections::BTreeSet, sync::Arc, time::Duration};
use tokio::sync::watch;
use utoipa::OpenApi;
use utoipa_axum::{router::OpenApiRouter, routes};

/// Where the daemon's socket is unless told otherwise.
pub const DEFAULT_SOCKET: &str = "/run/navigator/navigator.sock";

/// The response header that carries the number of what is answered, for blocking reads.
pub const INDEX_HEADER: &str = "x-navigator-index";

/// Longest request body, in bytes.
pub const MAX_BODY: usize = 64 * 1024;

/// Longest that a blocking read may wait.
pub const MAX_WAIT: Duration = Duration::from_secs(60);

/// Time after which a write, or the reading of its body, has failed.
const WRITE_TIMEOUT: Duration = Duration::from_secs(15);

/// How much of a body that is too long is read before the answer, and for how long at most.
const SWALLOWED: usize = 1 << 20;
const SWALLOW_TIME: Duration = Duration::from_secs(1);

/// What the API reads and writes.
#[derive(Clone)]
pub struct ApiState {
    /// The latest snapshot with its number, which grows with each.
    pub snapshots: watch::Receiver<(u64, Arc<Snapshot>)>,
    /// What happened.
    pub events: Arc<EventLog>,
    /// Where writes go.
    pub registry: Arc<dyn Registry>,
    /// Registry keys that the configuration file lists: only it removes or changes them.
    pub config_keys: Arc<BTreeSet<String>>,
    /// What entries are validated against.
    pub rules: Arc<Rules>,
    /// Who wants to see packets.
    pub tracers: Arc<Hub>,
    /// Leases of registrants that are no operators.
    pub(crate) leases: Arc<LeaseBook>,
}

/// All routes, and the document that describes them.
fn documented() -> (Router<ApiState>, utoipa::openapi::OpenApi) {
    let writes = OpenApiRouter::new()
        .routes(routes!(
            instances::get_instance,
            instances::put_instance,
            instances::delete_instance,
            action::act
        ))
        .routes(routes!(vips::put_vip, vips::delete_vip))
        .routes(routes!(
            orders::get_order,
            orders::put_order,
            orders::delete_order
        ))
        .routes(routes!(leases::grant))
        .routes(routes!(leases::renew))
        .routes(routes!(leases::revoke))
        .layer(middleware::from_fn(time_limit));
    let (router, mut document) = OpenApiRouter::with_openapi(openapi::Document::openapi())
        .routes(routes!(read::snapshot))
        .routes(routes!(read::services))
        .routes(routes!(read::service))
        .routes(routes!(read::vips))
        .routes(routes!(read::vip))
        .routes(routes!(events::events))
        .routes(routes!(trace::trace))
        .routes(routes!(read::livez))
        .routes(routes!(read::readyz))
        .routes(routes!(metrics::metrics))
        .routes(routes!(openapi::document))
        .merge(writes)
        .split_for_parts();
    openapi::complete(&mut document);
    (router, document)
}

/// The API's description of itself.
pub fn document() -> utoipa::openapi::OpenApi {
    documented().1
}

/// All routes, for these callers.
pub fn router(state: ApiState, principals: Vec<Principal>, rate: Rate) -> Router {
    let (router, document) = documented();
    let access = Access::new(principals, openapi::roles(&document), rate);
    router
        .layer(axum::Extension(Arc::new(document)))
        .fallback(async || Problem::no_route())
        .method_not_allowed_fallback(async || Problem::no_method())
        .layer(DefaultBodyLimit::max(MAX_BODY))
        .layer(middleware::from_fn(announced_length))
        .layer(middleware::from_fn_with_state(
            Arc::new(access),
            access::guard,
        ))
        .with_state(state)
}

/// The name that JSON, metrics and tables have for a unit variant; its JSON for anything else.
pub(crate) fn word(value: &impl serde::Serialize) -> String {
    match serde_json::to_value(value) {
        Ok(serde_json::Value::String(name)) => name,
        Ok(other) => other.to_string(),
        Err(error) => error.to_string(),
    }
}

/// Refuses what announces that it is too long, whether anybody would read it or not.
async fn announced_length(request: Request, next: Next) -> Response {
    let length = request.headers().get(CONTENT_LENGTH);
    let length = length.and_then(|value| value.to_str().ok()?.parse::<u64>().ok());
    if length.is_some_and(|length| length > MAX_BODY as u64) {
        // A client that sends first and reads then would see a broken connection in place of the answer.
        let mut body = Limited::new(request.into_body(), SWALLOWED);
        let swallow = async { while let Some(Ok(_)) = body.frame().await {} };
        let _ = tokio::time::timeout(SWALLOW_TIME, swallow).await;
        return Problem::too_large().into_response();
    }
    next.run(request).await
}

async fn time_limit(request: Request, next: Next) -> Response {
    match tokio::time::timeout(WRITE_TIMEOUT, next.run(request)).await {
        Ok(response) => response,
        Err(_) => Problem::timed_out(WRITE_TIMEOUT).into_response(),
    }
}
