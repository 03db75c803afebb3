//! ICMP to a VIP: routers tell backends through the balancer that a packet was too big, and a
//! ping is answered.

use crate::support::{SOON, active_backends, counter, run, serve_on};
use anyhow::{Context, Result, ensure};
use navigator_tests::lab::{
    self, Lab, Plan,
    config::{Config, Mode, RegistryKind},
    curl::Download,
    host::Host,
    navigator::Navigator,
    wait,
};
use socket2::{Domain, Protocol, Socket, Type};
use std::{
    io::Read as _,
    net::{IpAddr, SocketAddr},
    time::Duration,
};

/// Two backends, and a client behind the router.
const PLAN: Plan = Plan {
    clients: 1,
    backends: 2,
    far: 1,
};
/// MTU of the router's way to the client: less than every host believes.
const NARROW: u32 = 1300;

/// VIPs of every mode and family, by name.
fn vips() -> [(&'static str, IpAddr); 4] {
    [
        ("l2-four", lab::vip4(1)),
        ("l2-six", lab::vip6(1)),
        ("ipip-four", lab::vip4(2)),
        ("ipip-six", lab::vip6(2)),
    ]
}

fn start(lab: &Lab) -> Result<Navigator<'_>> {
    let service = |v6: bool| -> Vec<(SocketAddr, u16)> {
        let address = |n| {
            if v6 {
                lab::backend(n).1
            } else {
                lab::backend(n).0
            }
        };
        (0..2)
            .map(|n| (SocketAddr::new(address(n), 80), 100))
            .collect()
    };
    let mut config = Config::new(RegistryKind::Embedded)
        .service("four", &service(false))
        .service("six", &service(true));
    for (name, address) in vips() {
        let (mode, family) = name.split_once('-').context("no such VIP")?;
        let mode = if mode == "l2" { Mode::L2 } else { Mode::Ipip };
        config = config.vip(name, address, family, mode);
    }
    Navigator::start(lab, &config)
}

/// The client's packets tell a segment size that fits its own link, not the router's: what a
/// backend sends is too big on the way, and only the router's error can tell it so.
#[test]
fn a_download_over_a_narrow_link_completes() {
    run(PLAN, |lab| {
        lab.router.ip(&[
            &format!("link set eth1 mtu {NARROW}"),
            "route add 10.77.1.0/24 via 10.77.0.2",
            "route add fd77:1::/64 via fd77::2",
        ])?;
        for backend in &lab.backends {
            backend.ip(&[
                "route add 10.78.0.0/24 via 10.77.0.1",
                "route add fd78::/64 via fd77::1",
            ])?;
        }
        let _servers = serve_on(lab, &lab.backends, &vips().map(|(_, address)| address))?;
        let daemon = start(lab)?;
        for (name, address) in vips() {
            daemon.vip_until(name, "two active backends", SOON, |vip| {
                active_backends(vip) == 2
            })?;
            for backend in &lab.backends {
                // What it learnt by way of the VIP before.
                backend.ip(&["-4 route flush cache", "-6 route flush cache"])?;
                ensure!(path_mtu(backend, address)?.is_none(), "{name}: too early");
            }
            let client = &lab.far[0];
            let mut download = Download::start(lab, client, name, SocketAddr::new(address, 80), 2)?;
            let server = download.backend()?;
            download.finish().with_context(|| name.to_owned())?;
            let backend = lab.backends.iter().find(|host| host.name() == server);
            let backend = backend.with_context(|| format!("no host {server}"))?;
            let path = path_mtu(backend, address)?;
            ensure!(
                path == Some(NARROW),
                "{name}: {server} has a path MTU of {path:?}"
            );
        }
        Ok(())
    });
}

/// What a backend believes of the way from the VIP to the far client.
fn path_mtu(backend: &Host, vip: IpAddr) -> Result<Option<u32>> {
    let client = lab::far(0);
    let client = if vip.is_ipv4() { client.0 } else { client.1 };
    let route = backend.sh(&format!("ip route get {client} from {vip}"))?;
    let mut words = route.split_whitespace().skip_while(|word| *word != "mtu");
    Ok(words.nth(1).map(str::parse).transpose()?)
}

/// By the client's kernel, which checks the replies' checksums.
#[test]
fn a_ping_is_answered() {
    run(PLAN, |lab| {
        let daemon = start(lab)?;
        lab.client().sysctl("net/ipv4/ping_group_range", "0 0")?;
        let wanted = vips().len() as u64 * 3;
        for (name, address) in vips() {
            for length in [0, 56, 1400] {
                ping(lab.client(), address, length)
                    .with_context(|| format!("{name}: {length} bytes to {address}"))?;
            }
        }
        wait::until("all replies are counted", SOON, || {
            let answered = counter(&daemon, "reply_echo")?;
            ensure!(answered == wanted, "{answered} of {wanted}");
            anyhow::Ok(())
        })
        .map(drop)
    });
}

/// Sends an echo request with a payload of `length` bytes and waits for the reply.
fn ping(from: &Host, to: IpAddr, length: usize) -> Result<()> {
    from.enter(move || {
        let (domain, protocol, request, reply) = match to {
            IpAddr::V4(_) => (Domain::IPV4, Protocol::ICMPV4, 8, 0),
            IpAddr::V6(_) => (Domain::IPV6, Protocol::ICMPV6, 128, 129),
        };
        let mut socket = Socket::new(domain, Type::DGRAM, Some(protocol))?;
        socket.set_read_timeout(Some(Duration::from_secs(2)))?;
        socket.connect(&SocketAddr::new(to, 0).into())?;
        // The kernel fills in checksum and identifier.
        let head = [request, 0, 0, 0, 0, 0, 0, 1];
        let payload: Vec<u8> = (0..length).map(|n| n as u8).collect();
        socket.send(&[&head[..], &payload].concat())?;
        let mut got = vec![0; 2000];
        let size = socket.read(&mut got)?;
        ensure!(
            got[0] == reply && got[8..size] == payload,
            "{:02x?}",
            &got[..size]
        );
        Ok(())
    })
}
