//! A real etcd to test against: one member, its own data directory and ports,
//! here or in a network namespace. It is killed when it is dropped, and by the
//! kernel if the thread that started it ends first, as when the test is killed.

use anyhow::{Context as _, Result, bail, ensure};
use nix::{
    sys::signal::{Signal, kill},
    unistd::Pid,
};
use std::{
    ffi::OsStr,
    fs::{self, File},
    io::ErrorKind,
    net::{IpAddr, Ipv4Addr, SocketAddr, TcpListener},
    path::PathBuf,
    process::{Child, Command, Output, Stdio},
    thread::sleep,
    time::{Duration, Instant},
};
use tempfile::TempDir;

/// A start takes well under a second when the machine is not busy.
const START: Duration = Duration::from_secs(60);
/// Starts with other ports, when somebody else took those that were free a moment ago.
const STARTS: usize = 5;
const POLL: Duration = Duration::from_millis(50);

/// How etcd is to be run.
#[derive(Clone, Debug)]
pub struct EtcdOptions {
    /// Put before the command, for example `nsenter --net=/run/netns/x`. It must
    /// become the command (by exec), not wait for it.
    pub prefix: Vec<String>,
    /// Address to listen on.
    pub address: IpAddr,
    /// Ports for clients and for peers. `None`: two that are free here, which
    /// says nothing about another network namespace.
    pub ports: Option<(u16, u16)>,
    /// More arguments for etcd.
    pub arguments: Vec<String>,
}

impl Default for EtcdOptions {
    fn default() -> Self {
        Self {
            prefix: Vec::new(),
            address: Ipv4Addr::LOCALHOST.into(),
            ports: None,
            arguments: Vec::new(),
        }
    }
}

/// A running (or stopped) etcd.
pub struct EtcdServer {
    options: EtcdOptions,
    client: SocketAddr,
    peer: SocketAddr,
    directory: TempDir,
    child: Option<Child>,
}

impl EtcdServer {
    /// Starts etcd on free ports of 127.0.0.1 and waits until it serves.
    pub fn start() -> Result<Self> {
        Self::start_with(EtcdOptions::default())
    }

    /// Starts etcd as `options` say and waits until it serves.
    ///
    /// # Errors
    /// When etcd or etcdctl is not installed, or etcd does not serve; then with its log.
    pub fn start_with(options: EtcdOptions) -> Result<Self> {
        for attempt in 1.. {
            let (client, peer) = match options.ports {
                Some(ports) => ports,
                None => free_ports(options.address)?,
            };
            let mut server = Self {
                client: SocketAddr::new(options.address, client),
                peer: SocketAddr::new(options.address, peer),
                options: options.clone(),
                directory: TempDir::with_prefix("navigator-etcd-")?,
                child: None,
            };
            let started = server.restart();
            let taken = started.is_err() && server.log().contains("address already in use");
            if !taken || options.ports.is_some() || attempt == STARTS {
                return started.map(|()| server);
            }
        }
        bail!("no free ports for etcd")
    }

    /// URL for clients.
    pub fn endpoint(&self) -> String {
        format!("http://{}", self.client)
    }

    /// Kills etcd. Its data stays.
    pub fn stop(&mut self) -> Result<()> {
        if let Some(mut child) = self.child.take() {
            child.kill().context("killing etcd")?;
            child.wait().context("waiting for etcd to end")?;
        }
        Ok(())
    }

    /// Stops etcd if it runs, starts it on the same ports and data, and waits until it serves.
    pub fn restart(&mut self) -> Result<()> {
        self.stop()?;
        self.child = Some(self.spawn()?);
        self.wait_until_it_serves()
    }

    /// Starts over with empty data, on the same ports: another cluster, at revision 1.
    pub fn restart_empty(&mut self) -> Result<()> {
        self.stop()?;
        match fs::remove_dir_all(self.data()) {
            Err(error) if error.kind() != ErrorKind::NotFound => Err(error.into()),
            _ => self.restart(),
        }
    }

    /// Freezes etcd: its sockets stay open, nothing answers.
    pub fn pause(&self) -> Result<()> {
        self.signal(Signal::SIGSTOP)
    }

    /// Ends a [`Self::pause`].
    pub fn resume(&self) -> Result<()> {
        self.signal(Signal::SIGCONT)
    }

    /// `etcdctl put`: what an operator or a foreign registrant does.
    pub fn put(&self, key: &str, value: &str) -> Result<()> {
        self.etcdctl(["put", "--", key, value]).map(drop)
    }

    /// `etcdctl del`; `false` if there was no such key.
    pub fn delete(&self, key: &str) -> Result<bool> {
        Ok(self.etcdctl(["del", "--", key])?.trim() != "0")
    }

    /// The value of a key, by `etcdctl get`.
    pub fn get(&self, key: &str) -> Result<Option<String>> {
        let answer = self.etcdctl(["get", "--", key])?;
        let value = answer.strip_prefix(&format!("{key}\n"));
        Ok(value.map(|value| value.strip_suffix('\n').unwrap_or(value).to_owned()))
    }

    /// Writes all of `entries` at one revision. Neither part of an entry may
    /// have spaces or quotes. etcd takes 128 at once, or what `--max-txn-ops` says.
    pub fn put_all(&self, entries: impl IntoIterator<Item = (String, String)>) -> Result<()> {
        // No conditions; what to do; nothing otherwise.
        let mut script = String::from("\n");
        for (key, value) in entries {
            script += &format!("put {key} {value}\n");
        }
        script += "\n\n";
        let path = self.directory.path().join("transaction");
        fs::write(&path, script)?;
        self.run(["txn"], File::open(path)?.into()).map(drop)
    }

    /// The revision of the store, by `etcdctl endpoint status`.
    pub fn revision(&self) -> Result<i64> {
        let status = self.etcdctl(["endpoint", "status", "--write-out=json"])?;
        let status: serde_json::Value = serde_json::from_str(&status)?;
        let revision = status.pointer("/0/Status/header/revision");
        let revision = revision.and_then(serde_json::Value::as_i64);
        revision.with_context(|| format!("no revision in {status}"))
    }

    /// Runs etcdctl and gives what it printed.
    ///
    /// # Errors
    /// When it fails, with what it said.
    pub fn etcdctl<S: AsRef<OsStr>>(
        &self,
        arguments: impl IntoIterator<Item = S>,
    ) -> Result<String> {
        self.run(arguments, Stdio::null())
    }

    fn run<S: AsRef<OsStr>>(
        &self,
        arguments: impl IntoIterator<Item = S>,
        input: Stdio,
    ) -> Result<String> {
        let mut command = command(&self.options.prefix, "etcdctl");
        command
            .env("ETCDCTL_API", "3")
            .env("ETCDCTL_ENDPOINTS", self.endpoint())
            .args(arguments)
            .stdin(input);
        let Output {
            status,
            stdout,
            stderr,
        } = command
            .output()
            .context("running etcdctl: install the package etcd-client")?;
        let stderr = String::from_utf8_lossy(&stderr);
        ensure!(status.success(), "{command:?} failed: {}", stderr.trim());
        Ok(String::from_utf8_lossy(&stdout).into_owned())
    }

    /// What etcd logged since its last start.
    pub fn log(&self) -> String {
        fs::read_to_string(self.log_path()).unwrap_or_default()
    }

    fn spawn(&self) -> Result<Child> {
        let log = File::create(self.log_path())?;
        let (client, peer) = (self.endpoint(), format!("http://{}", self.peer));
        // The kernel ends etcd with us, should we be killed.
        let mut prefix: Vec<String> = ["setpriv", "--pdeathsig", "KILL"].map(str::to_owned).into();
        prefix.extend(self.options.prefix.iter().cloned());
        command(&prefix, "etcd")
            .args(["--name", "test", "--logger", "zap", "--data-dir"])
            .arg(self.data())
            .args(["--listen-client-urls", &client])
            .args(["--advertise-client-urls", &client])
            .args(["--listen-peer-urls", &peer])
            .args(["--initial-advertise-peer-urls", &peer])
            .arg(format!("--initial-cluster=test={peer}"))
            // So that another start on the same ports is another cluster.
            .arg(format!("--initial-cluster-token={}", rand::random::<u64>()))
            .args(&self.options.arguments)
            .stdin(Stdio::null())
            .stdout(log.try_clone()?)
            .stderr(log)
            .spawn()
            .context("starting etcd by setpriv: install the packages etcd-server and util-linux")
    }

    fn wait_until_it_serves(&mut self) -> Result<()> {
        let deadline = Instant::now() + START;
        loop {
            let ended = match &mut self.child {
                Some(child) => child.try_wait()?,
                None => None,
            };
            if let Some(status) = ended {
                bail!("etcd ended at its start ({status}):\n{}", self.log());
            }
            // An answer through etcdctl, because only its prefix reaches another namespace.
            match self.etcdctl(["get", "--command-timeout=2s", "/"]) {
                Ok(_) => return Ok(()),
                Err(error) if Instant::now() > deadline => {
                    bail!("etcd does not serve ({error:#}):\n{}", self.log());
                }
                Err(_) => sleep(POLL),
            }
        }
    }

    fn signal(&self, signal: Signal) -> Result<()> {
        let child = self.child.as_ref().context("etcd is stopped")?;
        let pid = Pid::from_raw(i32::try_from(child.id())?);
        kill(pid, signal).with_context(|| format!("sending {signal} to etcd"))
    }

    fn data(&self) -> PathBuf {
        self.directory.path().join("data")
    }

    fn log_path(&self) -> PathBuf {
        self.directory.path().join("log")
    }
}

impl Drop for EtcdServer {
    fn drop(&mut self) {
        if let Err(error) = self.stop() {
            eprintln!("{error:#}");
        }
    }
}

fn command(prefix: &[String], program: &str) -> Command {
    match prefix.split_first() {
        Some((first, rest)) => {
            let mut command = Command::new(first);
            command.args(rest).arg(program);
            command
        }
        None => Command::new(program),
    }
}

/// Two ports that were free a moment ago.
fn free_ports(address: IpAddr) -> Result<(u16, u16)> {
    let (first, second) = (
        TcpListener::bind((address, 0))?,
        TcpListener::bind((address, 0))?,
    );
    Ok((first.local_addr()?.port(), second.local_addr()?.port()))
}
