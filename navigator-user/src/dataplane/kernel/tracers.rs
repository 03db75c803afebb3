//! Which program is in the links: the one that writes down packets while
//! somebody traces, else the ordinary one. Swapped in the pinned link, so
//! without a gap; a new daemon begins with the ordinary one whatever it finds.

use super::{
    KernelDataplane, OpenError,
    tap::{Filters, Records},
};
use crate::{
    dataplane::store::Store,
    trace::{
        hub::{Hub, Wanted},
        request::Request,
        time,
    },
};
use navigator_common::trace::{TRACERS, TraceFilter};
use std::{io, sync::Arc, time::Duration};
use tokio::{
    task::JoinHandle,
    time::{Instant, sleep},
};

/// Records that are read at a turn, and the pause after it: some 50,000 a second. More would be
/// more than anybody reads, at the cost of those who do the daemon's work; they are lost and counted.
const TURN: usize = 256;
const PAUSE: Duration = Duration::from_millis(5);
/// How often lost records are counted.
const COUNT_LOST: Duration = Duration::from_millis(200);

/// A program that writes down packets, as seen from here. While it is there, its records are read.
pub(super) struct Tap {
    filters: Filters,
    active: [Option<Active>; TRACERS],
    reader: JoinHandle<()>,
}

struct Active {
    tracer: u64,
    filter: TraceFilter,
}

impl Drop for Tap {
    fn drop(&mut self) {
        self.reader.abort();
    }
}

impl Tap {
    /// Starts to read. Must be called inside a tokio runtime.
    pub(super) fn new(filters: Filters, records: Records, hub: Arc<Hub>) -> Self {
        Self {
            filters,
            active: Default::default(),
            reader: tokio::spawn(read(records, hub)),
        }
    }

    /// Makes the filters those that are wanted. `grace` returns once the program reads none that
    /// was cleared before.
    fn follow(
        &mut self,
        wanted: &[(Wanted, TraceFilter)],
        grace: impl FnOnce() -> Result<(), String>,
    ) -> Result<(), String> {
        let failed = |error: io::Error| format!("the filters cannot be written: {error}");
        let mut cleared = false;
        for (number, place) in self.active.iter_mut().enumerate() {
            let stays = |active: &Active| {
                wanted.iter().any(|(wanted, filter)| {
                    wanted.filter == number
                        && wanted.tracer == active.tracer
                        && *filter == active.filter
                })
            };
            if let Some(active) = place.take_if(|active| !stays(active)) {
                self.filters.clear(number, &active.filter).map_err(failed)?;
                cleared = true;
            }
        }
        let is_new = |(wanted, _): &&(Wanted, TraceFilter)| self.active[wanted.filter].is_none();
        let new: Vec<_> = wanted.iter().filter(is_new).collect();
        if cleared || !new.is_empty() {
            // Whoever cleared it, and whenever: nobody reads a filter that is written now.
            grace()?;
        }
        for (wanted, filter) in new {
            self.filters.set(wanted.filter, filter).map_err(failed)?;
            self.active[wanted.filter] = Some(Active {
                tracer: wanted.tracer,
                filter: *filter,
            });
        }
        Ok(())
    }
}

/// Hands records on, for ever. The program wakes nobody: that would cost it more than it costs
/// to look.
async fn read(mut records: Records, hub: Arc<Hub>) {
    let mut lost = 0;
    let mut counted = Instant::now();
    loop {
        for _ in 0..TURN {
            match records.next_record() {
                Some(record) => hub.deliver(&record),
                None => break,
            }
        }
        if counted.elapsed() >= COUNT_LOST {
            let now = records.lost();
            hub.lose(now.saturating_sub(lost));
            (lost, counted) = (now, Instant::now());
        }
        sleep(PAUSE).await;
    }
}

impl KernelDataplane {
    /// From now on packets can be traced: whoever wants to is in the hub.
    pub fn trace_for(&mut self, hub: Arc<Hub>) {
        self.tracers = Some(hub);
    }

    /// Makes programs and filters what those who trace want.
    pub(super) fn follow_hub(&mut self) {
        let Some(hub) = self.tracers.clone() else {
            return;
        };
        let wanted: Vec<_> = hub.wanted().into_iter().map(|w| self.resolve(w)).collect();
        if wanted.is_empty() {
            return self.stop_tracing();
        }
        let since = time::monotonic();
        match self.let_see(&hub, &wanted) {
            Ok(()) => wanted.iter().for_each(|(w, _)| hub.sees(w.tracer, since)),
            Err(why) => {
                tracing::warn!("packets cannot be traced: {why}");
                wanted.iter().for_each(|(w, _)| hub.refuse(w.tracer, &why));
                self.stop_tracing();
            }
        }
    }

    fn resolve(&self, wanted: Wanted) -> (Wanted, TraceFilter) {
        let Request { vip, .. } = &wanted.request;
        let id = vip.and_then(|key| self.plane.vip_id(&key));
        let filter = wanted.request.filter(id);
        (wanted, filter)
    }

    fn let_see(&mut self, hub: &Arc<Hub>, wanted: &[(Wanted, TraceFilter)]) -> Result<(), String> {
        for index in 0..self.interfaces.len() {
            if self.interfaces[index].attached.tap.is_none() {
                self.swap(index, Some(hub))
                    .map_err(|error| error.to_string())?;
            }
            let store = self.plane.store();
            if let Some(tap) = &mut self.interfaces[index].attached.tap {
                tap.follow(wanted, || store.grace().map_err(|error| error.to_string()))?;
            }
        }
        Ok(())
    }

    /// Puts the ordinary program back wherever the other one is. Where that fails the other one
    /// stays, which forwards as well but slower, and it is tried again in some seconds.
    fn stop_tracing(&mut self) {
        for index in 0..self.interfaces.len() {
            let watched = &mut self.interfaces[index];
            let Some(tap) = &mut watched.attached.tap else {
                continue;
            };
            // Nothing is set, so there is no need to wait for anything.
            let cleared = tap.follow(&[], || Ok(()));
            if watched.waits() {
                continue;
            }
            let swapped = cleared.and_then(|()| {
                let swapped = self.swap(index, None);
                swapped.map_err(|error| error.to_string())
            });
            if let Err(why) = swapped {
                let watched = &mut self.interfaces[index];
                let name = watched.name();
                tracing::warn!("{name}: {why}; the program that traces stays for now");
                watched.wait();
            }
        }
    }

    fn swap(&mut self, index: usize, hub: Option<&Arc<Hub>>) -> Result<(), OpenError> {
        let (settings, known) = self.interfaces[index].identity();
        let attached = self.attach(&settings, known, hub)?;
        self.interfaces[index].attached = attached;
        Ok(())
    }
}
