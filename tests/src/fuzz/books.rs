//! Double entry: what the judge saw of the load balancer's packets, and what
//! its maps counted. Reading a counter takes longer than running a packet, so
//! the books are closed after many; the sums must agree all the same.

use super::judge::Fate;
use navigator_common::reason::{Event, Reason, Verdict};
use navigator_user::dataplane::kernel::KernelStore;
use std::collections::BTreeMap;

/// Packets by verdict, and bytes sent to backends and, by NAT, to clients.
#[derive(Clone, Copy, PartialEq, Eq, Debug, Default)]
struct Sums {
    passed: u64,
    dropped: u64,
    replied: u64,
    forwarded: u64,
    bytes: u64,
    returned: u64,
    returned_bytes: u64,
}

/// Both sides.
pub(super) struct Books {
    seen: Sums,
    first: Vec<u64>,
    last: Vec<u64>,
    sums: Sums,
}

impl Books {
    /// Empty ones.
    pub(super) fn open(store: &KernelStore) -> Self {
        let counters = counters(store);
        Self {
            seen: Sums::default(),
            sums: summed(store, &counters),
            first: counters.clone(),
            last: counters,
        }
    }

    /// Enters a packet whose IP packet has this length.
    pub(super) fn enter(&mut self, fate: Fate, length: u64) {
        match fate {
            Fate::Passed | Fate::Unwrapped => self.seen.passed += 1,
            Fate::Dropped => self.seen.dropped += 1,
            Fate::Replied => self.seen.replied += 1,
            Fate::Forwarded => {
                self.seen.forwarded += 1;
                self.seen.bytes += length;
            }
            Fate::Returned => {
                self.seen.returned += 1;
                self.seen.returned_bytes += length;
            }
        }
    }

    /// Holds both sides against each other.
    ///
    /// # Errors
    /// They differ.
    pub(super) fn close(&mut self, store: &KernelStore) -> Result<(), String> {
        self.last = counters(store);
        let now = summed(store, &self.last);
        let counted = Sums {
            passed: now.passed - self.sums.passed,
            dropped: now.dropped - self.sums.dropped,
            replied: now.replied - self.sums.replied,
            forwarded: now.forwarded.wrapping_sub(self.sums.forwarded),
            bytes: now.bytes.wrapping_sub(self.sums.bytes),
            returned: now.returned.wrapping_sub(self.sums.returned),
            returned_bytes: now.returned_bytes.wrapping_sub(self.sums.returned_bytes),
        };
        self.sums = now;
        let seen = std::mem::take(&mut self.seen);
        if seen == counted {
            Ok(())
        } else {
            Err(format!("seen were {seen:?}, counted {counted:?}"))
        }
    }

    /// Everything that was counted since the books were opened, by name.
    pub(super) fn counted(&self) -> BTreeMap<String, u64> {
        let reasons = Reason::ALL.iter().map(|r| (r.index(), r.name()));
        let events = Event::ALL.iter().map(|e| (e.index(), e.name()));
        let change = |index: u32| {
            let index = index as usize;
            self.last[index] - self.first[index]
        };
        reasons
            .chain(events)
            .map(|(index, name)| (name.to_owned(), change(index)))
            .collect()
    }
}

fn counters(store: &KernelStore) -> Vec<u64> {
    store.reason_counters().sums().flatten().collect()
}

fn summed(store: &KernelStore, counters: &[u64]) -> Sums {
    let mut sums = Sums::default();
    for reason in Reason::ALL {
        let count = counters[reason.index() as usize];
        match reason.verdict() {
            Verdict::Pass => sums.passed += count,
            Verdict::Drop => sums.dropped += count,
            Verdict::Reply => sums.replied += count,
        }
    }
    for [packets, bytes, replies, reply_bytes] in store.backend_counters().sums() {
        sums.forwarded = sums.forwarded.wrapping_add(packets);
        sums.bytes = sums.bytes.wrapping_add(bytes);
        sums.returned = sums.returned.wrapping_add(replies);
        sums.returned_bytes = sums.returned_bytes.wrapping_add(reply_bytes);
    }
    sums
}
