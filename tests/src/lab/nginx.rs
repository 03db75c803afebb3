//! nginx on a backend host.

use super::{Lab, host::Host, process::Process, tool, wait};
use anyhow::{Context, Result};
use nix::{
    sys::signal::{Signal, kill},
    unistd::Pid,
};
use std::{
    fs,
    net::{Ipv4Addr, SocketAddr, TcpStream},
    path::{Path, PathBuf},
    time::Duration,
};

/// Bytes of `/big`.
pub const BIG: u64 = 1 << 30;

/// A running nginx. It answers `/` and `/health`; `/big?rate=N` sends
/// Every answer has the backend's name in the header `X-Backend`.
#[derive(Debug)]
pub struct Nginx {
    process: Process,
    sick: PathBuf,
}

impl Nginx {
    /// Starts it on port 80 of all the host's addresses and waits until it accepts.
    ///
    /// # Errors
    /// nginx is not installed or does not come up.
    pub fn start(lab: &Lab, host: &Host) -> Result<Self> {
        Self::start_on(lab, host, 80)
    }

    /// The same on another port.
    ///
    /// # Errors
    /// As [`Nginx::start`].
    pub fn start_on(lab: &Lab, host: &Host, port: u16) -> Result<Self> {
        let dir = lab.file(&format!("{}-nginx-{port}", host.name()));
        fs::create_dir_all(&dir)?;
        fs::File::create(dir.join("big"))?.set_len(BIG)?;
        let sick = dir.join("sick");
        let config = dir.join("nginx.conf");
        fs::write(&config, configuration(host.name(), port, &sick))?;

        // nginx leaves its workers behind when it is killed; the end of a PID namespace does not.
        let mut command = host.command("unshare");
        command
            .args(["--pid", "--fork", "--kill-child=KILL", "--"])
            .arg(tool("nginx")?)
            .args(["-e", "stderr", "-p"])
            .arg(&dir)
            .arg("-c")
            .arg(&config);
        let mut process = host.start(&format!("nginx-{port}"), command)?;
        let local = SocketAddr::from((Ipv4Addr::LOCALHOST, port));
        wait::until("nginx accepts", Duration::from_secs(10), || {
            anyhow::ensure!(process.is_running(), "it ended: {}", process.stderr());
            host.enter(move || TcpStream::connect_timeout(&local, Duration::from_secs(1)))
                .context("its port")
        })?;
        Ok(Self { process, sick })
    }

    /// Takes no new connections, finishes its requests, then ends.
    pub fn quit(&self) {
        for pid in children(self.process.pid()) {
            let _ = kill(pid, Signal::SIGQUIT);
        }
    }

    /// Kills it: new connections are refused, open ones reset.
    pub fn kill(mut self) {
        self.process.kill();
    }

    /// Stops answering, without a word.
    pub fn freeze(&self) {
        self.signal_all(Signal::SIGSTOP);
    }

    /// Goes on after [`Nginx::freeze`].
    pub fn thaw(&self) {
        self.signal_all(Signal::SIGCONT);
    }

    /// Makes `/health` answer 503, or 200 again.
    ///
    /// # Errors
    /// The marker file cannot be written.
    pub fn set_sick(&self, sick: bool) -> Result<()> {
        if sick {
            fs::write(&self.sick, "")?;
        } else {
            fs::remove_file(&self.sick)?;
        }
        Ok(())
    }

    fn signal_all(&self, signal: Signal) {
        for master in children(self.process.pid()) {
            for pid in children(master).into_iter().chain([master]) {
                let _ = kill(pid, signal);
            }
        }
    }
}

fn configuration(name: &str, port: u16, sick: &Path) -> String {
    format!(
        r#"
daemon off;
user root;
worker_processes 1;
pid nginx.pid;
events {{ worker_connections 4096; }}
http {{
    access_log off;
    client_body_temp_path tmp-body;
    proxy_temp_path tmp-proxy;
    fastcgi_temp_path tmp-fastcgi;
    uwsgi_temp_path tmp-uwsgi;
    scgi_temp_path tmp-scgi;
    client_max_body_size 0;
    default_type text/plain;
    keepalive_requests 10000000;
    server {{
        listen {port} backlog=4096 reuseport;
        listen [::]:{port} ipv6only=on backlog=4096 reuseport;
        add_header X-Backend {name} always;
        root .;
        location = / {{ return 200 "{name}\n"; }}
        location = /big {{ limit_rate $arg_rate; }}
        location = /health {{
            if (-f {sick}) {{ return 503 "sick\n"; }}
            return 200 "ok\n";
        }}
    }}
}}
"#,
        sick = sick.display()
    )
}

/// Child processes of a process, as this PID namespace sees them.
fn children(pid: Pid) -> Vec<Pid> {
    let list = fs::read_to_string(format!("/proc/{pid}/task/{pid}/children")).unwrap_or_default();
    list.split_whitespace()
        .filter_map(|text| text.parse().ok())
        .map(Pid::from_raw)
        .collect()
}
