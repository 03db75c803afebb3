//! The owner of all checks: keeps one task for each target.

use super::{
    ProbeReport, ProberFigures, Target, check,
    figures::Counters,
    outbox::Outbox,
    task::{self, Check, Network, Record, Shared, Task},
};
use navigator_core::{
    health::{Health, Settings},
    model::{CheckKind, CheckSpec, InstanceKey},
};
use std::{
    collections::BTreeMap,
    sync::Arc,
    time::{Duration, SystemTime},
};
use tokio::{
    runtime::Handle,
    sync::{Semaphore, mpsc},
    time::Instant,
};

/// How a [`Prober`] works.
#[derive(Clone, Copy, PartialEq, Debug)]
pub struct ProberSettings {
    /// What a check that does not say otherwise uses.
    pub defaults: Settings,
    /// Checks that may run at the same time however few targets there are.
    /// More may as soon as more are needed for targets that never answer.
    pub min_in_flight: usize,
}

impl ProberSettings {
    /// The usual bounds around these times.
    pub const fn new(defaults: Settings) -> Self {
        Self {
            defaults,
            min_in_flight: 512,
        }
    }
}

/// New targets of one call are first checked at least this far apart, unless
/// one interval is too short for that. A single one is checked at once.
const FIRST_CHECK_STEP: Duration = Duration::from_millis(10);

/// Checks targets and reports what it finds. Ends all checks when it is dropped.
///
/// Reports never hold up a check. A change of verdict, and the first verdict
/// of a target, always arrive, if need be late and merged with later ones of
/// the same target; other reports are dropped while the reader is slow.
pub struct Prober {
    settings: ProberSettings,
    shared: Arc<Shared>,
    checked: BTreeMap<InstanceKey, Checked>,
    in_flight_limit: usize,
    runtime: Handle,
    _delivery: Task,
}

struct Checked {
    check: CheckSpec,
    settings: Settings,
    record: Arc<Record>,
    /// None for an instance that asked for no check.
    task: Option<Task>,
}

impl Prober {
    /// Starts with no targets. Must be called inside a tokio runtime.
    pub fn start(settings: ProberSettings, reports: mpsc::Sender<ProbeReport>) -> Self {
        Self::start_with(settings, reports, Network)
    }

    pub(super) fn start_with(
        settings: ProberSettings,
        reports: mpsc::Sender<ProbeReport>,
        check: impl Check,
    ) -> Self {
        let in_flight_limit = settings.min_in_flight.clamp(1, Semaphore::MAX_PERMITS);
        let shared = Arc::new(Shared {
            check: Box::new(check),
            outbox: Outbox::new(reports),
            counters: Counters::default(),
            in_flight: Semaphore::new(in_flight_limit),
        });
        let runtime = Handle::current();
        let delivery = {
            let shared = shared.clone();
            Task(runtime.spawn(async move { shared.outbox.deliver().await }))
        };
        Self {
            settings,
            shared,
            checked: BTreeMap::new(),
            in_flight_limit,
            runtime,
            _delivery: delivery,
        }
    }

    /// Makes these the targets; of several with the same key the last counts.
    ///
    /// A new target is checked at once; many new ones are spread, over one
    /// interval at most. One that is missing is no longer checked, and nothing
    /// more is reported of it, save what is already in the channel. One whose
    /// check asks something else is checked anew, with the health that it had;
    /// if only times or counts changed, its passes and failures so far stand.
    pub fn set_targets(&mut self, targets: Vec<Target>) {
        let wanted: BTreeMap<_, _> = targets.into_iter().map(|t| (t.key.clone(), t)).collect();
        self.checked.retain(|key, checked| {
            let keep = wanted.contains_key(key);
            if !keep {
                checked.record.retire();
                self.shared.outbox.forget(key);
            }
            keep
        });
        let mut fresh = Vec::new();
        for (key, target) in wanted {
            match self.checked.get(&key) {
                Some(checked) if checked.check == target.check => {}
                Some(checked) if only_times_differ(&checked.check, &target.check) => {
                    self.retime(target);
                }
                Some(checked) => {
                    checked.record.retire();
                    let initial = checked.record.health();
                    fresh.push(Target { initial, ..target });
                }
                None => fresh.push(target),
            }
        }
        self.begin(fresh);
        self.resize();
    }

    /// How the prober itself is doing.
    pub fn figures(&self) -> ProberFigures {
        let free = self.shared.in_flight.available_permits();
        ProberFigures {
            targets: self.checked.len(),
            in_flight: self.in_flight_limit.saturating_sub(free),
            in_flight_limit: self.in_flight_limit,
            ..self.shared.counters.read()
        }
    }

    /// Starts to check targets that are new, or whose check is.
    fn begin(&mut self, fresh: Vec<Target>) {
        let now = Instant::now();
        let count = u32::try_from(fresh.len()).unwrap_or(u32::MAX);
        for (place, target) in (0..count).zip(fresh) {
            let key = target.key.clone();
            let settings = self.settings.defaults.for_check(&target.check);
            let step = FIRST_CHECK_STEP.min(settings.interval / count);
            let checked = if target.check.kind == CheckKind::None {
                self.unchecked(target, settings)
            } else {
                let record = Record::new(settings, target.initial, now + step * place);
                self.checked(target, settings, Arc::new(record))
            };
            self.checked.insert(key, checked);
        }
    }

    /// Goes on with a target whose check has other times now.
    fn retime(&mut self, target: Target) {
        let Some(old) = self.checked.get(&target.key) else {
            return;
        };
        let settings = self.settings.defaults.for_check(&target.check);
        let record = old.record.clone();
        record.retime(settings);
        let key = target.key.clone();
        let checked = self.checked(target, settings, record);
        self.checked.insert(key, checked);
    }

    fn checked(&self, target: Target, settings: Settings, record: Arc<Record>) -> Checked {
        let check = target.check.clone();
        let watch = task::watch(self.shared.clone(), target, settings, record.clone());
        Checked {
            check,
            settings,
            record,
            task: Some(Task(self.runtime.spawn(watch))),
        }
    }

    /// Reports an instance that asked for no check; there is no task for it.
    fn unchecked(&self, target: Target, settings: Settings) -> Checked {
        let report = ProbeReport {
            key: target.key,
            health: Health::Healthy,
            changed: target.initial != Health::Healthy,
            at: SystemTime::now(),
            took: Duration::ZERO,
            detail: check::NOT_CHECKED.into(),
        };
        self.shared.outbox.publish(report, target.initial, true);
        let record = Record::new(settings, Health::Healthy, Instant::now());
        Checked {
            check: target.check,
            settings,
            record: Arc::new(record),
            task: None,
        }
    }

    /// Fits the number of checks in flight to the targets: if all of them are
    /// silent, each can still be checked once an interval.
    fn resize(&mut self) {
        let busy: f64 = (self.checked.values())
            .filter(|checked| checked.task.is_some())
            .map(|checked| checked.settings)
            .map(|times| times.timeout.as_secs_f64() / times.interval.as_secs_f64().max(0.001))
            .map(|share| share.min(1.0))
            .sum();
        let wanted = (busy.ceil() as usize)
            .max(self.settings.min_in_flight)
            .clamp(1, Semaphore::MAX_PERMITS);
        let semaphore = &self.shared.in_flight;
        if let Some(more) = wanted.checked_sub(self.in_flight_limit) {
            semaphore.add_permits(more);
            self.in_flight_limit = wanted;
        } else {
            // Permits in use cannot be taken back; the rest follows with a later call.
            self.in_flight_limit -= semaphore.forget_permits(self.in_flight_limit - wanted);
        }
    }
}

/// Whether two checks that differ ask the same, only at other times or with other counts.
fn only_times_differ(a: &CheckSpec, b: &CheckSpec) -> bool {
    a.kind != CheckKind::None && (&a.kind, a.port) == (&b.kind, b.port)
}
