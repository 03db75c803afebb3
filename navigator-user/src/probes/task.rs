//! The task that checks one target, over and over.

use super::{
    ProbeReport, Target,
    check::{self, Outcome, Verdict},
    figures::Counters,
    outbox::Outbox,
};
use futures::future::BoxFuture;
use navigator_core::health::{Health, Machine, Settings, jittered};
use std::{
    sync::{Arc, Mutex, MutexGuard, PoisonError, atomic::Ordering::Relaxed},
    time::{Duration, SystemTime},
};
use tokio::{
    sync::Semaphore,
    task::JoinHandle,
    time::{Instant, sleep_until},
};

/// Makes one check; a double in tests.
pub(super) trait Check: Send + Sync + 'static {
    fn run<'a>(&'a self, target: &'a Target, timeout: Duration) -> BoxFuture<'a, Outcome>;
}

/// The check over the network.
pub(super) struct Network;

impl Check for Network {
    fn run<'a>(&'a self, target: &'a Target, timeout: Duration) -> BoxFuture<'a, Outcome> {
        Box::pin(check::run(target, timeout))
    }
}

/// What all tasks share.
pub(super) struct Shared {
    pub(super) check: Box<dyn Check>,
    pub(super) outbox: Outbox,
    pub(super) counters: Counters,
    /// One permit for each check in flight.
    pub(super) in_flight: Semaphore,
}

/// A spawned task that ends when this is dropped.
pub(super) struct Task(pub(super) JoinHandle<()>);

impl Drop for Task {
    fn drop(&mut self) {
        self.0.abort();
    }
}

/// What is known of a target; outlives its task when only the times of its check change.
pub(super) struct Record(Mutex<State>);

struct State {
    machine: Machine,
    /// When the next check is due; in the past while one runs.
    due: Instant,
    /// When the last check that ended began.
    began: Option<Instant>,
    /// A check has counted, and its report is out.
    first_out: bool,
    /// The target is no longer checked, or differently: what a check still finds is void.
    retired: bool,
}

impl Record {
    pub(super) fn new(settings: Settings, health: Health, due: Instant) -> Self {
        Self(Mutex::new(State {
            machine: Machine::with_initial(settings, health),
            due,
            began: None,
            first_out: false,
            retired: false,
        }))
    }

    /// What the checks say now.
    pub(super) fn health(&self) -> Health {
        self.lock().machine.health()
    }

    /// From now on nothing is reported.
    pub(super) fn retire(&self) {
        self.lock().retired = true;
    }

    /// Takes over changed times; a check that is not yet due is put where they put it.
    pub(super) fn retime(&self, settings: Settings) {
        let mut state = self.lock();
        state.machine.set_settings(settings);
        if let Some(began) = state.began
            && state.due > Instant::now()
        {
            state.due = began + pause(&state.machine);
        }
    }

    fn lock(&self) -> MutexGuard<'_, State> {
        self.0.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

/// Checks `target` until the task is ended.
pub(super) async fn watch(
    shared: Arc<Shared>,
    target: Target,
    settings: Settings,
    record: Arc<Record>,
) {
    loop {
        let due = record.lock().due;
        sleep_until(due).await;
        let Ok(permit) = shared.in_flight.acquire().await else {
            return;
        };
        let began = Instant::now();
        shared.counters.began(began.saturating_duration_since(due));
        let outcome = shared.check.run(&target, settings.timeout).await;
        drop(permit);
        finish(&shared, &target, &record, began, outcome);
    }
}

/// Takes in what a check found; reports it, and sets when the next one is due.
fn finish(shared: &Shared, target: &Target, record: &Record, began: Instant, outcome: Outcome) {
    let mut state = record.lock();
    if state.retired {
        return;
    }
    shared.counters.checks.fetch_add(1, Relaxed);
    let known = state.machine.health();
    match outcome.verdict {
        Verdict::Pass => {
            state.machine.observe(true);
        }
        Verdict::Fail => {
            shared.counters.failed.fetch_add(1, Relaxed);
            state.machine.observe(false);
        }
        Verdict::Inconclusive => shared
            .counters
            .could_not_check(&target.key, &outcome.detail),
    }
    let health = state.machine.health();
    state.began = Some(began);
    state.due = began + pause(&state.machine);
    let first = outcome.verdict != Verdict::Inconclusive && !state.first_out;
    state.first_out |= first;
    let report = ProbeReport {
        key: target.key.clone(),
        health,
        changed: health != known,
        at: SystemTime::now(),
        took: began.elapsed(),
        detail: outcome.detail,
    };
    let must = first || report.changed;
    if !shared.outbox.publish(report, known, must) {
        shared.counters.reports_dropped.fetch_add(1, Relaxed);
    }
}

/// Time from the start of the last check to the start of the next.
fn pause(machine: &Machine) -> Duration {
    jittered(machine.pause(), rand::random())
}
