//! Instances in the registry: looked at, registered, deregistered.

use super::{
    ApiState, Problem,
    access::Caller,
    leases::{self, parse_lease},
};
use axum::{
    Extension,
    body::Bytes,
    extract::{
        Path, Query, State,
        rejection::{BytesRejection, PathRejection, QueryRejection},
    },
    http::{
        HeaderMap, StatusCode,
        header::{CONTENT_TYPE, ETAG, IF_MATCH, IF_NONE_MATCH},
    },
    response::{IntoResponse, Response},
};
use navigator_core::{
    entry::{Rejection, parse_endpoint, parse_instance},
    model::{InstanceKey, ServiceName, keys},
};
use serde::{Deserialize, Serialize};
use utoipa::{IntoParams, ToSchema};

/// An instance as it registers itself. Other fields are ignored.
#[derive(Serialize, ToSchema)]
#[schema(example = json!({"name": "web", "address": "10.0.0.5", "port": 80, "health_check_endpoint": "/health"}))]
pub(super) struct InstanceEntry {
    /// Name of the service, as in the path.
    name: String,
    /// Address, as in the path.
    address: String,
    /// Port, as in the path.
    #[schema(minimum = 1, maximum = 65535)]
    port: u16,
    /// Path of an HTTP check, beginning with `/`; empty for a check that a connection is accepted.
    #[schema(required = false)]
    health_check_endpoint: String,
    /// Share of new flows relative to the other instances; 0 drains.
    #[schema(required = false, default = 100, maximum = 1000)]
    weight: u16,
    /// How it is checked: `kind` and what belongs to it.
    #[schema(required = false, value_type = Object)]
    check: serde_json::Value,
}

/// How a registration ends by itself.
#[derive(Deserialize, IntoParams)]
#[serde(deny_unknown_fields)]
#[into_params(parameter_in = Query)]
pub(super) struct Binding {
    /// It ends with this lease.
    #[param(nullable = false)]
    lease: Option<String>,
    /// It ends so many seconds after this call, unless the lease that it answers with is renewed.
    #[param(nullable = false, minimum = 1, maximum = 86400)]
    ttl_seconds: Option<u64>,
}

pub(super) type OnePath = Result<Path<String>, PathRejection>;
pub(super) type TwoPath = Result<Path<(String, String)>, PathRejection>;
pub(super) type Body = Result<Bytes, BytesRejection>;
pub(super) type Done = Result<StatusCode, Problem>;

/// An instance as it stands in the registry. The entity tag is for `If-Match`.
#[utoipa::path(
    get,
    path = "/v1/services/{name}/instances/{address}",
    params(
        ("name" = String, Path, description = "Name of the service."),
        ("address" = String, Path, description = "Address and port, for example `10.0.0.5:80`.")
    ),
    responses((status = OK, body = InstanceEntry, headers(("etag")))),
    security(("token" = ["read"]))
)]
pub(super) async fn get_instance(
    State(state): State<ApiState>,
    path: TwoPath,
) -> Result<Response, Problem> {
    let instance = instance_key(path)?;
    let key = keys::instance(&instance);
    let (entries, _) = state.registry.list(&key).await?;
    match entries.into_iter().find(|entry| entry.key == key) {
        Some(entry) => {
            let tag = format!("\"{}\"", entry.modified);
            let head = [(CONTENT_TYPE, "application/json".to_owned()), (ETAG, tag)];
            Ok((head, entry.value).into_response())
        }
        None if state.config_keys.contains(&key) => Err(Problem::not_found(format!(
            "{instance} is in the configuration file, not in the registry"
        ))),
        None => Err(none(&instance)),
    }
}

/// Registers an instance, or changes its registration. With `If-Match` only the version that the
/// entity tag names, with `If-None-Match: *` only if it is not registered.
#[utoipa::path(
    put,
    path = "/v1/services/{name}/instances/{address}",
    params(
        ("name" = String, Path, description = "Name of the service."),
        ("address" = String, Path, description = "Address and port, for example `10.0.0.5:80`."),
        Binding
    ),
    request_body = InstanceEntry,
    responses(
        (status = NO_CONTENT, description = "Registered."),
        (status = CREATED, body = leases::Granted, description = "Registered, under a new lease.")
    ),
    security(("token" = ["register"]))
)]
pub(super) async fn put_instance(
    State(state): State<ApiState>,
    Extension(caller): Extension<Caller>,
    path: TwoPath,
    query: Result<Query<Binding>, QueryRejection>,
    headers: HeaderMap,
    body: Body,
) -> Result<Response, Problem> {
    let key = keys::instance(&instance_key(path)?);
    let Query(binding) = query?;
    let mut lease = binding.lease.as_deref().map(parse_lease).transpose()?;
    let body = body?;
    let leased = lease.is_some() || binding.ttl_seconds.is_some();
    parse_instance(&key, &body, leased, &state.rules).map_err(refused)?;
    not_in_config(&state, &key)?;
    let condition = condition(&headers)?;
    if let Some(lease) = lease {
        state.leases.check(&caller, lease)?;
    }
    let granted = match binding.ttl_seconds {
        None => None,
        Some(_) if lease.is_some() => {
            let detail = "say either lease or ttl_seconds";
            return Err(Problem::bad_request("bad_query", detail));
        }
        Some(seconds) => Some(leases::grant_lease(&state, &caller, seconds).await?),
    };
    lease = lease.or(granted.as_ref().map(|granted| granted.lease));
    match condition {
        None => state.registry.put(&key, body.into(), lease).await?,
        Some(expected) => {
            let value = Some(body.into());
            let exchanged = state
                .registry
                .exchange(&key, expected, value, lease)
                .await?;
            if !exchanged {
                return Err(changed(&key));
            }
        }
    }
    Ok(match granted {
        Some(granted) => (StatusCode::CREATED, axum::Json(granted)).into_response(),
        None => StatusCode::NO_CONTENT.into_response(),
    })
}

/// Deregisters an instance; with `If-Match` only the version that the entity tag names.
#[utoipa::path(
    delete,
    path = "/v1/services/{name}/instances/{address}",
    params(
        ("name" = String, Path, description = "Name of the service."),
        ("address" = String, Path, description = "Address and port, for example `10.0.0.5:80`.")
    ),
    responses((status = NO_CONTENT, description = "Deregistered.")),
    security(("token" = ["register"]))
)]
pub(super) async fn delete_instance(
    State(state): State<ApiState>,
    path: TwoPath,
    headers: HeaderMap,
) -> Done {
    let instance = instance_key(path)?;
    let key = keys::instance(&instance);
    not_in_config(&state, &key)?;
    let deleted = match condition(&headers)? {
        None => state.registry.delete(&key).await?,
        Some(expected) => {
            if !state.registry.exchange(&key, expected, None, None).await? {
                return Err(changed(&key));
            }
            true
        }
    };
    deleted
        .then_some(StatusCode::NO_CONTENT)
        .ok_or_else(|| none(&instance))
}

/// The revision that the caller expects, if it expects one; 0 for an entry that does not exist.
fn condition(headers: &HeaderMap) -> Result<Option<i64>, Problem> {
    let text = |name| {
        let value: Option<&axum::http::HeaderValue> = headers.get(name);
        value.map(|value| value.to_str().unwrap_or_default().trim())
    };
    match (text(IF_MATCH), text(IF_NONE_MATCH)) {
        (None, None) => Ok(None),
        (None, Some("*")) => Ok(Some(0)),
        (Some(tag), None) => {
            let number = tag.strip_prefix('"').and_then(|tag| tag.strip_suffix('"'));
            let revision = number.and_then(|number| number.parse().ok());
            // A tag that is none of this resource's fits no version of it.
            Ok(Some(
                revision.filter(|revision| *revision > 0).unwrap_or(-1),
            ))
        }
        _ => {
            let detail = "use If-Match with the entity tag of a version, or If-None-Match: *";
            Err(Problem::bad_request("bad_condition", detail))
        }
    }
}

fn changed(key: &str) -> Problem {
    let detail = format!("{key} is another version than the one that was named: read it again");
    Problem::new(StatusCode::PRECONDITION_FAILED, "changed", detail)
}

fn none(key: &InstanceKey) -> Problem {
    let InstanceKey { service, address } = key;
    Problem::not_found(format!(
        "no instance {address} of service {service} is registered"
    ))
}

pub(super) fn service_name(name: String) -> Result<ServiceName, Problem> {
    name.try_into()
        .map_err(|error| Problem::bad_request("bad_name", format!("{error}")))
}

pub(super) fn instance_key(path: TwoPath) -> Result<InstanceKey, Problem> {
    let Path((service, address)) = path?;
    key_of(service, &address)
}

pub(super) fn key_of(service: String, address: &str) -> Result<InstanceKey, Problem> {
    let service = service_name(service)?;
    let address = parse_endpoint(address)
        .map_err(|flaw| Problem::bad_request(flaw.reason.name(), flaw.detail))?;
    Ok(InstanceKey { service, address })
}

pub(super) fn refused(rejection: Rejection) -> Problem {
    Problem::bad_request(rejection.reason.name(), rejection.detail)
}

pub(super) fn not_in_config(state: &ApiState, key: &str) -> Result<(), Problem> {
    if !state.config_keys.contains(key) {
        return Ok(());
    }
    let cure = if key.starts_with(keys::VIPS) {
        "change it there and start the daemon again"
    } else {
        "change it there, or drain it instead: navigator instances drain NAME ADDR:PORT"
    };
    let detail = format!("{key} is listed by the configuration file: {cure}");
    Err(Problem::conflict("in_config", detail))
}
