//! etcd on the registry's host, and etcdctl.

use super::{Lab, process::Process, registry, tool, wait};
use anyhow::{Context, Result, ensure};
use nix::sys::signal::Signal;
use std::{
    io::Write,
    net::{SocketAddr, TcpStream},
    process::{Child, Command, Stdio},
    time::Duration,
};

/// A running etcd; its data outlives a stop.
#[derive(Debug)]
pub struct Etcd<'lab> {
    lab: &'lab Lab,
    process: Option<Process>,
}

const PATIENCE: Duration = Duration::from_secs(20);
/// Longer than etcdctl takes to start.
const START: Duration = Duration::from_millis(500);

impl<'lab> Etcd<'lab> {
    /// Starts it and waits until it answers.
    ///
    /// # Errors
    /// etcd is not installed or does not come up.
    pub fn start(lab: &'lab Lab) -> Result<Self> {
        let mut etcd = Self { lab, process: None };
        etcd.resume()?;
        Ok(etcd)
    }

    /// What clients are to be given.
    pub const ENDPOINT: &'static str = "http://10.77.0.3:2379";

    /// Stops it in good order; clients lose their connections.
    ///
    /// # Errors
    /// It does not end.
    pub fn stop(&mut self) -> Result<()> {
        if let Some(mut process) = self.process.take() {
            process.signal(Signal::SIGTERM);
            process.wait(PATIENCE)?;
        }
        Ok(())
    }

    /// Starts it again with the data that it had.
    ///
    /// # Errors
    /// It does not come up.
    pub fn resume(&mut self) -> Result<()> {
        let host = &self.lab.registry;
        let mut command = host.command(tool("etcd")?);
        command
            .args(["--name", "lab", "--logger", "zap", "--log-level", "warn"])
            .args(["--unsafe-no-fsync", "--data-dir"])
            .arg(self.lab.file("etcd"))
            .args(["--listen-client-urls", "http://0.0.0.0:2379"])
            .args(["--advertise-client-urls", Self::ENDPOINT])
            .args(["--listen-peer-urls", "http://127.0.0.1:2380"])
            .args(["--initial-advertise-peer-urls", "http://127.0.0.1:2380"])
            .args(["--initial-cluster", "lab=http://127.0.0.1:2380"]);
        self.process = Some(host.start("etcd", command)?);
        wait::until("etcd answers", PATIENCE, || {
            host.enter(|| TcpStream::connect_timeout(&address(), PATIENCE))?;
            self.ctl(&["endpoint", "health"])
        })?;
        Ok(())
    }

    /// Runs `etcdctl ARGS`; returns what it prints.
    ///
    /// # Errors
    /// It fails.
    pub fn ctl(&self, args: &[&str]) -> Result<String> {
        self.lab.registry.run(self.etcdctl(args)?)
    }

    fn etcdctl(&self, args: &[&str]) -> Result<Command> {
        let mut command = self.lab.registry.command(tool("etcdctl")?);
        command
            .env("ETCDCTL_API", "3")
            .arg(format!("--endpoints={}", Self::ENDPOINT))
            .args(args);
        Ok(command)
    }

    /// Starts an etcdctl that writes a key as soon as it is told the value, so that
    /// the time that it takes to start can be left out of a measurement.
    ///
    /// # Errors
    /// It cannot be started.
    pub fn prepare_put(&self, key: &str) -> Result<PreparedPut> {
        let mut command = self.etcdctl(&["put", key])?;
        command.stdin(Stdio::piped()).stdout(Stdio::null());
        let child = self.lab.registry.enter(move || command.spawn())?;
        std::thread::sleep(START);
        Ok(PreparedPut(child))
    }

    /// Writes a key.
    ///
    /// # Errors
    /// etcdctl fails.
    pub fn put(&self, key: &str, value: &str) -> Result<()> {
        self.ctl(&["put", key, value]).map(drop)
    }
}

/// An etcdctl that waits for the value that it is to write.
#[derive(Debug)]
pub struct PreparedPut(Child);

impl PreparedPut {
    /// Writes the value and waits for etcdctl's end.
    ///
    /// # Errors
    /// etcdctl fails.
    pub fn put(mut self, value: &str) -> Result<()> {
        let mut input = self.0.stdin.take().context("no standard input")?;
        input.write_all(value.as_bytes())?;
        drop(input);
        let status = self.0.wait()?;
        ensure!(status.success(), "etcdctl put: {status}");
        Ok(())
    }
}

fn address() -> SocketAddr {
    SocketAddr::new(registry().0, 2379)
}
