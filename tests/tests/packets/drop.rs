//! What is for a VIP's address and cannot be served is dropped under its own reason.

use crate::world::{DROPS, PORT, TCP, UDP, client, key, l2_world, packet};
use anyhow::Result;
use navigator_common::reason::Reason;
use navigator_core::model::ForwardMode;
use navigator_tests::packet::{
    Family,
    bed::{self, Bed, Role},
    expect::{dropped, ipip, l2},
    frame::{other, udp},
    row::row,
};

#[test]
fn what_no_vip_serves_under_policy_drop() -> Result<()> {
    let mut rows = Vec::new();
    for family in Family::BOTH {
        let vip = family.vip(DROPS, PORT);
        let mut add = |name: String, packet| {
            rows.push(row(
                format!("{family:?}: {name}"),
                packet,
                dropped(Reason::DropUnserved),
            ));
        };
        for port in [1, 22, PORT - 1, PORT + 1, PORT.swap_bytes(), u16::MAX] {
            for protocol in [TCP, UDP] {
                let vip = family.vip(DROPS, port);
                add(
                    format!("{protocol} port {port}"),
                    packet(protocol, vip, b"hello"),
                );
            }
        }
        for (protocol, name) in [
            (4, "IPv4 in IP"),
            (41, "IPv6 in IP"),
            (47, "GRE"),
            (132, "SCTP"),
            (255, "protocol 255"),
        ] {
            let packet = other(client(family).ip(), vip.ip(), protocol, &[0; 40]);
            add(name.to_owned(), packet);
        }
    }
    l2_world()?.check(&rows)
}

#[test]
fn one_protocol_of_a_port_is_not_the_other() -> Result<()> {
    let mut bed = Bed::new()?;
    let mut rows = Vec::new();
    for family in Family::BOTH {
        for (protocol, other, port) in [(TCP, UDP, 443), (UDP, TCP, 53)] {
            let (vip, backend) = (family.vip(1, port), family.backend(1, port));
            let settings = bed::vip(vip, protocol, ForwardMode::L2);
            bed.serve(&settings, &[(backend, Role::Active)])?;
            rows.push(row(
                format!("{family:?}: {protocol} is served on {port}"),
                packet(protocol, vip, b"hello"),
                l2(key(vip, protocol), backend),
            ));
            rows.push(row(
                format!("{family:?}: {other} is not served on {port}"),
                packet(other, vip, b"hello"),
                dropped(Reason::DropUnserved),
            ));
        }
    }
    bed.check(&rows)
}

#[test]
fn no_backend_takes_new_flows() -> Result<()> {
    let mut bed = Bed::new()?;
    let mut rows = Vec::new();
    for family in Family::BOTH {
        for mode in [ForwardMode::L2, ForwardMode::Ipip] {
            for protocol in [TCP, UDP] {
                let vip = family.vip(if mode == ForwardMode::L2 { 1 } else { 2 }, PORT);
                bed.serve(&bed::vip(vip, protocol, mode), &[])?;
                rows.push(row(
                    format!("{family:?}, {mode}, {protocol}"),
                    packet(protocol, vip, b"hello"),
                    dropped(Reason::DropNoBackend),
                ));
            }
        }
    }
    bed.check(&rows)
}

#[test]
fn a_backend_without_a_known_mac_address() -> Result<()> {
    let mut bed = Bed::new()?;
    let (mut lost, mut found) = (Vec::new(), Vec::new());
    for family in Family::BOTH {
        for mode in [ForwardMode::L2, ForwardMode::Ipip] {
            let number = if mode == ForwardMode::L2 { 1 } else { 2 };
            let (vip, backend) = (family.vip(number, PORT), family.backend(number, PORT));
            bed.serve(&bed::vip(vip, TCP, mode), &[(backend, Role::Active)])?;
            bed.lose(backend.ip())?;
            let name = format!("{family:?}, {mode}");
            let packet = packet(TCP, vip, b"hello");
            lost.push(row(&name, packet.clone(), dropped(Reason::DropNoNeighbour)));
            found.push(match mode {
                ForwardMode::L2 => row(&name, packet, l2(key(vip, TCP), backend)),
                _ => row(&name, packet, ipip(key(vip, TCP), backend, family.local())),
            });
        }
    }
    bed.check(&lost)?;
    for family in Family::BOTH {
        for number in [1, 2] {
            bed.reach(family.backend(number, PORT).ip(), bed::IFINDEX)?;
        }
    }
    bed.check(&found)
}

/// The interface that leads to the backend is in no device map.
#[test]
fn an_interface_that_cannot_be_used() -> Result<()> {
    const GONE: u32 = 4002;
    let mut bed = Bed::new()?;
    bed.plane()
        .make_interface_for_test(GONE, [2, 0, 0, 0, 0, 2])?;
    let mut rows = Vec::new();
    for family in Family::BOTH {
        for mode in [ForwardMode::L2, ForwardMode::Ipip] {
            let number = if mode == ForwardMode::L2 { 1 } else { 2 };
            let (vip, backend) = (family.vip(number, PORT), family.backend(number, PORT));
            bed.serve(&bed::vip(vip, UDP, mode), &[(backend, Role::Active)])?;
            bed.reach(backend.ip(), GONE)?;
            rows.push(row(
                format!("{family:?}, {mode}"),
                udp(client(family), vip, b"query"),
                dropped(Reason::DropNoEgress),
            ));
        }
    }
    bed.check(&rows)
}
