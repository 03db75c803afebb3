//! Source-address affinity: one client, one backend, whatever port, protocol
//! and connection, also across a table change.

use crate::world::{PORT, TCP, UDP};
use anyhow::{Context, Result, ensure};
use navigator_core::model::{Affinity, ForwardMode, Ports, Protocol, UdpPolicy, VipKey};
use navigator_tests::packet::{
    Family,
    addresses::host_mac,
    bed::{self, Bed, Role, SLOTS},
    frame::{self, Tcp},
};
use navigator_user::dataplane::{Steering, VipSettings};
use std::net::SocketAddr;

const BACKENDS: u8 = 8;

/// A VIP with all ports and both protocols whose clients have affinity.
fn settings(family: Family, number: u8, ports: Ports) -> VipSettings {
    let address = family.vip(number, 1);
    VipSettings {
        key: VipKey {
            ports,
            ..VipKey::new(address.ip(), Protocol::Both, 1)
        },
        udp: UdpPolicy::Sticky,
        steering: Steering {
            affinity: Affinity::Source,
            ..Steering::default()
        },
        ..bed::vip(address, TCP, ForwardMode::L2)
    }
}

/// Gives slot `n` to backend `(n + turn) % BACKENDS`, counted from 1; `dead` serve nobody.
fn serve(
    bed: &mut Bed,
    vip: &VipSettings,
    family: Family,
    turn: u32,
    roles: &[Role],
) -> Result<()> {
    let backends: Vec<_> = (1..)
        .map(|n| family.backend(n, PORT))
        .zip(roles.iter().copied())
        .collect();
    let active: Vec<usize> = (0..roles.len())
        .filter(|&n| roles[n] == Role::Active)
        .collect();
    bed.spread(vip, &backends, |slot| {
        active
            .get((slot + turn) as usize % active.len().max(1))
            .copied()
    })?;
    Ok(())
}

/// The backend that a packet goes to.
fn owner(bed: &mut Bed, packet: &[u8], family: Family) -> Result<u8> {
    let outcome = bed.run(packet)?;
    let mac = outcome.frame.get(..6).context("no frame")?;
    let mut all = 1..=BACKENDS;
    all.find(|&n| host_mac(family.backend(n, PORT).ip()) == mac)
        .with_context(|| format!("{:?}: to no backend", outcome.action))
}

fn packet(protocol: Protocol, client: SocketAddr, vip: SocketAddr, flags: Tcp) -> Vec<u8> {
    match protocol {
        TCP => frame::tcp(client, vip, flags, b"x"),
        _ => frame::udp(client, vip, b"x"),
    }
}

#[test]
fn a_client_has_one_backend_for_all_ports_and_protocols() -> Result<()> {
    for family in Family::BOTH {
        let mut bed = Bed::new()?;
        let vip = settings(family, 1, Ports::ALL);
        serve(
            &mut bed,
            &vip,
            family,
            0,
            &[Role::Active; BACKENDS as usize],
        )?;
        let mut used = [0u32; BACKENDS as usize + 1];
        for number in 1..200u8 {
            let mut own = None;
            for port in [1024u16, 5000, 65_535] {
                for (protocol, to) in [(TCP, 80), (TCP, 8443), (UDP, 443), (UDP, 53)] {
                    for flags in [Tcp::Syn, Tcp::Ack] {
                        let client = family.client(number, port);
                        let frame = packet(protocol, client, family.vip(1, to), flags);
                        let owner = owner(&mut bed, &frame, family)?;
                        ensure!(
                            *own.get_or_insert(owner) == owner,
                            "{client} to {to}/{protocol}"
                        );
                    }
                }
            }
            used[usize::from(own.unwrap_or(0))] += 1;
        }
        ensure!(
            used[1..].iter().all(|n| *n > 5),
            "clients spread over all: {used:?}"
        );
    }
    Ok(())
}

/// Clients that were seen stay, new connections and all; those that were not follow the table.
#[test]
fn a_known_client_stays_when_the_table_changes() -> Result<()> {
    for family in Family::BOTH {
        let mut bed = Bed::new()?;
        let vip = settings(family, 1, Ports::ALL);
        let all = [Role::Active; BACKENDS as usize];
        serve(&mut bed, &vip, family, 0, &all)?;
        let syn = |number: u8, port| {
            let client = family.client(number, port);
            packet(TCP, client, family.vip(1, 80), Tcp::Syn)
        };
        let ack = |number: u8, port| {
            let client = family.client(number, port);
            packet(TCP, client, family.vip(1, 80), Tcp::Ack)
        };
        let mut before = Vec::new();
        for number in 1..=40 {
            before.push(owner(&mut bed, &syn(number, 2000), family)?);
            owner(&mut bed, &ack(number, 2000), family)?;
        }
        serve(&mut bed, &vip, family, 1, &all)?;
        let mut moved = 0;
        for (number, before) in (1..=40).zip(&before) {
            for frame in [syn(number, 3000), ack(number, 2000), ack(number, 3000)] {
                ensure!(
                    owner(&mut bed, &frame, family)? == *before,
                    "client {number} moved"
                );
            }
            let fresh = owner(&mut bed, &syn(number + 100, 2000), family)?;
            moved += u32::from(fresh != 0);
        }
        ensure!(moved == 40, "new clients are served");
        // A backend that drains keeps its clients, also their new connections; a dead one does not.
        let victim = before[0];
        for (role, stays) in [(Role::Draining, true), (Role::Dead, false)] {
            let mut roles = all;
            roles[usize::from(victim) - 1] = role;
            serve(&mut bed, &vip, family, 1, &roles)?;
            let now = owner(&mut bed, &syn(1, 4000), family)?;
            ensure!(
                (now == victim) == stays,
                "{role:?}: client 1 of {victim} at {now}"
            );
        }
    }
    Ok(())
}

/// Two VIPs of one address remember the same client each for itself.
#[test]
fn vips_of_one_address_do_not_share_clients() -> Result<()> {
    for family in Family::BOTH {
        let mut bed = Bed::new()?;
        let client = family.client(7, 2000);
        let mut seen = Vec::new();
        for (port, number) in [(80, 1u8), (443, 2)] {
            let vip = settings(family, 1, Ports::one(port));
            let backend = family.backend(number, PORT);
            bed.serve(&vip, &[(backend, Role::Active)])?;
            for _ in 0..3 {
                for flags in [Tcp::Syn, Tcp::Ack] {
                    let frame = packet(TCP, client, family.vip(1, port), flags);
                    seen.push((port, owner(&mut bed, &frame, family)?));
                }
            }
        }
        let frame = packet(TCP, client, family.vip(1, 80), Tcp::Ack);
        seen.push((80, owner(&mut bed, &frame, family)?));
        let wanted = |(port, owner): &(u16, u8)| *owner == if *port == 80 { 1 } else { 2 };
        ensure!(seen.iter().all(wanted), "{seen:?}");
    }
    ensure!(SLOTS > u32::from(BACKENDS));
    Ok(())
}
