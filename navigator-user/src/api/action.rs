//! `POST …:drain`, `:enable`, `:maintenance`: an operator's orders in a word.

use super::{
    ApiState, Problem,
    instances::{TwoPath, key_of},
};
use axum::{
    extract::{Path, State},
    response::{IntoResponse, Response},
};
use navigator_core::{
    entry::parse_order,
    model::{InstanceKey, Order, keys},
};

/// Attempts, when somebody else orders something at the same time.
const RACES: usize = 4;

/// What can be ordered in a word.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
enum Action {
    Drain,
    Enable,
    Maintenance,
}

impl Action {
    fn named(word: &str) -> Option<Self> {
        match word {
            "drain" => Some(Self::Drain),
            "enable" => Some(Self::Enable),
            "maintenance" => Some(Self::Maintenance),
            _ => None,
        }
    }

    /// The order that follows from the one before. An ordered weight stays.
    fn change(self, before: Order) -> Order {
        Order {
            drain: self == Self::Drain,
            maintenance: self == Self::Maintenance,
            ..before
        }
    }
}

/// Orders something for an instance: `drain` (no new flows, it keeps those that it has for the
/// drain time), `maintenance` (no flows at all), or `enable` (the end of both). Answers with the
/// order in force.
#[utoipa::path(
    post,
    path = "/v1/services/{name}/instances/{address}",
    params(
        ("name" = String, Path, description = "Name of the service."),
        (
            "address" = String, Path, pattern = "^.+:(drain|enable|maintenance)$",
            description = "Address, port and what is ordered, for example `10.0.0.5:80:drain`."
        )
    ),
    responses((status = OK, body = Order)),
    security(("token" = ["operate"]))
)]
pub(super) async fn act(State(state): State<ApiState>, path: TwoPath) -> Result<Response, Problem> {
    let Path((service, target)) = path?;
    let named = target.rsplit_once(':');
    let named = named.and_then(|(address, word)| Some((address, Action::named(word)?)));
    let Some((address, action)) = named else {
        let detail = format!(
            "{target:?} ends in no order: write ADDRESS:PORT:drain, :enable or :maintenance"
        );
        return Err(Problem::bad_request("bad_action", detail));
    };
    let key = key_of(service, address)?;
    must_exist(&state, &key)?;
    let order = order(&state, &key, action).await?;
    Ok(axum::Json(order).into_response())
}

async fn order(state: &ApiState, key: &InstanceKey, action: Action) -> Result<Order, Problem> {
    let path = keys::order(key);
    for _ in 0..RACES {
        let (entries, _) = state.registry.list(&path).await?;
        let there = entries.into_iter().find(|entry| entry.key == path);
        let revision = there.as_ref().map_or(0, |entry| entry.modified);
        let before = there.and_then(|entry| parse_order(&path, &entry.value).ok());
        let before = before.map(|(_, order)| order).unwrap_or_default();
        let after = action.change(before);
        let value = match after.is_empty() {
            true if revision == 0 => return Ok(after),
            true => None,
            false => Some(super::word(&after).into_bytes()),
        };
        let registry = &state.registry;
        if registry.exchange(&path, revision, value, None).await? {
            return Ok(after);
        }
    }
    let detail = format!("somebody else gives orders for {key} all the time: try again");
    Err(Problem::conflict("contended", detail))
}

/// An order for an instance that is not there would be carried out when it comes: far more often
/// the address was mistyped.
fn must_exist(state: &ApiState, key: &InstanceKey) -> Result<(), Problem> {
    let (_, snapshot) = state.snapshots.borrow().clone();
    let name = key.service.as_str();
    let Some(service) = snapshot.services.iter().find(|there| there.name == name) else {
        return Err(Problem::not_found(format!("no service {name}")));
    };
    if service.instances.iter().any(|i| i.address == key.address) {
        return Ok(());
    }
    let known = service.instances.iter().take(10);
    let known: Vec<_> = known.map(|i| i.address.to_string()).collect();
    Err(Problem::not_found(format!(
        "service {name} has no instance {}; it has {}",
        key.address,
        known.join(", ")
    )))
}
