//! The daemon under test, and its commands.

use super::{Lab, config::Config, host::Host, process::Process, wait};
use anyhow::{Context, Result, anyhow, bail, ensure};
use navigator_user::snapshot::{BackendView, Snapshot, VipView};
use nix::sys::signal::Signal;
use serde::de::DeserializeOwned;
use std::{
    env,
    io::{Read, Write},
    net::{IpAddr, SocketAddr},
    os::unix::net::UnixStream,
    path::{Path, PathBuf},
    process::Command,
    time::Duration,
};

/// Longest wait for the daemon to come up or to end.
const PATIENCE: Duration = Duration::from_secs(15);
/// Its socket; every host of a lab has a `/run` of its own.
const SOCKET: &str = "/run/navigator/navigator.sock";

/// What a command printed, and how it ended.
#[derive(Clone, PartialEq, Eq, Debug)]
pub struct Ended {
    /// Exit code; -1 for one that a signal ended.
    pub code: i32,
    /// Standard output.
    pub stdout: String,
    /// Standard error.
    pub stderr: String,
}

/// The daemon on the balancer.
#[derive(Debug)]
pub struct Navigator<'lab> {
    lab: &'lab Lab,
    config: PathBuf,
    process: Option<Process>,
}

impl<'lab> Navigator<'lab> {
    /// Starts it and waits until what is applied is what was planned.
    ///
    /// # Errors
    /// It does not come up.
    pub fn start(lab: &'lab Lab, config: &Config) -> Result<Self> {
        let mut daemon = Self::launch(lab, config)?;
        daemon.wait_until_ready()?;
        Ok(daemon)
    }

    /// Starts it without waiting for anything.
    ///
    /// # Errors
    /// The program is not there.
    pub fn launch(lab: &'lab Lab, config: &Config) -> Result<Self> {
        let mut daemon = Self {
            lab,
            config: lab.write("navigator.toml", &config.text())?,
            process: None,
        };
        daemon.launch_again()?;
        Ok(daemon)
    }

    /// Starts it again after a stop or a kill, with another configuration if one is given.
    ///
    /// # Errors
    /// It does not come up.
    pub fn start_again(&mut self, config: Option<&Config>) -> Result<()> {
        if let Some(config) = config {
            self.lab.write("navigator.toml", &config.text())?;
        }
        self.launch_again()?;
        self.wait_until_ready()
    }

    fn launch_again(&mut self) -> Result<()> {
        let mut command = self.lab.balancer.command(binary()?);
        command.arg("run").arg("--config").arg(&self.config);
        self.process = Some(self.lab.balancer.start("navigator", command)?);
        Ok(())
    }

    /// Waits until what is applied is what was planned.
    ///
    /// # Errors
    /// It ends, or is not ready in time.
    pub fn wait_until_ready(&mut self) -> Result<()> {
        wait::until("the daemon is ready", PATIENCE, || {
            self.check_running()?;
            let snapshot = self.snapshot()?;
            ensure!(snapshot.daemon.ready, "not ready: {:?}", snapshot.problems);
            anyhow::Ok(())
        })?;
        Ok(())
    }

    fn check_running(&mut self) -> Result<()> {
        let process = self.process.as_mut().context("the daemon was stopped")?;
        ensure!(
            process.is_running(),
            "the daemon ended: {}",
            process.stderr()
        );
        Ok(())
    }

    /// Its process.
    ///
    /// # Errors
    /// It was stopped.
    pub fn process(&mut self) -> Result<&mut Process> {
        self.process.as_mut().context("the daemon was stopped")
    }

    /// Kills it with SIGKILL.
    pub fn kill(&mut self) {
        self.process = None;
    }

    /// Ends it in good order, by SIGTERM.
    ///
    /// # Errors
    /// It does not end, or not well.
    pub fn stop(&mut self) -> Result<()> {
        let mut process = self.process.take().context("the daemon was stopped")?;
        process.signal(Signal::SIGTERM);
        let status = process.wait(PATIENCE)?;
        ensure!(status.success(), "after SIGTERM: {status}");
        Ok(())
    }

    /// Its configuration file.
    pub fn config(&self) -> &Path {
        &self.config
    }

    /// Runs a command of it on the balancer.
    ///
    /// # Errors
    /// It cannot be started.
    pub fn cli(&self, args: &[&str]) -> Result<Ended> {
        cli(&self.lab.balancer, args)
    }

    /// Runs a command of it that must succeed; returns its standard output.
    ///
    /// # Errors
    /// It fails.
    pub fn cli_ok(&self, args: &[&str]) -> Result<String> {
        cli_ok(&self.lab.balancer, args)
    }

    /// Runs a reader with `-o json`.
    ///
    /// # Errors
    /// It fails or prints something else.
    pub fn cli_json<T: DeserializeOwned>(&self, args: &[&str]) -> Result<T> {
        let text = self.cli_ok(&[args, &["-o", "json"]].concat())?;
        serde_json::from_str(&text)
            .with_context(|| format!("navigator {args:?} -o json printed {text}"))
    }

    /// The whole snapshot, from its socket.
    ///
    /// # Errors
    /// It does not answer.
    pub fn snapshot(&self) -> Result<Snapshot> {
        let (status, body) = self.api("GET", "/v1/snapshot", "")?;
        ensure!(status == 200, "snapshot: HTTP {status}: {body}");
        serde_json::from_str(&body).with_context(|| format!("snapshot: {body}"))
    }

    /// One VIP of the snapshot.
    ///
    /// # Errors
    /// There is no such VIP.
    pub fn vip(&self, name: &str) -> Result<VipView> {
        let mut snapshot = self.snapshot()?;
        let found = snapshot.vips.iter().position(|vip| vip.name == name);
        let index = found.with_context(|| format!("no VIP {name}: {snapshot:?}"))?;
        Ok(snapshot.vips.swap_remove(index))
    }

    /// Waits until a VIP is as it should be.
    ///
    /// # Errors
    /// It is not in time.
    pub fn vip_until(
        &self,
        name: &str,
        what: &str,
        limit: Duration,
        is: impl Fn(&VipView) -> bool,
    ) -> Result<VipView> {
        let (vip, _) = wait::until(what, limit, || {
            let vip = self.vip(name)?;
            ensure!(is(&vip), "it is {vip:?}");
            Ok(vip)
        })?;
        Ok(vip)
    }

    /// A request to its API; returns the status and the body.
    ///
    /// # Errors
    /// It does not answer.
    pub fn api(&self, method: &str, path: &str, body: &str) -> Result<(u16, String)> {
        let request = format!(
            "{method} {path} HTTP/1.1\r\nHost: navigator\r\nConnection: close\r\n\
             Content-Type: application/json\r\nContent-Length: {}\r\n\r\n{body}",
            body.len()
        );
        let answer = self.lab.balancer.enter(move || talk(&request))?;
        let (head, body) = answer
            .split_once("\r\n\r\n")
            .with_context(|| format!("not HTTP: {answer}"))?;
        let status = head.get(9..12).and_then(|text| text.parse().ok());
        let status = status.with_context(|| format!("not HTTP: {head}"))?;
        Ok((status, body.to_owned()))
    }
}

fn talk(request: &str) -> Result<String> {
    let mut stream = UnixStream::connect(SOCKET).with_context(|| format!("connect to {SOCKET}"))?;
    stream.set_read_timeout(Some(PATIENCE))?;
    stream.write_all(request.as_bytes())?;
    let mut answer = String::new();
    stream.read_to_string(&mut answer)?;
    Ok(answer)
}

/// The backend of a VIP that listens at this address.
///
/// # Errors
/// There is none.
pub fn backend(vip: &VipView, address: SocketAddr) -> Result<&BackendView> {
    let found = vip.backends.iter().find(|b| b.address == address);
    found.ok_or_else(|| anyhow!("VIP {} has no backend {address}: {vip:?}", vip.name))
}

/// Runs `navigator ARGS` on a host.
///
/// # Errors
/// It cannot be started.
pub fn cli(host: &Host, args: &[&str]) -> Result<Ended> {
    let mut command = host.command(binary()?);
    command.args(args);
    ended(host, command)
}

/// Runs a command on a host, however it ends.
///
/// # Errors
/// It cannot be started.
pub fn ended(host: &Host, mut command: Command) -> Result<Ended> {
    let output = host.enter(move || command.output())?;
    Ok(Ended {
        code: output.status.code().unwrap_or(-1),
        stdout: String::from_utf8_lossy(&output.stdout).into_owned(),
        stderr: String::from_utf8_lossy(&output.stderr).into_owned(),
    })
}

/// Runs `navigator ARGS` on a host; it must succeed. Returns its standard output.
///
/// # Errors
/// It fails.
pub fn cli_ok(host: &Host, args: &[&str]) -> Result<String> {
    let ended = cli(host, args)?;
    ensure!(
        ended.code == 0,
        "navigator {args:?} on {}: code {}: {}",
        host.name(),
        ended.code,
        ended.stderr.trim()
    );
    Ok(ended.stdout)
}

/// Makes a host a backend for these VIPs.
///
/// # Errors
/// `navigator backend up` fails.
pub fn backend_up(host: &Host, vips: &[IpAddr]) -> Result<()> {
    let vips: Vec<_> = vips.iter().map(ToString::to_string).collect();
    let mut args = vec!["backend", "up", "--interface", "eth0"];
    args.extend(vips.iter().flat_map(|vip| ["--vip", vip]));
    cli_ok(host, &args).map(drop)
}

/// The `navigator` program: `NAVIGATOR_BIN`, or the one that was built beside this one.
///
/// # Errors
/// It was not built.
pub fn binary() -> Result<PathBuf> {
    if let Some(path) = env::var_os("NAVIGATOR_BIN") {
        return Ok(path.into());
    }
    let me = env::current_exe()?;
    let found = me
        .ancestors()
        .skip(1)
        .take(2)
        .map(|dir| dir.join("navigator"))
        .find(|path| path.is_file());
    match found {
        Some(path) => Ok(path),
        None => bail!(
            "there is no program `navigator` beside {}: run `cargo xtask build`",
            me.display()
        ),
    }
}
