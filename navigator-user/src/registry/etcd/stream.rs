//! One watch stream, with one watch for each prefix, and how far each has come.

use super::{
    link::{Link, Session, within},
    read::{self, Moment},
    trouble::Trouble,
};
use crate::registry::{Change, WATCHED};
use etcd_client::{Event, WatchOptions, WatchResponse, WatchStream};
use std::collections::VecDeque;
use tokio::time::Instant;

/// Why a stream ended.
#[derive(PartialEq, Eq, Debug)]
pub(super) enum Stop {
    /// It can be taken up again where it broke off.
    Broken(String),
    /// Something may have been missed: list again.
    Missed(String),
}

/// Up to where all changes are known, for each prefix: a watch that is quiet,
/// or slower than another, resumes at its own place.
#[derive(Clone, PartialEq, Eq, Debug)]
pub(super) struct Position {
    cluster: u64,
    seen: [i64; WATCHED.len()],
}

impl Position {
    /// Everything is known up to the moment of a list.
    pub(super) fn new(at: Moment) -> Self {
        Self {
            cluster: at.cluster,
            seen: [at.revision; WATCHED.len()],
        }
    }

    /// The revision that is needed to resume all watches.
    pub(super) fn oldest(&self) -> i64 {
        self.seen.iter().copied().min().unwrap_or(0)
    }

    /// The newest change that is known.
    pub(super) fn newest(&self) -> i64 {
        self.seen.iter().copied().max().unwrap_or(0)
    }

    /// Is `now`, as a linearizable read gave it, a moment of the same history?
    pub(super) fn check(&self, now: Moment) -> Result<(), Stop> {
        if now.cluster != self.cluster {
            return Err(Stop::Missed(format!(
                "cluster {:x} became cluster {:x}",
                self.cluster, now.cluster
            )));
        }
        if now.revision < self.newest() {
            return Err(Stop::Missed(format!(
                "revision {} went back to {}",
                self.newest(),
                now.revision
            )));
        }
        Ok(())
    }

    fn seen(&self, watch: usize) -> i64 {
        self.seen.get(watch).copied().unwrap_or(0)
    }

    fn advance(&mut self, watch: usize, revision: i64) {
        if let Some(seen) = self.seen.get_mut(watch) {
            *seen = revision.max(*seen);
        }
    }
}

/// An open stream.
pub(super) struct Stream {
    inner: WatchStream,
    /// What came before all watches were there.
    early: VecDeque<WatchResponse>,
}

impl Stream {
    /// Opens a watch for each prefix behind `position` and waits until all are there.
    pub(super) async fn open(
        link: &Link,
        session: &Session,
        position: &Position,
    ) -> Result<Self, Stop> {
        let limit = link.settings.request_timeout;
        let watcher = session.client.watch_client();
        let mut watcher = watcher.max_decoding_message_size(link.settings.max_message);
        let (first, rest) = WATCHED.split_first().ok_or_else(nothing_to_watch)?;
        let deadline = Instant::now() + limit;
        let mut inner = within(limit, watcher.watch(*first, Some(options(position, 0))))
            .await
            .map_err(stop)?;
        for (index, prefix) in rest.iter().enumerate() {
            let watch = inner.watch(*prefix, Some(options(position, index + 1)));
            within(limit, watch).await.map_err(stop)?;
        }
        let early = created(&mut inner, position, deadline).await?;
        Ok(Self { inner, early })
    }

    /// The changes of the next message; none if it only told the time.
    /// May be dropped while it waits.
    pub(super) async fn next(&mut self, position: &mut Position) -> Result<Vec<Change>, Stop> {
        let message = match self.early.pop_front() {
            Some(message) => message,
            None => receive(&mut self.inner).await?,
        };
        absorb(&message, position)
    }
}

fn nothing_to_watch() -> Stop {
    Stop::Broken("there is no prefix to watch".to_owned())
}

fn options(position: &Position, watch: usize) -> WatchOptions {
    WatchOptions::new()
        .with_prefix()
        .with_start_revision(position.seen(watch) + 1)
        .with_watch_id(watch_id(watch))
        .with_progress_notify()
}

/// Ids begin at 1: 0 would let etcd choose.
fn watch_id(watch: usize) -> i64 {
    watch as i64 + 1
}

async fn created(
    inner: &mut WatchStream,
    position: &Position,
    deadline: Instant,
) -> Result<VecDeque<WatchResponse>, Stop> {
    let mut early = VecDeque::new();
    let mut missing = WATCHED.len();
    while missing > 0 {
        let message = tokio::time::timeout_at(deadline, receive(inner))
            .await
            .map_err(|_| Stop::Broken("the watches were not created in time".to_owned()))??;
        if message.created() && !message.canceled() {
            missing -= 1;
        }
        check(&message, position)?;
        early.push_back(message);
    }
    Ok(early)
}

async fn receive(inner: &mut WatchStream) -> Result<WatchResponse, Stop> {
    match inner.message().await {
        Ok(Some(message)) => Ok(message),
        Ok(None) => Err(Stop::Broken("etcd ended the watch".to_owned())),
        Err(error) => Err(stop(Trouble::from(error))),
    }
}

/// A message that is too long would come again after every resume.
fn stop(trouble: Trouble) -> Stop {
    match trouble {
        Trouble::TooLarge(why) | Trouble::NoRevision(why) => Stop::Missed(why),
        other => Stop::Broken(other.why().to_owned()),
    }
}

/// Is the message one of a watch that goes on, in the same cluster?
fn check(message: &WatchResponse, position: &Position) -> Result<(), Stop> {
    if message.compact_revision() > 0 {
        return Err(Stop::Missed(format!(
            "history before revision {} is compacted",
            message.compact_revision()
        )));
    }
    if message.canceled() {
        let why = match message.cancel_reason() {
            "" => "no reason given",
            why => why,
        };
        return Err(Stop::Broken(format!("etcd cancelled the watch: {why}")));
    }
    match message.header() {
        Some(header) if header.cluster_id() != position.cluster => Err(Stop::Missed(format!(
            "cluster {:x} became cluster {:x}",
            position.cluster,
            header.cluster_id()
        ))),
        _ => Ok(()),
    }
}

fn absorb(message: &WatchResponse, position: &mut Position) -> Result<Vec<Change>, Stop> {
    check(message, position)?;
    let watch = (0..WATCHED.len()).find(|watch| watch_id(*watch) == message.watch_id());
    let Some(watch) = watch else {
        return Ok(Vec::new());
    };
    if message.events().is_empty() {
        // "Nothing for you up to here": spares a list when older history is compacted.
        if let (false, Some(header)) = (message.created(), message.header()) {
            position.advance(watch, header.revision());
        }
        return Ok(Vec::new());
    }
    let seen = position.seen(watch);
    let mut changes = Vec::with_capacity(message.events().len());
    for event in message.events() {
        if let Some((revision, change)) = change(event, seen)? {
            position.advance(watch, revision);
            changes.push(change);
        }
    }
    Ok(changes)
}

/// One event with its revision, unless it is known: etcd before 3.5.10 may send
/// old ones to a watch that starts in the future. The declared type is not looked
/// at, as the client panics on one that it does not know: a deleted key has version 0.
fn change(event: &Event, seen: i64) -> Result<Option<(i64, Change)>, Stop> {
    let Some(kv) = event.kv() else {
        return Err(Stop::Missed("an event came without its key".to_owned()));
    };
    if kv.mod_revision() <= seen {
        return Ok(None);
    }
    let entry = read::entry(kv);
    let change = match kv.version() {
        0 => Change::Delete(entry.key),
        _ => Change::Put(entry),
    };
    Ok(Some((kv.mod_revision(), change)))
}

#[cfg(test)]
mod tests {
    use super::*;

    fn at(cluster: u64, revision: i64) -> Moment {
        Moment { cluster, revision }
    }

    #[test]
    fn each_watch_keeps_its_own_place() {
        let mut position = Position::new(at(7, 10));
        position.advance(1, 15);
        position.advance(1, 12);
        assert_eq!(position.seen(1), 15, "it never goes back");
        position.advance(0, 12);
        assert_eq!((position.oldest(), position.newest()), (10, 15));
    }

    #[test]
    fn another_history_is_noticed() {
        let mut position = Position::new(at(7, 10));
        position.advance(0, 20);
        assert_eq!(position.check(at(7, 20)), Ok(()));
        let back = position.check(at(7, 19));
        assert_eq!(
            back,
            Err(Stop::Missed("revision 20 went back to 19".to_owned()))
        );
        assert!(matches!(position.check(at(8, 30)), Err(Stop::Missed(_))));
    }
}
