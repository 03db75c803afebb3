//! The registry in etcd (3.4 or newer).
//!
//! One connection at a time, to one of the endpoints; when it fails, the next
//! endpoint is tried (`link`). Reads are linearizable and paged (`read`);
//! the watch (`watch`) resumes where it broke off, lists again when it may
//! have missed something, and notices a peer that has frozen.

mod link;
mod read;
mod stream;
mod trouble;
mod watch;

use super::{Entry, LeaseId, Registry, RegistryError, RegistryEvent, RegistryResult};
use etcd_client::{Compare, CompareOp, PutOptions, Txn, TxnOp};
use futures::future::BoxFuture;
use link::Link;
use std::{sync::Arc, time::Duration};
use tokio::sync::mpsc;

/// Events that wait for a slow reader of the watch.
const WATCH_CHANNEL: usize = 64;
/// Tries of a put-if-absent whose key comes and goes.
const RACES: usize = 3;

/// Where etcd is and how patient to be with it.
#[derive(Clone, Debug)]
pub struct EtcdSettings {
    /// URLs of the members, for example `http://10.0.0.1:2379`. One is used at a time.
    pub endpoints: Vec<String>,
    /// Longest wait for the answer to one request; a page of a list may take four times as long.
    pub request_timeout: Duration,
    /// Time between an answer and the next question whether the watched peer still lives.
    /// A frozen one is noticed after this and `request_timeout`.
    pub heartbeat: Duration,
    /// Longest wait before the watch tries to connect again: changes arrive
    /// at most this much after etcd has returned.
    pub reconnect_cap: Duration,
    /// Everything is listed again this often, ± 10 %, even if nothing seems to be missed.
    pub relist: Duration,
    /// Keys a page of a list. Halved, and halved again, when a page is longer than `max_message`.
    pub page_size: i64,
    /// Longest message that is accepted, in bytes.
    pub max_message: usize,
}

impl Default for EtcdSettings {
    fn default() -> Self {
        Self {
            endpoints: vec!["http://127.0.0.1:2379".to_owned()],
            request_timeout: Duration::from_millis(2500),
            heartbeat: Duration::from_secs(2),
            reconnect_cap: Duration::from_secs(2),
            relist: Duration::from_secs(600),
            page_size: 5_000,
            max_message: 64 << 20,
        }
    }
}

/// The registry in etcd.
pub struct EtcdRegistry {
    link: Arc<Link>,
}

impl EtcdRegistry {
    /// A registry that connects when it is first used: etcd may be down.
    pub fn new(settings: EtcdSettings) -> Self {
        Self {
            link: Arc::new(Link::new(settings)),
        }
    }

    async fn put_entry(
        &self,
        key: &str,
        value: Vec<u8>,
        lease: Option<LeaseId>,
    ) -> RegistryResult<()> {
        let options = lease.map(|LeaseId(id)| PutOptions::new().with_lease(id));
        self.link
            .call(&format!("write {key}"), lease, |client| {
                let (value, options) = (value.clone(), options.clone());
                async move { client.kv_client().put(key, value, options).await }
            })
            .await
            .map(drop)
    }

    async fn put_absent(&self, key: &str, value: Vec<u8>) -> RegistryResult<Vec<u8>> {
        let action = format!("create {key}");
        for _ in 0..RACES {
            let created = self
                .link
                .call(&action, None, |client| {
                    let txn = Txn::new()
                        .when([Compare::create_revision(key, CompareOp::Equal, 0)])
                        .and_then([TxnOp::put(key, value.clone(), None)]);
                    async move { client.kv_client().txn(txn).await }
                })
                .await?
                .succeeded();
            if created {
                return Ok(value);
            }
            if let Some(there) = self.value(key).await? {
                return Ok(there);
            }
        }
        Err(RegistryError::Refused {
            endpoint: self.link.describe(),
            action,
            why: "the key is created and deleted all the time".to_owned(),
        })
    }

    async fn exchange_entry(
        &self,
        key: &str,
        expected: i64,
        value: Option<Vec<u8>>,
        lease: Option<LeaseId>,
    ) -> RegistryResult<bool> {
        let answer = self
            .link
            .call(&format!("exchange {key}"), lease, |client| {
                let bound = lease.map(|lease| PutOptions::new().with_lease(lease.0));
                let change = match value.clone() {
                    Some(value) => TxnOp::put(key, value, bound),
                    None => TxnOp::delete(key, None),
                };
                let txn = Txn::new()
                    .when([Compare::mod_revision(key, CompareOp::Equal, expected)])
                    .and_then([change]);
                async move { client.kv_client().txn(txn).await }
            })
            .await?;
        Ok(answer.succeeded())
    }

    async fn value(&self, key: &str) -> RegistryResult<Option<Vec<u8>>> {
        let answer = self
            .link
            .call(&format!("read {key}"), None, |client| async move {
                client.kv_client().get(key, None).await
            })
            .await?;
        Ok(answer.kvs().first().map(|kv| kv.value().to_vec()))
    }

    /// Looks first: a delete that is tried twice could not tell whether the key was there.
    async fn delete_entry(&self, key: &str) -> RegistryResult<bool> {
        if self.value(key).await?.is_none() {
            return Ok(false);
        }
        self.link
            .call(&format!("delete {key}"), None, |client| async move {
                client.kv_client().delete(key, None).await
            })
            .await?;
        Ok(true)
    }

    async fn grant_lease(&self, ttl: Duration) -> RegistryResult<LeaseId> {
        // etcd counts in seconds; what it finds too long it refuses itself.
        let seconds = ttl.as_millis().div_ceil(1000).max(1);
        let seconds = i64::try_from(seconds).unwrap_or(i64::MAX);
        let action = format!("grant a lease of {seconds} s");
        let granted = self
            .link
            .call(&action, None, |client| async move {
                client.lease_client().grant(seconds, None).await
            })
            .await?;
        Ok(LeaseId(granted.id()))
    }

    async fn renew(&self, lease: LeaseId) -> RegistryResult<()> {
        let action = format!("renew lease {:x}", lease.0);
        self.link
            .call(&action, Some(lease), |client| async move {
                client.lease_client().keep_alive(lease.0).await
            })
            .await
            .map(drop)
    }

    async fn end(&self, lease: LeaseId) -> RegistryResult<()> {
        let action = format!("end lease {:x}", lease.0);
        let ended = self
            .link
            .call(&action, Some(lease), |client| async move {
                client.lease_client().revoke(lease.0).await
            })
            .await;
        match ended {
            Ok(_) | Err(RegistryError::LeaseEnded(_)) => Ok(()),
            Err(error) => Err(error),
        }
    }
}

impl Registry for EtcdRegistry {
    fn describe(&self) -> String {
        self.link.describe()
    }

    fn watch(&self) -> mpsc::Receiver<RegistryEvent> {
        let (sender, receiver) = mpsc::channel(WATCH_CHANNEL);
        tokio::spawn(watch::run(Arc::clone(&self.link), sender));
        receiver
    }

    fn list<'a>(&'a self, prefix: &'a str) -> BoxFuture<'a, RegistryResult<(Vec<Entry>, i64)>> {
        Box::pin(async move {
            let listing = read::list(&self.link, &[prefix]).await?;
            Ok((listing.entries, listing.at.revision))
        })
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
        Box::pin(self.renew(lease))
    }

    fn revoke(&self, lease: LeaseId) -> BoxFuture<'_, RegistryResult<()>> {
        Box::pin(self.end(lease))
    }
}
