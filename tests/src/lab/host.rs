//! A host of the lab: a network and a mount namespace, and a thread that lives in them.
//!
//! The namespaces have no names. They exist as long as the thread or a process
//! in them does, and every process that is started here gets SIGKILL from the
//! kernel when the thread ends. So nothing is left behind, even if the whole
//! lab is killed with SIGKILL.

use super::process::Process;
use anyhow::{Context, Result, anyhow, bail};
use nix::{
    sched::{CloneFlags, unshare},
    unistd::gettid,
};
use std::{
    fs,
    os::unix::process::CommandExt,
    path::{Path, PathBuf},
    process::{Command, Stdio},
    sync::mpsc,
    thread::JoinHandle,
};

type Job = Box<dyn FnOnce() + Send>;

/// A network namespace with its own `/sys`, `/sys/fs/bpf`, `/run` and `/var/lib`.
#[derive(Debug)]
pub struct Host {
    name: String,
    netns: PathBuf,
    logs: PathBuf,
    jobs: Option<mpsc::Sender<Job>>,
    agent: Option<JoinHandle<()>>,
}

impl Host {
    /// Makes a host with nothing but `lo`; output of its processes goes to files in `logs`.
    ///
    /// # Errors
    /// The namespaces cannot be made, for want of root for example.
    pub fn new(name: &str, logs: &Path) -> Result<Self> {
        let (jobs, inbox) = mpsc::channel::<Job>();
        let (ready, is_ready) = mpsc::channel();
        let agent = std::thread::Builder::new()
            .name(format!("host {name}"))
            .spawn(move || {
                let made = isolate();
                let failed = made.is_err();
                if ready.send(made).is_ok() && !failed {
                    inbox.into_iter().for_each(|job| job());
                }
            })?;
        let netns = is_ready
            .recv()
            .map_err(|_| anyhow!("its thread died"))?
            .with_context(|| format!("cannot make the namespaces of host {name}"))?;
        let host = Self {
            name: name.to_owned(),
            netns,
            logs: logs.to_owned(),
            jobs: Some(jobs),
            agent: Some(agent),
        };
        host.ip(&["link set lo up"])?;
        for (key, value) in SYSCTLS {
            host.sysctl(key, value)?;
        }
        Ok(host)
    }

    /// Its name, for messages.
    pub fn name(&self) -> &str {
        &self.name
    }

    /// A path that `ip link set … netns PATH` takes.
    pub fn netns(&self) -> &Path {
        &self.netns
    }

    /// Runs a closure in the host's namespaces and waits for it.
    /// Threads and sockets that it makes stay in them.
    ///
    /// # Panics
    /// When the closure panicked.
    pub fn enter<T: Send + 'static>(&self, work: impl FnOnce() -> T + Send + 'static) -> T {
        let (answer, answered) = mpsc::channel();
        let job: Job = Box::new(move || {
            let _ = answer.send(work());
        });
        if let Some(jobs) = &self.jobs {
            let _ = jobs.send(job);
        }
        match answered.recv() {
            Ok(result) => result,
            Err(_) => panic!("a job in host {} panicked", self.name),
        }
    }

    /// A command that dies with the host, in its own process group, so that
    /// Ctrl-C on the terminal does not reach it.
    pub fn command(&self, program: impl AsRef<Path>) -> Command {
        let mut command = Command::new("setpriv");
        command
            .args(["--pdeathsig", "KILL", "--"])
            .arg(program.as_ref())
            .stdin(Stdio::null())
            .process_group(0);
        command
    }

    /// Starts a command that goes on; its output is kept in files.
    ///
    /// # Errors
    /// It cannot be started.
    pub fn start(&self, what: &str, mut command: Command) -> Result<Process> {
        let base = self.logs.join(format!("{}-{what}", self.name));
        Process::start(
            &base,
            &format!("{what} on {}", self.name),
            move |out, err| {
                command.stdout(out).stderr(err);
                self.enter(move || command.spawn())
            },
        )
    }

    /// Runs a command to its end and returns its standard output.
    ///
    /// # Errors
    /// It cannot be started or fails; the error carries its standard error.
    pub fn run(&self, mut command: Command) -> Result<String> {
        let shown = show(&command);
        let output = self
            .enter(move || command.output())
            .with_context(|| format!("cannot run {shown} on {}", self.name))?;
        if !output.status.success() {
            bail!(
                "{shown} on {} failed ({}): {}",
                self.name,
                output.status,
                String::from_utf8_lossy(&output.stderr).trim()
            );
        }
        Ok(String::from_utf8_lossy(&output.stdout).into_owned())
    }

    /// Runs a shell line.
    ///
    /// # Errors
    /// It fails.
    pub fn sh(&self, line: &str) -> Result<String> {
        let mut command = self.command("sh");
        command.args(["-ec", line]);
        self.run(command)
    }

    /// Runs lines of `ip`, each without the word `ip`.
    ///
    /// # Errors
    /// One of them fails; the rest is not run.
    pub fn ip(&self, lines: &[&str]) -> Result<()> {
        let script: Vec<_> = lines.iter().map(|line| format!("ip {line}")).collect();
        self.sh(&script.join("\n")).map(drop)
    }

    /// Sets a sysctl by its path under `/proc/sys`; one that this kernel lacks is no error.
    ///
    /// # Errors
    /// It cannot be written.
    pub fn sysctl(&self, key: &str, value: &str) -> Result<()> {
        let path = Path::new("/proc/sys").join(key);
        let value = value.to_owned();
        self.enter(move || match fs::write(&path, value) {
            Err(e) if e.kind() != std::io::ErrorKind::NotFound => {
                Err(e).with_context(|| format!("cannot write {}", path.display()))
            }
            _ => Ok(()),
        })
    }
}

impl Drop for Host {
    fn drop(&mut self) {
        drop(self.jobs.take());
        if let Some(agent) = self.agent.take() {
            let _ = agent.join();
        }
    }
}

/// Addresses are usable at once, replies of DSR backends are not martian, and
/// a client can open many connections one after the other.
const SYSCTLS: &[(&str, &str)] = &[
    ("net/ipv6/conf/all/accept_dad", "0"),
    ("net/ipv6/conf/default/accept_dad", "0"),
    ("net/ipv6/conf/all/accept_ra", "0"),
    ("net/ipv6/conf/default/accept_ra", "0"),
    ("net/ipv4/conf/all/rp_filter", "0"),
    ("net/ipv4/conf/default/rp_filter", "0"),
    ("net/ipv4/ip_local_port_range", "2048 65000"),
    ("net/bridge/bridge-nf-call-iptables", "0"),
    ("net/bridge/bridge-nf-call-ip6tables", "0"),
    ("net/bridge/bridge-nf-call-arptables", "0"),
];

/// Moves the calling thread into new namespaces; returns the path of the network one.
fn isolate() -> Result<PathBuf> {
    unshare(CloneFlags::CLONE_NEWNET | CloneFlags::CLONE_NEWNS)
        .context("unshare: namespaces need root (CAP_SYS_ADMIN)")?;
    let status = Command::new("sh")
        .args([
            "-ec",
            "mount --make-rprivate /
             mount -t sysfs sysfs /sys
             mount -t bpf bpf /sys/fs/bpf
             mount -t tmpfs tmpfs /run
             mount -t tmpfs tmpfs /var/lib",
        ])
        .status()
        .context("cannot run sh")?;
    if !status.success() {
        bail!("cannot mount /sys, /sys/fs/bpf, /run and /var/lib of a host");
    }
    let tid = gettid();
    Ok(PathBuf::from(format!(
        "/proc/{}/task/{tid}/ns/net",
        std::process::id()
    )))
}

/// A command as one would type it, without the wrapper of [`Host::command`].
pub(super) fn show(command: &Command) -> String {
    let words: Vec<_> = command
        .get_args()
        .skip(3)
        .map(std::ffi::OsStr::to_string_lossy)
        .collect();
    words.join(" ")
}
