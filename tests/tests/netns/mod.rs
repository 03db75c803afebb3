//! Network namespaces that a test makes and that go with it.

#![allow(
    dead_code,
    reason = "each suite is a crate of its own and uses a part of this"
)]

use anyhow::{Context, Result, bail, ensure};
use nix::sched::{CloneFlags, setns};
use std::{
    fs::File,
    process::Command,
    sync::atomic::{AtomicU32, Ordering},
    thread,
};

/// A network namespace with `lo` up; deleted when dropped.
pub(crate) struct Namespace {
    name: String,
}

impl Namespace {
    /// A fresh one. Fails without root: these suites prove nothing without it.
    pub(crate) fn new(tag: &str) -> Result<Self> {
        static COUNT: AtomicU32 = AtomicU32::new(0);
        ensure!(
            nix::unistd::geteuid().is_root(),
            "this test makes network namespaces: run it as root"
        );
        let count = COUNT.fetch_add(1, Ordering::Relaxed);
        let name = format!("netlink-{}-{count}-{tag}", std::process::id());
        run("ip", &["netns", "add", &name])?;
        let namespace = Self { name };
        namespace.ip("link set lo up")?;
        // Addresses are usable at once.
        namespace.sysctl("net/ipv6/conf/default/accept_dad", "0")?;
        Ok(namespace)
    }

    /// Runs `ip` in it; returns what it prints.
    pub(crate) fn ip(&self, arguments: &str) -> Result<String> {
        let mut all = vec!["-n", &self.name];
        all.extend(arguments.split(' '));
        run("ip", &all)
    }

    /// Writes a setting below `/proc/sys`.
    pub(crate) fn sysctl(&self, name: &str, value: &str) -> Result<()> {
        let path = format!("/proc/sys/{name}");
        self.enter(|| Ok(std::fs::write(&path, value)?))
            .with_context(|| path.clone())
    }

    /// Reads a setting below `/proc/sys`.
    pub(crate) fn read_sysctl(&self, name: &str) -> Result<String> {
        let path = format!("/proc/sys/{name}");
        let text = self.enter(|| Ok(std::fs::read_to_string(&path)?));
        Ok(text.with_context(|| path.clone())?.trim().to_owned())
    }

    /// Runs `work` on a thread that is in the namespace.
    pub(crate) fn enter<T: Send>(&self, work: impl FnOnce() -> Result<T> + Send) -> Result<T> {
        let file = File::open(format!("/run/netns/{}", self.name))?;
        thread::scope(|scope| {
            let worker = scope.spawn(|| {
                setns(file, CloneFlags::CLONE_NEWNET)?;
                work()
            });
            match worker.join() {
                Ok(outcome) => outcome,
                Err(panic) => std::panic::resume_unwind(panic),
            }
        })
    }

    /// Runs a future on a runtime whose only thread is in the namespace.
    pub(crate) fn run<T, F>(&self, future: impl FnOnce() -> F + Send) -> Result<T>
    where
        T: Send,
        F: Future<Output = Result<T>>,
    {
        self.enter(|| {
            tokio::runtime::Builder::new_current_thread()
                .enable_all()
                .build()?
                .block_on(future())
        })
    }

    /// Joins two namespaces with a veth pair; both ends are up.
    pub(crate) fn join(&self, mine: &str, other: &Self, theirs: &str) -> Result<()> {
        let other_name = &other.name;
        self.ip(&format!(
            "link add {mine} type veth peer name {theirs} netns {other_name}"
        ))?;
        self.ip(&format!("link set {mine} up"))?;
        other.ip(&format!("link set {theirs} up"))?;
        Ok(())
    }

    /// The MAC address of an interface.
    pub(crate) fn mac(&self, interface: &str) -> Result<[u8; 6]> {
        let text = self.ip(&format!("-o link show {interface}"))?;
        let word = text.split("link/ether ").nth(1).context("no link/ether")?;
        let bytes: Vec<u8> = word
            .split(' ')
            .next()
            .unwrap_or_default()
            .split(':')
            .map(|b| u8::from_str_radix(b, 16))
            .collect::<Result<_, _>>()?;
        bytes.try_into().ok().context("not six bytes")
    }
}

impl Drop for Namespace {
    fn drop(&mut self) {
        if let Err(e) = run("ip", &["netns", "del", &self.name]) {
            eprintln!("{e:#}");
        }
    }
}

/// A BPF file system of its own; unmounted when dropped.
pub(crate) struct BpfFs {
    dir: tempfile::TempDir,
}

impl BpfFs {
    /// Mounts one.
    pub(crate) fn mount() -> Result<Self> {
        let dir = tempfile::Builder::new().prefix("netlink-bpf").tempdir()?;
        let path = dir.path().to_str().context("not text")?;
        run("mount", &["-t", "bpf", "bpf", path])?;
        Ok(Self { dir })
    }

    /// Where it is.
    pub(crate) fn path(&self) -> &std::path::Path {
        self.dir.path()
    }
}

impl Drop for BpfFs {
    fn drop(&mut self) {
        if let Some(path) = self.dir.path().to_str()
            && let Err(e) = run("umount", &[path])
        {
            eprintln!("{e:#}");
        }
    }
}

fn run(program: &str, arguments: &[&str]) -> Result<String> {
    let line = format!("{program} {}", arguments.join(" "));
    let output = Command::new(program)
        .args(arguments)
        .output()
        .with_context(|| line.clone())?;
    if !output.status.success() {
        bail!("{line}: {}", String::from_utf8_lossy(&output.stderr).trim());
    }
    Ok(String::from_utf8(output.stdout)?)
}
