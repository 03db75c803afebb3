//! The corpus: sound packets of every kind that a program tells apart. What
//! is mutated starts as one of them.

use super::world::{KINDS, NO_VIP, PORT};
use crate::packet::{
    Family, Tcp,
    edit::{padded, tagged},
    expect::GUE_PORT,
    frame::{ETH, echo, framed, ip_header, ip_packet, other, tcp, tcp_with_options, udp},
    icmp::message,
};
use std::net::SocketAddr;

const TTL: u8 = 61;

/// Packets that the programs have something to do with, and what else comes by.
pub struct Corpus {
    /// Of flows of VIPs, about them, and to their addresses.
    pub ours: Vec<Vec<u8>>,
    /// Tunnels, which only one program takes, and what is nobody's.
    pub others: Vec<Vec<u8>>,
}

impl Corpus {
    /// Every seed.
    pub fn new() -> Self {
        let (mut ours, mut others) = (Vec::new(), Vec::new());
        for family in Family::BOTH {
            let numbers = KINDS.iter().map(|kind| kind.number);
            for (n, number) in (0..).zip(numbers.chain([NO_VIP])) {
                let client = family.client(n, 4000 + u16::from(n));
                let vip = family.vip(number, PORT);
                let seeds = if number == NO_VIP {
                    &mut others
                } else {
                    &mut ours
                };
                flows(seeds, client, vip);
                if number == 4 {
                    // Too long for a tunnel's header around it.
                    seeds.push(udp(client, vip, &vec![0; 65_500]));
                }
                errors(seeds, client, vip);
                tunnels(&mut others, client, vip);
            }
            strangers(&mut others, family);
        }
        Self { ours, others }
    }
}

impl Default for Corpus {
    fn default() -> Self {
        Self::new()
    }
}

/// Packets of TCP and UDP flows, and what comes in their place.
fn flows(seeds: &mut Vec<Vec<u8>>, client: SocketAddr, vip: SocketAddr) {
    for flags in [Tcp::Syn, Tcp::SynAck, Tcp::Ack, Tcp::Fin, Tcp::Rst] {
        seeds.push(tcp(client, vip, flags, b"GET / HTTP/1.1"));
    }
    seeds.push(udp(client, vip, b"a query"));
    seeds.push(udp(client, vip, &[0; 64]));
    seeds.push(udp(client, vip, &[0; 1420]));
    seeds.push(echo(client.ip(), vip.ip()));
    seeds.push(tagged(&tcp(client, vip, Tcp::Ack, b"tagged"), 7));
    let bare = tcp(client, vip, Tcp::Ack, b"");
    seeds.push(padded(&bare, bare.len() + 6));
    if vip.is_ipv4() {
        seeds.push(tcp_with_options(client, vip, &[1; 8], Tcp::Ack, b"options"));
    } else {
        for next in [0, 43, 60, 44] {
            let inner = tcp(client, vip, Tcp::Ack, b"extended");
            let header = [6, 0, 0, 0, 0, 0, 0, 9];
            let carried = [&header, &ip_packet(&inner)[40..]].concat();
            seeds.push(other(client.ip(), vip.ip(), next, &carried));
        }
    }
    for protocol in [4, 41, 47, 50, 132] {
        seeds.push(other(client.ip(), vip.ip(), protocol, &[0; 40]));
    }
}

/// ICMP errors about packets from the VIP to the client.
fn errors(seeds: &mut Vec<Vec<u8>>, client: SocketAddr, vip: SocketAddr) {
    let router = Family::of(vip.ip()).client(200, 0).ip();
    let kinds: &[(u8, u8)] = if vip.is_ipv4() {
        &[(3, 4), (3, 1), (11, 0), (12, 0), (4, 0), (5, 0)]
    } else {
        &[(2, 0), (1, 4), (3, 0), (4, 1), (135, 0), (136, 0)]
    };
    for &(kind, code) in kinds {
        for quoted in [
            tcp(vip, client, Tcp::Ack, &[7; 40]),
            udp(vip, client, &[7; 40]),
        ] {
            let quoted = ip_packet(&quoted);
            seeds.push(message(router, vip.ip(), kind, code, [0, 0, 5, 20], quoted));
        }
    }
}

/// Packets for the VIP in tunnels to a backend, as the other program takes them.
fn tunnels(seeds: &mut Vec<Vec<u8>>, client: SocketAddr, vip: SocketAddr) {
    let inner = tcp(client, vip, Tcp::Ack, b"in a tunnel");
    let inner = ip_packet(&inner);
    let protocol = if vip.is_ipv4() { 4 } else { 41 };
    for outer in Family::BOTH {
        let (from, to) = (outer.local(), outer.backend(1, 0).ip());
        let (ether_type, header) = ip_header(from, to, protocol, inner.len(), TTL, 5);
        seeds.push(framed(ether_type, &[&header, inner].concat()));
        // GUE, variant 1: the inner packet stands right behind the UDP header.
        let direct = udp(
            SocketAddr::new(from, 50_000),
            SocketAddr::new(to, GUE_PORT),
            inner,
        );
        seeds.push(direct);
        let header = [0, protocol, 0, 0];
        let gue = [&header, inner].concat();
        seeds.push(udp(
            SocketAddr::new(from, 50_000),
            SocketAddr::new(to, GUE_PORT),
            &gue,
        ));
    }
}

/// What is none of the programs' business.
fn strangers(seeds: &mut Vec<Vec<u8>>, family: Family) {
    seeds.push(framed(0x0806, &[0; 28]));
    seeds.push(framed(0x88cc, &[1; 50]));
    seeds.push(framed(0x0800, &[]));
    let mut broadcast = udp(family.client(1, 68), family.client(255, 67), b"dhcp");
    broadcast[..6].fill(0xff);
    seeds.push(broadcast);
    seeds.push(echo(family.client(1, 0).ip(), family.local()));
    seeds.push(other(
        family.client(1, 0).ip(),
        family.local(),
        2,
        &[0x16; 8],
    ));
    assert!(seeds.iter().all(|seed| seed.len() >= ETH));
}
