//! The registry: keys and values with revisions and leases, watched.
//!
//! Two implementations, [`etcd`] and [`embedded`], know nothing of services:
//! they carry raw entries, and the catalog in `navigator-core` makes sense
//! of them. An error is an error here, never an empty registry.

mod backoff;
pub mod embedded;
pub mod etcd;

pub(crate) use backoff::Backoff;

use futures::future::BoxFuture;
use std::time::Duration;

/// One key with its value.
#[derive(Clone, PartialEq, Eq, Debug)]
pub struct Entry {
    /// The key, for example `/services/web/10.0.0.5:80`.
    pub key: String,
    /// The value, not looked at.
    pub value: Vec<u8>,
    /// Revision of the store at which the key was created.
    pub created: i64,
    /// Revision of the store at which the value was last written.
    pub modified: i64,
    /// The entry goes when a lease ends.
    pub leased: bool,
}

/// A change of the watched prefixes ([`WATCHED`]).
#[derive(Clone, PartialEq, Eq, Debug)]
pub enum RegistryEvent {
    /// Everything there is, at one revision: what is not in it is gone.
    /// First after a start, and again whenever changes may have been missed.
    Synced {
        /// All entries under the watched prefixes.
        entries: Vec<Entry>,
        /// Revision at which they were read.
        revision: i64,
    },
    /// Changes since the last event, in order.
    Changed {
        /// The changes of one revision or of several.
        changes: Vec<Change>,
        /// Revision of the newest change that is known. etcd keeps the order of
        /// each prefix; a change of another prefix may be a moment behind.
        revision: i64,
    },
    /// The registry cannot be reached; what is known stays in force and is getting old.
    Lost {
        /// Why, in words.
        why: String,
    },
    /// The registry is reached again and nothing was missed.
    Recovered,
}

/// One change of one key.
#[derive(Clone, PartialEq, Eq, Debug)]
pub enum Change {
    /// The key was created or written.
    Put(Entry),
    /// The key was deleted, or its lease ended.
    Delete(String),
}

/// The prefixes that Navigator watches.
pub const WATCHED: &[&str] = &[
    navigator_core::model::keys::SERVICES,
    navigator_core::model::keys::VIPS,
    navigator_core::model::keys::ORDERS,
];

/// A lease of the registry: entries bound to it go when it ends.
#[derive(Clone, Copy, PartialEq, Eq, Hash, Debug, serde::Serialize, serde::Deserialize)]
pub struct LeaseId(pub i64);

/// Why a registry did not do what it was asked.
#[derive(Debug, thiserror::Error)]
pub enum RegistryError {
    /// It cannot be reached, or did not answer in time.
    #[error("registry {endpoint} cannot be reached: {why}")]
    Unreachable {
        /// Where it was looked for.
        endpoint: String,
        /// Why, in words.
        why: String,
    },
    /// It answered, with a refusal.
    #[error("registry {endpoint} refused to {action}: {why}")]
    Refused {
        /// Where it is.
        endpoint: String,
        /// What it was asked.
        action: String,
        /// Why, in words.
        why: String,
    },
    /// The lease ended before it was renewed: grant a new one and put the entries again.
    #[error("lease {0:x} has ended")]
    LeaseEnded(i64),
    /// The embedded registry's file is damaged or cannot be written.
    #[error("embedded registry {path}: {why}")]
    Storage {
        /// The file.
        path: String,
        /// Why, in words.
        why: String,
    },
}

/// Result of a registry call.
pub type RegistryResult<T> = Result<T, RegistryError>;

/// A key-value store with leases and watches.
///
/// All futures may be dropped at any point; a write that was dropped may or
/// may not have happened.
pub trait Registry: Send + Sync + 'static {
    /// Where it is, for people: `etcd http://127.0.0.1:2379`, `embedded /var/lib/navigator/registry.redb`.
    fn describe(&self) -> String;

    /// Watches [`WATCHED`] for as long as the receiver lives. The first event is
    /// [`RegistryEvent::Synced`] or [`RegistryEvent::Lost`]; it retries for ever.
    /// The channel is bounded: a slow reader slows the watch, nothing is lost.
    fn watch(&self) -> tokio::sync::mpsc::Receiver<RegistryEvent>;

    /// The entries whose keys start with `prefix`, at one revision, read linearizably.
    fn list<'a>(&'a self, prefix: &'a str) -> BoxFuture<'a, RegistryResult<(Vec<Entry>, i64)>>;

    /// Writes one key, bound to `lease` if there is one.
    fn put<'a>(
        &'a self,
        key: &'a str,
        value: Vec<u8>,
        lease: Option<LeaseId>,
    ) -> BoxFuture<'a, RegistryResult<()>>;

    /// Writes one key unless it exists; returns the value that is there afterwards.
    fn put_if_absent<'a>(
        &'a self,
        key: &'a str,
        value: Vec<u8>,
    ) -> BoxFuture<'a, RegistryResult<Vec<u8>>>;

    /// Writes one key (or, without a value, deletes it) if it was last written at revision
    /// `expected`; 0 stands for a key that does not exist. `false` if that is not so. After a
    /// failure on the way the answer may be `false` though it was done.
    fn exchange<'a>(
        &'a self,
        key: &'a str,
        expected: i64,
        value: Option<Vec<u8>>,
        lease: Option<LeaseId>,
    ) -> BoxFuture<'a, RegistryResult<bool>>;

    /// Deletes one key; `false` if there was none.
    fn delete<'a>(&'a self, key: &'a str) -> BoxFuture<'a, RegistryResult<bool>>;

    /// Grants a lease.
    fn grant(&self, ttl: Duration) -> BoxFuture<'_, RegistryResult<LeaseId>>;

    /// Renews a lease once.
    fn keep_alive(&self, lease: LeaseId) -> BoxFuture<'_, RegistryResult<()>>;

    /// Ends a lease and deletes what is bound to it.
    fn revoke(&self, lease: LeaseId) -> BoxFuture<'_, RegistryResult<()>>;
}
