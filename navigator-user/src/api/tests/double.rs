//! A registry in memory and a daemon's API over it.

use crate::{
    api::{self, ApiState, Limits, Listener, access::Rate, bind, fixture, serve},
    events::{self, EventLog},
    registry::{Entry, LeaseId, Registry, RegistryError, RegistryEvent, RegistryResult},
    snapshot::Snapshot,
    trace::hub::Hub,
};
use futures::{FutureExt, future::BoxFuture};
use navigator_core::entry::Rules;
use std::{
    collections::{BTreeMap, BTreeSet},
    io,
    path::PathBuf,
    sync::{Arc, Mutex, MutexGuard, PoisonError},
    time::Duration,
};
use tempfile::TempDir;
use tokio::{
    io::{AsyncReadExt, AsyncWriteExt},
    net::UnixStream,
    sync::{mpsc, oneshot, watch},
    task::JoinHandle,
};

/// Keys and leases, without time.
#[derive(Default)]
pub(crate) struct Double {
    store: Mutex<Store>,
}

#[derive(Default)]
struct Store {
    entries: BTreeMap<String, (Vec<u8>, Option<LeaseId>)>,
    leases: BTreeSet<i64>,
    granted: i64,
    down: bool,
}

impl Double {
    fn store(&self) -> RegistryResult<MutexGuard<'_, Store>> {
        let store = self.store.lock().unwrap_or_else(PoisonError::into_inner);
        if store.down {
            return Err(RegistryError::Unreachable {
                endpoint: "double".to_owned(),
                why: "switched off".to_owned(),
            });
        }
        Ok(store)
    }

    /// What is stored, with the leases.
    pub(crate) fn entry(&self, key: &str) -> Option<(String, Option<LeaseId>)> {
        let store = self.store().ok()?;
        let (value, lease) = store.entries.get(key)?;
        Some((String::from_utf8_lossy(value).into_owned(), *lease))
    }

    /// From now on it cannot be reached.
    pub(crate) fn switch_off(&self) {
        self.store
            .lock()
            .unwrap_or_else(PoisonError::into_inner)
            .down = true;
    }
}

impl Registry for Double {
    fn describe(&self) -> String {
        "double".to_owned()
    }

    fn watch(&self) -> mpsc::Receiver<RegistryEvent> {
        mpsc::channel(1).1
    }

    fn list<'a>(&'a self, prefix: &'a str) -> BoxFuture<'a, RegistryResult<(Vec<Entry>, i64)>> {
        async move {
            let store = self.store()?;
            let entry = |(key, (value, lease)): (&String, &(Vec<u8>, Option<LeaseId>))| Entry {
                key: key.clone(),
                value: value.clone(),
                created: 1,
                modified: 1,
                leased: lease.is_some(),
            };
            let found = store
                .entries
                .iter()
                .filter(|(key, _)| key.starts_with(prefix));
            Ok((found.map(entry).collect(), 1))
        }
        .boxed()
    }

    fn put<'a>(
        &'a self,
        key: &'a str,
        value: Vec<u8>,
        lease: Option<LeaseId>,
    ) -> BoxFuture<'a, RegistryResult<()>> {
        async move {
            let mut store = self.store()?;
            if let Some(LeaseId(lease)) = lease.filter(|lease| !store.leases.contains(&lease.0)) {
                return Err(RegistryError::LeaseEnded(lease));
            }
            store.entries.insert(key.to_owned(), (value, lease));
            Ok(())
        }
        .boxed()
    }

    fn put_if_absent<'a>(
        &'a self,
        key: &'a str,
        value: Vec<u8>,
    ) -> BoxFuture<'a, RegistryResult<Vec<u8>>> {
        async move {
            let mut store = self.store()?;
            let there = store.entries.entry(key.to_owned()).or_insert((value, None));
            Ok(there.0.clone())
        }
        .boxed()
    }

    fn exchange<'a>(
        &'a self,
        key: &'a str,
        expected: i64,
        value: Option<Vec<u8>>,
        lease: Option<LeaseId>,
    ) -> BoxFuture<'a, RegistryResult<bool>> {
        async move {
            let modified = i64::from(self.store()?.entries.contains_key(key));
            if modified != expected {
                return Ok(false);
            }
            match value {
                Some(value) => self.put(key, value, lease).await?,
                None => drop(self.store()?.entries.remove(key)),
            }
            Ok(true)
        }
        .boxed()
    }

    fn delete<'a>(&'a self, key: &'a str) -> BoxFuture<'a, RegistryResult<bool>> {
        async move { Ok(self.store()?.entries.remove(key).is_some()) }.boxed()
    }

    fn grant(&self, _ttl: Duration) -> BoxFuture<'_, RegistryResult<LeaseId>> {
        async move {
            let mut store = self.store()?;
            store.granted += 1;
            let lease = store.granted;
            store.leases.insert(lease);
            Ok(LeaseId(lease))
        }
        .boxed()
    }

    fn keep_alive(&self, lease: LeaseId) -> BoxFuture<'_, RegistryResult<()>> {
        async move {
            if self.store()?.leases.contains(&lease.0) {
                return Ok(());
            }
            Err(RegistryError::LeaseEnded(lease.0))
        }
        .boxed()
    }

    fn revoke(&self, lease: LeaseId) -> BoxFuture<'_, RegistryResult<()>> {
        async move {
            let mut store = self.store()?;
            store.leases.remove(&lease.0);
            store.entries.retain(|_, (_, bound)| *bound != Some(lease));
            Ok(())
        }
        .boxed()
    }
}

/// The API of a daemon that shows the fixture as its snapshot number 7.
pub(crate) struct Daemon {
    pub(crate) registry: Arc<Double>,
    pub(crate) snapshots: watch::Sender<(u64, Arc<Snapshot>)>,
    pub(crate) tracers: Arc<Hub>,
    pub(crate) socket: PathBuf,
    stop: oneshot::Sender<()>,
    task: JoinHandle<io::Result<()>>,
    _directory: TempDir,
}

impl Daemon {
    pub(crate) fn start() -> anyhow::Result<Self> {
        Self::with_snapshot(fixture::snapshot())
    }

    pub(crate) fn with_snapshot(snapshot: Snapshot) -> anyhow::Result<Self> {
        let directory = TempDir::with_prefix("navigator-api-")?;
        let socket = directory.path().join("run/navigator.sock");
        let registry = Arc::new(Double::default());
        let (snapshots, receiver) = watch::channel((7, Arc::new(snapshot)));
        let listed = ["/services/web/10.0.0.1:80", "/navigator/vips/web"];
        let tracers = Arc::<Hub>::default();
        let events = Arc::new(EventLog::new(100));
        tokio::spawn(events::follow(receiver.clone(), events.clone()));
        let state = ApiState {
            snapshots: receiver,
            registry: registry.clone(),
            config_keys: Arc::new(listed.map(str::to_owned).into()),
            rules: Arc::new(Rules::default()),
            tracers: tracers.clone(),
            events: events.clone(),
            leases: Arc::default(),
        };
        let router = api::router(state, Vec::new(), Rate::default());
        let (stop, stopped) = oneshot::channel();
        let listener = bind(&socket)?;
        let listener = Listener::Unix(listener);
        let task = tokio::spawn(serve(
            listener,
            router,
            Limits::default(),
            stopped.map(drop),
        ));
        Ok(Self {
            registry,
            snapshots,
            tracers,
            socket,
            stop,
            task,
            _directory: directory,
        })
    }

    /// Asks for `line`, for example `GET /livez`.
    pub(crate) async fn ask(&self, line: &str, body: &str) -> anyhow::Result<Answer> {
        self.ask_with(line, "", body).await
    }

    /// The same with further header lines.
    pub(crate) async fn ask_with(
        &self,
        line: &str,
        headers: &str,
        body: &str,
    ) -> anyhow::Result<Answer> {
        let mut stream = UnixStream::connect(&self.socket).await?;
        let length = body.len();
        let request = format!(
            "{line} HTTP/1.1\r\nHost: navigator\r\nConnection: close\r\n{headers}Content-Length: {length}\r\n\r\n{body}"
        );
        stream.write_all(request.as_bytes()).await?;
        let mut answer = String::new();
        stream.read_to_string(&mut answer).await?;
        let (head, body) = answer
            .split_once("\r\n\r\n")
            .ok_or_else(|| anyhow::anyhow!("no head in {answer:?}"))?;
        let status = head.get(9..12).unwrap_or_default().parse()?;
        Ok(Answer {
            status,
            head: head.to_ascii_lowercase(),
            body: body.to_owned(),
        })
    }

    pub(crate) async fn stop(self) -> anyhow::Result<()> {
        let _ = self.stop.send(());
        Ok(self.task.await??)
    }
}

/// An answer in its parts.
#[derive(Debug)]
pub(crate) struct Answer {
    pub(crate) status: u16,
    /// In lower case.
    pub(crate) head: String,
    pub(crate) body: String,
}

impl Answer {
    pub(crate) fn json(&self) -> anyhow::Result<serde_json::Value> {
        Ok(serde_json::from_str(&self.body)?)
    }

    /// The status and reason of a problem.
    pub(crate) fn problem(&self) -> anyhow::Result<(u16, String)> {
        anyhow::ensure!(
            self.head.contains("content-type: application/problem+json"),
            "no problem: {self:?}"
        );
        let body = self.json()?;
        anyhow::ensure!(body["status"] == self.status, "another status: {self:?}");
        anyhow::ensure!(body["detail"].as_str().is_some_and(|d| !d.is_empty()));
        Ok((
            self.status,
            body["reason"].as_str().unwrap_or_default().to_owned(),
        ))
    }
}
