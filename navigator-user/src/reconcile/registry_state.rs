//! What is known of the registry itself: reached or not, since when, up to where.

use crate::registry::RegistryEvent;
use std::time::Duration;

/// What is known of the registry itself.
#[derive(Default)]
pub(super) struct RegistryState {
    pub(super) synced: bool,
    seen_first: bool,
    pub(super) connected: bool,
    pub(super) why: String,
    pub(super) revision: i64,
    pub(super) lost_at: Option<Duration>,
}

impl RegistryState {
    pub(super) fn note(&mut self, event: &RegistryEvent, now: Duration) {
        match event {
            RegistryEvent::Lost { why } => {
                if self.connected || self.lost_at.is_none() {
                    tracing::warn!("registry lost, what is known stays in force: {why}");
                }
                self.connected = false;
                self.lost_at.get_or_insert(now);
                self.why.clone_from(why);
                return;
            }
            RegistryEvent::Synced { revision, .. } => {
                self.synced = true;
                self.revision = *revision;
            }
            RegistryEvent::Changed { revision, .. } => self.revision = *revision,
            RegistryEvent::Recovered => {}
        }
        if self.lost_at.take().is_some() {
            tracing::info!("registry reached again");
        }
        self.connected = true;
        self.why.clear();
    }

    /// True once, after the registry was read for the first time.
    pub(super) fn first_sync(&mut self) -> bool {
        !std::mem::replace(&mut self.seen_first, true)
    }

    pub(super) fn is_synced(&self) -> bool {
        self.synced
    }
}
