//! Operators' orders as they stand in the registry.

use super::{
    ApiState, Problem,
    instances::{Body, Done, TwoPath, instance_key, refused},
};
use axum::{
    extract::State,
    http::{StatusCode, header::CONTENT_TYPE},
    response::{IntoResponse, Response},
};
use navigator_core::{
    entry::parse_order,
    model::{InstanceKey, Order, keys},
};

/// What is ordered for an instance.
#[utoipa::path(
    get,
    path = "/v1/orders/{name}/{address}",
    params(
        ("name" = String, Path, description = "Name of the service."),
        ("address" = String, Path, description = "Address and port, for example `10.0.0.5:80`.")
    ),
    responses((status = OK, body = Order)),
    security(("token" = ["read"]))
)]
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

/// Orders this for an instance, in place of what was ordered before.
#[utoipa::path(
    put,
    path = "/v1/orders/{name}/{address}",
    params(
        ("name" = String, Path, description = "Name of the service."),
        ("address" = String, Path, description = "Address and port, for example `10.0.0.5:80`.")
    ),
    request_body = Order,
    responses((status = NO_CONTENT, description = "Ordered.")),
    security(("token" = ["operate"]))
)]
pub(super) async fn put_order(State(state): State<ApiState>, path: TwoPath, body: Body) -> Done {
    let key = keys::order(&instance_key(path)?);
    let body = body?;
    parse_order(&key, &body).map_err(refused)?;
    state.registry.put(&key, body.into(), None).await?;
    Ok(StatusCode::NO_CONTENT)
}

/// Takes back what is ordered for an instance.
#[utoipa::path(
    delete,
    path = "/v1/orders/{name}/{address}",
    params(
        ("name" = String, Path, description = "Name of the service."),
        ("address" = String, Path, description = "Address and port, for example `10.0.0.5:80`.")
    ),
    responses((status = NO_CONTENT, description = "Nothing is ordered any more.")),
    security(("token" = ["operate"]))
)]
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
