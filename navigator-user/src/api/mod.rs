//! The HTTP API over a Unix socket: HTTP/1.1, JSON, RFC 9457 problems.
//!
//! | route | what |
//! |---|---|
//! | `GET /v1/snapshot?after=SEQ&wait=SECONDS` | the whole [`Snapshot`]; waits for a newer one than `SEQ` |
//! | `GET /v1/services/{name}?after=SEQ&wait=SECONDS` | one service with its instances |
//! | `PUT`, `DELETE /v1/services/{name}/instances/{address}` | registers, deregisters; `?lease=ID` binds to a lease |
//! | `PUT`, `DELETE /v1/vips/{name}` | sets, removes a VIP |
//! | `GET`, `PUT`, `DELETE /v1/orders/{service}/{address}` | an operator's order |
//! | `POST /v1/leases`, `POST /v1/leases/{id}/renew`, `DELETE /v1/leases/{id}` | leases |
//! | `GET /v1/trace?vip&client&reason&backend&sample&duration&bytes` | packets as they come: a [`trace::Line`] of JSON each |
//! | `GET /livez`, `/readyz`, `/metrics` | for supervisors and Prometheus |
//!
//! Reads render the snapshot and never wait for the reconciler. Writes are
//! validated, then go to the registry, from where the reconciler learns of
//! them like of any other change.

#[cfg(test)]
pub(crate) mod fixture;
mod leases;
mod metrics;
mod problem;
mod read;
mod server;
mod socket;
#[cfg(test)]
pub(crate) mod tests;
pub mod trace;
mod write;

pub(crate) use leases::{Grant, Granted};
pub use problem::{Problem, ProblemBody};
pub use read::SEQ_HEADER;
pub use server::serve;
pub use socket::{BindError, GROUP, bind};

use crate::{registry::Registry, snapshot::Snapshot, trace::hub::Hub};
use axum::{
    Router,
    extract::{DefaultBodyLimit, Request},
    middleware::{self, Next},
    response::{IntoResponse, Response},
    routing::{delete, get, post, put},
};
use navigator_core::entry::Rules;
use std::{collections::BTreeSet, sync::Arc, time::Duration};
use tokio::sync::watch;

/// Where the daemon's socket is unless told otherwise.
pub const DEFAULT_SOCKET: &str = "/run/navigator/navigator.sock";

/// Longest request body, in bytes.
pub const MAX_BODY: usize = 64 * 1024;

/// Longest that a blocking read may wait.
pub const MAX_WAIT: Duration = Duration::from_secs(60);

/// Time after which a write, or the reading of its body, has failed.
const WRITE_TIMEOUT: Duration = Duration::from_secs(15);

/// What the API reads and writes.
#[derive(Clone)]
pub struct ApiState {
    /// The latest snapshot with its number, which grows with each.
    pub snapshots: watch::Receiver<(u64, Arc<Snapshot>)>,
    /// Where writes go.
    pub registry: Arc<dyn Registry>,
    /// Registry keys that the configuration file lists: only it removes or changes them.
    pub config_keys: Arc<BTreeSet<String>>,
    /// What entries are validated against.
    pub rules: Arc<Rules>,
    /// Who wants to see packets.
    pub tracers: Arc<Hub>,
}

/// All routes.
pub fn router(state: ApiState) -> Router {
    let writes = Router::new()
        .route(
            "/v1/services/{name}/instances/{address}",
            put(write::put_instance).delete(write::delete_instance),
        )
        .route(
            "/v1/vips/{name}",
            put(write::put_vip).delete(write::delete_vip),
        )
        .route(
            "/v1/orders/{service}/{address}",
            get(write::get_order)
                .put(write::put_order)
                .delete(write::delete_order),
        )
        .route("/v1/leases", post(leases::grant))
        .route("/v1/leases/{id}/renew", post(leases::renew))
        .route("/v1/leases/{id}", delete(leases::revoke))
        .layer(middleware::from_fn(time_limit));
    Router::new()
        .route("/v1/snapshot", get(read::snapshot))
        .route("/v1/services/{name}", get(read::service))
        .route("/v1/trace", get(trace::trace))
        .route("/livez", get(read::livez))
        .route("/readyz", get(read::readyz))
        .route("/metrics", get(metrics::metrics))
        .merge(writes)
        .fallback(async || Problem::no_route())
        .method_not_allowed_fallback(async || Problem::no_method())
        .layer(DefaultBodyLimit::max(MAX_BODY))
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

async fn time_limit(request: Request, next: Next) -> Response {
    match tokio::time::timeout(WRITE_TIMEOUT, next.run(request)).await {
        Ok(response) => response,
        Err(_) => Problem::timed_out(WRITE_TIMEOUT).into_response(),
    }
}
