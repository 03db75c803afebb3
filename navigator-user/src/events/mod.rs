//! What happened, one after the other: differences between snapshots, numbered and kept for a while.
//!
//! The log is bounded, and nobody who reads it slowly can make it longer: who falls behind what is
//! kept learns that something was missed. Of several changes between two snapshots only what they
//! led to is told.

mod differences;
mod log;

pub use log::{After, EventLog};

use crate::snapshot::Snapshot;
use serde::{Deserialize, Serialize};
use std::{
    net::SocketAddr,
    sync::Arc,
    time::{SystemTime, UNIX_EPOCH},
};
use tokio::sync::watch;
use utoipa::ToSchema;

/// What kind of thing happened.
#[derive(Clone, Copy, PartialEq, Eq, Debug, Serialize, Deserialize, ToSchema)]
#[serde(rename_all = "snake_case")]
pub enum EventKind {
    /// An instance was registered.
    Registered,
    /// It registered another weight or other labels.
    Changed,
    /// It was deregistered, or its lease ended.
    Deregistered,
    /// Its checks say something else.
    Health,
    /// An operator ordered something for it.
    Order,
    /// A VIP was added.
    VipAdded,
    /// A VIP serves something else, or its forwarding began, ended or has a problem.
    VipChanged,
    /// A VIP was removed.
    VipRemoved,
    /// A backend of a VIP is in another state.
    Backend,
    /// An entry was refused.
    Rejected,
    /// The registry was lost or reached again.
    Registry,
    /// The registry was read for the first time: whatever was known before is to be read again.
    Synced,
    /// Events between the one that was asked for and the next one are no longer kept: whatever was
    /// known before is to be read again.
    Missed,
}

/// Something that happened.
#[derive(Clone, PartialEq, Debug, Serialize, Deserialize, ToSchema)]
pub struct Event {
    /// Its number; later ones have greater numbers, also after a restart.
    pub id: u64,
    /// When it was seen, in seconds since 1970.
    pub time: f64,
    /// What kind of thing.
    pub kind: EventKind,
    /// The service that it concerns.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    #[schema(nullable = false)]
    pub service: Option<String>,
    /// The VIP that it concerns.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    #[schema(nullable = false)]
    pub vip: Option<String>,
    /// The instance or backend that it concerns.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    #[schema(value_type = String, nullable = false)]
    pub address: Option<SocketAddr>,
    /// What happened, in words.
    pub what: String,
}

/// Writes what happens from now on into the log, for as long as there are snapshots.
pub fn follow(
    mut snapshots: watch::Receiver<(u64, Arc<Snapshot>)>,
    log: Arc<EventLog>,
) -> impl Future<Output = ()> {
    let mut before = snapshots.borrow_and_update().1.clone();
    async move {
        while snapshots.changed().await.is_ok() {
            let now = snapshots.borrow_and_update().1.clone();
            log.write(differences::between(&before, &now), now_seconds());
            before = now;
        }
    }
}

fn now_seconds() -> f64 {
    let since = SystemTime::now().duration_since(UNIX_EPOCH);
    since.unwrap_or_default().as_secs_f64()
}
