//! Keeps one instance registered for as long as it runs.
//!
//! A lease is renewed three times in its life. Whatever happens to the
//! registry meanwhile, trying never ends: if the lease still lives when the
//! registry is back, it is renewed; if it has ended, there is a new one and the
//! entry is written again.

use crate::registry::{Backoff, LeaseId, Registry, RegistryError, RegistryResult};
use futures::future::BoxFuture;
use std::{future::Future, sync::Arc, time::Duration};
use tokio::time::{sleep, timeout};

/// First and longest wait between attempts. Never more than a third of the
/// lease's life, as etcd gives all leases their full time when it returns: who
/// comes back within it was never gone.
const WAITS: (Duration, Duration) = (Duration::from_millis(500), Duration::from_secs(30));
/// Time to deregister in, and the wait between attempts.
const GOODBYE: (Duration, Duration) = (Duration::from_secs(5), Duration::from_millis(200));

/// What a registrant needs of a registry. Every [`Registry`] has it.
pub trait LeaseClient: Send + Sync {
    /// Where the registry is, for people.
    fn describe(&self) -> String;

    /// Grants a lease.
    fn grant(&self, ttl: Duration) -> BoxFuture<'_, RegistryResult<LeaseId>>;

    /// Writes a key, bound to a lease.
    fn put<'a>(
        &'a self,
        key: &'a str,
        value: Vec<u8>,
        lease: LeaseId,
    ) -> BoxFuture<'a, RegistryResult<()>>;

    /// Renews a lease once; [`RegistryError::LeaseEnded`] if it is too late.
    fn keep_alive(&self, lease: LeaseId) -> BoxFuture<'_, RegistryResult<()>>;

    /// Ends a lease and deletes what is bound to it.
    fn revoke(&self, lease: LeaseId) -> BoxFuture<'_, RegistryResult<()>>;
}

impl<R: Registry + ?Sized> LeaseClient for R {
    fn describe(&self) -> String {
        Registry::describe(self)
    }

    fn grant(&self, ttl: Duration) -> BoxFuture<'_, RegistryResult<LeaseId>> {
        Registry::grant(self, ttl)
    }

    fn put<'a>(
        &'a self,
        key: &'a str,
        value: Vec<u8>,
        lease: LeaseId,
    ) -> BoxFuture<'a, RegistryResult<()>> {
        Registry::put(self, key, value, Some(lease))
    }

    fn keep_alive(&self, lease: LeaseId) -> BoxFuture<'_, RegistryResult<()>> {
        Registry::keep_alive(self, lease)
    }

    fn revoke(&self, lease: LeaseId) -> BoxFuture<'_, RegistryResult<()>> {
        Registry::revoke(self, lease)
    }
}

/// What became of a registration. Each is reported once, when it comes about.
#[derive(Clone, PartialEq, Eq, Debug)]
pub enum Transition {
    /// It stands in the registry, for the first time or again.
    Registered,
    /// The registry cannot be reached or does not take it, for this reason: the
    /// entry is not there yet, will go, or is gone.
    Lost(String),
    /// The lease was renewed after all: the entry was never gone.
    Renewed,
    /// The entry was removed, because the registrant stops.
    Deregistered,
}

/// Keeps `key` registered with `value` until `stop` is ready, then removes it.
/// What happens is logged, once per transition. See [`keep_registered_with`].
///
/// # Errors
/// As [`keep_registered_with`].
pub async fn keep_registered<C: LeaseClient + ?Sized>(
    registry: Arc<C>,
    key: String,
    value: Vec<u8>,
    ttl: Duration,
    stop: impl Future,
) -> RegistryResult<()> {
    let name = key.clone();
    let log = move |transition: Transition| match transition {
        Transition::Registered => tracing::info!(key = %name, "registered"),
        Transition::Lost(why) => {
            tracing::warn!(key = %name, %why, "not registered for certain; trying on");
        }
        Transition::Renewed => {
            tracing::info!(key = %name, "registration renewed, nothing was lost");
        }
        Transition::Deregistered => tracing::info!(key = %name, "deregistered"),
    };
    keep_registered_with(&*registry, &key, value, ttl, log, stop).await
}

/// Keeps `key` registered with `value`, under a lease of `ttl`, until `stop` is
/// ready, then removes it. Reports every [`Transition`].
///
/// # Errors
/// When the registry refuses the very first registration (one that it took once
/// is tried for ever), and when the entry could not be removed in the end: then
/// it goes when its lease ends.
pub async fn keep_registered_with<C: LeaseClient + ?Sized>(
    registry: &C,
    key: &str,
    value: Vec<u8>,
    ttl: Duration,
    report: impl FnMut(Transition),
    stop: impl Future,
) -> RegistryResult<()> {
    let third = ttl / 3;
    let mut registrant = Registrant {
        registry,
        key,
        value,
        ttl,
        report,
        lease: None,
        standing: Standing::New,
        reported: false,
        backoff: Backoff::new(WAITS.0.min(third), WAITS.1.min(third)),
    };
    tokio::select! {
        refused = registrant.run() => return Err(refused),
        _ = stop => {}
    }
    registrant.leave().await
}

#[derive(Clone, Copy, PartialEq, Eq)]
enum Standing {
    /// Not registered yet.
    New,
    Registered,
    /// Registered, but not renewed.
    Doubtful,
    /// The lease has ended.
    Gone,
}

struct Registrant<'a, C: ?Sized, F> {
    registry: &'a C,
    key: &'a str,
    value: Vec<u8>,
    ttl: Duration,
    report: F,
    /// Known before anything is bound to it, so that it can be ended even if
    /// the work is broken off in between.
    lease: Option<LeaseId>,
    standing: Standing,
    /// The trouble at hand is reported.
    reported: bool,
    backoff: Backoff,
}

impl<C: LeaseClient + ?Sized, F: FnMut(Transition)> Registrant<'_, C, F> {
    /// Ends only if the first registration is refused.
    async fn run(&mut self) -> RegistryError {
        loop {
            match self.step().await {
                Ok(()) => {
                    self.backoff.reset();
                    sleep(self.ttl / 3).await;
                }
                Err(RegistryError::LeaseEnded(_)) if self.holds() => {
                    self.fail(Standing::Gone, "the lease has ended".to_owned());
                }
                Err(refused @ RegistryError::Refused { .. }) if self.standing == Standing::New => {
                    return refused;
                }
                Err(error) => {
                    let standing = match self.holds() {
                        true => Standing::Doubtful,
                        false => self.standing,
                    };
                    self.fail(standing, error.to_string());
                    sleep(self.backoff.next_wait()).await;
                }
            }
        }
    }

    /// The entry is bound to a lease that may be alive.
    fn holds(&self) -> bool {
        matches!(self.standing, Standing::Registered | Standing::Doubtful)
    }

    /// Renews the lease if there is one, or else registers.
    async fn step(&mut self) -> RegistryResult<()> {
        if let (true, Some(lease)) = (self.holds(), self.lease) {
            self.in_time(self.registry.keep_alive(lease)).await?;
            if self.standing == Standing::Doubtful {
                (self.report)(Transition::Renewed);
            }
        } else {
            let lease = self.in_time(self.registry.grant(self.ttl)).await?;
            self.lease = Some(lease);
            let put = self.registry.put(self.key, self.value.clone(), lease);
            self.in_time(put).await?;
            (self.report)(Transition::Registered);
        }
        self.standing = Standing::Registered;
        self.reported = false;
        Ok(())
    }

    fn fail(&mut self, standing: Standing, why: String) {
        self.standing = standing;
        if !self.reported {
            self.reported = true;
            (self.report)(Transition::Lost(why));
        }
    }

    async fn in_time<T>(&self, call: BoxFuture<'_, RegistryResult<T>>) -> RegistryResult<T> {
        let limit = self.ttl / 3;
        let silent = |_| {
            Err(RegistryError::Unreachable {
                endpoint: self.registry.describe(),
                why: format!("no answer within {:.1} s", limit.as_secs_f32()),
            })
        };
        timeout(limit, call).await.unwrap_or_else(silent)
    }

    /// Removes the entry. A lease that cannot be ended in time ends by itself.
    async fn leave(&mut self) -> RegistryResult<()> {
        let Some(lease) = self.lease else {
            return Ok(());
        };
        let mut why = "no answer".to_owned();
        let revoked = timeout(GOODBYE.0, async {
            loop {
                match self.registry.revoke(lease).await {
                    Err(RegistryError::Unreachable { why: last, .. }) => why = last,
                    Err(RegistryError::LeaseEnded(_)) => return Ok(()),
                    done => return done,
                }
                sleep(GOODBYE.1).await;
            }
        })
        .await;
        match revoked {
            Ok(Ok(())) => {
                (self.report)(Transition::Deregistered);
                Ok(())
            }
            Ok(Err(error)) => Err(error),
            Err(_) => Err(RegistryError::Unreachable {
                endpoint: self.registry.describe(),
                why: format!(
                    "{why}; {} stays registered for at most {:.0} s more",
                    self.key,
                    self.ttl.as_secs_f32().ceil()
                ),
            }),
        }
    }
}

#[cfg(test)]
mod tests;
