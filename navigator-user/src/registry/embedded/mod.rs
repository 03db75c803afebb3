//! The registry in this process, kept in one file.
//!
//! What is acknowledged is on disk. Readers and watches are served from
//! memory (`state`); a write becomes visible there after the file
//! (`store`) has it. Leases survive a restart: each starts again with its
//! full time, so that whoever renews in time never disappears.

mod follow;
mod leases;
mod state;
mod store;

use super::{Entry, LeaseId, Registry, RegistryError, RegistryEvent, RegistryResult};
use futures::future::BoxFuture;
use state::{Batch, MAX_TTL, Refusal, State};
use std::{
    path::Path,
    sync::{Arc, PoisonError, RwLock, RwLockReadGuard, RwLockWriteGuard},
    time::Duration,
};
use store::Store;
use tokio::{
    sync::{Mutex, Notify, broadcast, mpsc},
    task::AbortHandle,
    time::Instant,
};

/// Events that wait for a slow reader of the watch.
const WATCH_CHANNEL: usize = 64;
/// Changes that wait for a slow watch; it reads everything anew when it falls further behind.
const BACKLOG: usize = 1024;
/// Longest value, in bytes: about what etcd takes.
const MAX_VALUE: usize = 1 << 20;

/// The registry in this process.
pub struct EmbeddedRegistry {
    path: String,
    shared: Arc<Shared>,
    writer: Arc<Mutex<Writer>>,
    changes: broadcast::Sender<Arc<Batch>>,
    expiry: AbortHandle,
}

/// What readers, watches and leases share.
struct Shared {
    state: RwLock<State>,
    /// A lease ends earlier than was thought.
    sooner: Notify,
}

/// One write at a time: to the file, then to memory, then to the watches.
struct Writer {
    store: Store,
    shared: Arc<Shared>,
    changes: broadcast::Sender<Arc<Batch>>,
}

impl EmbeddedRegistry {
    /// Opens the registry in `path`, or begins an empty one (with its directory).
    /// Must be called in a tokio runtime, which also ends the leases.
    ///
    /// # Errors
    /// When the file is damaged, in use by another process, or cannot be written.
    pub fn open(path: &Path) -> RegistryResult<Self> {
        let (store, saved) = Store::open(path)?;
        let shared = Arc::new(Shared {
            state: RwLock::new(State::new(saved, Instant::now())),
            sooner: Notify::new(),
        });
        let (changes, _) = broadcast::channel(BACKLOG);
        let writer = Arc::new(Mutex::new(Writer {
            store,
            shared: Arc::clone(&shared),
            changes: changes.clone(),
        }));
        let expiry = tokio::spawn(leases::expire(Arc::clone(&shared), Arc::downgrade(&writer)));
        Ok(Self {
            path: path.display().to_string(),
            shared,
            writer,
            changes,
            expiry: expiry.abort_handle(),
        })
    }

    /// Makes one change: `decide` looks at the state and says what to write.
    async fn write<T: Send + 'static>(
        &self,
        action: impl FnOnce() -> String,
        decide: impl FnOnce(&State) -> Result<(Batch, T), Refusal> + Send + 'static,
    ) -> RegistryResult<T> {
        match write(&self.writer, |shared| decide(&shared.read())).await {
            Ok(done) => done,
            Err(Refusal::LeaseEnded(id)) => Err(RegistryError::LeaseEnded(id)),
            Err(Refusal::Because(why)) => Err(RegistryError::Refused {
                endpoint: self.describe(),
                action: action(),
                why,
            }),
        }
    }

    async fn put_entry(
        &self,
        key: &str,
        value: Vec<u8>,
        lease: Option<LeaseId>,
    ) -> RegistryResult<()> {
        let (action, key) = (|| format!("write {key}"), key.to_owned());
        self.write(action, move |state| {
            check(&key, &value)?;
            Ok((state.put(key, value, lease.map(|lease| lease.0))?, ()))
        })
        .await
    }

    async fn put_absent(&self, key: &str, value: Vec<u8>) -> RegistryResult<Vec<u8>> {
        let (action, key) = (|| format!("create {key}"), key.to_owned());
        self.write(action, move |state| {
            check(&key, &value)?;
            match state.value(&key) {
                Some(there) => Ok((Batch::default(), there)),
                None => Ok((state.put(key, value.clone(), None)?, value)),
            }
        })
        .await
    }

    async fn exchange_entry(
        &self,
        key: &str,
        expected: i64,
        value: Option<Vec<u8>>,
        lease: Option<LeaseId>,
    ) -> RegistryResult<bool> {
        let (action, key) = (|| format!("exchange {key}"), key.to_owned());
        self.write(action, move |state| {
            if state.modified(&key) != expected {
                return Ok((Batch::default(), false));
            }
            let batch = match value {
                Some(value) => {
                    check(&key, &value)?;
                    state.put(key, value, lease.map(|lease| lease.0))?
                }
                None => state.delete(&key),
            };
            Ok((batch, true))
        })
        .await
    }

    async fn delete_entry(&self, key: &str) -> RegistryResult<bool> {
        let (action, key) = (|| format!("delete {key}"), key.to_owned());
        self.write(action, move |state| {
            let batch = state.delete(&key);
            let there = !batch.deletes.is_empty();
            Ok((batch, there))
        })
        .await
    }

    async fn grant_lease(&self, ttl: Duration) -> RegistryResult<LeaseId> {
        let action = || format!("grant a lease of {} s", ttl.as_secs_f64());
        let id = self
            .write(action, move |state| {
                if ttl > MAX_TTL {
                    let why = format!("the longest lease is {} s", MAX_TTL.as_secs());
                    return Err(Refusal::Because(why));
                }
                state.grant(ttl)
            })
            .await?;
        self.shared.sooner.notify_one();
        Ok(LeaseId(id))
    }
}

impl Drop for EmbeddedRegistry {
    fn drop(&mut self) {
        self.expiry.abort();
    }
}

impl Shared {
    fn read(&self) -> RwLockReadGuard<'_, State> {
        self.state.read().unwrap_or_else(PoisonError::into_inner)
    }

    fn write(&self) -> RwLockWriteGuard<'_, State> {
        self.state.write().unwrap_or_else(PoisonError::into_inner)
    }
}

impl Writer {
    fn commit(&mut self, batch: Batch) -> RegistryResult<()> {
        if batch.is_empty() {
            return Ok(());
        }
        self.store.write(&batch, &self.shared)?;
        let mut state = self.shared.write();
        state.apply(&batch, Instant::now());
        // Under the lock, so that every watch sees changes in the order of their revisions.
        // Nobody may be listening.
        let _ = self.changes.send(Arc::new(batch));
        Ok(())
    }
}

/// Decides and writes on a thread that may wait for the disk. A write that was
/// begun is finished even if the caller goes away.
async fn write<T: Send + 'static>(
    writer: &Arc<Mutex<Writer>>,
    decide: impl FnOnce(&Shared) -> Result<(Batch, T), Refusal> + Send + 'static,
) -> Result<RegistryResult<T>, Refusal> {
    let mut writer = Arc::clone(writer).lock_owned().await;
    let written = tokio::task::spawn_blocking(move || {
        let (batch, answer) = decide(&writer.shared)?;
        Ok(writer.commit(batch).map(|()| answer))
    });
    written
        .await
        .unwrap_or_else(|stopped| Err(Refusal::Because(stopped.to_string())))
}

fn check(key: &str, value: &[u8]) -> Result<(), Refusal> {
    let why = if key.is_empty() {
        "the key is empty".to_owned()
    } else if value.len() > MAX_VALUE {
        format!("the value has {} bytes of at most {MAX_VALUE}", value.len())
    } else {
        return Ok(());
    };
    Err(Refusal::Because(why))
}

impl Registry for EmbeddedRegistry {
    fn describe(&self) -> String {
        format!("embedded {}", self.path)
    }

    /// A reader that falls more than a thousand changes behind gets a new
    /// [`RegistryEvent::Synced`] in their place.
    fn watch(&self) -> mpsc::Receiver<RegistryEvent> {
        let (sender, receiver) = mpsc::channel(WATCH_CHANNEL);
        let changes = self.changes.subscribe();
        tokio::spawn(follow::run(Arc::clone(&self.shared), changes, sender));
        receiver
    }

    fn list<'a>(&'a self, prefix: &'a str) -> BoxFuture<'a, RegistryResult<(Vec<Entry>, i64)>> {
        let state = self.shared.read();
        let found = (state.list(prefix), state.revision());
        Box::pin(async move { Ok(found) })
    }

    fn put<'a>(
        &'a self,
        key: &'a str,
        value: Vec<u8>,
        lease: Option<LeaseId>,
    ) -> BoxFuture<'a, RegistryResult<()>> {
        Box::pin(self.put_entry(key, value, lease))
    }

    fn put_if_absent<'a>(
        &'a self,
        key: &'a str,
        value: Vec<u8>,
    ) -> BoxFuture<'a, RegistryResult<Vec<u8>>> {
        Box::pin(self.put_absent(key, value))
    }

    fn exchange<'a>(
        &'a self,
        key: &'a str,
        expected: i64,
        value: Option<Vec<u8>>,
        lease: Option<LeaseId>,
    ) -> BoxFuture<'a, RegistryResult<bool>> {
        Box::pin(self.exchange_entry(key, expected, value, lease))
    }

    fn delete<'a>(&'a self, key: &'a str) -> BoxFuture<'a, RegistryResult<bool>> {
        Box::pin(self.delete_entry(key))
    }

    fn grant(&self, ttl: Duration) -> BoxFuture<'_, RegistryResult<LeaseId>> {
        Box::pin(self.grant_lease(ttl))
    }

    fn keep_alive(&self, lease: LeaseId) -> BoxFuture<'_, RegistryResult<()>> {
        Box::pin(async move {
            let renewed = self.shared.write().renew(lease.0, Instant::now());
            renewed
                .then_some(())
                .ok_or(RegistryError::LeaseEnded(lease.0))
        })
    }

    fn revoke(&self, lease: LeaseId) -> BoxFuture<'_, RegistryResult<()>> {
        let action = move || format!("end lease {:x}", lease.0);
        Box::pin(self.write(action, move |state| Ok((state.revoke(&[lease.0]), ()))))
    }
}

#[cfg(test)]
mod tests;
