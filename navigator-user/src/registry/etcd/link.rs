//! The connection: one at a time, to the endpoint that answers.

use super::{EtcdSettings, trouble::Trouble};
use crate::registry::{LeaseId, RegistryResult};
use etcd_client::{Client, ConnectOptions};
use std::{
    future::Future,
    sync::{Mutex, MutexGuard, PoisonError},
    time::Duration,
};
use tokio::time::timeout;

/// Attempts of one call, at least; with more endpoints, one each and one more.
const ATTEMPTS: usize = 3;
/// Attempts at the same endpoint are at least this far apart.
const PAUSE: Duration = Duration::from_millis(100);
/// Pings that etcd permits (it wants at least 5 s between them), for calls that
/// outlive the watch's own heartbeat.
const PING: (Duration, Duration) = (Duration::from_secs(6), Duration::from_secs(2));

/// The way to etcd, shared by calls and watches.
pub(super) struct Link {
    pub(super) settings: EtcdSettings,
    state: Mutex<State>,
}

struct State {
    /// The endpoint to use, or to try next.
    endpoint: usize,
    /// Connections made so far.
    generation: u64,
    live: Option<Session>,
}

/// One connection, with the name under which it is given up.
#[derive(Clone)]
pub(super) struct Session {
    pub(super) client: Client,
    pub(super) endpoint: String,
    generation: u64,
}

impl Link {
    /// Starts at an endpoint picked at random, so that many hosts spread over the members.
    pub(super) fn new(settings: EtcdSettings) -> Self {
        let endpoint = match settings.endpoints.len() {
            0 | 1 => 0,
            several => rand::random_range(0..several),
        };
        Self {
            settings,
            state: Mutex::new(State {
                endpoint,
                generation: 0,
                live: None,
            }),
        }
    }

    /// Where etcd is, for people.
    pub(super) fn describe(&self) -> String {
        format!("etcd {}", self.settings.endpoints.join(","))
    }

    /// The connection in use, or a new one. Connecting itself happens with the first request.
    pub(super) async fn session(&self) -> Result<Session, Trouble> {
        let endpoint = {
            let state = self.state();
            if let Some(session) = &state.live {
                return Ok(session.clone());
            }
            self.settings.endpoints.get(state.endpoint).cloned()
        };
        let endpoint = endpoint.ok_or_else(|| {
            Trouble::Refused(
                "no endpoint is configured: name at least one in [registry] endpoints".to_owned(),
            )
        })?;
        let client = connect(&endpoint, &self.settings).await?;
        let mut state = self.state();
        state.generation += 1;
        let session = Session {
            client,
            endpoint,
            generation: state.generation,
        };
        state.live = Some(session.clone());
        Ok(session)
    }

    /// Gives a connection up and turns to the next endpoint, unless somebody already did.
    pub(super) fn give_up(&self, session: &Session) {
        let mut state = self.state();
        let live = state.live.as_ref().map(|live| live.generation);
        if live == Some(session.generation) {
            state.live = None;
            state.endpoint = (state.endpoint + 1) % self.settings.endpoints.len().max(1);
        }
    }

    /// Makes a request that may be repeated, until one endpoint answers it.
    pub(super) async fn call<T, A>(
        &self,
        action: &str,
        lease: Option<LeaseId>,
        request: impl Fn(Client) -> A,
    ) -> RegistryResult<T>
    where
        A: Future<Output = Result<T, etcd_client::Error>>,
    {
        self.request(self.settings.request_timeout, request)
            .await
            .map_err(|trouble| trouble.into_error(self.describe(), action, lease))
    }

    /// As [`Self::call`], with its own patience and the trouble as it is.
    pub(super) async fn request<T, A>(
        &self,
        limit: Duration,
        request: impl Fn(Client) -> A,
    ) -> Result<T, Trouble>
    where
        A: Future<Output = Result<T, etcd_client::Error>>,
    {
        let attempts = ATTEMPTS.max(self.settings.endpoints.len() + 1);
        // Two silent endpoints are as much as a caller should have to wait for.
        let attempted = timeout(limit * 2, async {
            let mut attempt = 1;
            loop {
                match self.attempt(limit, &request).await {
                    Err(Trouble::Transient(_)) if attempt < attempts => attempt += 1,
                    done => return done,
                }
                if attempt > self.settings.endpoints.len() {
                    tokio::time::sleep(PAUSE).await;
                }
            }
        });
        attempted
            .await
            .unwrap_or_else(|_| Err(Trouble::silent(limit * 2)))
    }

    async fn attempt<T, A>(
        &self,
        limit: Duration,
        request: &impl Fn(Client) -> A,
    ) -> Result<T, Trouble>
    where
        A: Future<Output = Result<T, etcd_client::Error>>,
    {
        let session = match timeout(limit, self.session()).await {
            Ok(session) => session?,
            Err(_) => return Err(Trouble::silent(limit)),
        };
        let answer = within(limit, request(session.client.clone())).await;
        match answer {
            Err(Trouble::Transient(why)) => {
                self.give_up(&session);
                Err(Trouble::Transient(format!("{}: {why}", session.endpoint)))
            }
            answer => answer,
        }
    }

    fn state(&self) -> MutexGuard<'_, State> {
        self.state.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

/// The answer, unless it takes longer than `limit`.
pub(super) async fn within<T>(
    limit: Duration,
    answer: impl Future<Output = Result<T, etcd_client::Error>>,
) -> Result<T, Trouble> {
    match timeout(limit, answer).await {
        Ok(answer) => answer.map_err(Trouble::from),
        Err(_) => Err(Trouble::silent(limit)),
    }
}

async fn connect(endpoint: &str, settings: &EtcdSettings) -> Result<Client, Trouble> {
    let (interval, patience) = PING;
    let options = ConnectOptions::new()
        .with_connect_timeout(settings.request_timeout)
        .with_keep_alive(interval, patience)
        // etcd hangs up on clients that ping while they have nothing to ask.
        .with_keep_alive_while_idle(false)
        .with_tcp_keepalive(Duration::from_secs(10))
        .with_require_leader(true);
    Client::connect([endpoint], Some(options))
        .await
        .map_err(|error| match Trouble::from(error) {
            Trouble::Refused(why) => Trouble::Refused(format!(
                "endpoint {endpoint:?} is not usable ({why}): write it like http://10.0.0.1:2379"
            )),
            trouble => trouble,
        })
}
