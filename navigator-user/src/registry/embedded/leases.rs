//! The end of leases.

use super::{Shared, Writer, write};
use std::{
    sync::{Arc, Weak},
    time::Duration,
};
use tokio::{sync::Mutex, time::Instant};

/// When this task wakes so much later than it meant to, the process was
/// stopped, and renewals could not come in either.
const STOPPED: Duration = Duration::from_secs(2);
/// Wait before an end that could not be written is tried again.
const RETRY: Duration = Duration::from_secs(5);

/// Ends leases when their time is over, for as long as the registry is open.
pub(super) async fn expire(shared: Arc<Shared>, writer: Weak<Mutex<Writer>>) {
    let mut failing = false;
    loop {
        let deadline = wait(&shared).await;
        let now = Instant::now();
        if now > deadline + STOPPED && !failing {
            tracing::warn!("this process was stopped for a while: all leases get their full time");
            shared.write().extend_all(now);
            continue;
        }
        let Some(writer) = writer.upgrade() else {
            return;
        };
        let ended = end_due(&writer).await;
        drop(writer);
        match ended {
            Ok(()) => failing = false,
            Err(why) => {
                if !failing {
                    tracing::error!(%why, "leases that have ended cannot be removed");
                }
                failing = true;
                tokio::time::sleep(RETRY).await;
            }
        }
    }
}

/// Waits for the end of a lease and tells when it was due.
async fn wait(shared: &Shared) -> Instant {
    loop {
        let deadline = shared.read().next_deadline();
        match deadline {
            None => shared.sooner.notified().await,
            Some(deadline) => tokio::select! {
                () = tokio::time::sleep_until(deadline) => {
                    // It may have been renewed meanwhile.
                    if shared.read().next_deadline() == Some(deadline) {
                        return deadline;
                    }
                }
                () = shared.sooner.notified() => {}
            },
        }
    }
}

async fn end_due(writer: &Arc<Mutex<Writer>>) -> Result<(), String> {
    let ended = write(writer, |shared| {
        // Marked first, so that nobody is told that a lease is renewed whose end is on its way.
        let due = shared.write().end_due(Instant::now());
        Ok((shared.read().revoke(&due), ()))
    });
    match ended.await {
        Ok(Ok(())) => Ok(()),
        Ok(Err(error)) => Err(error.to_string()),
        Err(refusal) => Err(format!("{refusal:?}")),
    }
}
