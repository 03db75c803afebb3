//! A small network of real parts on one machine.
//!
//! ```text
//!  client(s)    balancer     registry      backends b1 … bn
//!     │            │            │             │
//!  ───┴────────────┴────────────┴─────────────┴──── LAN 10.77.0.0/24, fd77::/64
//!                               │ .1
//!                            router
//!                               │ .1
//!  ───┬─────────────────────────┴────────────────── far LAN 10.78.0.0/24, fd78::/64
//!     │
//!  backends f1 … fn
//! ```
//!
//! Every host is a network and a mount namespace ([`host`]), both LANs are
//! bridges in one more namespace. VIPs are 10.77.1.0/24 and fd77:1::/64, which
//! the clients route to the balancer, or free addresses of the LAN.

pub mod client;
pub mod config;
pub mod curl;
pub mod etcd;
pub mod host;
pub mod kernel;
pub mod navigator;
pub mod net;
pub mod nginx;
pub mod process;
pub mod scratch;
pub mod second;
pub mod store;
pub mod wait;
pub mod wrk;

use anyhow::{Context, Result, bail};
use host::Host;
use net::{CLIENT_MTU, LAN_MTU, Port};
use scratch::Scratch;
use std::{
    fs,
    net::{IpAddr, Ipv4Addr, Ipv6Addr},
    path::{Path, PathBuf},
};

/// What a lab consists of beside the balancer.
#[derive(Clone, Copy, Debug)]
pub struct Plan {
    /// Hosts of clients.
    pub clients: u8,
    /// Backends on the balancer's LAN.
    pub backends: u8,
    /// Backends behind the router.
    pub far: u8,
}

/// The network. Everything is gone when this is dropped.
#[derive(Debug)]
pub struct Lab {
    /// Where the clients are.
    pub clients: Vec<Host>,
    /// Where the daemon runs; its interface is `eth0`.
    pub balancer: Host,
    /// Where etcd runs.
    pub registry: Host,
    /// Backends on the same LAN.
    pub backends: Vec<Host>,
    /// Backends behind the router.
    pub far: Vec<Host>,
    /// Between the two LANs; `eth1` leads to the far one.
    pub router: Host,
    _switch_accepts_xdp: aya::Ebpf,
    switch: Host,
    scratch: Scratch,
}

/// Last number of the balancer's addresses.
pub const BALANCER: u8 = 2;
/// Last number of the registry host's addresses.
const REGISTRY: u8 = 3;
/// Last number of the first client's addresses, less one.
const CLIENTS: u8 = 10;
/// Last number of the first backend's addresses, less one.
const BACKENDS: u8 = 20;

/// `10.77.0.<last>`.
pub const fn v4(last: u8) -> IpAddr {
    IpAddr::V4(Ipv4Addr::new(10, 77, 0, last))
}

/// `fd77::<last>`, the number in decimal digits.
pub fn v6(last: u8) -> IpAddr {
    IpAddr::V6(Ipv6Addr::new(0xfd77, 0, 0, 0, 0, 0, 0, spelled(last)))
}

/// `10.77.1.<last>`, routed to the balancer.
pub const fn vip4(last: u8) -> IpAddr {
    IpAddr::V4(Ipv4Addr::new(10, 77, 1, last))
}

/// `fd77:1::<last>`, routed to the balancer.
pub fn vip6(last: u8) -> IpAddr {
    IpAddr::V6(Ipv6Addr::new(0xfd77, 1, 0, 0, 0, 0, 0, spelled(last)))
}

/// Addresses of backend `index` (from 0) on the LAN.
pub fn backend(index: u8) -> (IpAddr, IpAddr) {
    (v4(BACKENDS + index + 1), v6(BACKENDS + index + 1))
}

/// Addresses of backend `index` (from 0) behind the router.
pub fn far(index: u8) -> (IpAddr, IpAddr) {
    let last = BACKENDS + index + 1;
    (
        IpAddr::V4(Ipv4Addr::new(10, 78, 0, last)),
        IpAddr::V6(Ipv6Addr::new(0xfd78, 0, 0, 0, 0, 0, 0, spelled(last))),
    )
}

/// Addresses of the registry host.
pub fn registry() -> (IpAddr, IpAddr) {
    (v4(REGISTRY), v6(REGISTRY))
}

/// 42 → 0x42, so that IPv4 and IPv6 addresses of a host look alike.
fn spelled(last: u8) -> u16 {
    let last = u16::from(last);
    last / 100 * 0x100 + last / 10 % 10 * 0x10 + last % 10
}

impl Lab {
    /// Builds the network.
    ///
    /// # Errors
    /// There is no root, or a tool is missing or fails.
    pub fn new(plan: Plan) -> Result<Self> {
        let scratch = Scratch::new()?;
        let logs = scratch.path();
        let host = |name: &str| Host::new(name, logs);
        let switch = host("switch")?;
        net::bridge(&switch, "lan")?;
        net::bridge(&switch, "farlan")?;

        let balancer = host("lb")?;
        plug_in(&switch, &balancer, BALANCER, LAN_MTU)?;
        balancer.ip(&[
            "route add 10.78.0.0/24 via 10.77.0.1",
            "route add fd78::/64 via fd77::1",
        ])?;
        let switch_accepts_xdp = net::accept_xdp(&switch, &balancer, "eth0")?;
        let registry = host("reg")?;
        plug_in(&switch, &registry, REGISTRY, LAN_MTU)?;
        let router = router(&switch, logs)?;

        let mut clients = Vec::new();
        for number in 1..=plan.clients {
            let client = host(&format!("c{number}"))?;
            plug_in(&switch, &client, CLIENTS + number, CLIENT_MTU)?;
            client.ip(&[
                "route add default via 10.77.0.1",
                "route add default via fd77::1",
                &format!("route add 10.77.1.0/24 via {}", v4(BALANCER)),
                &format!("route add fd77:1::/64 via {}", v6(BALANCER)),
            ])?;
            clients.push(client);
        }
        let mut backends = Vec::new();
        for number in 1..=plan.backends {
            let backend = host(&format!("b{number}"))?;
            plug_in(&switch, &backend, BACKENDS + number, LAN_MTU)?;
            backends.push(backend);
        }
        let mut far = Vec::new();
        for number in 1..=plan.far {
            let backend = host(&format!("f{number}"))?;
            plug_in_far(&switch, &backend, BACKENDS + number)?;
            far.push(backend);
        }
        Ok(Self {
            clients,
            balancer,
            registry,
            backends,
            far,
            _switch_accepts_xdp: switch_accepts_xdp,
            router,
            switch,
            scratch,
        })
    }

    /// Adds a host to the balancer's LAN; its addresses end in `last`.
    ///
    /// # Errors
    /// As [`Lab::new`].
    pub fn add_host(&self, name: &str, last: u8) -> Result<Host> {
        let host = Host::new(name, self.scratch.path())?;
        plug_in(&self.switch, &host, last, LAN_MTU)?;
        Ok(host)
    }

    /// The first client.
    pub fn client(&self) -> &Host {
        &self.clients[0]
    }

    /// A path for a file of this name; goes with the lab.
    pub fn file(&self, name: &str) -> PathBuf {
        self.scratch.path().join(name)
    }

    /// Writes a file that goes with the lab; returns its path.
    ///
    /// # Errors
    /// It cannot be written.
    pub fn write(&self, name: &str, text: &str) -> Result<PathBuf> {
        let path = self.file(name);
        fs::write(&path, text).with_context(|| format!("cannot write {}", path.display()))?;
        Ok(path)
    }

    /// The end of what every process of the lab wrote to its standard error.
    pub fn logs(&self) -> String {
        let Ok(entries) = fs::read_dir(self.scratch.path()) else {
            return String::new();
        };
        let mut paths: Vec<_> = entries.flatten().map(|entry| entry.path()).collect();
        paths.sort();
        paths.iter().filter_map(|path| tail(path)).collect()
    }
}

impl Drop for Lab {
    fn drop(&mut self) {
        if std::thread::panicking() {
            eprintln!("{}", self.logs());
        }
    }
}

/// The last lines of a log file that is not empty.
fn tail(path: &Path) -> Option<String> {
    const LINES: usize = 40;
    if path.extension()? != "err" {
        return None;
    }
    let text = fs::read_to_string(path).ok()?;
    let lines: Vec<_> = text.lines().collect();
    let last = &lines[lines.len().saturating_sub(LINES)..];
    let name = path.file_stem()?.to_string_lossy();
    (!last.is_empty()).then(|| format!("--- {name}:\n{}\n", last.join("\n")))
}

fn plug_in(switch: &Host, host: &Host, last: u8, mtu: u32) -> Result<()> {
    net::connect(
        switch,
        &Port {
            bridge: "lan",
            host,
            interface: "eth0",
            mtu,
            addresses: &[format!("{}/24", v4(last)), format!("{}/64", v6(last))],
        },
    )
}

fn plug_in_far(switch: &Host, host: &Host, last: u8) -> Result<()> {
    net::connect(
        switch,
        &Port {
            bridge: "farlan",
            host,
            interface: "eth0",
            mtu: LAN_MTU,
            addresses: &[
                format!("10.78.0.{last}/24"),
                format!("fd78::{:x}/64", spelled(last)),
            ],
        },
    )?;
    host.ip(&[
        "route add default via 10.78.0.1",
        "route add default via fd78::1",
    ])
}

fn router(switch: &Host, logs: &Path) -> Result<Host> {
    let router = Host::new("router", logs)?;
    plug_in(switch, &router, 1, LAN_MTU)?;
    net::connect(
        switch,
        &Port {
            bridge: "farlan",
            host: &router,
            interface: "eth1",
            mtu: LAN_MTU,
            addresses: &["10.78.0.1/24".into(), "fd78::1/64".into()],
        },
    )?;
    router.sysctl("net/ipv4/ip_forward", "1")?;
    router.sysctl("net/ipv6/conf/all/forwarding", "1")?;
    Ok(router)
}

/// The path of a program that the lab needs beside its own; says how to get a missing one.
///
/// # Errors
/// It is not installed.
pub fn tool(name: &str) -> Result<PathBuf> {
    let path = std::env::var_os("PATH").unwrap_or_default();
    let system = ["/usr/sbin", "/sbin"].map(PathBuf::from);
    let found = std::env::split_paths(&path)
        .chain(system)
        .map(|dir| dir.join(name))
        .find(|file| file.is_file());
    match found {
        Some(file) => Ok(file),
        None => bail!("{name} is not installed: run `cargo xtask setup`"),
    }
}
