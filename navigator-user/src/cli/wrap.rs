//! `register … -- COMMAND`: an instance that is registered while its command runs.
//!
//! ```text
//!  start ──► check passes ──► registered ──► a signal ──► deregistered ──► signal passed on ──► exit code
//!    └────────────── the command ends ─────────────────────────────┴──────────────────────────────┘
//! ```

use super::{
    args::RegisterArgs,
    failure::{Failure, Outcome},
    register::{checked_value, words},
};
use crate::{
    probes::{self, Prober, ProberSettings, Target},
    registrant::{LeaseClient, keep_registered_with},
};
use navigator_core::{
    entry::{Rules, parse_instance},
    health::{Health, Settings},
    model::keys,
};
use nix::{
    sys::signal::{self, Signal},
    unistd::Pid,
};
use std::{
    os::unix::process::ExitStatusExt,
    process::{ExitCode, ExitStatus},
    time::Duration,
};
use tokio::{
    process::{Child, Command},
    signal::unix::{Signal as Stream, SignalKind, signal},
    sync::{mpsc, oneshot},
    time::sleep,
};

/// How often the check is made until it passes for the first time.
const INTERVAL: Duration = Duration::from_millis(250);
/// Between the deregistration and the signal, so that balancers have heard of it.
const PAUSE: Duration = Duration::from_millis(200);
/// Reports that may wait.
const REPORTS: usize = 16;

/// Runs the command and keeps its instance registered once it passes its check.
pub(super) async fn run<C: LeaseClient>(registry: &C, args: &RegisterArgs) -> Outcome<ExitCode> {
    let key = args.entry.instance.key();
    let value = checked_value(&args.entry)?;
    let mut signals = Signals::new()?;
    let mut child = start(args)?;
    let pid = child.id();
    let ready = passes(args, value.clone());
    tokio::pin!(ready);
    // Before it is registered, a signal is the command's alone.
    loop {
        tokio::select! {
            ended = child.wait() => return finish(ended),
            signal = signals.next() => pass_on(pid, signal),
            passed = &mut ready => break passed?,
        }
    }
    let path = keys::instance(&key);
    let (stop, stopped) = oneshot::channel::<()>();
    let report = |transition| eprintln!("{key}: {}", words(transition));
    let registration = keep_registered_with(registry, &path, value, args.ttl, report, stopped);
    tokio::pin!(registration);
    let mut refused = None;
    let ended = loop {
        tokio::select! {
            ended = child.wait() => {
                let _ = stop.send(());
                if refused.is_none() {
                    told(registration.await);
                }
                return finish(ended);
            }
            signal = signals.next() => {
                if !ends(signal) {
                    pass_on(pid, signal);
                    continue;
                }
                let _ = stop.send(());
                if refused.is_none() {
                    told((&mut registration).await);
                    sleep(PAUSE).await;
                }
                pass_on(pid, signal);
                break loop {
                    tokio::select! {
                        ended = child.wait() => break ended,
                        signal = signals.next() => pass_on(pid, signal),
                    }
                };
            }
            // The first registration was refused, and will be: the command is of no use here.
            done = &mut registration, if refused.is_none() => {
                refused = done.err();
                pass_on(pid, Signal::SIGTERM);
            }
        }
    };
    match refused {
        Some(error) => Err(error.into()),
        None => finish(ended),
    }
}

fn told(done: Result<(), crate::registry::RegistryError>) {
    if let Err(error) = done {
        eprintln!("navigator: {error}");
    }
}

fn start(args: &RegisterArgs) -> Outcome<Child> {
    let Some((program, rest)) = args.command.split_first() else {
        return Err(Failure::error("no command"));
    };
    Command::new(program)
        .args(rest)
        .spawn()
        .map_err(|error| Failure::error(format!("{}: cannot be run: {error}", program.display())))
}

/// Is ready once the instance passes its check, made from here.
async fn passes(args: &RegisterArgs, value: Vec<u8>) -> Outcome {
    let key = args.entry.instance.key();
    let path = keys::instance(&key);
    let instance = parse_instance(&path, &value, true, &Rules::default())
        .map_err(|rejection| Failure::error(rejection.detail))?;
    let (sender, mut reports) = mpsc::channel(REPORTS);
    let settings = ProberSettings::new(Settings {
        interval: INTERVAL,
        fast_interval: INTERVAL,
        ..Settings::default()
    });
    let mut prober = Prober::start(settings, sender);
    prober.set_targets(vec![Target {
        key: instance.key,
        check: instance.check,
        initial: Health::Unknown,
    }]);
    while let Some(probes::ProbeReport { health, .. }) = reports.recv().await {
        if health == Health::Healthy {
            return Ok(());
        }
    }
    Err(Failure::error(format!(
        "{key}: the check ended without a verdict"
    )))
}

/// The signals that are passed on.
struct Signals {
    streams: [(Signal, Stream); 6],
}

impl Signals {
    fn new() -> Outcome<Self> {
        let on = |passed: Signal| {
            let stream = signal(SignalKind::from_raw(passed as i32));
            stream
                .map(|stream| (passed, stream))
                .map_err(|error| Failure::error(format!("cannot wait for signals: {error}")))
        };
        Ok(Self {
            streams: [
                on(Signal::SIGTERM)?,
                on(Signal::SIGINT)?,
                on(Signal::SIGQUIT)?,
                on(Signal::SIGHUP)?,
                on(Signal::SIGUSR1)?,
                on(Signal::SIGUSR2)?,
            ],
        })
    }

    /// The next one; may be cut short.
    async fn next(&mut self) -> Signal {
        std::future::poll_fn(|cx| {
            for (name, stream) in &mut self.streams {
                if stream.poll_recv(cx).is_ready() {
                    return std::task::Poll::Ready(*name);
                }
            }
            std::task::Poll::Pending
        })
        .await
    }
}

/// Whether a signal asks a program to end.
fn ends(signal: Signal) -> bool {
    matches!(signal, Signal::SIGTERM | Signal::SIGINT | Signal::SIGQUIT)
}

/// A command that has ended meanwhile gets none: its exit is seen next.
fn pass_on(pid: Option<u32>, signal: Signal) {
    let pid = pid.and_then(|pid| i32::try_from(pid).ok());
    if let Some(pid) = pid {
        let _ = signal::kill(Pid::from_raw(pid), signal);
    }
}

/// The command's exit code; as shells have it, 128 and the number of the signal that ended it.
fn finish(ended: std::io::Result<ExitStatus>) -> Outcome<ExitCode> {
    let status = ended.map_err(|error| Failure::error(format!("the command: {error}")))?;
    let code = match (status.code(), status.signal()) {
        (Some(code), _) => code,
        (None, Some(signal)) => 128 + signal,
        (None, None) => 1,
    };
    Ok(ExitCode::from(u8::try_from(code).unwrap_or(1)))
}
