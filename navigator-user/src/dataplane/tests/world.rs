//! A small world for random histories: VIPs of every kind on three addresses
//! and two prefixes, six hosts, and what becomes of them.

use crate::dataplane::{NOBODY, NextHop, Steering, VipPlan, VipSettings};
use navigator_core::{
    model::{ForwardMode, Protocol, QuicConfigs, ServerId, UdpPolicy, UnservedPolicy, VipKey},
    plan::members::{Member, State},
};
use proptest::prelude::*;
use std::net::{IpAddr, SocketAddr};

pub(super) const VIPS: usize = 15;
pub(super) const HOSTS: usize = 6;

pub(super) fn key(index: usize) -> VipKey {
    use Protocol::{Both, Tcp, Udp};
    let (address, protocol, ports) = [
        ("192.0.2.1", Tcp, "80"),
        ("192.0.2.1", Tcp, "443"),
        ("192.0.2.1", Udp, "53"),
        ("192.0.2.2", Tcp, "80"),
        ("192.0.2.2", Tcp, "443"),
        ("192.0.2.2", Udp, "53"),
        ("2001:db8::53", Tcp, "80"),
        ("2001:db8::53", Tcp, "443"),
        ("2001:db8::53", Udp, "53"),
        ("192.0.2.1", Tcp, "8000-8999"),
        ("192.0.2.1", Both, "8500-8509"),
        ("192.0.2.1", Both, "0"),
        ("2001:db8:1::/64", Tcp, "80"),
        ("2001:db8:1::/64", Both, "443"),
        ("2001:db8:1::/80", Udp, "0"),
    ][index];
    let (address, prefix) = address.split_once('/').unwrap_or((address, ""));
    let address: IpAddr = address.parse().unwrap();
    VipKey {
        address,
        prefix: prefix.parse().unwrap_or(VipKey::whole(address)),
        protocol,
        ports: ports.parse().unwrap(),
    }
}

/// The port of a VIP's instances.
pub(super) fn port(key: &VipKey) -> u16 {
    key.ports.first().max(1)
}

/// One packet of each protocol that is for this VIP and not for another one of [`key`] that
/// has it as well: address, protocol, port.
pub(super) fn probes(key: &VipKey) -> Vec<(IpAddr, u8, u16)> {
    let address = match (key.address, key.prefix) {
        (_, 64) => "2001:db8:1:0:5::7".parse().unwrap(),
        (_, 80) => "2001:db8:1::7".parse().unwrap(),
        (address, _) => address,
    };
    let numbers = key.protocol.numbers().iter();
    numbers
        .map(|&number| (address, number, port(key)))
        .collect()
}

pub(super) const fn slots(index: usize) -> u32 {
    [5, 7, 11][index % 3]
}

pub(super) fn host(index: usize) -> IpAddr {
    let hosts = [
        "10.0.0.1", "10.0.0.2", "10.0.1.1", "10.0.1.2", "fd00::1", "fd00::2",
    ];
    hosts[index].parse().unwrap()
}

pub(super) fn hop(index: usize, variant: u8) -> NextHop {
    let source = match (host(index), variant % 2) {
        (IpAddr::V4(_), 0) => "10.0.0.250",
        (IpAddr::V4(_), _) => "10.0.0.251",
        (IpAddr::V6(_), 0) => "fd00::fa",
        (IpAddr::V6(_), _) => "fd00::fb",
    };
    NextHop {
        mac: [2, 0, 0, 1, index as u8, variant / 2],
        ifindex: 2 + u32::from(variant % 3),
        source: source.parse().unwrap(),
        on_link: variant.is_multiple_of(2),
        mtu: 1500 + u16::from(variant),
    }
}

/// What an instance is in a plan.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub(super) enum Role {
    Absent,
    Active,
    Draining,
    Dead,
}

/// One thing that happens.
#[derive(Clone, Debug)]
pub(super) enum Step {
    Apply {
        vip: usize,
        roles: [Role; HOSTS],
        /// Picks the owner of each slot.
        spread: u64,
        ipip: bool,
        sticky: bool,
        pass: bool,
    },
    Remove(usize),
    State(usize, usize, Role),
    Hop(usize, Option<u8>),
    Sweep,
    /// So many units of time pass.
    Time(u32),
    /// The program remembers a flow of this slot, now or just before the next grace period.
    Flow {
        vip: usize,
        slot: u32,
        set: u32,
        previous: bool,
        late: bool,
    },
    Restart,
}

pub(super) fn plan(step: &Step) -> Option<VipPlan> {
    let Step::Apply {
        vip,
        roles,
        spread,
        ipip,
        sticky,
        pass,
    } = step
    else {
        return None;
    };
    let key = key(*vip);
    let members: Vec<Member> = roles
        .iter()
        .enumerate()
        .filter(|(_, role)| **role != Role::Absent)
        .map(|(index, role)| member(SocketAddr::new(host(index), port(&key)), *role))
        .collect();
    let takers: Vec<u32> = (0..members.len() as u32)
        .filter(|&index| members[index as usize].takes_new)
        .collect();
    let owner = |slot: u32| {
        let pick = spread.rotate_left(slot * 7) as usize;
        takers
            .get(pick % takers.len().max(1))
            .copied()
            .unwrap_or(NOBODY)
    };
    Some(VipPlan {
        vip: VipSettings {
            key,
            slots: slots(*vip),
            mode: if *ipip {
                ForwardMode::Ipip
            } else {
                ForwardMode::L2
            },
            udp: if *sticky {
                UdpPolicy::Sticky
            } else {
                UdpPolicy::Rehash
            },
            unserved: if *pass {
                UnservedPolicy::Pass
            } else {
                UnservedPolicy::Drop
            },
            steering: steering(&key, *spread),
        },
        members,
        table: (0..slots(*vip)).map(owner).collect(),
    })
}

/// QUIC for VIPs that have UDP: each host has a server id of its own, which changes at times.
fn steering(key: &VipKey, spread: u64) -> Steering {
    let mut quic = QuicConfigs::default();
    if key.protocol != Protocol::Tcp {
        quic.set(0, 1);
    }
    let server_id = |index: usize| ServerId::new(&[index as u8 + (spread % 3) as u8]).unwrap();
    let address = |index| SocketAddr::new(host(index), port(key));
    Steering {
        quic,
        server_ids: (0..HOSTS)
            .map(|index| (server_id(index), address(index)))
            .collect(),
        ..Steering::default()
    }
}

pub(super) fn member(address: SocketAddr, role: Role) -> Member {
    let (takes_new, usable) = flags(role);
    Member {
        address,
        weight: 100,
        state: State::Active,
        why: String::new(),
        takes_new,
        usable,
    }
}

pub(super) const fn flags(role: Role) -> (bool, bool) {
    match role {
        Role::Active => (true, true),
        Role::Draining => (false, true),
        Role::Dead | Role::Absent => (false, false),
    }
}

fn role() -> impl Strategy<Value = Role> {
    prop_oneof![
        2 => Just(Role::Absent),
        4 => Just(Role::Active),
        1 => Just(Role::Draining),
        1 => Just(Role::Dead),
    ]
}

pub(super) fn apply() -> impl Strategy<Value = Step> {
    let roles = prop::array::uniform6(role());
    let rare = || prop::bool::weighted(0.2);
    (0..VIPS, roles, any::<u64>(), rare(), rare(), rare()).prop_map(
        |(vip, roles, spread, ipip, sticky, pass)| Step::Apply {
            vip,
            roles,
            spread,
            ipip,
            sticky,
            pass,
        },
    )
}

fn step() -> impl Strategy<Value = Step> {
    prop_oneof![
        8 => apply(),
        2 => (0..VIPS).prop_map(Step::Remove),
        1 => (0..VIPS, 0..HOSTS, role()).prop_map(|(vip, host, role)| Step::State(vip, host, role)),
        4 => (0..HOSTS, prop::option::weighted(0.8, 0u8..6)).prop_map(|(host, hop)| Step::Hop(host, hop)),
        3 => Just(Step::Sweep),
        2 => (1u32..4000).prop_map(Step::Time),
        4 => (0..VIPS, 0u32..11, 0u32..4, any::<bool>(), any::<bool>())
            .prop_map(|(vip, slot, set, previous, late)| Step::Flow { vip, slot, set, previous, late }),
        1 => Just(Step::Restart),
    ]
}

pub(super) fn history() -> impl Strategy<Value = Vec<Step>> {
    prop::collection::vec(step(), 1..60)
}
