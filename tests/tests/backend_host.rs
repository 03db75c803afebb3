//! `navigator backend up`, `status` and `down` on a host of its own: a network
//! namespace with one interface, `b0`, whose peer `a0` plays the balancer.

mod netns;

use anyhow::{Context, Result, bail, ensure};
use navigator_user::backend_host::{
    self, BackendError, Decap, DecapChoice, DownReport, Place, Status, UpReport, UpSettings,
};
use netns::{BpfFs, Namespace};
use socket2::{Domain, Protocol, Socket, Type};
use std::{
    collections::BTreeSet,
    fs,
    net::{IpAddr, SocketAddr, UdpSocket},
    time::Duration,
};

const VIP4: &str = "192.0.2.10";
const VIP6: &str = "2001:db8::10";
const PORT: u16 = 4000;

/// A backend host with a place for its state and pins.
struct Host {
    balancer: Namespace,
    backend: Namespace,
    state: tempfile::TempDir,
    bpf: BpfFs,
}

impl Host {
    fn new() -> Result<Self> {
        let (balancer, backend) = (Namespace::new("a")?, Namespace::new("b")?);
        balancer.join("a0", &backend, "b0")?;
        balancer.ip("addr add 10.0.0.1/24 dev a0")?;
        backend.ip("addr add 10.0.0.2/24 dev b0")?;
        balancer.ip("addr add fd00::1/64 dev a0 nodad")?;
        backend.ip("addr add fd00::2/64 dev b0 nodad")?;
        backend.ip("route add default via 10.0.0.1")?;
        backend.ip("route add default via fd00::1")?;
        // As many distributions have it.
        backend.sysctl("net/ipv4/conf/b0/rp_filter", "1")?;
        Ok(Self {
            balancer,
            backend,
            state: tempfile::Builder::new().prefix("netlink-state").tempdir()?,
            bpf: BpfFs::mount()?,
        })
    }

    fn place(&self) -> Place {
        Place {
            interface: None,
            state_dir: self.state.path().to_owned(),
            pins: self.bpf.path().join("pins"),
        }
    }

    fn up(&self, vips: &[&str], decap: DecapChoice) -> Result<UpReport> {
        self.up_at(self.place(), vips, decap)
    }

    fn up_at(&self, place: Place, vips: &[&str], decap: DecapChoice) -> Result<UpReport> {
        let settings = UpSettings {
            gue_port: 6080,
            place,
            vips: vips.iter().map(|v| v.parse()).collect::<Result<_, _>>()?,
            decap,
        };
        self.backend
            .run(|| async { Ok(backend_host::up(&settings).await?) })
    }

    fn refused(&self, place: Place, vips: &[&str], decap: DecapChoice) -> Result<String> {
        match self.up_at(place, vips, decap) {
            Ok(report) => bail!("it was accepted: {report:?}"),
            Err(e) if e.downcast_ref::<BackendError>().is_some() => Ok(e.to_string()),
            Err(e) => Err(e),
        }
    }

    fn down(&self) -> Result<DownReport> {
        let place = self.place();
        let report = self
            .backend
            .run(|| async { Ok(backend_host::down(&place).await?) })?;
        report.context("nothing was up")
    }

    fn status(&self) -> Result<Vec<Status>> {
        let place = self.place();
        self.backend
            .run(|| async { Ok(backend_host::status(&place).await?) })
    }

    /// All that `up` may touch: addresses, routes, links with their XDP
    /// programs, every setting of every interface, pins and state files.
    fn snapshot(&self) -> Result<String> {
        let mut all = String::new();
        for command in [
            "-o addr show",
            "-o link show",
            "route show table all",
            "-6 route show table all",
        ] {
            let text = self.backend.ip(command)?;
            // What a router or a link does by itself is none of it.
            let lines = text.lines().filter(|l| !l.contains("ff00::/8"));
            let mut lines: Vec<_> = lines.collect();
            lines.sort_unstable();
            all += &lines.join("\n");
            all.push('\n');
        }
        all += &self.backend.enter(|| {
            let mut settings = String::new();
            for family in ["ipv4", "ipv6"] {
                for interface in ["all", "default", "lo", "b0"] {
                    let dir = format!("/proc/sys/net/{family}/conf/{interface}");
                    let names = fs::read_dir(&dir)?.map(|e| Ok(e?.path()));
                    let mut paths = names.collect::<Result<Vec<_>>>()?;
                    paths.sort();
                    for path in paths {
                        let value = fs::read_to_string(&path).unwrap_or_default();
                        settings += &format!("{} = {}\n", path.display(), value.trim());
                    }
                }
            }
            Ok(settings)
        })?;
        for dir in [self.state.path(), self.bpf.path()] {
            for entry in fs::read_dir(dir)? {
                all += &format!("{}\n", entry?.path().display());
            }
        }
        Ok(all)
    }

    fn addresses_of_lo(&self) -> Result<String> {
        self.backend.ip("-o addr show dev lo")
    }
}

fn ip(text: &str) -> Result<IpAddr> {
    Ok(text.parse()?)
}

/// Sends an inner UDP packet from a client behind the balancer to `vip`, in a
/// tunnel header to `backend` that the balancer's kernel writes.
fn send_tunnelled(host: &Host, vip: &str, backend: &str, text: &[u8]) -> Result<()> {
    let (vip, backend) = (ip(vip)?, ip(backend)?);
    let (inner, protocol) = match vip {
        IpAddr::V4(vip) => (udp4([198, 51, 100, 7], vip.octets(), text), 4),
        IpAddr::V6(vip) => {
            let client: std::net::Ipv6Addr = "2001:db8:c::7".parse()?;
            (udp6(client.octets(), vip.octets(), text), 41)
        }
    };
    host.balancer.enter(|| {
        let domain = if backend.is_ipv4() {
            Domain::IPV4
        } else {
            Domain::IPV6
        };
        let socket = Socket::new(domain, Type::RAW, Some(Protocol::from(protocol)))?;
        socket.send_to(&inner, &SocketAddr::new(backend, 0).into())?;
        Ok(())
    })
}

fn sum(bytes: &[u8]) -> u32 {
    bytes
        .chunks(2)
        .map(|w| u32::from(w[0]) << 8 | u32::from(w.get(1).copied().unwrap_or(0)))
        .sum()
}

fn udp(pseudo: &[u8], text: &[u8]) -> Vec<u8> {
    let mut packet = 5000u16.to_be_bytes().to_vec();
    packet.extend(PORT.to_be_bytes());
    packet.extend((8 + text.len() as u16).to_be_bytes());
    packet.extend([0, 0]);
    packet.extend(text);
    let total = sum(pseudo) + 17 + packet.len() as u32 + sum(&packet);
    let checksum = !navigator_common::checksum::fold(total);
    packet[6..8].copy_from_slice(&checksum.to_be_bytes());
    packet
}

fn udp4(from: [u8; 4], to: [u8; 4], text: &[u8]) -> Vec<u8> {
    let pseudo = [from, to].concat();
    let payload = udp(&pseudo, text);
    let mut packet = vec![0x45, 0];
    packet.extend((20 + payload.len() as u16).to_be_bytes());
    packet.extend([0, 1, 0x40, 0, 64, 17, 0, 0]);
    packet.extend(pseudo);
    let checksum = !navigator_common::checksum::fold(sum(&packet));
    packet[10..12].copy_from_slice(&checksum.to_be_bytes());
    packet.extend(payload);
    packet
}

fn udp6(from: [u8; 16], to: [u8; 16], text: &[u8]) -> Vec<u8> {
    let pseudo = [from, to].concat();
    let payload = udp(&pseudo, text);
    let mut packet = vec![0x60, 0, 0, 0];
    packet.extend((payload.len() as u16).to_be_bytes());
    packet.extend([17, 64]);
    packet.extend(pseudo);
    packet.extend(payload);
    packet
}

#[test]
fn up_serves_and_down_leaves_no_trace() -> Result<()> {
    let host = Host::new()?;
    let before = host.snapshot()?;

    let report = host.up(&[VIP4, VIP6], DecapChoice::Auto)?;
    assert_eq!(report.interface, "b0");
    assert_eq!(report.decap, Decap::Xdp { native: true });
    assert_eq!(report.changed.len(), 6, "{:?}", report.changed);
    let lo = host.addresses_of_lo()?;
    assert!(lo.contains("192.0.2.10/32"), "{lo}");
    assert!(lo.contains("2001:db8::10/128"), "{lo}");
    for (name, value) in [
        ("arp_ignore", "1"),
        ("arp_announce", "2"),
        ("rp_filter", "2"),
    ] {
        let path = format!("net/ipv4/conf/b0/{name}");
        assert_eq!(host.backend.read_sysctl(&path)?, value, "{name}");
    }

    let report = host.down()?;
    assert!(report.notes.is_empty(), "{:?}", report.notes);
    assert_eq!(host.snapshot()?, before);
    let place = host.place();
    let again = host
        .backend
        .run(|| async { Ok(backend_host::down(&place).await?) })?;
    assert_eq!(again, None);
    Ok(())
}

#[test]
fn tunnelled_packets_of_each_pair_of_families_reach_the_service() -> Result<()> {
    let host = Host::new()?;
    host.up(&[VIP4, VIP6], DecapChoice::Xdp)?;
    for vip in [VIP4, VIP6] {
        let address = SocketAddr::new(ip(vip)?, PORT);
        let service = host.backend.enter(|| Ok(UdpSocket::bind(address)?))?;
        service.set_read_timeout(Some(Duration::from_secs(5)))?;
        for backend in ["10.0.0.2", "fd00::2"] {
            let text = format!("{vip} in {backend}");
            send_tunnelled(&host, vip, backend, text.as_bytes())?;
            let mut buffer = [0; 64];
            let (length, _) = service.recv_from(&mut buffer).context(text.clone())?;
            assert_eq!(&buffer[..length], text.as_bytes());
        }
    }
    let status = host.status()?;
    assert_eq!(status[0].packets["unwrapped"], 4);
    assert_eq!(status[0].packets["malformed"], 0);
    assert!(status[0].problems.is_empty(), "{:?}", status[0].problems);
    host.down()?;
    Ok(())
}

#[test]
fn the_lan_gets_no_answer_for_the_vips() -> Result<()> {
    let host = Host::new()?;
    host.balancer.ip("route add 192.0.2.0/24 dev a0")?;
    host.balancer.ip("route add 2001:db8::/64 dev a0")?;
    host.up(&[VIP4, VIP6], DecapChoice::None)?;
    host.balancer.run(|| async {
        let mut asker = navigator_user::dataplane::neighbours::Resolver::start()?;
        for vip in [VIP4, VIP6] {
            asker.hosts.send_replace(BTreeSet::from([ip(vip)?]));
            let change = asker.changes.recv().await.context("the resolver ended")?;
            ensure!(change.hop.is_none(), "{vip} was answered for: {change:?}");
        }
        Ok(())
    })?;
    host.down()?;
    Ok(())
}

#[test]
fn another_set_of_vips_replaces_the_first() -> Result<()> {
    let host = Host::new()?;
    let before = host.snapshot()?;
    host.up(&[VIP4, VIP6], DecapChoice::Xdp)?;
    let once = host.snapshot()?;
    let report = host.up(&[VIP4, VIP6], DecapChoice::Xdp)?;
    assert!(report.changed.is_empty(), "{:?}", report.changed);
    let prog = |s: &str| s.split(" prog/xdp id ").nth(1).map(|t| t[..6].to_owned());
    let strip = |s: &str| {
        let id = prog(s).unwrap_or_default();
        s.replace(&id, "")
    };
    assert_eq!(strip(&host.snapshot()?), strip(&once));

    host.up(&[VIP6, "192.0.2.11"], DecapChoice::Xdp)?;
    let lo = host.addresses_of_lo()?;
    assert!(!lo.contains("192.0.2.10/"), "{lo}");
    assert!(lo.contains("192.0.2.11/32"), "{lo}");
    send_tunnelled(&host, VIP4, "10.0.0.2", b"to the one that left")?;
    send_tunnelled(&host, "192.0.2.11", "10.0.0.2", b"to the new one")?;
    let packets = &host.status()?[0].packets;
    assert_eq!((packets["foreign"], packets["unwrapped"]), (1, 1));

    let report = host.up(&[VIP6], DecapChoice::None)?;
    assert_eq!(report.decap, Decap::None);
    let link = host.backend.ip("link show b0")?;
    assert!(!link.contains("xdp"), "{link}");
    host.down()?;
    assert_eq!(host.snapshot()?, before);
    Ok(())
}

#[test]
fn what_others_did_before_or_since_is_left_alone() -> Result<()> {
    let host = Host::new()?;
    host.backend.ip("addr add 192.0.2.77/32 dev lo")?;
    host.backend.sysctl("net/ipv4/conf/all/arp_ignore", "2")?;
    let report = host.up(&["192.0.2.77", VIP4, VIP6], DecapChoice::None)?;
    assert_eq!(report.notes.len(), 1, "{:?}", report.notes);
    assert_eq!(
        host.backend.read_sysctl("net/ipv4/conf/b0/arp_ignore")?,
        "0"
    );

    host.backend.sysctl("net/ipv4/conf/b0/rp_filter", "0")?;
    host.backend.sysctl("net/ipv4/conf/b0/arp_announce", "1")?;
    host.backend.ip("addr del 2001:db8::10/128 dev lo")?;
    host.backend.ip("addr del 192.0.2.10/32 dev lo")?;
    host.backend.ip("addr add 192.0.2.10/32 dev lo")?;
    let problems = host.status()?[0].problems.join("\n");
    assert!(problems.contains("2001:db8::10 is not on lo"), "{problems}");
    assert!(problems.contains("arp_announce of b0 is 1"), "{problems}");
    assert!(!problems.contains("rp_filter"), "{problems}");

    let report = host.down()?;
    assert_eq!(report.notes.len(), 4, "{:?}", report.notes);
    for (name, value) in [("rp_filter", "0"), ("arp_announce", "1")] {
        let path = format!("net/ipv4/conf/b0/{name}");
        assert_eq!(host.backend.read_sysctl(&path)?, value, "{name}");
    }
    let lo = host.addresses_of_lo()?;
    assert!(
        lo.contains("192.0.2.77/32") && lo.contains("192.0.2.10/32"),
        "{lo}"
    );
    Ok(())
}

/// A crash between the record and the change leaves a record of what never happened.
#[test]
fn a_crash_at_any_point_can_be_undone() -> Result<()> {
    let host = Host::new()?;
    let before = host.snapshot()?;
    host.up(&[VIP4, VIP6], DecapChoice::Xdp)?;
    let path = host.state.path().join("backend-b0.json");
    let whole: serde_json::Value = serde_json::from_slice(&fs::read(&path)?)?;
    let changes = whole["changes"].as_array().context("no changes")?.clone();
    host.down()?;
    assert_eq!(changes.len(), 6);
    for cut in 1..=changes.len() {
        let mut state = whole.clone();
        state["changes"] = changes[..cut].to_vec().into();
        fs::write(&path, serde_json::to_vec(&state)?)?;
        host.down().context(format!("{cut} changes recorded"))?;
        assert_eq!(host.snapshot()?, before, "{cut} changes recorded");
    }
    Ok(())
}

#[test]
fn a_first_run_that_fails_is_undone() -> Result<()> {
    let host = Host::new()?;
    let before = host.snapshot()?;
    let place = Place {
        pins: host.state.path().join("no-bpf-here"),
        ..host.place()
    };
    let message = host.refused(place, &[VIP4], DecapChoice::Xdp)?;
    assert!(message.contains("BPF file system"), "{message}");
    assert_eq!(host.snapshot()?, before);
    Ok(())
}

#[test]
fn two_interfaces_share_a_vip() -> Result<()> {
    let host = Host::new()?;
    host.balancer.join("a1", &host.backend, "b1")?;
    let place = |name: &str| Place {
        interface: Some(name.to_owned()),
        ..host.place()
    };
    host.up_at(place("b0"), &[VIP4], DecapChoice::Xdp)?;
    host.up_at(place("b1"), &[VIP4], DecapChoice::Xdp)?;
    assert_eq!(host.status()?.len(), 2);
    let message = host.down().err().context("one was chosen")?.to_string();
    assert!(message.contains("b0, b1"), "{message}");

    let down = |name: &str| {
        let place = place(name);
        host.backend
            .run(move || async move { Ok(backend_host::down(&place).await?) })
    };
    down("b0")?;
    assert!(host.addresses_of_lo()?.contains(VIP4));
    assert_eq!(host.status()?[0].problems, Vec::<String>::new());
    down("b1")?;
    assert!(!host.addresses_of_lo()?.contains(VIP4));
    Ok(())
}

#[test]
fn an_interface_that_went_can_be_put_down_and_set_up_anew() -> Result<()> {
    let host = Host::new()?;
    host.up(&[VIP4], DecapChoice::Xdp)?;
    host.backend.ip("link del b0")?;
    let problems = host.status()?[0].problems.join("\n");
    assert!(problems.contains("interface b0 is gone"), "{problems}");

    host.balancer.join("a0", &host.backend, "b0")?;
    let report = host.up(&[VIP4], DecapChoice::Xdp)?;
    assert_eq!(report.decap, Decap::Xdp { native: true });
    assert_eq!(host.status()?[0].problems, Vec::<String>::new());
    host.backend.ip("link del b0")?;
    host.down()?;
    assert!(!host.addresses_of_lo()?.contains(VIP4));
    Ok(())
}

#[test]
fn bad_input_is_refused_in_one_line_that_names_it() -> Result<()> {
    let host = Host::new()?;
    let before = host.snapshot()?;
    let place = || host.place();
    let named = |name: &str| Place {
        interface: Some(name.to_owned()),
        ..host.place()
    };
    for (place, vips, words) in [
        (named("nope0"), vec![VIP4], "there is no interface nope0"),
        (place(), vec![], "0 VIPs were given"),
        (place(), vec!["127.0.0.1"], "127.0.0.1 cannot be a VIP"),
        (place(), vec!["fe80::1"], "fe80::1 cannot be a VIP"),
        (place(), vec!["224.0.0.1"], "224.0.0.1 cannot be a VIP"),
        (place(), vec!["::ffff:192.0.2.1"], "cannot be a VIP"),
        (place(), vec!["10.0.0.2"], "10.0.0.2 is an address of b0"),
        (place(), vec!["fd00::2"], "fd00::2 is an address of b0"),
    ] {
        let message = host.refused(place, &vips, DecapChoice::Auto)?;
        assert!(message.contains(words), "{message}");
        assert!(!message.contains('\n'), "{message}");
    }
    host.backend.ip("route del default via 10.0.0.1")?;
    host.backend.ip("route del default via fd00::1")?;
    let message = host.refused(place(), &[VIP4], DecapChoice::Auto)?;
    assert!(message.contains("no default route"), "{message}");
    host.backend.ip("route add default via 10.0.0.1")?;
    host.backend.ip("route add default via fd00::1")?;
    assert_eq!(host.snapshot()?, before);

    host.backend.sysctl("net/ipv4/conf/all/arp_ignore", "3")?;
    let message = host.refused(place(), &[VIP4], DecapChoice::Auto)?;
    assert!(message.contains("arp_ignore"), "{message}");
    host.backend.sysctl("net/ipv4/conf/all/arp_ignore", "0")?;
    host.backend.sysctl("net/ipv6/conf/lo/disable_ipv6", "1")?;
    let message = host.refused(place(), &[VIP6], DecapChoice::Auto)?;
    assert!(message.contains("disable_ipv6"), "{message}");
    host.backend.ip("link set lo down")?;
    let message = host.refused(place(), &[VIP4], DecapChoice::Auto)?;
    assert!(message.contains("lo is down"), "{message}");
    Ok(())
}

#[test]
fn another_xdp_program_is_left_where_it_is() -> Result<()> {
    let host = Host::new()?;
    host.up(&[VIP4], DecapChoice::Xdp)?;
    let other = tempfile::tempdir()?;
    let place = Place {
        interface: Some("b0".to_owned()),
        state_dir: other.path().to_owned(),
        pins: host.bpf.path().join("other"),
    };
    let message = host.refused(place, &[VIP4], DecapChoice::Xdp)?;
    assert!(
        message.contains("b0 has an XDP program already"),
        "{message}"
    );
    assert_eq!(host.status()?[0].problems, Vec::<String>::new());
    host.down()?;
    Ok(())
}
