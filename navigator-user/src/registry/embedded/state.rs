//! What the embedded registry holds, in memory: no file, no tasks; time is an argument.
//!
//! A change is decided as a [`Batch`] on a state that stays as it is, and
//! takes effect when the batch is applied.

use crate::registry::{Change, Entry, WATCHED};
use std::{collections::BTreeMap, time::Duration};
use tokio::time::Instant;

/// Longest lease.
pub(super) const MAX_TTL: Duration = Duration::from_secs(365 * 24 * 3600);
/// Shortest lease: a shorter one could not be renewed in time.
const MIN_TTL: Duration = Duration::from_millis(100);
/// Most entries, and most leases.
const LIMIT: usize = 131_072;

/// What stands in the file.
#[derive(Default, Debug)]
pub(super) struct Saved {
    pub(super) revision: i64,
    pub(super) entries: BTreeMap<String, Stored>,
    pub(super) leases: BTreeMap<i64, Duration>,
}

/// One entry.
#[derive(Clone, PartialEq, Eq, Debug)]
pub(super) struct Stored {
    pub(super) value: Vec<u8>,
    pub(super) created: i64,
    pub(super) modified: i64,
    /// 0: none.
    pub(super) lease: i64,
}

/// One revision's changes.
#[derive(Default, Debug)]
pub(super) struct Batch {
    /// Revision after them.
    pub(super) revision: i64,
    pub(super) puts: Vec<(String, Stored)>,
    pub(super) deletes: Vec<String>,
    pub(super) new_lease: Option<(i64, Duration)>,
    pub(super) ended_leases: Vec<i64>,
}

/// Why a change is not made.
#[derive(Debug)]
pub(super) enum Refusal {
    /// The lease is none, or has ended.
    LeaseEnded(i64),
    /// Something else, in words.
    Because(String),
}

/// Entries and leases.
pub(super) struct State {
    revision: i64,
    entries: BTreeMap<String, Stored>,
    leases: BTreeMap<i64, Lease>,
}

struct Lease {
    ttl: Duration,
    deadline: Instant,
    /// Its end is being written: too late to renew it.
    ending: bool,
}

impl Lease {
    fn new(ttl: Duration, now: Instant) -> Self {
        Self {
            ttl,
            deadline: now + ttl,
            ending: false,
        }
    }
}

impl State {
    /// The state that was saved; every lease gets its full time from `now`.
    pub(super) fn new(saved: Saved, now: Instant) -> Self {
        let leases = saved.leases.into_iter();
        Self {
            revision: saved.revision,
            entries: saved.entries,
            leases: leases.map(|(id, ttl)| (id, Lease::new(ttl, now))).collect(),
        }
    }

    /// What to save, to have this state again.
    pub(super) fn saved(&self) -> Saved {
        let leases = self.leases.iter();
        Saved {
            revision: self.revision,
            entries: self.entries.clone(),
            leases: leases.map(|(id, lease)| (*id, lease.ttl)).collect(),
        }
    }

    pub(super) fn revision(&self) -> i64 {
        self.revision
    }

    pub(super) fn value(&self, key: &str) -> Option<Vec<u8>> {
        self.entries.get(key).map(|stored| stored.value.clone())
    }

    /// When a key was last written; 0 if it does not exist.
    pub(super) fn modified(&self, key: &str) -> i64 {
        self.entries.get(key).map_or(0, |stored| stored.modified)
    }

    pub(super) fn list(&self, prefix: &str) -> Vec<Entry> {
        self.entries
            .range(prefix.to_owned()..)
            .take_while(|(key, _)| key.starts_with(prefix))
            .map(|(key, stored)| stored.entry(key))
            .collect()
    }

    /// All entries under the watched prefixes.
    pub(super) fn watched(&self) -> Vec<Entry> {
        WATCHED
            .iter()
            .flat_map(|prefix| self.list(prefix))
            .collect()
    }

    pub(super) fn put(
        &self,
        key: String,
        value: Vec<u8>,
        lease: Option<i64>,
    ) -> Result<Batch, Refusal> {
        if let Some(id) = lease {
            self.usable(id)?;
        }
        let modified = self.revision + 1;
        let created = match self.entries.get(&key) {
            Some(there) => there.created,
            None => {
                room(self.entries.len(), "entries")?;
                modified
            }
        };
        let stored = Stored {
            value,
            created,
            modified,
            lease: lease.unwrap_or(0),
        };
        Ok(Batch {
            revision: modified,
            puts: vec![(key, stored)],
            ..Batch::default()
        })
    }

    pub(super) fn delete(&self, key: &str) -> Batch {
        self.deleting(self.entries.keys().filter(|there| *there == key))
    }

    /// A lease and its id: random, so that an id from an earlier file of the
    /// same registry never names somebody else's lease.
    pub(super) fn grant(&self, ttl: Duration) -> Result<(Batch, i64), Refusal> {
        room(self.leases.len(), "leases")?;
        let id = loop {
            let id = rand::random_range(1..=i64::MAX);
            if !self.leases.contains_key(&id) {
                break id;
            }
        };
        let batch = Batch {
            revision: self.revision,
            new_lease: Some((id, ttl.max(MIN_TTL))),
            ..Batch::default()
        };
        Ok((batch, id))
    }

    /// Ends those of `leases` that there are, with all that is bound to them.
    pub(super) fn revoke(&self, leases: &[i64]) -> Batch {
        let bound = self.entries.iter();
        let bound = bound.filter(|(_, stored)| leases.contains(&stored.lease));
        let known = leases.iter().copied();
        Batch {
            ended_leases: known.filter(|id| self.leases.contains_key(id)).collect(),
            ..self.deleting(bound.map(|(key, _)| key))
        }
    }

    /// `false` if the lease has ended.
    pub(super) fn renew(&mut self, id: i64, now: Instant) -> bool {
        match self.leases.get_mut(&id) {
            Some(lease) if !lease.ending => {
                lease.deadline = now + lease.ttl;
                true
            }
            _ => false,
        }
    }

    /// When the next lease ends.
    pub(super) fn next_deadline(&self) -> Option<Instant> {
        self.leases.values().map(|lease| lease.deadline).min()
    }

    /// The leases whose time is over; from here on they cannot be renewed.
    pub(super) fn end_due(&mut self, now: Instant) -> Vec<i64> {
        let due = self.leases.iter_mut();
        due.filter(|(_, lease)| lease.deadline <= now)
            .map(|(id, lease)| {
                lease.ending = true;
                *id
            })
            .collect()
    }

    /// Gives all leases their full time again.
    pub(super) fn extend_all(&mut self, now: Instant) {
        for lease in self.leases.values_mut() {
            *lease = Lease::new(lease.ttl, now);
        }
    }

    /// Makes a batch, decided on this state, take effect.
    pub(super) fn apply(&mut self, batch: &Batch, now: Instant) {
        self.revision = batch.revision;
        for key in &batch.deletes {
            self.entries.remove(key);
        }
        for (key, stored) in &batch.puts {
            self.entries.insert(key.clone(), stored.clone());
        }
        for id in &batch.ended_leases {
            self.leases.remove(id);
        }
        if let Some((id, ttl)) = batch.new_lease {
            self.leases.insert(id, Lease::new(ttl, now));
        }
    }

    fn deleting<'a>(&self, keys: impl Iterator<Item = &'a String>) -> Batch {
        let deletes: Vec<String> = keys.cloned().collect();
        let step = i64::from(!deletes.is_empty());
        Batch {
            revision: self.revision + step,
            deletes,
            ..Batch::default()
        }
    }

    fn usable(&self, lease: i64) -> Result<(), Refusal> {
        match self.leases.get(&lease) {
            Some(found) if !found.ending => Ok(()),
            _ => Err(Refusal::LeaseEnded(lease)),
        }
    }
}

impl Stored {
    fn entry(&self, key: &str) -> Entry {
        Entry {
            key: key.to_owned(),
            value: self.value.clone(),
            created: self.created,
            modified: self.modified,
            leased: self.lease != 0,
        }
    }
}

impl Batch {
    /// There is nothing to write.
    pub(super) fn is_empty(&self) -> bool {
        self.puts.is_empty()
            && self.deletes.is_empty()
            && self.new_lease.is_none()
            && self.ended_leases.is_empty()
    }

    /// Its changes under the watched prefixes.
    pub(super) fn watched(&self) -> impl Iterator<Item = Change> {
        let deletes = self.deletes.iter().cloned().map(Change::Delete);
        let puts = self.puts.iter();
        let puts = puts.map(|(key, stored)| Change::Put(stored.entry(key)));
        deletes.chain(puts).filter(|change| {
            let key = match change {
                Change::Delete(key) => key,
                Change::Put(entry) => &entry.key,
            };
            WATCHED.iter().any(|prefix| key.starts_with(prefix))
        })
    }
}

fn room(used: usize, what: &str) -> Result<(), Refusal> {
    if used < LIMIT {
        return Ok(());
    }
    Err(Refusal::Because(format!(
        "there are {used} {what}, which is the limit: remove some"
    )))
}
