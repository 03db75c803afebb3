//! The last events, numbered.

use super::{Event, EventKind};
use std::{
    collections::VecDeque,
    sync::{Arc, Mutex, MutexGuard, PoisonError},
};
use tokio::sync::watch;

/// Events that are kept.
const KEPT: usize = 4096;
/// Events that are handed out at a time.
const BATCH: usize = 256;

/// The last events.
#[derive(Debug)]
pub struct EventLog {
    kept: Mutex<VecDeque<Arc<Event>>>,
    /// Number of the latest one.
    latest: watch::Sender<u64>,
}

/// Events after a number.
#[derive(Clone, PartialEq, Debug)]
pub struct After {
    /// Some between are no longer kept, or the number is none of this log.
    pub missed: bool,
    /// The next ones, the oldest first; not always all there are.
    pub events: Vec<Arc<Event>>,
    /// The number from which to go on.
    pub next: u64,
}

impl EventLog {
    /// An empty log. Numbers begin after `start`, which is to be greater than all numbers that
    /// earlier logs gave: microseconds since 1970 are.
    pub fn new(start: u64) -> Self {
        Self {
            kept: Mutex::default(),
            latest: watch::Sender::new(start),
        }
    }

    /// Number of the latest event.
    pub fn latest(&self) -> u64 {
        *self.latest.borrow()
    }

    /// The next events after a number.
    pub fn after(&self, id: u64) -> After {
        let kept = self.kept();
        let latest = self.latest();
        let oldest = kept.front().map_or(latest + 1, |event| event.id);
        let missed = id + 1 < oldest || id > latest;
        let from = if missed { oldest - 1 } else { id };
        let skip = usize::try_from(from + 1 - oldest).unwrap_or(usize::MAX);
        let events: Vec<_> = kept.iter().skip(skip).take(BATCH).cloned().collect();
        let next = events.last().map_or(from, |event| event.id);
        After {
            missed,
            events,
            next,
        }
    }

    /// Waits until there is a later event than `id`.
    pub async fn later_than(&self, id: u64) {
        let mut latest = self.latest.subscribe();
        // The sender lives as long as the log.
        let _ = latest.wait_for(|latest| *latest > id).await;
    }

    /// Adds events, numbers them, and forgets the oldest beyond what is kept.
    pub(super) fn write(&self, events: Vec<Event>, time: f64) {
        if events.is_empty() {
            return;
        }
        let mut kept = self.kept();
        let mut id = self.latest();
        for mut event in events {
            id += 1;
            event.id = id;
            event.time = time;
            if kept.len() == KEPT {
                kept.pop_front();
            }
            kept.push_back(Arc::new(event));
        }
        self.latest.send_replace(id);
    }

    fn kept(&self) -> MutexGuard<'_, VecDeque<Arc<Event>>> {
        self.kept.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

impl Event {
    /// What a reader is told who missed some.
    pub fn missed(next: u64, time: f64) -> Self {
        Self {
            id: next,
            time,
            kind: EventKind::Missed,
            service: None,
            vip: None,
            address: None,
            what: "events before this one are no longer kept: read again what you need".to_owned(),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn events(count: usize) -> Vec<Event> {
        vec![Event::missed(0, 0.0); count]
    }

    fn ids(after: &After) -> Vec<u64> {
        after.events.iter().map(|event| event.id).collect()
    }

    #[test]
    fn events_are_numbered_and_read_from_any_of_them() {
        let log = EventLog::new(100);
        assert_eq!(log.after(100).next, 100);
        log.write(events(3), 1.0);
        assert_eq!(ids(&log.after(100)), [101, 102, 103]);
        let rest = log.after(102);
        assert_eq!(
            (ids(&rest), rest.missed, rest.next),
            (vec![103], false, 103)
        );
        assert!(log.after(103).events.is_empty());
    }

    #[test]
    fn who_falls_behind_learns_that_something_was_missed() {
        let log = EventLog::new(100);
        log.write(events(KEPT + 10), 1.0);
        let after = log.after(100);
        assert!(after.missed);
        assert_eq!((ids(&after)[0], after.events.len()), (111, BATCH));
        assert!(!log.after(110).missed);
        assert!(log.after(u64::MAX - 1).missed, "a number of the future");
        assert_eq!(log.kept().len(), KEPT);
    }
}
