//! Registration through the daemon's socket.

use super::client::{Client, ClientError};
use crate::{
    api::{Grant, Granted},
    registrant::LeaseClient,
    registry::{LeaseId, RegistryError, RegistryResult},
};
use futures::{FutureExt, future::BoxFuture};
use navigator_core::model::keys;
use std::{path::Path, time::Duration};

/// The part of a registry that a registrant needs, through the daemon's socket.
#[derive(Clone, Debug)]
pub struct SocketRegistry {
    client: Client,
    endpoint: String,
}

impl SocketRegistry {
    /// The registry of the daemon whose socket this is. Does not connect yet.
    pub fn new(socket: &Path) -> Self {
        Self {
            client: Client::new(socket),
            endpoint: socket.display().to_string(),
        }
    }

    async fn grant_lease(&self, ttl: Duration) -> Result<LeaseId, ClientError> {
        let ttl_seconds = ttl.as_millis().div_ceil(1000).max(1);
        let grant = Grant {
            ttl_seconds: u64::try_from(ttl_seconds).unwrap_or(u64::MAX),
        };
        let Granted { lease } = self.client.post("/v1/leases", &grant).await?;
        Ok(lease)
    }

    fn error(&self, action: &str, lease: Option<LeaseId>, error: ClientError) -> RegistryError {
        let endpoint = self.endpoint.clone();
        match (error, lease) {
            (ClientError::Refused(problem), Some(lease)) if problem.status == 410 => {
                RegistryError::LeaseEnded(lease.0)
            }
            (ClientError::Refused(problem), _) if !matches!(problem.status, 503 | 504) => {
                RegistryError::Refused {
                    endpoint,
                    action: action.to_owned(),
                    why: problem.detail,
                }
            }
            (error, _) => RegistryError::Unreachable {
                endpoint,
                why: error.to_string(),
            },
        }
    }
}

impl LeaseClient for SocketRegistry {
    fn describe(&self) -> String {
        format!("daemon at {}", self.endpoint)
    }

    fn grant(&self, ttl: Duration) -> BoxFuture<'_, RegistryResult<LeaseId>> {
        let granted = self.grant_lease(ttl);
        granted
            .map(|granted| granted.map_err(|error| self.error("grant a lease", None, error)))
            .boxed()
    }

    fn put<'a>(
        &'a self,
        key: &'a str,
        value: Vec<u8>,
        lease: LeaseId,
    ) -> BoxFuture<'a, RegistryResult<()>> {
        async move {
            let action = format!("write {key}");
            let Some(path) = path(key) else {
                return Err(RegistryError::Refused {
                    endpoint: self.endpoint.clone(),
                    action,
                    why: "only instances can be registered".to_owned(),
                });
            };
            let path = format!("{path}?lease={}", lease.0);
            let put = self.client.put(&path, value).await;
            put.map_err(|error| self.error(&action, Some(lease), error))
        }
        .boxed()
    }

    fn keep_alive(&self, lease: LeaseId) -> BoxFuture<'_, RegistryResult<()>> {
        async move {
            let path = format!("/v1/leases/{}/renew", lease.0);
            let renewed = self.client.post_empty(&path).await;
            renewed.map_err(|error| self.error("renew a lease", Some(lease), error))
        }
        .boxed()
    }

    fn revoke(&self, lease: LeaseId) -> BoxFuture<'_, RegistryResult<()>> {
        async move {
            let ended = self.client.delete(&format!("/v1/leases/{}", lease.0)).await;
            ended.map_err(|error| self.error("end a lease", Some(lease), error))
        }
        .boxed()
    }
}

/// Where the API has what the registry has under `key`.
fn path(key: &str) -> Option<String> {
    let (service, address) = key.strip_prefix(keys::SERVICES)?.split_once('/')?;
    Some(format!("/v1/services/{service}/instances/{address}"))
}
