//! The data plane in the kernel: pins, adoption, links, refusals. Needs root.
#![allow(
    clippy::unwrap_used,
    reason = "a test that cannot go on has failed; the panic says where"
)]

use aya::{
    maps::MapData,
    programs::{
        TestRun, TestRunOptions,
        links::{FdLink, PinnedLink},
        loaded_links,
    },
};
use navigator_common::hash::HashKey;
use navigator_core::{
    model::{ForwardMode, Protocol, UdpPolicy, UnservedPolicy, VipKey},
    plan::members::{Member, State},
};
use navigator_user::dataplane::{
    DEFAULT_WINDOW, Dataplane, NextHop, Steering, VipPlan, VipSettings,
    kernel::{
        Attach, AttachMode, InterfaceSettings, KernelDataplane, KernelSettings, OpenError, detach,
    },
    nat::NatSettings,
    store::Sizes,
    tunnel::TunnelSettings,
};
use nix::{
    sched::{CloneFlags, unshare},
    sys::socket::{AddressFamily, SockFlag, SockType, socket},
};
use std::{
    net::SocketAddr,
    os::fd::AsRawFd,
    path::{Path, PathBuf},
    process::Command,
    time::{Duration, Instant},
};

const SIZES: Sizes = Sizes {
    slots: 4096,
    backends: 64,
    flow_sets: 64,
    nat_flows: 1,
};

/// A pin directory of one test; whatever is pinned there is taken out at the end.
struct Pins(PathBuf);

impl Pins {
    fn new(test: &str) -> Self {
        let path = format!(
            "/sys/fs/bpf/nav-dataplane-test-{}-{test}",
            std::process::id()
        );
        Self(path.into())
    }

    fn settings(&self) -> KernelSettings {
        KernelSettings {
            pins: Some(self.0.clone()),
            interfaces: Vec::new(),
            hash_key: HashKey::from_words([1, 3, 5, 7, 9]),
            plan_seed: 42,
            sizes: SIZES,
            window: DEFAULT_WINDOW,
            tunnels: TunnelSettings::default(),
            nat: NatSettings::default(),
        }
    }

    fn path(&self) -> &Path {
        &self.0
    }
}

impl Drop for Pins {
    fn drop(&mut self) {
        if let Err(error) = detach(&self.0) {
            eprintln!("{error}");
        }
    }
}

/// A network namespace of this test's thread with a pair of interfaces.
fn private_network() {
    unshare(CloneFlags::CLONE_NEWNET).expect("this test needs root");
    ip("link add va type veth peer name vb");
    ip("link set va up");
    ip("link set vb up");
}

fn ip(arguments: &str) {
    let done = Command::new("ip").args(arguments.split(' ')).status();
    assert!(done.is_ok_and(|status| status.success()), "ip {arguments}");
}

fn interface(name: &str, attach: Attach) -> InterfaceSettings {
    InterfaceSettings {
        name: name.to_owned(),
        attach,
        log_drops: false,
    }
}

fn plan(slots: usize) -> VipPlan {
    let key = VipKey::new("192.0.2.1".parse().unwrap(), Protocol::Tcp, 80);
    let member = |host: &str| Member {
        address: SocketAddr::new(host.parse().unwrap(), 80),
        weight: 100,
        state: State::Active,
        why: String::new(),
        takes_new: true,
        usable: true,
    };
    VipPlan {
        vip: VipSettings {
            key,
            slots: slots as u32,
            mode: ForwardMode::L2,
            udp: UdpPolicy::Rehash,
            unserved: UnservedPolicy::Drop,
            steering: Steering::default(),
        },
        members: vec![member("10.0.0.1"), member("10.0.0.2")],
        table: (0..slots as u32).map(|slot| slot % 2).collect(),
    }
}

fn refusal(settings: &KernelSettings) -> String {
    let error = KernelDataplane::open(settings.clone()).err().unwrap();
    let text = error.to_string();
    assert_eq!(text.lines().count(), 1, "{text}");
    text
}

#[test]
fn what_is_pinned_is_adopted_and_not_written_again() {
    let pins = Pins::new("adopt");
    let mut first = KernelDataplane::open(pins.settings()).unwrap();
    assert!(first.adopted().is_empty());
    assert_eq!(first.apply(&plan(101)).unwrap().slots_written, 101);
    let mut drained = plan(101);
    drained.members[0].takes_new = false;
    drained.table = vec![1; 101];
    let done = first.apply(&drained).unwrap();
    assert_eq!((done.slots_written, done.at_risk), (51, 51));
    drop(first);

    let mut second = KernelDataplane::open(pins.settings()).unwrap();
    let adopted = second.adopted();
    assert_eq!(adopted.len(), 1);
    assert_eq!(adopted[0].vip, drained.vip);
    let backends = &adopted[0].backends;
    assert_eq!(
        (backends[0].takes_new, backends[0].usable, backends[0].slots),
        (false, true, 0)
    );
    assert_eq!(
        (backends[1].takes_new, backends[1].usable, backends[1].slots),
        (true, true, 101)
    );
    let done = second.apply(&drained).unwrap();
    assert_eq!((done.slots_written, done.at_risk), (0, 51));
    drop(second);

    let detached = detach(pins.path()).unwrap();
    assert!(
        detached.directory && detached.maps.len() == navigator_common::maps::ALL.len(),
        "{detached}"
    );
    assert!(!pins.path().exists());
    assert_eq!(detach(pins.path()).unwrap(), Default::default());
}

#[test]
fn a_second_daemon_is_refused_by_name() {
    let pins = Pins::new("lock");
    let first = KernelDataplane::open(pins.settings()).unwrap();
    let text = refusal(&pins.settings());
    assert!(
        text.contains(&format!("process {}", std::process::id())),
        "{text}"
    );
    assert!(matches!(detach(pins.path()), Err(OpenError::Locked { .. })));
    drop(first);
    KernelDataplane::open(pins.settings()).unwrap();
}

#[test]
fn pins_of_another_identity_size_or_version_are_refused() {
    let pins = Pins::new("mismatch");
    assert_eq!(KernelDataplane::pinned_identity(pins.path()), None);
    drop(KernelDataplane::open(pins.settings()).unwrap());
    let settings = pins.settings();
    assert_eq!(
        KernelDataplane::pinned_identity(pins.path()),
        Some((settings.hash_key, settings.plan_seed))
    );

    let mut other = settings.clone();
    other.plan_seed += 1;
    let error = KernelDataplane::open(other).err().unwrap();
    assert!(matches!(error, OpenError::Identity { .. }), "{error}");

    let mut larger = settings.clone();
    larger.sizes.slots = 5000;
    let text = refusal(&larger);
    assert!(
        text.contains("SLOTS has 4096 entries, the configuration says 5000"),
        "{text}"
    );
    assert!(text.contains("limits.slots"), "{text}");

    let slots = MapData::from_pin(pins.path().join("SLOTS_v1")).unwrap();
    slots.pin(pins.path().join("SLOTS_v99")).unwrap();
    let text = refusal(&settings);
    assert!(
        text.contains("SLOTS_v99") && text.contains("navigator detach"),
        "{text}"
    );

    let odd = KernelSettings {
        sizes: Sizes {
            flow_sets: 100,
            nat_flows: 1,
            ..SIZES
        },
        ..settings
    };
    assert!(refusal(&odd).contains("limits.flow_sets is 100"));
}

#[test]
fn a_failed_first_start_leaves_nothing() {
    private_network();
    let pins = Pins::new("failed");
    let mut settings = pins.settings();
    settings.interfaces = vec![interface("nosuch0", Attach::Auto)];
    assert!(refusal(&settings).contains("there is no interface nosuch0"));
    settings.interfaces = vec![interface("lo", Attach::Auto)];
    assert!(refusal(&settings).contains("no Ethernet address"));
    assert!(!pins.path().exists());
}

#[test]
fn a_new_daemon_swaps_its_program_into_the_same_link() {
    private_network();
    let pins = Pins::new("links");
    let mut settings = pins.settings();
    settings.interfaces = vec![
        interface("va", Attach::Auto),
        interface("vb", Attach::Generic),
    ];
    let link_of = |name: &str| {
        let pin =
            aya::programs::links::PinnedLink::from_pin(pins.path().join(format!("link_{name}")));
        let info = aya::programs::links::FdLink::from(pin.unwrap())
            .info()
            .unwrap();
        (info.id(), info.program_id())
    };
    let first = KernelDataplane::open(settings.clone()).unwrap();
    assert_eq!(
        first.interfaces(),
        [
            ("va".to_owned(), AttachMode::Native),
            ("vb".to_owned(), AttachMode::Generic)
        ]
    );
    let (link, program) = link_of("va");
    drop(first);
    assert_eq!(
        link_of("va"),
        (link, program),
        "the program stays when the daemon is gone"
    );

    let second = KernelDataplane::open(settings.clone()).unwrap();
    let (same_link, new_program) = link_of("va");
    assert_eq!(same_link, link);
    assert_ne!(new_program, program);
    drop(second);

    // One interface is dropped from the configuration, the other is wanted in another mode.
    settings.interfaces = vec![interface("va", Attach::Generic)];
    let third = KernelDataplane::open(settings).unwrap();
    assert_eq!(third.interfaces(), [("va".to_owned(), AttachMode::Generic)]);
    assert!(!pins.path().join("link_vb").exists());

    let other = Pins::new("links-other");
    let mut rival = other.settings();
    rival.interfaces = vec![interface("va", Attach::Auto)];
    assert!(refusal(&rival).contains("it has another XDP program"));
    drop(third);

    let (link, _) = link_of("va");
    assert_eq!(detach(pins.path()).unwrap().interfaces, ["va"]);
    assert!(loaded_links().flatten().all(|info| info.id() != link));
}

#[test]
fn an_interface_that_was_made_again_is_attached_again() {
    private_network();
    let pins = Pins::new("remade");
    let mut settings = pins.settings();
    settings.interfaces = vec![interface("va", Attach::Native)];
    drop(KernelDataplane::open(settings.clone()).unwrap());
    ip("link del va");
    ip("link add va type veth peer name vb");
    ip("link set va up");
    let again = KernelDataplane::open(settings).unwrap();
    assert_eq!(again.interfaces(), [("va".to_owned(), AttachMode::Native)]);
}

/// The program that the pinned link of `va` holds, and the interface that it is on.
fn linked(pins: &Pins) -> (u32, u32) {
    let link = PinnedLink::from_pin(pins.path().join("link_va")).unwrap();
    (
        FdLink::from(link).info().unwrap().program_id(),
        nix::net::if_::if_nametoindex("va").unwrap_or(0),
    )
}

/// Frames for `mac` that `va` takes from its peer, of which the program counts `counter`.
fn counted(plane: &KernelDataplane, mac: [u8; 6], counter: &str) -> u64 {
    let count = || {
        let counters = plane.figures().counters;
        counters.iter().find(|found| found.0 == counter).unwrap().1
    };
    let before = count();
    send_by("vb", &syn(mac));
    let end = Instant::now() + Duration::from_secs(2);
    while count() == before && Instant::now() < end {
        std::thread::sleep(Duration::from_millis(5));
    }
    count() - before
}

/// Sends a frame out of an interface.
fn send_by(interface: &str, frame: &[u8]) {
    let socket = socket(
        AddressFamily::Packet,
        SockType::Raw,
        SockFlag::empty(),
        None,
    )
    .unwrap();
    let to = libc::sockaddr_ll {
        sll_family: libc::AF_PACKET as u16,
        sll_protocol: 0,
        sll_ifindex: nix::net::if_::if_nametoindex(interface).unwrap() as i32,
        sll_hatype: 0,
        sll_pkttype: 0,
        sll_halen: 6,
        sll_addr: [0; 8],
    };
    // SAFETY: both pointers are to live values of the lengths given; the call keeps neither.
    let sent = unsafe {
        libc::sendto(
            socket.as_raw_fd(),
            frame.as_ptr().cast(),
            frame.len(),
            0,
            (&raw const to).cast(),
            size_of_val(&to) as libc::socklen_t,
        )
    };
    assert_eq!(sent, frame.len() as isize);
}

#[test]
fn a_running_daemon_follows_its_interfaces() {
    private_network();
    let pins = Pins::new("followed");
    let mut settings = pins.settings();
    settings.interfaces = vec![interface("va", Attach::Native)];
    let mut plane = KernelDataplane::open(settings).unwrap();
    let first = linked(&pins);
    plane.sweep();
    assert_eq!(linked(&pins), first, "nothing changed, nothing is loaded");

    let new = [2, 0, 0, 0, 0, 0x77];
    ip("link set va address 02:00:00:00:00:77");
    assert!(counted(&plane, new, "pass_other_mac") >= 1);
    plane.sweep();
    assert_ne!(linked(&pins).0, first.0);
    assert_eq!(counted(&plane, new, "pass_not_vip"), 1);
    assert_eq!(plane.figures().problems, Vec::<String>::new());

    ip("link del va");
    plane.sweep();
    assert!(plane.figures().problems[0].contains("there is no interface va"));

    ip("link add va address 02:00:00:00:00:78 type veth peer name vb");
    ip("link set va up");
    ip("link set vb up");
    plane.sweep();
    assert_eq!(plane.figures().problems, Vec::<String>::new());
    assert_ne!(linked(&pins), first);
    assert_eq!(counted(&plane, [2, 0, 0, 0, 0, 0x78], "pass_not_vip"), 1);
}

#[test]
fn the_program_forwards_by_the_tables_that_were_written() {
    let settings = KernelSettings {
        pins: None,
        interfaces: Vec::new(),
        hash_key: HashKey::from_words([1, 3, 5, 7, 9]),
        plan_seed: 42,
        sizes: SIZES,
        window: DEFAULT_WINDOW,
        tunnels: TunnelSettings::default(),
        nat: NatSettings::default(),
    };
    let mut plane = KernelDataplane::open(settings).unwrap();
    let balancer = [2, 0, 0, 0, 0, 1];
    let egress = plane.make_interface_for_test(1000, balancer).unwrap();
    let mut program = plane.load_program_for_test(balancer, egress).unwrap();
    let mut run = || {
        let packet = syn(balancer);
        let mut out = [0; 128];
        let result = program.xdp().unwrap().test_run(TestRunOptions {
            data_in: Some(&packet),
            data_out: Some(&mut out),
            ..TestRunOptions::default()
        });
        (result.unwrap().return_value, out)
    };
    const DROP: u32 = 1;
    const PASS: u32 = 2;
    const TX: u32 = 3;
    let counter = |plane: &KernelDataplane, name: &str| {
        let counters = plane.figures().counters;
        counters.iter().find(|counter| counter.0 == name).unwrap().1
    };

    assert_eq!(run().0, PASS);
    assert_eq!(counter(&plane, "pass_not_vip"), 1);
    plane.apply(&plan(101)).unwrap();
    assert_eq!(run().0, DROP);
    assert_eq!(counter(&plane, "drop_no_neighbour"), 1);

    for (host, last) in [("10.0.0.1", 1), ("10.0.0.2", 2)] {
        let hop = NextHop {
            mac: [2, 0, 0, 0, 1, last],
            ifindex: 1000,
            source: "10.0.0.250".parse().unwrap(),
            on_link: true,
            mtu: 1500,
        };
        plane
            .set_next_hop(host.parse().unwrap(), Some(hop))
            .unwrap();
    }
    let (action, frame) = run();
    assert_eq!(action, TX);
    assert_eq!(
        (&frame[..5], &frame[6..12]),
        (&[2, 0, 0, 0, 1][..], &balancer[..])
    );
    let figures = plane.figures();
    let served = &figures.vips[0].backends[usize::from(frame[5]) - 1];
    assert_eq!((served.packets, served.bytes), (1, 40));
    assert!(served.reachable);

    plane.remove(&plan(101).vip.key).unwrap();
    assert_eq!(run().0, PASS);
    for _ in 0..4 {
        plane.sweep();
    }
    plane.apply(&plan(101)).unwrap();
    let traffic: u64 = plane.figures().vips[0]
        .backends
        .iter()
        .map(|b| b.packets)
        .sum();
    assert_eq!(traffic, 0, "a new backend starts from zero");
}

#[test]
fn a_transport_header_that_tells_an_impossible_length_is_malformed() {
    let mut plane = KernelDataplane::open(KernelSettings {
        pins: None,
        interfaces: Vec::new(),
        hash_key: HashKey::from_words([1, 3, 5, 7, 9]),
        plan_seed: 42,
        sizes: SIZES,
        window: DEFAULT_WINDOW,
        tunnels: TunnelSettings::default(),
        nat: NatSettings::default(),
    })
    .unwrap();
    let balancer = [2, 0, 0, 0, 0, 1];
    let egress = plane.make_interface_for_test(1000, balancer).unwrap();
    plane.apply(&plan(101)).unwrap();
    let mut program = plane.load_program_for_test(balancer, egress).unwrap();
    let mut malformed = |protocol: u8, at: usize, value: u8| {
        let mut packet = syn(balancer);
        packet[23] = protocol;
        // As a UDP header: 20 bytes.
        packet[38..40].copy_from_slice(&[0, 20]);
        packet[at] = value;
        let result = program.xdp().unwrap().test_run(TestRunOptions {
            data_in: Some(&packet),
            ..TestRunOptions::default()
        });
        assert_eq!(
            result.unwrap().return_value,
            1,
            "dropped, for whatever reason"
        );
        let counters = plane.figures().counters;
        let found = counters.iter().find(|c| c.0 == "drop_malformed");
        found.unwrap().1
    };
    // Data offsets of 4 and of 6 words, where there is room for 5; then the one that is right.
    assert_eq!(malformed(6, 46, 0x40), 1);
    assert_eq!(malformed(6, 46, 0x60), 2);
    assert_eq!(malformed(6, 46, 0x50), 2);
    // UDP lengths of 7 and of 21 bytes, where there is room for 20; then one that is right.
    assert_eq!(malformed(17, 39, 7), 3);
    assert_eq!(malformed(17, 39, 21), 4);
    assert_eq!(malformed(17, 39, 19), 4);
}

/// A TCP SYN over IPv4 to 192.0.2.1:80.
fn syn(destination: [u8; 6]) -> Vec<u8> {
    let mut frame = Vec::new();
    frame.extend(destination);
    frame.extend([2, 0, 0, 0, 0, 9, 0x08, 0x00]);
    frame.extend([0x45, 0, 0, 40, 0, 0, 0x40, 0, 64, 6, 0x4e, 0x94]);
    frame.extend([198, 51, 100, 7, 192, 0, 2, 1]);
    frame.extend([0x9c, 0x40, 0, 80, 0, 0, 0, 1, 0, 0, 0, 0]);
    frame.extend([0x50, 0x02, 0xff, 0xff, 0, 0, 0, 0]);
    frame.resize(64, 0);
    frame
}
