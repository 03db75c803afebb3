//! Ctrl-C: stop in good order, so that nothing is left behind.

use crate::lab::scratch;
use anyhow::{Result, bail};
use std::{
    process,
    sync::{
        Arc,
        atomic::{AtomicBool, Ordering},
    },
    thread,
    time::Duration,
};
use tokio::signal::unix::{SignalKind, signal};

/// Exit code of a process that was interrupted, as shells have it.
pub const INTERRUPTED: u8 = 130;
/// How long an end in good order may take.
const GRACE: Duration = Duration::from_secs(4);

/// Somebody wanted this to end.
#[derive(Clone, Copy, PartialEq, Eq, Debug, thiserror::Error)]
#[error("interrupted; nothing of it is left on this machine")]
pub struct Interrupted;

/// Whether somebody wants this to end.
#[derive(Clone, Debug)]
pub(super) struct Interruption(Arc<AtomicBool>);

impl Interruption {
    /// Listens for SIGINT, SIGTERM and SIGHUP. The first one asks for an end in good
    /// order; a second one, or a few seconds, end the process at once. Even then nothing
    /// is left: processes and namespaces of a lab go with the process that made them.
    pub(super) fn watch() -> Result<Self> {
        let asked = Arc::new(AtomicBool::new(false));
        let runtime = tokio::runtime::Builder::new_current_thread()
            .enable_all()
            .build()?;
        let kinds = [
            SignalKind::interrupt(),
            SignalKind::terminate(),
            SignalKind::hangup(),
        ];
        let (sender, mut signals) = tokio::sync::mpsc::channel(1);
        for kind in kinds {
            let _context = runtime.enter();
            let (mut signal, sender) = (signal(kind)?, sender.clone());
            runtime.spawn(async move {
                while signal.recv().await.is_some() && sender.send(()).await.is_ok() {}
            });
        }
        let flag = Arc::clone(&asked);
        thread::spawn(move || {
            runtime.block_on(async {
                signals.recv().await;
                flag.store(true, Ordering::Relaxed);
                let _ = tokio::time::timeout(GRACE, signals.recv()).await;
            });
            scratch::remove_own();
            eprintln!("demo: {Interrupted}");
            process::exit(INTERRUPTED.into());
        });
        Ok(Self(asked))
    }

    /// Goes on, or fails if somebody asked for the end.
    pub(super) fn check(&self) -> Result<()> {
        if self.0.load(Ordering::Relaxed) {
            bail!(Interrupted);
        }
        Ok(())
    }

    /// Sleeps, unless somebody asked for the end.
    pub(super) fn sleep(&self, time: Duration) -> Result<()> {
        self.check()?;
        thread::sleep(time);
        self.check()
    }
}
