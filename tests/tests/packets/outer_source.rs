//! The outer source of `ipip` where the configuration gives a network for it: the network's
//! bits, then bits of the flow's hash.

use crate::world::{PORT, TCP, client, key, packet, payload};
use anyhow::Result;
use navigator_core::model::ForwardMode;
use navigator_tests::packet::{
    Family, Tcp,
    bed::{self, Bed, Role},
    expect::{gue, ipip},
    flow::hash_of,
    frame::tcp,
    row::{Row, row},
};
use std::{collections::BTreeSet, net::IpAddr};

/// The source that the flow of a frame gets in a network with this many free bits.
fn source(network: IpAddr, bits: u32, frame: &[u8]) -> IpAddr {
    let spread = hash_of(frame) & ((1 << bits) - 1);
    match network {
        IpAddr::V4(network) => IpAddr::V4((network.to_bits() | spread as u32).into()),
        IpAddr::V6(network) => IpAddr::V6((network.to_bits() | u128::from(spread)).into()),
    }
}

/// Packets of many flows of both inner families, to an `ipip` VIP with a backend of family `outer`.
fn rows(bed: &mut Bed, outer: Family, network: &str, bits: u32) -> Result<Vec<Row>> {
    let network: IpAddr = network.parse()?;
    let mut rows = Vec::new();
    for inner in Family::BOTH {
        let (vip, backend) = (inner.vip(4 + outer as u8, PORT), outer.backend(1, PORT));
        let settings = bed::vip(vip, TCP, ForwardMode::Ipip);
        bed.serve(&settings, &[(backend, Role::Active)])?;
        for n in 0..100u16 {
            let client = inner.client(n as u8, 1 + n * 655);
            let packet = tcp(client, vip, Tcp::Ack, &payload(usize::from(n) * 14));
            let from = source(network, bits, &packet);
            rows.push(row(
                format!("{inner:?} in {outer:?}, {client} from {from}"),
                packet,
                ipip(key(vip, TCP), backend, from),
            ));
        }
    }
    Ok(rows)
}

#[test]
fn it_is_the_network_and_bits_of_the_flow() -> Result<()> {
    for (outer, given, network, bits) in [
        (Family::V4, "172.16.0.0/16", "172.16.0.0", 16),
        (Family::V4, "10.0.0.0/8", "10.0.0.0", 24),
        (Family::V4, "192.168.255.254/31", "192.168.255.254", 1),
        (Family::V4, "172.16.3.4/32", "172.16.3.4", 0),
        (Family::V6, "fd00:6e61::/64", "fd00:6e61::", 32),
        (Family::V6, "fd00:6e61::ff00/120", "fd00:6e61::ff00", 8),
    ] {
        let mut bed = Bed::from_sources(&[given])?;
        let rows = rows(&mut bed, outer, network, bits)?;
        bed.check(&rows)?;
    }
    Ok(())
}

#[test]
fn each_family_has_its_own_network() -> Result<()> {
    let mut bed = Bed::from_sources(&["fd00:6e61::/64", "172.16.0.0/16"])?;
    let mut all = rows(&mut bed, Family::V4, "172.16.0.0", 16)?;
    all.extend(rows(&mut bed, Family::V6, "fd00:6e61::", 32)?);
    bed.check(&all)?;
    let mut bed = Bed::from_sources(&["172.16.0.0/16"])?;
    let local = Family::V6.local().to_string();
    let all = rows(&mut bed, Family::V6, &local, 0)?;
    bed.check(&all)
}

/// What it is for: one client's connections arrive from many addresses, each from one.
#[test]
fn flows_differ_and_packets_of_one_do_not() -> Result<()> {
    let mut bed = Bed::from_sources(&["172.16.0.0/16"])?;
    let (vip, backend) = (Family::V4.vip(1, PORT), Family::V4.backend(1, PORT));
    bed.serve(
        &bed::vip(vip, TCP, ForwardMode::Ipip),
        &[(backend, Role::Active)],
    )?;
    let mut sources = BTreeSet::new();
    for port in 1..=200 {
        let client = Family::V4.client(7, port);
        let mut of_flow = BTreeSet::new();
        for (flags, length) in [(Tcp::Syn, 0), (Tcp::Ack, 10), (Tcp::Fin, 500)] {
            let sent = bed.run(&tcp(client, vip, flags, &payload(length)))?.frame;
            of_flow.insert(sent[26..30].to_vec());
        }
        assert_eq!(of_flow.len(), 1, "port {port}");
        sources.extend(of_flow);
    }
    assert!(
        sources.len() > 190,
        "{} sources of 200 flows",
        sources.len()
    );
    Ok(())
}

/// GUE has ports for that, and ICMP errors come back to the host's own address.
#[test]
fn gue_keeps_the_hosts_address() -> Result<()> {
    let mut bed = Bed::from_sources(&["172.16.0.0/16", "fd00:6e61::/64"])?;
    let mut rows = Vec::new();
    for outer in Family::BOTH {
        let (vip, backend) = (outer.vip(1, PORT), outer.backend(1, PORT));
        bed.serve(
            &bed::vip(vip, TCP, ForwardMode::Gue),
            &[(backend, Role::Active)],
        )?;
        let packet = packet(TCP, vip, b"hello");
        let name = format!("{outer:?}, from {}", client(outer));
        rows.push(row(
            name,
            packet,
            gue(key(vip, TCP), backend, outer.local()),
        ));
    }
    bed.check(&rows)
}
