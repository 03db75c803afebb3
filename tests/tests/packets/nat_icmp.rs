//! `nat`: ICMP errors about what was translated, in both directions.

use crate::{
    nat::{backend, in_all, later, scene, scene_with},
    nat_life::flow,
    world::{client, payload},
};
use anyhow::{Result, ensure};
use navigator_common::reason::Reason;
use navigator_core::model::Protocol;
use navigator_tests::packet::{
    Family, LOCAL_MAC, ROUTER_MAC,
    addresses::host_mac,
    bed::Role,
    expect::{Action, Outcome, dropped, passed},
    frame::ip_packet,
    icmp::message,
    nat::{self, Scene},
};
use navigator_user::dataplane::nat::NatSettings;
use std::{
    collections::BTreeMap,
    net::{IpAddr, SocketAddr},
};

/// Type, code and the four bytes that follow the checksum, of errors that are passed on.
fn errors(family: Family) -> Vec<(&'static str, u8, u8, [u8; 4])> {
    match family {
        Family::V4 => vec![
            ("port unreachable", 3, 3, [0; 4]),
            ("fragmentation needed", 3, 4, [0, 0, 0x05, 0x14]),
            ("time exceeded", 11, 0, [0; 4]),
        ],
        Family::V6 => vec![
            ("port unreachable", 1, 4, [0; 4]),
            ("packet too big", 2, 0, [0, 0, 0x05, 0x14]),
            ("time exceeded", 3, 0, [0; 4]),
        ],
    }
}

/// A router that complains.
fn router(family: Family) -> IpAddr {
    family.client(200, 0).ip()
}

/// `frame` with other MAC addresses.
fn sent(frame: &[u8], to: [u8; 6]) -> Vec<u8> {
    [&to[..], &LOCAL_MAC, &frame[12..]].concat()
}

/// The frame that leaves, counted under these names for the frame that came.
fn outcome(came: &[u8], frame: Vec<u8>, of: &str, [packets, bytes]: [&str; 2]) -> Outcome {
    Outcome {
        action: Action::Tx,
        frame,
        counted: BTreeMap::from([
            (format!("{of} {packets}"), 1),
            (format!("{of} {bytes}"), ip_packet(came).len() as u64),
        ]),
    }
}

/// How much is quoted of a packet: a header and the least there must be behind it, a TCP header
/// up to its checksum and two bytes less, some of the payload, everything.
fn lengths(family: Family, all: usize) -> Vec<usize> {
    let least = family.header() + 8;
    let mut lengths: Vec<_> = [least, least + 8, least + 10, least + 30, all]
        .into_iter()
        .filter(|&length| length <= all)
        .collect();
    lengths.dedup();
    lengths
}

/// A scene with an open flow, and its source.
fn open(family: Family, protocol: Protocol) -> Result<(Scene, SocketAddr)> {
    let mut scene = scene(family, protocol)?;
    let source = scene.open(client(family), backend(family, 1))?;
    Ok((scene, source))
}

#[test]
fn about_a_reply_to_the_backend() -> Result<()> {
    in_all(|family, protocol| {
        let (mut scene, source) = open(family, protocol)?;
        let (backend, vip) = (backend(family, 1), scene.target());
        let reply = later(protocol, backend, source, &payload(100));
        let translated = scene.sent(&reply)?;
        let (reply, translated) = (ip_packet(&reply), ip_packet(&translated));
        let before = flow(&scene, client(family))?;
        let of = format!("{} {backend}", scene.vip.key);
        for (name, kind, code, rest) in errors(family) {
            for length in lengths(family, reply.len()) {
                let error = |source, destination, quote: &[u8]| {
                    message(source, destination, kind, code, rest, &quote[..length])
                };
                let came = error(router(family), vip.ip(), translated);
                let leaves = error(source.ip(), backend.ip(), reply);
                scene.expect(&format!("{name}, {length} bytes"), came, |came| {
                    let leaves = sent(&leaves, host_mac(backend.ip()));
                    outcome(came, leaves, &of, ["packets", "bytes"])
                })?;
            }
        }
        ensure!(
            flow(&scene, client(family))? == before,
            "an error is no sign of life"
        );
        Ok(())
    })
}

#[test]
fn about_a_request_to_the_client() -> Result<()> {
    in_all(|family, protocol| {
        let (mut scene, source) = open(family, protocol)?;
        let (client, backend, vip) = (client(family), backend(family, 1), scene.target());
        let request = later(protocol, client, vip, &payload(100));
        let translated = scene.sent(&request)?;
        let (request, translated) = (ip_packet(&request), ip_packet(&translated));
        let before = flow(&scene, client)?;
        let of = format!("{} {backend}", scene.vip.key);
        for (name, kind, code, rest) in errors(family) {
            for length in lengths(family, request.len()) {
                for from in [backend.ip(), router(family)] {
                    let error = |source, destination, quote: &[u8]| {
                        message(source, destination, kind, code, rest, &quote[..length])
                    };
                    let came = error(from, source.ip(), translated);
                    let leaves = error(vip.ip(), client.ip(), request);
                    scene.expect(&format!("{name}, {length} bytes, {from}"), came, |came| {
                        let leaves = sent(&leaves, ROUTER_MAC);
                        outcome(came, leaves, &of, ["replies", "reply bytes"])
                    })?;
                }
            }
        }
        ensure!(
            flow(&scene, client)? == before,
            "an error is no sign of life"
        );
        Ok(())
    })
}

#[test]
fn about_what_is_of_no_flow() -> Result<()> {
    in_all(|family, protocol| {
        let mut scene = scene(family, protocol)?;
        let (client, backend, vip) = (client(family), backend(family, 1), scene.target());
        let source = scene.source(client);
        let (_, kind, code, rest) = errors(family)[0];
        let about = |from, to: SocketAddr, ip: IpAddr| {
            let quote = later(protocol, from, to, b"hello");
            message(router(family), ip, kind, code, rest, ip_packet(&quote))
        };
        scene.expect(
            "to the VIP",
            about(vip, client, vip.ip()),
            dropped(Reason::DropNatUnknown),
        )?;
        scene.expect(
            "to a source address",
            about(source, backend, source.ip()),
            dropped(Reason::DropNatStray),
        )?;
        let settings = nat::settings(1);
        let settings = NatSettings {
            own: settings.sources.iter().copied().collect(),
            ..settings
        };
        let mut scene = scene_with(family, protocol, settings, 64)?;
        scene.expect(
            "to the host's own address",
            about(source, backend, source.ip()),
            passed(Reason::PassNatHost),
        )
    })
}

#[test]
fn to_a_backend_that_is_gone() -> Result<()> {
    in_all(|family, protocol| {
        let (mut scene, source) = open(family, protocol)?;
        let (backend, vip) = (backend(family, 1), scene.target());
        let reply = scene.sent(&later(protocol, backend, source, b"!"))?;
        let (_, kind, code, rest) = errors(family)[0];
        let error = message(
            router(family),
            vip.ip(),
            kind,
            code,
            rest,
            ip_packet(&reply),
        );
        scene.serve(&[(backend, Role::Dead)])?;
        scene.expect("an error", error, dropped(Reason::DropNatGone))
    })
}

#[test]
fn a_quoted_datagram_without_a_checksum_stays_without() -> Result<()> {
    let (mut scene, source) = open(Family::V4, Protocol::Udp)?;
    let (backend, vip) = (backend(Family::V4, 1), scene.target());
    let without =
        |frame: Vec<u8>| navigator_tests::packet::edit::patched(&frame, 14 + 20 + 6, &[0, 0]);
    let reply = without(later(Protocol::Udp, backend, source, b"hello"));
    let translated = scene.sent(&reply)?;
    let error = |from, to, quote: &[u8]| message(from, to, 3, 3, [0; 4], ip_packet(quote));
    let of = format!("{} {backend}", scene.vip.key);
    let leaves = error(source.ip(), backend.ip(), &reply);
    scene.expect(
        "about a reply",
        error(router(Family::V4), vip.ip(), &translated),
        |came| {
            let leaves = sent(&leaves, host_mac(backend.ip()));
            outcome(came, leaves, &of, ["packets", "bytes"])
        },
    )?;
    Ok(())
}
