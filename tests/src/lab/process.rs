//! A process that a lab started.

use anyhow::{Context, Result, bail};
use nix::{
    sys::signal::{Signal, kill},
    unistd::Pid,
};
use std::{
    fs::{self, File},
    io,
    path::{Path, PathBuf},
    process::{Child, ExitStatus, Stdio},
    time::{Duration, Instant},
};

/// A running process; killed when this is dropped.
#[derive(Debug)]
pub struct Process {
    what: String,
    child: Child,
    out: PathBuf,
    err: PathBuf,
}

impl Process {
    /// Starts one by `spawn`, which is given its standard output and error: the files
    /// `<base>.out` and `<base>.err`, or `<base>-2.…` and so on if it is not the first.
    pub(super) fn start(
        base: &Path,
        what: &str,
        spawn: impl FnOnce(Stdio, Stdio) -> io::Result<Child>,
    ) -> Result<Self> {
        let free = (1..)
            .map(|number| match number {
                1 => base.to_owned(),
                _ => with_suffix(base, &format!("-{number}")),
            })
            .find(|base| !with_suffix(base, ".out").exists());
        let base = free.context("no free name")?;
        let (out, err) = (with_suffix(&base, ".out"), with_suffix(&base, ".err"));
        let open = |path: &Path| -> Result<Stdio> {
            let file = File::create(path);
            Ok(file
                .with_context(|| format!("cannot write {}", path.display()))?
                .into())
        };
        let child =
            spawn(open(&out)?, open(&err)?).with_context(|| format!("cannot start {what}"))?;
        Ok(Self {
            what: what.to_owned(),
            child,
            out,
            err,
        })
    }

    /// Its process id.
    pub fn pid(&self) -> Pid {
        Pid::from_raw(self.child.id().cast_signed())
    }

    /// What it wrote to standard output so far.
    pub fn stdout(&self) -> String {
        fs::read_to_string(&self.out).unwrap_or_default()
    }

    /// What it wrote to standard error so far.
    pub fn stderr(&self) -> String {
        fs::read_to_string(&self.err).unwrap_or_default()
    }

    /// Sends a signal; a process that is gone already is no error.
    pub fn signal(&self, signal: Signal) {
        let _ = kill(self.pid(), signal);
    }

    /// Whether it still runs.
    pub fn is_running(&mut self) -> bool {
        matches!(self.child.try_wait(), Ok(None))
    }

    /// Waits for its end.
    ///
    /// # Errors
    /// It is still running after `limit`.
    pub fn wait(&mut self, limit: Duration) -> Result<ExitStatus> {
        let limit = limit * super::wait::slowness();
        let deadline = Instant::now() + limit;
        loop {
            if let Some(status) = self.child.try_wait()? {
                return Ok(status);
            }
            if Instant::now() > deadline {
                bail!("{} still runs after {limit:?}", self.what);
            }
            std::thread::sleep(Duration::from_millis(5));
        }
    }

    /// Kills it with SIGKILL and waits until it is gone.
    pub fn kill(&mut self) {
        let _ = self.child.kill();
        let _ = self.child.wait();
    }
}

impl Drop for Process {
    fn drop(&mut self) {
        self.kill();
    }
}

fn with_suffix(base: &Path, suffix: &str) -> PathBuf {
    let mut name = base.as_os_str().to_owned();
    name.push(suffix);
    name.into()
}
