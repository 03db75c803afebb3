//! The host beside Navigator's: two proxies, and a router that only routes.

use crate::lab::{self, Lab, host::Host, process::Process, tool, wait};
use anyhow::{Context, Result, bail, ensure};
use std::{
    fmt::Write as _,
    net::{IpAddr, SocketAddr, TcpStream},
    path::Path,
    time::Duration,
};

/// Last number of its addresses.
const LAST: u8 = 4;
const HAPROXY_PORT: u16 = 8001;
const NGINX_PORT: u16 = 8002;
/// Where Debian's package libnginx-mod-stream puts it.
const STREAM_MODULE: &str = "/usr/lib/nginx/modules/ngx_stream_module.so";

/// The address that it routes to the backends, as a router with several next hops does.
pub(super) const ROUTED: IpAddr = lab::vip4(200);

/// The host and what runs there.
pub(super) struct Rival {
    pub(super) haproxy: SocketAddr,
    pub(super) nginx: SocketAddr,
    _processes: [Process; 2],
    _host: Host,
}

impl Rival {
    /// Starts the proxies and sets the route up.
    pub(super) fn start(lab: &Lab, backends: &[IpAddr]) -> Result<Self> {
        let host = lab.add_host("rival", LAST)?;
        route(lab, &host, backends)?;
        let address = |port| SocketAddr::new(lab::v4(LAST), port);
        let haproxy = start_haproxy(lab, &host, backends)?;
        let nginx = start_nginx(lab, &host, backends)?;
        Ok(Self {
            haproxy: address(HAPROXY_PORT),
            nginx: address(NGINX_PORT),
            _processes: [haproxy, nginx],
            _host: host,
        })
    }
}

fn route(lab: &Lab, host: &Host, backends: &[IpAddr]) -> Result<()> {
    host.sysctl("net/ipv4/ip_forward", "1")?;
    // Connections spread by their ports; and clients are not told of a shorter way.
    host.sysctl("net/ipv4/fib_multipath_hash_policy", "1")?;
    for interface in ["all", "default", "eth0"] {
        host.sysctl(&format!("net/ipv4/conf/{interface}/send_redirects"), "0")?;
    }
    let mut line = format!("route add {ROUTED}/32");
    for backend in backends {
        let _ = write!(line, " nexthop via {backend}");
    }
    host.ip(&[&line])?;
    let via = lab::v4(LAST);
    lab.client()
        .ip(&[&format!("route add {ROUTED}/32 via {via}")])
}

fn start_haproxy(lab: &Lab, host: &Host, backends: &[IpAddr]) -> Result<Process> {
    let mut text = format!(
        "global\n  maxconn 4000\ndefaults\n  mode tcp\n  timeout connect 5s\n  \
         timeout client 30s\n  timeout server 30s\nfrontend in\n  bind :{HAPROXY_PORT}\n  \
         default_backend out\nbackend out\n  balance roundrobin\n"
    );
    for (number, backend) in backends.iter().enumerate() {
        let _ = writeln!(text, "  server b{number} {backend}:80");
    }
    let config = lab.write("haproxy.cfg", &text)?;
    let mut command = host.command(tool("haproxy")?);
    command.arg("-db").arg("-f").arg(config);
    accepting(host, host.start("haproxy", command)?, HAPROXY_PORT)
}

fn start_nginx(lab: &Lab, host: &Host, backends: &[IpAddr]) -> Result<Process> {
    let mut servers = String::new();
    for backend in backends {
        let _ = write!(servers, " server {backend}:80;");
    }
    if !Path::new(STREAM_MODULE).exists() {
        bail!("{STREAM_MODULE} is not there: run `cargo xtask bench e2e`, which gets it");
    }
    let config = lab.write(
        "stream.conf",
        &format!(
            "load_module {STREAM_MODULE};\ndaemon off;\nuser root;\nworker_processes auto;\n\
             pid {pid};\nevents {{ worker_connections 8192; }}\nstream {{\n  \
             upstream out {{{servers} }}\n  \
             server {{ listen {NGINX_PORT} backlog=4096 reuseport; proxy_pass out; }}\n}}\n",
            pid = lab.file("stream.pid").display()
        ),
    )?;
    // nginx leaves its workers behind when it is killed; the end of a PID namespace does not.
    let mut command = host.command("unshare");
    command
        .args(["--pid", "--fork", "--kill-child=KILL", "--"])
        .arg(tool("nginx")?)
        .args(["-e", "stderr", "-c"])
        .arg(config);
    accepting(host, host.start("nginx-stream", command)?, NGINX_PORT)
}

/// Waits until a proxy accepts connections.
fn accepting(host: &Host, mut process: Process, port: u16) -> Result<Process> {
    let target = SocketAddr::new(lab::v4(LAST), port);
    wait::until("the proxy accepts", Duration::from_secs(10), || {
        ensure!(process.is_running(), "it ended: {}", process.stderr());
        host.enter(move || TcpStream::connect_timeout(&target, Duration::from_secs(1)))
            .context("its port")
    })?;
    Ok(process)
}
