//! Brings reports to their reader without ever making a check wait for it.
//!
//! A report goes straight into the channel when there is room. When there is
//! none, a report that matters is kept, one for each target, until there is;
//! any other is dropped. A target that changes again meanwhile has its kept
//! report replaced, so the reader always learns the latest verdict, and what
//! is kept is bounded by the number of targets.

use super::ProbeReport;
use navigator_core::{health::Health, model::InstanceKey};
use std::{
    collections::{BTreeMap, HashMap},
    sync::{Mutex, MutexGuard, PoisonError},
};
use tokio::sync::{
    Notify,
    mpsc::{self, error::TrySendError},
};

/// Reports on their way to the reader.
pub(super) struct Outbox {
    reports: mpsc::Sender<ProbeReport>,
    kept: Mutex<Kept>,
    wake: Notify,
}

/// Reports that found no room, in the order in which their targets first found none.
#[derive(Default)]
struct Kept {
    by_key: HashMap<InstanceKey, Waiting>,
    order: BTreeMap<u64, InstanceKey>,
    next: u64,
}

struct Waiting {
    place: u64,
    report: ProbeReport,
    /// The health that the reader knows.
    known: Health,
}

impl Outbox {
    pub(super) fn new(reports: mpsc::Sender<ProbeReport>) -> Self {
        Self {
            reports,
            kept: Mutex::default(),
            wake: Notify::new(),
        }
    }

    /// Sends or keeps a report; `known` is the health that the target's report
    /// before this one carried. `false` if it was dropped, which happens to a
    /// report that does not matter (`must` is false) when there is no room.
    pub(super) fn publish(&self, mut report: ProbeReport, known: Health, must: bool) -> bool {
        let mut kept = self.lock();
        if let Some(waiting) = kept.by_key.get_mut(&report.key) {
            report.changed = report.health != waiting.known;
            waiting.report = report;
            return true;
        }
        match self.reports.try_send(report) {
            Ok(()) => true,
            Err(TrySendError::Full(report)) if must => {
                kept.push(report, known);
                self.wake.notify_one();
                true
            }
            Err(_) => false,
        }
    }

    /// Drops what is kept for a target that is no longer checked.
    pub(super) fn forget(&self, key: &InstanceKey) {
        let mut kept = self.lock();
        if let Some(waiting) = kept.by_key.remove(key) {
            kept.order.remove(&waiting.place);
        }
    }

    /// Hands over what is kept as room appears, until the reader is gone.
    pub(super) async fn deliver(&self) {
        loop {
            self.wake.notified().await;
            while !self.lock().by_key.is_empty() {
                let Ok(room) = self.reports.reserve().await else {
                    return;
                };
                let mut kept = self.lock();
                if let Some(report) = kept.pop() {
                    // Under the lock: a newer report of the target must not get in first.
                    room.send(report);
                }
            }
        }
    }

    fn lock(&self) -> MutexGuard<'_, Kept> {
        self.kept.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

impl Kept {
    fn push(&mut self, report: ProbeReport, known: Health) {
        let place = self.next;
        self.next += 1;
        self.order.insert(place, report.key.clone());
        let waiting = Waiting {
            place,
            known,
            report,
        };
        self.by_key.insert(waiting.report.key.clone(), waiting);
    }

    fn pop(&mut self) -> Option<ProbeReport> {
        let (_, key) = self.order.pop_first()?;
        self.by_key.remove(&key).map(|waiting| waiting.report)
    }
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used, reason = "a test may panic")]
    use super::*;
    use std::time::{Duration, SystemTime};

    fn report(port: u16, health: Health, detail: &str) -> ProbeReport {
        ProbeReport {
            key: InstanceKey {
                service: "web".parse().unwrap(),
                address: ([192, 0, 2, 1], port).into(),
            },
            health,
            changed: true,
            at: SystemTime::UNIX_EPOCH,
            took: Duration::ZERO,
            detail: detail.into(),
        }
    }

    #[tokio::test]
    async fn a_change_that_finds_no_room_arrives_later_and_in_order() {
        let (tx, mut rx) = mpsc::channel(1);
        let outbox = Outbox::new(tx);
        assert!(outbox.publish(report(1, Health::Healthy, "a"), Health::Unknown, true));
        assert!(outbox.publish(report(2, Health::Healthy, "b"), Health::Unknown, true));
        assert!(outbox.publish(report(3, Health::Healthy, "c"), Health::Unknown, true));
        assert!(!outbox.publish(report(4, Health::Healthy, "d"), Health::Healthy, false));
        let reader = async {
            for expected in ["a", "b", "c"] {
                assert_eq!(rx.recv().await.unwrap().detail, expected);
            }
        };
        tokio::select! { () = reader => {}, () = outbox.deliver() => panic!("it ended") }
        assert!(rx.try_recv().is_err(), "what was dropped must not arrive");
    }

    #[tokio::test]
    async fn a_kept_report_gives_way_to_the_latest_one() {
        let (tx, mut rx) = mpsc::channel(1);
        let outbox = Outbox::new(tx);
        outbox.publish(
            report(1, Health::Healthy, "fills the channel"),
            Health::Unknown,
            true,
        );
        outbox.publish(report(2, Health::Healthy, "up"), Health::Unhealthy, true);
        outbox.publish(report(2, Health::Unhealthy, "down"), Health::Healthy, true);
        outbox.publish(report(3, Health::Healthy, "up"), Health::Unhealthy, true);
        outbox.publish(
            report(3, Health::Healthy, "still up"),
            Health::Healthy,
            false,
        );
        let reader = async {
            rx.recv().await.unwrap();
            let back = rx.recv().await.unwrap();
            assert_eq!((back.detail.as_str(), back.changed), ("down", false));
            let up = rx.recv().await.unwrap();
            assert_eq!((up.detail.as_str(), up.changed), ("still up", true));
        };
        tokio::select! { () = reader => {}, () = outbox.deliver() => panic!("it ended") }
    }

    #[tokio::test]
    async fn nothing_arrives_for_a_target_that_was_forgotten() {
        let (tx, mut rx) = mpsc::channel(1);
        let outbox = Outbox::new(tx);
        outbox.publish(report(1, Health::Healthy, "a"), Health::Unknown, true);
        outbox.publish(report(2, Health::Healthy, "b"), Health::Unknown, true);
        outbox.publish(report(3, Health::Healthy, "c"), Health::Unknown, true);
        outbox.forget(&report(2, Health::Healthy, "").key);
        let reader = async {
            assert_eq!(rx.recv().await.unwrap().detail, "a");
            assert_eq!(rx.recv().await.unwrap().detail, "c");
        };
        tokio::select! { () = reader => {}, () = outbox.deliver() => panic!("it ended") }
        assert!(outbox.lock().order.is_empty());
    }

    #[tokio::test]
    async fn delivery_ends_when_the_reader_is_gone() {
        let (tx, rx) = mpsc::channel(1);
        let outbox = Outbox::new(tx);
        outbox.publish(report(1, Health::Healthy, "a"), Health::Unknown, true);
        outbox.publish(report(2, Health::Healthy, "b"), Health::Unknown, true);
        drop(rx);
        outbox.deliver().await;
    }
}
