//! `nat`: flows over changes of their backends, and what is noted of them.

use crate::{
    nat::{backend, in_all, later, scene, scene_with},
    world::{TCP, UDP, client},
};
use anyhow::{Context, Result, ensure};
use navigator_common::{
    nat::{NatForward, NatReverse, NatState, NatTuple, raw_ports},
    reason::{Event, Reason},
};
use navigator_core::model::Protocol;
use navigator_tests::packet::{
    Family, ROUTER_MAC, Tcp,
    bed::{HASH_KEY, Role},
    expect::dropped,
    frame::{tcp, udp},
    nat::{self, Scene, opened, to_backend, to_client, try_of},
    row::row,
};
use navigator_user::dataplane::{
    Dataplane as _,
    nat::{Entries as _, NatSettings, Phase},
};
use std::net::SocketAddr;

/// The packet that opens a flow.
fn first(protocol: Protocol, client: SocketAddr, target: SocketAddr) -> Vec<u8> {
    match protocol {
        TCP => tcp(client, target, Tcp::Syn, b""),
        UDP => udp(client, target, b"hello"),
    }
}

#[test]
fn a_draining_backend_keeps_its_flows_and_gets_no_new_ones() -> Result<()> {
    in_all(|family, protocol| {
        let mut scene = scene(family, protocol)?;
        let (a, b, vip) = (backend(family, 1), backend(family, 2), scene.vip.key);
        let (old, new) = (family.client(9, 40_000), family.client(9, 40_001));
        let target = scene.target();
        let source = scene.open(old, a)?;
        scene.serve(&[(a, Role::Draining), (b, Role::Active)])?;
        scene.open(new, b)?;
        scene.bed.check(&[
            row(
                "the old flow to its backend",
                later(protocol, old, target, b"?"),
                to_backend(vip, source, a),
            ),
            row(
                "and back",
                later(protocol, a, source, b"!"),
                to_client(vip, a, old, ROUTER_MAC),
            ),
        ])?;
        // With nobody for new flows, the old one still is served.
        scene.serve(&[(a, Role::Draining)])?;
        scene.bed.check(&[
            row(
                "the old flow",
                later(protocol, old, target, b"?"),
                to_backend(vip, source, a),
            ),
            row(
                "a new one",
                first(protocol, family.client(9, 40_002), target),
                dropped(Reason::DropNoBackend),
            ),
        ])
    })
}

#[test]
fn a_new_connection_from_the_same_port_leaves_a_draining_backend() -> Result<()> {
    for family in Family::BOTH {
        let mut scene = scene(family, TCP)?;
        let (a, b, vip) = (backend(family, 1), backend(family, 2), scene.vip.key);
        let (client, target) = (client(family), scene.target());
        let source = scene.open(client, a)?;
        scene.serve(&[(a, Role::Draining), (b, Role::Active)])?;
        scene.bed.check(&[
            row(
                "a SYN",
                tcp(client, target, Tcp::Syn, b""),
                opened(vip, source, b),
            ),
            row(
                "a reply of the old backend",
                tcp(a, source, Tcp::Ack, b""),
                dropped(Reason::DropNatStray),
            ),
            row(
                "a reply of the new one",
                tcp(b, source, Tcp::SynAck, b""),
                to_client(vip, b, client, ROUTER_MAC),
            ),
        ])?;
    }
    Ok(())
}

#[test]
fn flows_of_a_dead_backend() -> Result<()> {
    in_all(|family, protocol| {
        let mut scene = scene(family, protocol)?;
        let (a, b, vip) = (backend(family, 1), backend(family, 2), scene.vip.key);
        let (client, target) = (client(family), scene.target());
        let source = scene.open(client, a)?;
        scene.serve(&[(a, Role::Dead), (b, Role::Active)])?;
        let packet = later(protocol, client, target, b"?");
        match protocol {
            TCP => scene.expect("a segment", packet, dropped(Reason::DropNatGone))?,
            UDP => scene.expect("a datagram", packet, opened(vip, source, b))?,
        }
        if protocol == TCP {
            scene.expect(
                "a SYN",
                tcp(client, target, Tcp::Syn, b""),
                opened(vip, source, b),
            )?;
        }
        scene.expect(
            "the next packet",
            later(protocol, client, target, b"?"),
            to_backend(vip, source, b),
        )
    })
}

#[test]
fn without_a_next_hop_nothing_is_made() -> Result<()> {
    in_all(|family, protocol| {
        let mut scene = scene(family, protocol)?;
        let (client, target) = (client(family), scene.target());
        let a = backend(family, 1);
        scene.bed.lose(a.ip())?;
        scene.expect(
            "a new flow",
            first(protocol, client, target),
            dropped(Reason::DropNoNeighbour),
        )?;
        ensure!(entries(&scene)? == (0, 0));
        scene.serve(&[(a, Role::Active)])?;
        let source = scene.open(client, a)?;
        scene.bed.lose(a.ip())?;
        scene.expect(
            "an old flow",
            later(protocol, client, target, b"?"),
            dropped(Reason::DropNoNeighbour),
        )?;
        scene.expect(
            "a reply",
            later(protocol, a, source, b"!"),
            to_client(scene.vip.key, a, client, ROUTER_MAC),
        )
    })
}

fn entries(scene: &Scene) -> Result<(usize, usize)> {
    let tables = scene.bed.store().nat_tables()?;
    let (mut forward, mut reverse) = (Vec::new(), Vec::new());
    tables.forward.batch(None, &mut forward)?;
    tables.reverse.batch(None, &mut reverse)?;
    Ok((forward.len(), reverse.len()))
}

/// What stands in the tables of the flow of `client`.
pub(crate) fn flow(scene: &Scene, client: SocketAddr) -> Result<(NatForward, NatReverse)> {
    let target = scene.target();
    let tuple = NatTuple::new(
        client.ip().into(),
        target.ip().into(),
        raw_ports(client.port(), target.port()),
        scene.vip.key.protocol.number(),
    );
    let tables = scene.bed.store().nat_tables()?;
    let forward = tables.forward.get(tuple.hash(&HASH_KEY))?;
    let forward = forward.context("no forward entry")?;
    ensure!(forward.tuple == tuple, "{forward:?}");
    let reverse = tables.reverse.get(forward.reverse)?;
    let reverse = reverse.context("no reverse entry")?;
    ensure!(reverse.client() == tuple, "{reverse:?}");
    Ok((forward, reverse))
}

fn phase(scene: &Scene, client: SocketAddr) -> Result<Phase> {
    let (forward, reverse) = flow(scene, client)?;
    let protocol = scene.vip.key.protocol.number();
    let seen = |state| NatState(state).seen();
    Ok(Phase::of(
        protocol,
        seen(forward.state),
        seen(reverse.state),
    ))
}

#[test]
fn phases_follow_the_segments_of_both_sides() -> Result<()> {
    use Phase::{Closed, Established, HalfClosed, Opening};
    const CLIENT: bool = true;
    const BACKEND: bool = false;
    let stories: [&[(bool, Tcp, Phase)]; 4] = [
        &[
            (CLIENT, Tcp::Syn, Opening),
            (BACKEND, Tcp::SynAck, Opening),
            (CLIENT, Tcp::Ack, Established),
            (BACKEND, Tcp::Ack, Established),
            (CLIENT, Tcp::Fin, HalfClosed),
            (BACKEND, Tcp::Ack, HalfClosed),
            (BACKEND, Tcp::Fin, Closed),
            (CLIENT, Tcp::Ack, Closed),
            // The same port again.
            (CLIENT, Tcp::Syn, HalfClosed),
            (BACKEND, Tcp::SynAck, Opening),
            (CLIENT, Tcp::Ack, Established),
        ],
        &[
            (BACKEND, Tcp::Rst, Closed),
            (CLIENT, Tcp::Syn, Closed),
            (BACKEND, Tcp::SynAck, Opening),
        ],
        &[
            (BACKEND, Tcp::SynAck, Opening),
            (CLIENT, Tcp::Ack, Established),
            (CLIENT, Tcp::Syn, Established),
            (CLIENT, Tcp::Rst, Closed),
        ],
        &[
            (CLIENT, Tcp::Ack, Opening),
            (BACKEND, Tcp::SynAck, Established),
        ],
    ];
    for family in Family::BOTH {
        for (number, story) in (0..).zip(stories) {
            let mut scene = scene(family, TCP)?;
            let (client, a) = (family.client(9, 40_000 + number), backend(family, 1));
            let target = scene.target();
            let source = scene.open(client, a)?;
            for (step, &(from_client, flags, want)) in story.iter().enumerate() {
                let (from, to) = if from_client {
                    (client, target)
                } else {
                    (a, source)
                };
                scene.sent(&tcp(from, to, flags, b""))?;
                let got = phase(&scene, client)?;
                ensure!(
                    got == want,
                    "{family:?}, story {number}, step {step}: {got:?} after {flags:?}, not {want:?}"
                );
            }
        }
    }
    Ok(())
}

#[test]
fn a_datagram_is_answered_or_not() -> Result<()> {
    for family in Family::BOTH {
        let mut scene = scene(family, UDP)?;
        let (client, a) = (client(family), backend(family, 1));
        let source = scene.open(client, a)?;
        ensure!(phase(&scene, client)? == Phase::Unreplied);
        scene.sent(&udp(a, source, b"!"))?;
        ensure!(phase(&scene, client)? == Phase::Replied);
    }
    Ok(())
}

#[test]
fn full_tables_refuse_new_flows_and_keep_the_old_ones() -> Result<()> {
    in_all(|family, protocol| {
        const ROOM: u16 = 4;
        let mut scene = scene_with(family, protocol, nat::settings(1), ROOM.into())?;
        let (a, vip, target) = (backend(family, 1), scene.vip.key, scene.target());
        let client = |number: u16| family.client(9, 40_000 + number);
        let mut rows = Vec::new();
        for number in 0..ROOM {
            let source = scene.open(client(number), a)?;
            rows.push(row(
                format!("flow {number} to the backend"),
                later(protocol, client(number), target, b"?"),
                to_backend(vip, source, a),
            ));
            rows.push(row(
                format!("flow {number} to the client"),
                later(protocol, a, source, b"!"),
                to_client(vip, a, client(number), ROUTER_MAC),
            ));
        }
        for number in ROOM..ROOM + 3 {
            scene.expect(
                &format!("flow {number}"),
                first(protocol, client(number), target),
                dropped(Reason::DropNatFull),
            )?;
        }
        scene.bed.check(&rows)?;
        ensure!(
            entries(&scene)? == (ROOM.into(), ROOM.into()),
            "nothing is left half made"
        );
        Ok(())
    })
}

/// Tables with room that user space sees fill.
#[test]
fn status_shows_how_full_the_tables_are() -> Result<()> {
    let settings = NatSettings {
        ports: (2000, 2009),
        ..nat::settings(1)
    };
    let mut scene = scene_with(Family::V4, UDP, settings, 100)?;
    let target = scene.target();
    // Tries may hit ports that are taken, so that not all find one.
    let mut made = 0;
    for number in 0..8 {
        let packet = udp(Family::V4.client(9, 40_000 + number), target, b"?");
        made += u64::from(scene.sent(&packet).is_ok());
    }
    let want = [("nat_flows", made, 100), ("nat_ports", made, 10)];
    let begin = std::time::Instant::now();
    loop {
        let tables = scene.bed.plane().figures().tables;
        if want.iter().all(|row| tables.contains(row)) {
            return Ok(());
        }
        ensure!(begin.elapsed().as_secs() < 10, "{tables:?}, not {want:?}");
        std::thread::sleep(std::time::Duration::from_millis(50));
    }
}

#[test]
fn without_a_free_port_new_flows_are_refused() -> Result<()> {
    in_all(|family, protocol| {
        let settings = NatSettings {
            ports: (2000, 2000),
            ..nat::settings(1)
        };
        let mut scene = scene_with(family, protocol, settings, 64)?;
        let (a, b, target) = (backend(family, 1), backend(family, 2), scene.target());
        let client = |number: u16| family.client(9, 40_000 + number);
        let source = scene.open(client(0), a)?;
        scene.expect(
            "another flow to the same backend",
            first(protocol, client(1), target),
            dropped(Reason::DropNatPorts),
        )?;
        scene.expect(
            "the first flow",
            later(protocol, client(0), target, b"?"),
            to_backend(scene.vip.key, source, a),
        )?;
        // The same port serves another backend.
        scene.serve(&[(a, Role::Draining), (b, Role::Active)])?;
        ensure!(scene.open(client(1), b)? == source);
        Ok(())
    })
}

/// A port that is taken leads to the next try, which the contract tells.
#[test]
fn a_taken_port_leads_to_another() -> Result<()> {
    in_all(|family, protocol| {
        let mut scene = scene(family, protocol)?;
        let (client, target, a) = (client(family), scene.target(), backend(family, 1));
        let tables = scene.bed.store().nat_tables()?;
        let mut taken = Vec::new();
        for attempt in 0..3 {
            let own = try_of(&scene.settings, client, scene.vip.key, attempt);
            let reply = NatTuple::new(
                a.ip().into(),
                own.ip().into(),
                raw_ports(a.port(), own.port()),
                protocol.number(),
            );
            taken.push(own);
            tables
                .reverse
                .put(reply.hash(&HASH_KEY), &NatReverse::default())?;
        }
        let source = try_of(&scene.settings, client, scene.vip.key, 3);
        ensure!(!taken.contains(&source), "{source} in {taken:?}");
        scene.expect(
            "the fourth try",
            first(protocol, client, target),
            opened(scene.vip.key, source, a),
        )
    })
}

/// Two flows of one hash, which never meet but for an attacker who knows the key.
#[test]
fn another_flow_in_its_place_is_never_taken_for_it() -> Result<()> {
    in_all(|family, protocol| {
        let mut scene = scene(family, protocol)?;
        let (client, target, a) = (client(family), scene.target(), backend(family, 1));
        let source = scene.open(client, a)?;
        let (mut forward, mut reverse) = flow(&scene, client)?;
        let tables = scene.bed.store().nat_tables()?;
        let key = forward.tuple.hash(&HASH_KEY);
        let reverse_key = forward.reverse;
        tables.forward.take(key)?;
        tables.reverse.take(reverse_key)?;
        forward.tuple.source.lo ^= 1 << 63;
        reverse.tuple.destination.lo ^= 1 << 63;
        tables.forward.put(key, &forward)?;
        tables.reverse.put(reverse_key, &reverse)?;
        scene.bed.check(&[
            row(
                "to the backend",
                first(protocol, client, target),
                dropped(Reason::DropNatCollision),
            ),
            row(
                "to the client",
                later(protocol, a, source, b"!"),
                dropped(Reason::DropNatStray),
            ),
        ])
    })
}

/// Half an entry that another CPU's insert left in the memory of the flow's old one.
#[test]
fn a_torn_entry_is_never_used() -> Result<()> {
    in_all(|family, protocol| {
        let mut scene = scene(family, protocol)?;
        let (client, target, a) = (client(family), scene.target(), backend(family, 1));
        let source = scene.open(client, a)?;
        let (mut forward, mut reverse) = flow(&scene, client)?;
        let tables = scene.bed.store().nat_tables()?;
        let key = forward.tuple.hash(&HASH_KEY);
        let reverse_key = forward.reverse;
        tables.forward.take(key)?;
        tables.reverse.take(reverse_key)?;
        forward.rewrite ^= 1 << 40;
        reverse.rewrite ^= 1 << 40;
        tables.forward.put(key, &forward)?;
        tables.reverse.put(reverse_key, &reverse)?;
        scene.bed.check(&[
            row(
                "to the backend",
                later(protocol, client, target, b"?"),
                dropped(Reason::DropNatCollision),
            ),
            row(
                "to the client",
                later(protocol, a, source, b"!"),
                dropped(Reason::DropNatStray),
            ),
        ])
    })
}

/// The thread that ends flows, on real maps.
#[test]
fn a_silent_flow_ends_and_its_port_is_free() -> Result<()> {
    in_all(|family, protocol| {
        let settings = nat::settings(1);
        let timeouts = navigator_user::dataplane::nat::Timeouts {
            opening: std::time::Duration::from_secs(1),
            udp: std::time::Duration::from_secs(1),
            ..settings.timeouts
        };
        let settings = NatSettings {
            timeouts,
            ..settings
        };
        let mut scene = scene_with(family, protocol, settings, 64)?;
        let a = backend(family, 1);
        scene.open(client(family), a)?;
        ensure!(entries(&scene)? == (1, 1));
        let begin = std::time::Instant::now();
        while entries(&scene)? != (0, 0) {
            ensure!(begin.elapsed().as_secs() < 10, "it is still there");
            std::thread::sleep(std::time::Duration::from_millis(50));
        }
        scene.open(client(family), a).map(drop)
    })
}

/// What was made is counted once; what finds it is not counted again.
#[test]
fn a_repeated_first_packet_makes_no_second_flow() -> Result<()> {
    in_all(|family, protocol| {
        let mut scene = scene(family, protocol)?;
        let (client, target, a) = (client(family), scene.target(), backend(family, 1));
        let source = scene.open(client, a)?;
        scene.expect(
            "again",
            first(protocol, client, target),
            to_backend(scene.vip.key, source, a),
        )?;
        ensure!(entries(&scene)? == (1, 1));
        let counters = scene.bed.plane().figures().counters;
        ensure!(
            counters.contains(&(Event::NatOpened.name(), 1)),
            "{counters:?}"
        );
        Ok(())
    })
}
