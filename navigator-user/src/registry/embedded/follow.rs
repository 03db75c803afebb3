//! Watches of the embedded registry.

use super::{Shared, state::Batch};
use crate::registry::{Change, RegistryEvent};
use std::sync::Arc;
use tokio::sync::{
    broadcast::{
        Receiver,
        error::{RecvError, TryRecvError},
    },
    mpsc::Sender,
};

/// Changes in one event, about.
const EVENT: usize = 1024;

/// Follows the changes until the receiver is dropped or the registry is closed.
pub(super) async fn run(
    shared: Arc<Shared>,
    changes: Receiver<Arc<Batch>>,
    sender: Sender<RegistryEvent>,
) {
    let gone = sender.clone();
    tokio::select! {
        () = gone.closed() => {}
        () = follow(shared, changes, sender) => {}
    }
}

async fn follow(
    shared: Arc<Shared>,
    mut changes: Receiver<Arc<Batch>>,
    sender: Sender<RegistryEvent>,
) {
    loop {
        let (entries, mut revision) = {
            let state = shared.read();
            (state.watched(), state.revision())
        };
        let mut event = RegistryEvent::Synced { entries, revision };
        loop {
            if sender.send(event).await.is_err() {
                return;
            }
            match collect(&mut changes, &mut revision).await {
                Ok(changes) => event = RegistryEvent::Changed { changes, revision },
                Err(RecvError::Closed) => return,
                Err(RecvError::Lagged(_)) => break,
            }
        }
    }
}

/// Waits for changes of the watched prefixes that are newer than `revision`,
/// and takes along what else is there.
async fn collect(
    batches: &mut Receiver<Arc<Batch>>,
    revision: &mut i64,
) -> Result<Vec<Change>, RecvError> {
    let mut changes = Vec::new();
    while changes.is_empty() {
        let batch = batches.recv().await?;
        take(&batch, revision, &mut changes);
    }
    while changes.len() < EVENT {
        match batches.try_recv() {
            Ok(batch) => take(&batch, revision, &mut changes),
            Err(TryRecvError::Lagged(missed)) => return Err(RecvError::Lagged(missed)),
            Err(TryRecvError::Empty | TryRecvError::Closed) => break,
        }
    }
    Ok(changes)
}

fn take(batch: &Batch, revision: &mut i64, changes: &mut Vec<Change>) {
    if batch.revision > *revision {
        *revision = batch.revision;
        changes.extend(batch.watched());
    }
}
