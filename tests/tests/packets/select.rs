//! A flow's hash names a slot, the slot names a backend, and nothing else has a say.

use crate::world::{PORT, TCP, UDP, key};
use anyhow::{Result, ensure};
use navigator_common::slot::slot_index;
use navigator_core::model::{ForwardMode, Protocol};
use navigator_tests::packet::{
    Family, Tcp,
    bed::{self, Bed, Role, SLOTS},
    edit::padded,
    expect::l2,
    flow::hash,
    frame::{tcp, tcp_with_options, udp},
    row::row,
};
use rand::{RngExt as _, SeedableRng as _, rngs::StdRng};
use std::{
    collections::BTreeSet,
    net::{IpAddr, SocketAddr},
};

const BACKENDS: usize = 7;
/// Together 2,000.
const FLOWS_OF_EACH: usize = 500;

/// The owner of a slot: neighbours differ, and shares are as equal as can be.
const fn owner(slot: u32) -> usize {
    (slot as usize * 3) % BACKENDS
}

/// VIPs of both families and protocols, each with its table spread over all backends.
fn spread() -> Result<Bed> {
    let mut bed = Bed::new()?;
    for family in Family::BOTH {
        for protocol in [TCP, UDP] {
            let vip = bed::vip(family.vip(1, PORT), protocol, ForwardMode::L2);
            let backends: Vec<_> = (0..BACKENDS)
                .map(|index| (backend(family, index), Role::Active))
                .collect();
            bed.spread(&vip, &backends, |slot| Some(owner(slot)))?;
        }
    }
    Ok(bed)
}

fn backend(family: Family, index: usize) -> SocketAddr {
    family.backend(1 + index as u8, PORT)
}

fn slot_of(client: SocketAddr, vip: SocketAddr, protocol: Protocol) -> u32 {
    slot_index(hash(client, vip, protocol.number()), SLOTS)
}

#[test]
fn random_flows_go_to_the_owner_of_their_slot() -> Result<()> {
    let mut random = StdRng::seed_from_u64(0x006e_6176);
    let mut rows = Vec::new();
    for family in Family::BOTH {
        for protocol in [TCP, UDP] {
            let vip = family.vip(1, PORT);
            let mut slots = BTreeSet::new();
            for n in 0..FLOWS_OF_EACH {
                // Global unicast: others are not served from everywhere.
                let ip = match family {
                    Family::V4 => {
                        IpAddr::from(random.random_range(128u32 << 24..224 << 24).to_be_bytes())
                    }
                    Family::V6 => {
                        IpAddr::from((random.random::<u128>() >> 3 | 1 << 125).to_be_bytes())
                    }
                };
                let client = SocketAddr::new(ip, random.random_range(1..=u16::MAX));
                let slot = slot_of(client, vip, protocol);
                slots.insert(slot);
                let packet = match (protocol, n % 2) {
                    (TCP, 0) => tcp(client, vip, Tcp::Syn, b""),
                    (TCP, _) => tcp(client, vip, Tcp::Ack, b"hello"),
                    (UDP | Protocol::Both, _) => udp(client, vip, b"query"),
                };
                rows.push(row(
                    format!("{protocol}, client {client}, slot {slot}"),
                    packet,
                    l2(key(vip, protocol), backend(family, owner(slot))),
                ));
            }
            ensure!(slots.len() > 150, "only {} slots were tried", slots.len());
        }
    }
    ensure!(rows.len() == 2000);
    spread()?.check(&rows)
}

#[test]
fn all_packets_of_a_flow_go_the_same_way() -> Result<()> {
    let mut rows = Vec::new();
    for family in Family::BOTH {
        let vip = family.vip(1, PORT);
        for port in [1, 1024, 40_000, u16::MAX] {
            let client = family.client(3, port);
            let owner = backend(family, owner(slot_of(client, vip, TCP)));
            let mut add = |name: &str, packet| {
                rows.push(row(
                    format!("client {client}: {name}"),
                    packet,
                    l2(key(vip, TCP), owner),
                ));
            };
            for flags in [Tcp::Syn, Tcp::SynAck, Tcp::Ack, Tcp::Fin, Tcp::Rst] {
                add(&format!("{flags:?}"), tcp(client, vip, flags, b""));
                add(
                    &format!("{flags:?} with data"),
                    tcp(client, vip, flags, &[7; 900]),
                );
            }
            let bare = tcp(client, vip, Tcp::Ack, b"");
            add("padded", padded(&bare, 90));
            if family == Family::V4 {
                add(
                    "IPv4 options",
                    tcp_with_options(client, vip, &[1; 12], Tcp::Ack, b""),
                );
            }
        }
    }
    spread()?.check(&rows)
}

/// In the middle of the table, at its ends, and nowhere else.
#[test]
fn a_change_of_one_slot_moves_its_flows_only() -> Result<()> {
    for family in Family::BOTH {
        let (vip, old, new) = (family.vip(1, PORT), backend(family, 0), backend(family, 1));
        let mut bed = Bed::new()?;
        let settings = bed::vip(vip, UDP, ForwardMode::L2);
        let backends = [(old, Role::Active), (new, Role::Active)];
        for moved in [0, 1, 125, 249, 250] {
            bed.spread(&settings, &backends, |slot| {
                Some(usize::from(slot == moved))
            })?;
            let mut tried = BTreeSet::new();
            let mut rows = Vec::new();
            for port in 1..2000 {
                let client = family.client(5, port);
                let slot = slot_of(client, vip, UDP);
                if !(slot == moved || slot == moved + 1 || slot + 1 == moved) {
                    continue;
                }
                tried.insert(slot);
                rows.push(row(
                    format!("{family:?}, slot {moved} moved: client {client} of slot {slot}"),
                    udp(client, vip, b"query"),
                    l2(key(vip, UDP), if slot == moved { new } else { old }),
                ));
            }
            ensure!(
                tried.contains(&moved) && tried.len() > 1,
                "tried only {tried:?}"
            );
            bed.check(&rows)?;
        }
    }
    Ok(())
}
