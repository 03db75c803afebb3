//! Who traces what. Tracers come by the API and go when they like, are
//! forgotten or killed; the data plane asks [`Hub::wanted`] and makes it true.
//! Nothing here waits for a tracer: what one does not take in time is counted
//! as lost.

use super::request::Request;
use navigator_common::trace::{TRACERS, TraceRecord};
use std::{
    sync::{
        Arc, Mutex, MutexGuard, PoisonError,
        atomic::{AtomicU64, Ordering},
    },
    time::Duration,
};
use tokio::{
    sync::{Notify, mpsc, oneshot},
    time::{Instant, timeout},
};

/// Records that may wait for one tracer.
const WAITING: usize = 2048;
/// How long the data plane may take to let a tracer see packets.
const PATIENCE: Duration = Duration::from_secs(10);
/// How long a tracer may take nothing while more comes, before it is given up.
const STALLED: Duration = Duration::from_secs(10);

/// See the module.
#[derive(Default)]
pub struct Hub {
    state: Mutex<State>,
    changed: Notify,
}

#[derive(Default)]
struct State {
    last: u64,
    tracers: [Option<Tracer>; TRACERS],
}

struct Tracer {
    number: u64,
    request: Request,
    ends: Instant,
    out: mpsc::Sender<TraceRecord>,
    end: Option<oneshot::Sender<Ending>>,
    ready: Option<oneshot::Sender<()>>,
    /// Records from before this time, in monotonic nanoseconds, are another tracer's.
    since: Option<u64>,
    lost: Arc<AtomicU64>,
    stalled: Option<Instant>,
}

/// Why a trace ended.
#[derive(Clone, PartialEq, Eq, Debug)]
pub enum Ending {
    /// Its time is up.
    TimeUp,
    /// It did not take its records.
    Stalled,
    /// The data plane could not let it see packets.
    Refused(String),
    /// The daemon ends.
    Gone,
}

impl std::fmt::Display for Ending {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        match self {
            Self::TimeUp => f.write_str("its time is up"),
            Self::Stalled => write!(f, "nothing was read for {}s", STALLED.as_secs()),
            Self::Refused(why) => f.write_str(why),
            Self::Gone => f.write_str("the daemon ended"),
        }
    }
}

/// What a tracer wants, as the data plane sees it.
#[derive(Clone, PartialEq, Eq, Debug)]
pub struct Wanted {
    /// The number of its filter.
    pub filter: usize,
    /// Its own number; no other tracer has it.
    pub tracer: u64,
    /// What it wants.
    pub request: Request,
}

/// Why nobody more can trace.
#[derive(Clone, Copy, PartialEq, Eq, Debug, thiserror::Error)]
#[error("{TRACERS} already trace, which is as many as may: end one of them")]
pub struct TooMany;

impl Hub {
    /// Begins a trace. It ends with what is returned, at the latest after the request's duration.
    ///
    /// # Errors
    /// As many trace as may.
    pub fn begin(self: &Arc<Self>, request: Request) -> Result<Trace, TooMany> {
        let mut state = self.state();
        state.last += 1;
        let number = state.last;
        let free = state.tracers.iter_mut().find(|tracer| tracer.is_none());
        let place = free.ok_or(TooMany)?;
        let (out, records) = mpsc::channel(WAITING);
        let (end, ended) = oneshot::channel();
        let (ready, is_ready) = oneshot::channel();
        let lost = Arc::new(AtomicU64::new(0));
        *place = Some(Tracer {
            number,
            ends: Instant::now() + request.duration,
            request,
            out,
            end: Some(end),
            ready: Some(ready),
            since: None,
            lost: lost.clone(),
            stalled: None,
        });
        drop(state);
        self.changed.notify_one();
        Ok(Trace {
            number,
            records,
            ended,
            ready: Some(is_ready),
            lost,
            hub: self.clone(),
        })
    }

    /// Who wants what now. Those whose time is up are told so, and are not among them.
    pub fn wanted(&self) -> Vec<Wanted> {
        let now = Instant::now();
        let mut state = self.state();
        for place in &mut state.tracers {
            let ending = match place {
                Some(tracer) if tracer.ends <= now => Ending::TimeUp,
                Some(tracer) if tracer.has_stalled(now) => Ending::Stalled,
                _ => continue,
            };
            end(place, ending);
        }
        let tracers = state.tracers.iter().enumerate();
        tracers
            .filter_map(|(filter, tracer)| {
                let tracer = tracer.as_ref()?;
                Some(Wanted {
                    filter,
                    tracer: tracer.number,
                    request: tracer.request.clone(),
                })
            })
            .collect()
    }

    /// A tracer sees packets from this time on, in monotonic nanoseconds.
    pub fn sees(&self, tracer: u64, since: u64) {
        if let Some(tracer) = self.state().find(tracer)
            && let Some(ready) = tracer.ready.take()
        {
            tracer.since = Some(since);
            let _ = ready.send(());
        }
    }

    /// A tracer cannot see packets.
    pub fn refuse(&self, tracer: u64, why: &str) {
        let mut state = self.state();
        if let Some(place) = state.place(tracer) {
            end(place, Ending::Refused(why.to_owned()));
        }
    }

    /// Hands a record to those who asked for it.
    pub fn deliver(&self, record: &TraceRecord) {
        let mut state = self.state();
        for (filter, tracer) in state.tracers.iter_mut().enumerate() {
            let asked = record.filters >> filter & 1 == 1;
            if let Some(tracer) = tracer
                && asked
                && tracer.since.is_some_and(|since| record.time >= since)
            {
                tracer.take(record);
            }
        }
    }

    /// So many records were lost before anybody knew for whom they were.
    pub fn lose(&self, records: u64) {
        for tracer in self.state().tracers.iter().flatten() {
            tracer.lost.fetch_add(records, Ordering::Relaxed);
        }
    }

    /// How many trace.
    pub fn tracers(&self) -> usize {
        self.state().tracers.iter().flatten().count()
    }

    /// Returns once somebody began or ended a trace since the last call.
    pub async fn changed(&self) {
        self.changed.notified().await;
    }

    fn state(&self) -> MutexGuard<'_, State> {
        self.state.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

impl State {
    fn place(&mut self, number: u64) -> Option<&mut Option<Tracer>> {
        let mut places = self.tracers.iter_mut();
        places.find(|place| place.as_ref().is_some_and(|tracer| tracer.number == number))
    }

    fn find(&mut self, number: u64) -> Option<&mut Tracer> {
        self.place(number)?.as_mut()
    }
}

impl Tracer {
    fn take(&mut self, record: &TraceRecord) {
        match self.out.try_send(*record) {
            Ok(()) => self.stalled = None,
            Err(_) => {
                self.stalled.get_or_insert_with(Instant::now);
                self.lost.fetch_add(1, Ordering::Relaxed);
            }
        }
    }

    fn has_stalled(&self, now: Instant) -> bool {
        // Since its channel became full it may have read all that was in it.
        let full = self.out.capacity() == 0;
        full && self.stalled.is_some_and(|since| now - since > STALLED)
    }
}

fn end(place: &mut Option<Tracer>, ending: Ending) {
    if let Some(mut tracer) = place.take()
        && let Some(end) = tracer.end.take()
    {
        // Nobody is there to be told: the trace was dropped.
        let _ = end.send(ending);
    }
}

/// One trace, for as long as it lives.
pub struct Trace {
    number: u64,
    records: mpsc::Receiver<TraceRecord>,
    ended: oneshot::Receiver<Ending>,
    ready: Option<oneshot::Receiver<()>>,
    lost: Arc<AtomicU64>,
    hub: Arc<Hub>,
}

impl Trace {
    /// Returns once packets are seen.
    ///
    /// # Errors
    /// They cannot be, and why.
    pub async fn ready(&mut self) -> Result<(), Ending> {
        let Some(ready) = self.ready.take() else {
            return Ok(());
        };
        match timeout(PATIENCE, ready).await {
            Ok(Ok(())) => Ok(()),
            Ok(Err(_)) => Err(self.ended.try_recv().unwrap_or(Ending::Gone)),
            Err(_) => Err(Ending::Refused(
                "the data plane does not answer; is the daemon still starting?".to_owned(),
            )),
        }
    }

    /// The next record, or why there will be none. May be cut short.
    ///
    /// # Errors
    /// The trace ended.
    pub async fn next(&mut self) -> Result<TraceRecord, Ending> {
        match self.records.recv().await {
            Some(record) => Ok(record),
            None => Err(self.ended.try_recv().unwrap_or(Ending::Gone)),
        }
    }

    /// A record that is there already.
    pub fn another(&mut self) -> Option<TraceRecord> {
        self.records.try_recv().ok()
    }

    /// Records that were lost since this was last asked.
    pub fn lost(&self) -> u64 {
        self.lost.swap(0, Ordering::Relaxed)
    }
}

impl Drop for Trace {
    fn drop(&mut self) {
        if let Some(place) = self.hub.state().place(self.number) {
            *place = None;
        }
        self.hub.changed.notify_one();
    }
}
