//! `nat`: other addresses and ports towards the backend, and back towards the client.

use crate::world::{TCP, UDP, client, payload};
use anyhow::{Result, ensure};
use navigator_common::reason::Reason;
use navigator_core::model::{ForwardMode, Protocol, UnservedPolicy};
use navigator_tests::packet::{
    Family, ROUTER_MAC, Tcp,
    bed::{self, Bed, Role, SIZES},
    edit::{padded, patched},
    expect::{dropped, passed},
    frame::{ETH, other, tcp, tcp_with_options, udp, udp_with_options},
    nat::{self, Scene, to_backend, to_client},
    row::row,
};
use navigator_user::dataplane::{VipSettings, nat::NatSettings, store::Sizes};
use std::{collections::BTreeSet, net::SocketAddr};

/// Port that the backends listen on; the VIPs have another.
pub(crate) const BACKEND_PORT: u16 = 8080;
/// Port of the VIPs.
const VIP_PORT: u16 = 80;

/// Backend number `number`.
pub(crate) fn backend(family: Family, number: u8) -> SocketAddr {
    family.backend(number, BACKEND_PORT)
}

/// One VIP of each family and protocol in turn, with its first backend, in a bed of its own.
pub(crate) fn scene_with(
    family: Family,
    protocol: Protocol,
    settings: NatSettings,
    flows: u32,
) -> Result<Scene> {
    let sizes = Sizes {
        nat_flows: flows,
        ..SIZES
    };
    let mut scene = Scene {
        bed: Bed::with_nat(settings.clone(), sizes)?,
        settings,
        vip: bed::vip(family.vip(1, VIP_PORT), protocol, ForwardMode::Nat),
    };
    scene.serve(&[(backend(family, 1), Role::Active)])?;
    Ok(scene)
}

pub(crate) fn scene(family: Family, protocol: Protocol) -> Result<Scene> {
    scene_with(family, protocol, nat::settings(1), 64)
}

/// Runs a test for each family and protocol.
pub(crate) fn in_all(test: impl Fn(Family, Protocol) -> Result<()>) -> Result<()> {
    for family in Family::BOTH {
        for protocol in [TCP, UDP] {
            test(family, protocol).map_err(|why| why.context(format!("{family:?}, {protocol}")))?;
        }
    }
    Ok(())
}

/// A packet of an established flow, in either direction.
pub(crate) fn later(
    protocol: Protocol,
    from: SocketAddr,
    to: SocketAddr,
    payload: &[u8],
) -> Vec<u8> {
    match protocol {
        TCP => tcp(from, to, Tcp::Ack, payload),
        UDP => udp(from, to, payload),
    }
}

#[test]
fn both_directions_of_a_flow_to_the_byte() -> Result<()> {
    in_all(|family, protocol| {
        let mut scene = scene(family, protocol)?;
        let (client, backend, vip) = (client(family), backend(family, 1), scene.vip.key);
        let target = scene.target();
        let source = scene.open(client, backend)?;
        let mut rows = Vec::new();
        for length in [0, 1, 2, 3, 63, 64, 512, 1400, 1432] {
            let payload = payload(length);
            rows.push(row(
                format!("{length} bytes to the backend"),
                later(protocol, client, target, &payload),
                to_backend(vip, source, backend),
            ));
            rows.push(row(
                format!("{length} bytes to the client"),
                later(protocol, backend, source, &payload),
                to_client(vip, backend, client, ROUTER_MAC),
            ));
        }
        scene.bed.check(&rows)
    })
}

#[test]
fn every_kind_of_tcp_segment() -> Result<()> {
    for family in Family::BOTH {
        let mut scene = scene(family, TCP)?;
        let (client, backend, vip) = (client(family), backend(family, 1), scene.vip.key);
        let target = scene.target();
        let source = scene.open(client, backend)?;
        let mut rows = Vec::new();
        for flags in [Tcp::Syn, Tcp::Ack, Tcp::Fin, Tcp::Rst, Tcp::SynAck] {
            rows.push(row(
                format!("{flags:?} to the backend"),
                tcp(client, target, flags, b""),
                to_backend(vip, source, backend),
            ));
            rows.push(row(
                format!("{flags:?} to the client"),
                tcp(backend, source, flags, b""),
                to_client(vip, backend, client, ROUTER_MAC),
            ));
        }
        scene.bed.check(&rows)?;
    }
    Ok(())
}

#[test]
fn ipv4_options_and_ethernet_padding_are_kept() -> Result<()> {
    for protocol in [TCP, UDP] {
        let mut scene = scene(Family::V4, protocol)?;
        let (client, backend, vip) = (client(Family::V4), backend(Family::V4, 1), scene.vip.key);
        let target = scene.target();
        let source = scene.open(client, backend)?;
        let mut rows = Vec::new();
        for words in [1, 2, 10] {
            let options = [vec![1; words * 4 - 1], vec![0]].concat();
            let with_options = |from, to| match protocol {
                TCP => tcp_with_options(from, to, &options, Tcp::Ack, b"hello"),
                UDP => udp_with_options(from, to, &options, b"hello"),
            };
            rows.push(row(
                format!("{words} words to the backend"),
                with_options(client, target),
                to_backend(vip, source, backend),
            ));
            rows.push(row(
                format!("{words} words to the client"),
                with_options(backend, source),
                to_client(vip, backend, client, ROUTER_MAC),
            ));
        }
        let bare = later(protocol, client, target, b"");
        rows.push(row(
            "padding",
            padded(&bare, bare.len() + 18),
            to_backend(vip, source, backend),
        ));
        scene.bed.check(&rows)?;
    }
    Ok(())
}

/// Sums that fold in every way: 65,536 payloads of two bytes.
#[test]
fn every_checksum_is_right() -> Result<()> {
    in_all(|family, protocol| {
        let mut scene = scene(family, protocol)?;
        let (client, backend) = (client(family), backend(family, 1));
        let target = scene.target();
        let source = scene.open(client, backend)?;
        let macs = (navigator_tests::packet::LOCAL_MAC, ROUTER_MAC);
        for word in (0..=u16::MAX).step_by(509) {
            let reply = later(protocol, backend, source, &word.to_be_bytes());
            let want = nat::rewritten(&reply, (target, client), macs);
            let got = scene.sent(&reply)?;
            ensure!(
                got == want,
                "payload {word:#06x}: {got:02x?}, not {want:02x?}"
            );
        }
        Ok(())
    })
}

#[test]
fn a_datagram_without_a_checksum_stays_without() -> Result<()> {
    let mut scene = scene(Family::V4, UDP)?;
    let (client, backend, vip) = (client(Family::V4), backend(Family::V4, 1), scene.vip.key);
    let target = scene.target();
    let source = scene.open(client, backend)?;
    let without = |frame: Vec<u8>| patched(&frame, ETH + 20 + 6, &[0, 0]);
    scene.bed.check(&[
        row(
            "to the backend",
            without(udp(client, target, b"hello")),
            to_backend(vip, source, backend),
        ),
        row(
            "to the client",
            without(udp(backend, source, b"hello")),
            to_client(vip, backend, client, ROUTER_MAC),
        ),
    ])
}

#[test]
fn replies_go_where_the_clients_last_packet_came_from() -> Result<()> {
    in_all(|family, protocol| {
        let mut scene = scene(family, protocol)?;
        let (client, backend, vip) = (client(family), backend(family, 1), scene.vip.key);
        let target = scene.target();
        let source = scene.open(client, backend)?;
        let mut rows = Vec::new();
        for router in [1, 2, 1, 3] {
            let mac = [2, 0, 0, 0, 0xee, router];
            let number = rows.len();
            rows.push(row(
                format!("{number}: by router {router}"),
                patched(&later(protocol, client, target, b"?"), 6, &mac),
                to_backend(vip, source, backend),
            ));
            for reply in 0..2 {
                rows.push(row(
                    format!("{number}: reply {reply} by router {router}"),
                    later(protocol, backend, source, b"!"),
                    to_client(vip, backend, client, mac),
                ));
            }
        }
        scene.bed.check(&rows)
    })
}

#[test]
fn what_is_of_no_flow() -> Result<()> {
    in_all(|family, protocol| {
        let mut scene = scene(family, protocol)?;
        let (client, backend, vip) = (client(family), backend(family, 1), scene.vip.key);
        let target = scene.target();
        let source = scene.source(client);
        if protocol == TCP {
            let mut rows = Vec::new();
            for flags in [Tcp::Ack, Tcp::SynAck, Tcp::Fin, Tcp::Rst] {
                rows.push(row(
                    format!("{flags:?} of an unknown connection"),
                    tcp(client, target, flags, b""),
                    dropped(Reason::DropNatUnknown),
                ));
            }
            scene.bed.check(&rows)?;
        }
        let reply = later(protocol, backend, source, b"!");
        scene.expect(
            "a reply to nobody",
            reply.clone(),
            dropped(Reason::DropNatStray),
        )?;
        scene.open(client, backend)?;
        let another = SocketAddr::new(backend.ip(), backend.port() + 1);
        let elsewhere = SocketAddr::new(source.ip(), source.port() ^ 1);
        scene.bed.check(&[
            row(
                "from another port of the backend",
                later(protocol, another, source, b"!"),
                dropped(Reason::DropNatStray),
            ),
            row(
                "from another host",
                later(protocol, family.backend(9, backend.port()), source, b"!"),
                dropped(Reason::DropNatStray),
            ),
            row(
                "to another port",
                later(protocol, backend, elsewhere, b"!"),
                dropped(Reason::DropNatStray),
            ),
            row(
                "of another protocol",
                other(backend.ip(), source.ip(), 132, b"0123456789ab"),
                dropped(Reason::DropUnserved),
            ),
            row(
                "the flow's own",
                reply,
                to_client(vip, backend, client, ROUTER_MAC),
            ),
        ])
    })
}

/// A source address that the host itself uses: what is of no flow is the host's.
#[test]
fn the_hosts_own_packets_go_to_the_host() -> Result<()> {
    in_all(|family, protocol| {
        let settings = nat::settings(1);
        let settings = NatSettings {
            own: settings.sources.iter().copied().collect(),
            ..settings
        };
        let mut scene = scene_with(family, protocol, settings, 64)?;
        let (client, backend, vip) = (client(family), backend(family, 1), scene.vip.key);
        let source = scene.open(client, backend)?;
        let own = SocketAddr::new(source.ip(), 50_000);
        scene.bed.check(&[
            row(
                "an answer to the host",
                later(protocol, backend, own, b"!"),
                passed(Reason::PassNatHost),
            ),
            row(
                "another protocol",
                other(backend.ip(), source.ip(), 132, b"0123456789ab"),
                passed(Reason::PassUnserved),
            ),
            row(
                "a reply of a flow",
                later(protocol, backend, source, b"!"),
                to_client(vip, backend, client, ROUTER_MAC),
            ),
        ])
    })
}

#[test]
fn flows_spread_over_several_source_addresses() -> Result<()> {
    in_all(|family, protocol| {
        let mut scene = scene_with(family, protocol, nat::settings(3), 64)?;
        let backend = backend(family, 1);
        let mut used = BTreeSet::new();
        for port in 0..30 {
            let client = family.client(9, 40_000 + port);
            used.insert(scene.open(client, backend)?.ip());
        }
        ensure!(used.len() == 3, "only {used:?}");
        Ok(())
    })
}

/// One address for everything: the VIP's, and where its flows start from.
#[test]
fn a_vip_may_stand_on_a_source_address() -> Result<()> {
    in_all(|family, protocol| {
        let vip = family.vip(1, VIP_PORT);
        let settings = NatSettings {
            sources: vec![vip.ip()],
            ..NatSettings::default()
        };
        let mut scene = scene_with(family, protocol, settings, 64)?;
        let (client, backend, key) = (client(family), backend(family, 1), scene.vip.key);
        let source = scene.open(client, backend)?;
        ensure!(source.ip() == vip.ip(), "{source}");
        scene.bed.check(&[
            row(
                "to the client",
                later(protocol, backend, source, b"!"),
                to_client(key, backend, client, ROUTER_MAC),
            ),
            row(
                "to the backend",
                later(protocol, client, vip, b"?"),
                to_backend(key, source, backend),
            ),
        ])
    })
}

/// A VIP that is moved to mode `nat` and back: what is new follows the mode.
#[test]
fn a_vip_changes_to_nat_and_back() -> Result<()> {
    in_all(|family, protocol| {
        let mut scene = scene(family, protocol)?;
        let backend = family.backend(1, VIP_PORT);
        let target = scene.target();
        for (number, mode) in [ForwardMode::L2, ForwardMode::Nat, ForwardMode::L2]
            .into_iter()
            .enumerate()
        {
            let client = family.client(9, 40_000 + number as u16);
            scene.vip = VipSettings {
                mode,
                unserved: UnservedPolicy::Drop,
                ..scene.vip
            };
            scene.serve(&[(backend, Role::Active)])?;
            if mode == ForwardMode::Nat {
                scene.open(client, backend)?;
                continue;
            }
            let packet = match protocol {
                TCP => tcp(client, target, Tcp::Syn, b""),
                UDP => udp(client, target, b"?"),
            };
            let out = scene.sent(&packet)?;
            ensure!(out[12..] == packet[12..], "{mode}: {out:02x?}");
        }
        Ok(())
    })
}
