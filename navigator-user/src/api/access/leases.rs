//! Which registrant holds which lease. The registry knows leases by number only, and whoever may
//! register one service must not end the registration of another by guessing a number.

use super::Caller;
use crate::{api::Problem, registry::LeaseId};
use axum::http::StatusCode;
use std::{
    collections::HashMap,
    sync::{Mutex, MutexGuard, PoisonError},
    time::{Duration, Instant},
};

/// Leases of registrants at a time.
const MOST: usize = 65_536;

/// The leases that registrants were granted here. Empty after a restart: a lease that is not in it
/// counts as ended, and its registrant gets another and registers again.
#[derive(Default)]
pub(crate) struct LeaseBook {
    held: Mutex<HashMap<i64, Held>>,
}

struct Held {
    by: String,
    ttl: Duration,
    until: Instant,
}

impl LeaseBook {
    /// Whether there is room for one more.
    pub(crate) fn has_room(&self, caller: &Caller) -> Result<(), Problem> {
        if caller.registrant().is_none() {
            return Ok(());
        }
        let mut held = self.held();
        if held.len() >= MOST {
            let now = Instant::now();
            held.retain(|_, lease| lease.until > now);
        }
        if held.len() < MOST {
            return Ok(());
        }
        let detail = format!("{MOST} leases are held, the most there may be");
        Err(Problem::new(
            StatusCode::TOO_MANY_REQUESTS,
            "too_many",
            detail,
        ))
    }

    /// Notes that a lease was granted.
    pub(crate) fn granted(&self, caller: &Caller, lease: LeaseId, ttl: Duration) {
        if let Some(by) = caller.registrant() {
            let held = Held {
                by: by.to_owned(),
                ttl,
                until: Instant::now() + ttl,
            };
            self.held().insert(lease.0, held);
        }
    }

    /// Lets its holder, and operators, use a lease.
    pub(crate) fn check(&self, caller: &Caller, lease: LeaseId) -> Result<(), Problem> {
        let Some(by) = caller.registrant() else {
            return Ok(());
        };
        match self.held().get_mut(&lease.0) {
            Some(held) if held.by == by => {
                held.until = Instant::now() + held.ttl;
                Ok(())
            }
            _ => Err(Problem::new(
                StatusCode::GONE,
                "lease_ended",
                format!(
                    "lease {} was not granted to {by}, or has ended: ask for another",
                    lease.0
                ),
            )),
        }
    }

    /// Forgets a lease that was ended.
    pub(crate) fn ended(&self, lease: LeaseId) {
        self.held().remove(&lease.0);
    }

    fn held(&self) -> MutexGuard<'_, HashMap<i64, Held>> {
        self.held.lock().unwrap_or_else(PoisonError::into_inner)
    }
}
