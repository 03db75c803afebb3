//! Mode `nat`, over backends that nothing was done to: other ports, both families, UDP, and
//! changes that no connection notices.

use crate::support::{SOON, active_backends, all_answered, counter, plan, run, slots_of, tally};
use anyhow::{Context as _, Result, ensure};
use navigator_tests::lab::{
    self, Lab, Plan,
    client::ask_many,
    config::{Config, Mode, RegistryKind},
    curl::{Download, upload},
    host::Host,
    navigator::Navigator,
    nginx::Nginx,
    store::{self, Store},
    wait,
    wrk::{Connections, Wrk},
};
use std::{
    net::{IpAddr, SocketAddr, UdpSocket},
    thread::sleep,
    time::Duration,
};

/// Port of the VIPs; the servers have port 80.
const PORT: u16 = 8080;

/// The balancer's own addresses on the backends' LAN.
fn own() -> [IpAddr; 2] {
    [lab::v4(2), lab::v6(2)]
}

fn four() -> SocketAddr {
    (lab::vip4(1), PORT).into()
}

fn six() -> SocketAddr {
    (lab::vip6(1), PORT).into()
}

fn instances(addresses: impl Iterator<Item = IpAddr>) -> Vec<(SocketAddr, u16)> {
    addresses.map(|ip| ((ip, 80).into(), 100)).collect()
}

/// VIPs of both families over so many near and far backends.
fn config(near: u8, far: u8) -> Config {
    let all = || (0..near).map(lab::backend).chain((0..far).map(lab::far));
    Config::new(RegistryKind::Embedded)
        .vip_on("four", four(), "tcp", "web4", Mode::Nat)
        .vip_on("six", six(), "tcp", "web6", Mode::Nat)
        .service("web4", &instances(all().map(|(v4, _)| v4)))
        .service("web6", &instances(all().map(|(_, v6)| v6)))
}

/// As hosts are by default; the clients of the lab use nearly all ports.
fn usual_ports(host: &Host) -> Result<()> {
    host.sysctl("net/ipv4/ip_local_port_range", "32768 60999")
}

fn servers(lab: &Lab) -> Result<Vec<Nginx>> {
    let hosts = lab.backends.iter().chain(&lab.far);
    hosts.map(|host| Nginx::start(lab, host)).collect()
}

fn settled(daemon: &Navigator<'_>, active: usize) -> Result<()> {
    for vip in ["four", "six"] {
        let what = format!("{vip} has {active} active backends");
        daemon.vip_until(vip, &what, SOON, |v| active_backends(v) == active)?;
    }
    Ok(())
}

#[test]
fn backends_need_no_change_and_ports_may_differ() {
    const PLAN: Plan = Plan {
        clients: 1,
        backends: 2,
        far: 2,
    };
    run(PLAN, |lab| {
        usual_ports(&lab.balancer)?;
        let _servers = servers(lab)?;
        let daemon = Navigator::start(lab, &config(2, 2).nat(&own()))?;
        settled(&daemon, 4)?;
        for (name, target) in [("four", four()), ("six", six())] {
            let counts = tally(&ask_many(lab.client(), target, 120))?;
            let answered: Vec<_> = counts.keys().map(String::as_str).collect();
            ensure!(answered == ["b1", "b2", "f1", "f2"], "{target}: {counts:?}");
            for number in 0..4 {
                let name = format!("{name}-{number}");
                Download::start(lab, lab.client(), &name, target, 1)?.finish()?;
                upload(lab, lab.client(), target, 2 << 20)?;
            }
            let vip = daemon.vip(name)?;
            ensure!(vip.reply_packets > 500 && vip.bytes > 4 << 20, "{vip:?}");
            let listed = daemon.cli_ok(&["backends", name])?;
            ensure!(listed.contains("REPLIES"), "{listed}");
        }
        let snapshot = daemon.snapshot()?;
        let table = snapshot
            .tables
            .iter()
            .find(|table| table.name == "nat_flows");
        ensure!(
            table.is_some_and(|t| t.capacity == 1 << 18),
            "{:?}",
            snapshot.tables
        );
        ensure!(counter(&daemon, "nat_opened")? >= 248);
        Ok(())
    });
}

/// Long downloads and two wrks go on while a backend is added, one is drained and enabled again,
/// and the daemon is killed and started again.
#[test]
fn no_connection_breaks() {
    run(plan(3), |lab| {
        usual_ports(&lab.balancer)?;
        let _servers = servers(lab)?;
        let mut daemon = Navigator::start(lab, &config(2, 0).nat(&own()))?;
        settled(&daemon, 2)?;
        let mut downloads = Vec::new();
        for number in 0..12 {
            let target = [four(), six()][number % 2];
            let name = format!("long-{number}");
            downloads.push(Download::start(lab, lab.client(), &name, target, 12)?);
        }
        for download in &mut downloads {
            download.backend()?;
        }
        let kept = Wrk::start(lab.client(), four(), 9, Connections::KeptAlive)?;
        let single = Wrk::start(lab.client(), six(), 9, Connections::OnePerRequest)?;
        sleep(Duration::from_millis(500));

        for (service, ip) in [("web4", lab::backend(2).0), ("web6", lab::backend(2).1)] {
            let address = (ip, 80).into();
            let value = store::instance(service, address, 100);
            Store::Embedded(&daemon).put(service, address, &value)?;
        }
        settled(&daemon, 3)?;
        let drained: SocketAddr = (lab::backend(1).0, 80).into();
        let order = |daemon: &Navigator<'_>, what| {
            daemon
                .cli_ok(&["instances", what, "web4", &drained.to_string()])
                .map(drop)
        };
        order(&daemon, "drain")?;
        daemon.vip_until("four", "b2 has no slots", SOON, |v| {
            slots_of(v, drained) == 0
        })?;
        let counts = tally(&ask_many(lab.client(), four(), 100))?;
        ensure!(!counts.contains_key("b2"), "{counts:?}");

        daemon.kill();
        sleep(Duration::from_secs(1));
        all_answered(&ask_many(lab.client(), four(), 30))?;
        daemon.start_again(None)?;
        daemon.vip_until("four", "it is back", SOON, |v| active_backends(v) == 2)?;
        let snapshot = daemon.snapshot()?;
        ensure!(snapshot.daemon.adopted && snapshot.daemon.slots_written == 0);
        order(&daemon, "enable")?;
        settled(&daemon, 3)?;

        for (number, download) in downloads.into_iter().enumerate() {
            download
                .finish()
                .with_context(|| format!("download {number}"))?;
        }
        for (wrk, what) in [(kept, "kept alive"), (single, "one per request")] {
            let report = wrk.finish()?;
            ensure!(report.requests > 500, "{what}: {report:?}");
            ensure!(report.errors == 0, "{what}: {report:?}");
        }
        for name in [
            "drop_nat_full",
            "drop_nat_ports",
            "drop_nat_collision",
            "drop_corrupt",
        ] {
            ensure!(counter(&daemon, name)? == 0, "{name}");
        }
        Ok(())
    });
}

/// Port of the echo servers, and of their VIPs.
const ECHO: u16 = 9000;
const ECHO_VIP: u16 = 53;

/// Answers every datagram with the host's name, until the lab ends.
fn echo(host: &Host) -> Result<()> {
    let name = host.name().to_owned();
    host.enter(move || -> Result<()> {
        for local in ["0.0.0.0", "::"] {
            let ip: IpAddr = local.parse()?;
            let socket = socket2::Socket::new(
                socket2::Domain::for_address((ip, ECHO).into()),
                socket2::Type::DGRAM,
                None,
            )?;
            if ip.is_ipv6() {
                socket.set_only_v6(true)?;
            }
            socket.bind(&SocketAddr::from((ip, ECHO)).into())?;
            let socket: UdpSocket = socket.into();
            let name = name.clone();
            std::thread::spawn(move || {
                let mut datagram = [0; 1500];
                while let Ok((_, from)) = socket.recv_from(&mut datagram) {
                    if socket.send_to(name.as_bytes(), from).is_err() {
                        break;
                    }
                }
            });
        }
        Ok(())
    })
}

/// Sends a datagram and returns who answered.
fn exchange(socket: &UdpSocket) -> Result<String> {
    socket.send(b"who are you?")?;
    let mut answer = [0; 64];
    let length = socket.recv(&mut answer).context("no answer")?;
    Ok(String::from_utf8_lossy(&answer[..length]).into_owned())
}

#[test]
fn datagrams_are_answered_by_one_backend_a_flow() {
    run(plan(2), |lab| {
        usual_ports(&lab.balancer)?;
        for host in &lab.backends {
            echo(host)?;
        }
        let (v4, v6) = (
            (lab::vip4(2), ECHO_VIP).into(),
            (lab::vip6(2), ECHO_VIP).into(),
        );
        let of = |v6: bool| -> Vec<(SocketAddr, u16)> {
            let pick = |(four, six)| if v6 { six } else { four };
            (0..2)
                .map(|n| ((pick(lab::backend(n)), ECHO).into(), 100))
                .collect()
        };
        let config = Config::new(RegistryKind::Embedded)
            .nat(&own())
            .vip_on("echo4", v4, "udp", "echo4", Mode::Nat)
            .vip_on("echo6", v6, "udp", "echo6", Mode::Nat)
            .unchecked_service("echo4", &of(false))
            .unchecked_service("echo6", &of(true));
        let mut daemon = Navigator::start(lab, &config)?;
        for (name, target) in [("echo4", v4), ("echo6", v6)] {
            daemon.vip_until(name, "two backends", SOON, |v| active_backends(v) == 2)?;
            let first = lab.client().enter(move || -> Result<Vec<_>> {
                let connect = |_| -> Result<_> {
                    let any: IpAddr = if target.is_ipv4() {
                        [0; 4].into()
                    } else {
                        [0; 16].into()
                    };
                    let socket = UdpSocket::bind((any, 0))?;
                    socket.connect(target)?;
                    socket.set_read_timeout(Some(Duration::from_secs(2)))?;
                    let name = exchange(&socket)?;
                    Ok((socket, name))
                };
                (0..40).map(connect).collect()
            })?;
            for name in ["b1", "b2"] {
                ensure!(
                    first.iter().any(|(_, who)| who == name),
                    "{name} answered nothing"
                );
            }
            daemon.kill();
            for (socket, who) in &first {
                ensure!(exchange(socket)? == *who, "a flow moved");
            }
            daemon.start_again(None)?;
            for (socket, who) in &first {
                ensure!(exchange(socket)? == *who, "a flow moved after the restart");
            }
        }
        Ok(())
    });
}

/// Free addresses of the LAN as sources, which the balancer holds with `announce = "address"`.
#[test]
fn held_sources_are_found_by_arp_and_ndp() {
    run(plan(2), |lab| {
        usual_ports(&lab.balancer)?;
        let sources = [lab::v4(240), lab::v6(240)];
        let mut config = config(2, 0).nat(&sources);
        config.hold_vips = true;
        let _servers = servers(lab)?;
        let mut daemon = Navigator::start(lab, &config)?;
        settled(&daemon, 2)?;
        for target in [four(), six()] {
            all_answered(&ask_many(lab.client(), target, 40))?;
        }
        let held = || lab.balancer.sh("ip -o address show dev eth0");
        for source in sources {
            ensure!(held()?.contains(&format!("{source}/")), "{}", held()?);
        }
        daemon.stop()?;
        for host in &lab.backends {
            host.sh("ip neighbour flush all")?;
        }
        all_answered(&ask_many(lab.client(), four(), 10))?;
        let config = daemon.config().to_string_lossy().into_owned();
        daemon.cli_ok(&["detach", "--config", &config])?;
        wait::until("the addresses are gone", SOON, || {
            let held = held()?;
            let there = sources
                .iter()
                .any(|source| held.contains(&format!("{source}/")));
            ensure!(!there, "{held}");
            anyhow::Ok(())
        })?;
        Ok(())
    });
}

/// Without source addresses a VIP in mode `nat` is refused, with the cure; ports that the
/// host uses itself end the start.
#[test]
fn what_nat_lacks_is_said() {
    run(plan(1), |lab| {
        usual_ports(&lab.balancer)?;
        let daemon = Navigator::launch(lab, &config(1, 0))?;
        let what = "the problem is shown";
        let vip = daemon.vip_until("four", what, SOON, |v| v.problem.contains("nat.addresses"))?;
        ensure!(!vip.applied, "{vip:?}");
        Ok(())
    });
}
