//! Navigator's program over tables that Navigator's own writer filled.

use super::{Case, PASS, RUNS, TX, client_of};
use crate::packet::{LOCAL_MAC, ROUTER_MAC, Tcp, tcp};
use anyhow::{Context, Result, ensure};
use navigator_common::hash::HashKey;
use navigator_core::{
    model::{ForwardMode, Protocol, UdpPolicy, UnservedPolicy, VipKey},
    plan::{
        maglev,
        members::{Member, State},
    },
};
use navigator_user::dataplane::{
    DEFAULT_WINDOW, Dataplane, Figures, NextHop, Steering, VipPlan, VipSettings,
    kernel::{KernelDataplane, KernelSettings, LoadedProgram},
    nat::{NatSettings, Timeouts},
    store::Sizes,
    tunnel::TunnelSettings,
};
use std::{
    net::{IpAddr, Ipv4Addr, Ipv6Addr, SocketAddr},
    time::Duration,
};

const BACKENDS: u16 = 100;
const SLOTS: u32 = 65_537;
const SEED: u64 = 1;
/// Interface that backends are behind; it need not exist.
const IFINDEX: u32 = 1000;

/// Destination of the floors' packets; the IPv4 VIP in `l2`.
pub(super) const FLOOR_VIP: SocketAddr = vip4(1);
const IPIP4: SocketAddr = vip4(2);
const IP4IP6: SocketAddr = vip4(3);
const AT_RISK: SocketAddr = vip4(4);
const GUE4: SocketAddr = vip4(5);
const NAT: SocketAddr = vip4(6);
const NOT_A_VIP: SocketAddr = vip4(99);
/// As [`FLOOR_VIP`], for IPv6; the VIP in `ipip`.
pub(super) const FLOOR_VIP6: SocketAddr = SocketAddr::new(
    IpAddr::V6(Ipv6Addr::new(0xfd4e, 0x4156, 0, 0, 0, 0, 0, 1)),
    80,
);

const fn vip4(last: u8) -> SocketAddr {
    SocketAddr::new(IpAddr::V4(Ipv4Addr::new(10, 78, 0, last)), 80)
}

/// What a case sends where, and what must become of it.
struct Aim {
    name: &'static str,
    to: SocketAddr,
    flags: Tcp,
    growth: u32,
    verdict: u32,
    /// Its flows are opened by a SYN each before they are measured.
    opened: bool,
}

const fn aim(name: &'static str, to: SocketAddr, growth: u32) -> Aim {
    Aim {
        name,
        to,
        flags: Tcp::Ack,
        growth,
        verdict: TX,
        opened: false,
    }
}

const AIMS: &[Aim] = &[
    aim("l2", FLOOR_VIP, 0),
    Aim {
        flags: Tcp::Syn,
        ..aim("syn", FLOOR_VIP, 0)
    },
    aim("ipip4", IPIP4, 20),
    aim("ip6ip6", FLOOR_VIP6, 40),
    aim("ip4ip6", IP4IP6, 40),
    aim("gue", GUE4, 32),
    Aim {
        verdict: PASS,
        ..aim("pass", NOT_A_VIP, 0)
    },
    aim("at-risk", AT_RISK, 0),
    Aim {
        opened: true,
        ..aim("nat", NAT, 0)
    },
];

pub(super) struct Product {
    plane: KernelDataplane,
    program: LoadedProgram,
}

impl Product {
    pub(super) fn new() -> Result<Self> {
        let mut plane = KernelDataplane::open(KernelSettings {
            pins: None,
            interfaces: Vec::new(),
            hash_key: HashKey::from_words([
                0x243f_6a88_85a3_08d3,
                0x1319_8a2e_0370_7344,
                0xa409_3822_299f_31d0,
                0x082e_fa98_ec4e_6c89,
                0x4528_21e6_38d0_1377,
            ]),
            plan_seed: SEED,
            // As shipped: a million flows fill the cache to 95 %.
            sizes: Sizes {
                // Nearly full tables end flows like the benchmark's, which never get a reply, early.
                nat_flows: 1 << 21,
                ..Sizes::default()
            },
            nat: NatSettings {
                sources: vec![IpAddr::from([10, 79, 255, 2])],
                // What waits for its turn must not end meanwhile.
                timeouts: Timeouts {
                    opening: Duration::from_secs(24 * 3600),
                    ..Timeouts::default()
                },
                ..NatSettings::default()
            },
            window: DEFAULT_WINDOW,
            tunnels: TunnelSettings::default(),
        })?;
        let egress = plane.make_interface_for_test(IFINDEX, LOCAL_MAC)?;
        for (vip, mode, family) in [
            (FLOOR_VIP, ForwardMode::L2, 4),
            (IPIP4, ForwardMode::Ipip, 4),
            (IP4IP6, ForwardMode::Ipip, 6),
            (FLOOR_VIP6, ForwardMode::Ipip, 6),
            (GUE4, ForwardMode::Gue, 4),
            (NAT, ForwardMode::Nat, 4),
        ] {
            plane.apply(&plan(vip, mode, &backends(family, vip.port(), 0)))?;
        }
        // First one half of the backends, then only the other: every slot changes hands while
        // its old owner can still serve.
        let (old, new): (Vec<_>, Vec<_>) = backends(4, AT_RISK.port(), 0)
            .into_iter()
            .zip(backends(4, AT_RISK.port(), 1))
            .unzip();
        plane.apply(&plan(AT_RISK, ForwardMode::L2, &old))?;
        let applied = plane.apply(&handed_over(AT_RISK, &old, &new))?;
        ensure!(
            applied.at_risk == SLOTS,
            "only {} of {SLOTS} slots are at risk",
            applied.at_risk
        );
        for host in backends(4, 80, 0)
            .iter()
            .chain(&backends(4, 80, 1))
            .chain(&backends(6, 80, 0))
        {
            plane.set_next_hop(host.ip(), Some(next_hop(host.ip())))?;
        }
        let program = plane.load_program_for_test(LOCAL_MAC, egress)?;
        Ok(Self { plane, program })
    }

    pub(super) fn cases(&mut self) -> Result<Vec<Case>> {
        let fd = self.program.xdp()?.fd()?;
        let case = |aim: &Aim| {
            Ok(Case {
                name: aim.name,
                program: fd.try_clone()?,
                frame: tcp(client_of(aim.to), aim.to, aim.flags, &[0; 10]),
                growth: aim.growth,
                verdict: aim.verdict,
                opening: aim
                    .opened
                    .then(|| tcp(client_of(aim.to), aim.to, Tcp::Syn, &[0; 10])),
            })
        };
        AIMS.iter().map(case).collect()
    }

    /// Every run of every case was counted where it belongs: nothing else was measured.
    /// `measured` are the cases that ran.
    pub(super) fn check(&self, measured: &[Case]) -> Result<()> {
        let figures = self.plane.figures();
        let ran = |aim: &&Aim| measured.iter().any(|case| case.name == aim.name);
        let expected = |to: &dyn Fn(SocketAddr) -> bool| {
            let cases = AIMS.iter().filter(ran).filter(|aim| to(aim.to));
            let openings = cases.clone().filter(|aim| aim.opened).count() as u64;
            cases.count() as u64 * super::runs_of_a_case() + openings * u64::from(RUNS)
        };
        let counter = |name: &str| {
            let mut counters = figures.counters.iter();
            let found = counters.find(|(counter, _)| *counter == name);
            found
                .map(|(_, packets)| *packets)
                .with_context(|| format!("no counter {name}"))
        };
        for vip in &figures.vips {
            let packets: u64 = vip.backends.iter().map(|backend| backend.packets).sum();
            let expected = expected(&|to| {
                (to.ip(), Some(to.port())) == (vip.key.address, vip.key.ports.single())
            });
            // A flow of NAT may find no free port in its tries: one of a million did.
            let refused = if vip.key.address == NAT.ip() {
                expected / 10_000
            } else {
                0
            };
            ensure!(
                (expected - refused..=expected).contains(&packets),
                "{} forwarded {packets} packets, not {expected}; counted beside: {}",
                vip.key,
                counted(&figures)
            );
        }
        let (passed, sent) = (counter("pass_not_vip")?, expected(&|to| to == NOT_A_VIP));
        ensure!(passed == sent, "{passed} packets passed, not {sent}");
        let (hits, sent) = (counter("flow_hit")?, expected(&|to| to == AT_RISK));
        // A set has room for eight flows; by Poisson's law nine tenths of a million find theirs.
        ensure!(
            hits * 5 >= sent * 4,
            "only {hits} of {sent} at-risk packets were of remembered flows"
        );
        Ok(())
    }
}

/// All counters that are not 0, in words.
fn counted(figures: &Figures) -> String {
    let counters = figures.counters.iter().filter(|(_, packets)| *packets > 0);
    let words: Vec<_> = counters
        .map(|(name, packets)| format!("{name} {packets}"))
        .collect();
    words.join(", ")
}

fn backends(family: u8, port: u16, net: u8) -> Vec<SocketAddr> {
    (1..=BACKENDS)
        .map(|n| match family {
            4 => SocketAddr::from((Ipv4Addr::new(10, 79, net, n as u8), port)),
            _ => SocketAddr::from((Ipv6Addr::new(0xfd4e, 0x4156, 1, 0, 0, 0, 0, n), port)),
        })
        .collect()
}

fn next_hop(host: IpAddr) -> NextHop {
    let source = match host {
        IpAddr::V4(_) => IpAddr::from([10, 79, 255, 1]),
        IpAddr::V6(_) => IpAddr::from([0xfd4e, 0x4156, 1, 0, 0, 0, 0, 0xffff]),
    };
    NextHop {
        mac: ROUTER_MAC,
        ifindex: IFINDEX,
        source,
        on_link: false,
        mtu: 1500,
    }
}

fn plan(vip: SocketAddr, mode: ForwardMode, backends: &[SocketAddr]) -> VipPlan {
    let weighted: Vec<_> = backends.iter().map(|address| (*address, 100)).collect();
    VipPlan {
        vip: VipSettings {
            key: VipKey::new(vip.ip(), Protocol::Tcp, vip.port()),
            slots: SLOTS,
            mode,
            udp: UdpPolicy::Rehash,
            unserved: UnservedPolicy::Drop,
            steering: Steering::default(),
        },
        members: backends
            .iter()
            .map(|address| member(*address, true))
            .collect(),
        table: maglev::build(SEED, SLOTS, &weighted),
    }
}

/// The plan for `new`, with `old` still there to serve what it has.
fn handed_over(vip: SocketAddr, old: &[SocketAddr], new: &[SocketAddr]) -> VipPlan {
    let mut plan = plan(vip, ForwardMode::L2, new);
    plan.members
        .extend(old.iter().map(|address| member(*address, false)));
    plan
}

fn member(address: SocketAddr, takes_new: bool) -> Member {
    Member {
        address,
        weight: 100,
        state: if takes_new {
            State::Active
        } else {
            State::Draining
        },
        why: String::new(),
        takes_new,
        usable: true,
    }
}
