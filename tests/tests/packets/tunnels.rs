//! `ipip` and `gue`: the packet in an IP header of the backend's family, to the byte.

use crate::world::{PORT, TCP, UDP, client, key, packet, payload};
use anyhow::Result;
use navigator_core::model::{ForwardMode, Protocol};
use navigator_tests::packet::{
    Family, Tcp,
    bed::{self, Bed, Role},
    edit::padded,
    expect::{gue, ipip},
    frame::{tcp, tcp_with_options, udp},
    row::{Row, row},
};
use std::net::SocketAddr;

/// A mode, an inner and an outer family, and a VIP that needs them.
#[derive(Clone, Copy)]
struct Tunnel {
    mode: ForwardMode,
    inner: Family,
    outer: Family,
    protocol: Protocol,
}

impl Tunnel {
    fn all() -> Vec<Self> {
        let mut all = Vec::new();
        for mode in [ForwardMode::Ipip, ForwardMode::Gue] {
            for inner in Family::BOTH {
                for outer in Family::BOTH {
                    all.extend([TCP, UDP].map(|protocol| Self {
                        mode,
                        inner,
                        outer,
                        protocol,
                    }));
                }
            }
        }
        all
    }

    const fn vip(self) -> SocketAddr {
        let number = match (self.mode, self.outer) {
            (ForwardMode::Gue, Family::V4) => 14,
            (ForwardMode::Gue, Family::V6) => 16,
            (_, Family::V4) => 4,
            (_, Family::V6) => 6,
        };
        self.inner.vip(number, PORT)
    }

    fn packet(self, bytes: usize) -> Vec<u8> {
        packet(self.protocol, self.vip(), &payload(bytes))
    }

    fn row(self, name: &str, packet: Vec<u8>) -> Row {
        let Self {
            mode,
            inner,
            outer,
            protocol,
        } = self;
        let (vip, backend) = (key(self.vip(), protocol), outer.backend(1, PORT));
        let sent = match mode {
            ForwardMode::Gue => gue(vip, backend, outer.local())(&packet),
            _ => ipip(vip, backend, outer.local())(&packet),
        };
        let name = format!("{mode}, {inner:?} in {outer:?}, {protocol}: {name}");
        row(name, packet, |_| sent)
    }
}

fn check(rows: impl Fn(Tunnel, &mut Vec<Row>)) -> Result<()> {
    let mut bed = Bed::new()?;
    let mut all = Vec::new();
    for tunnel in Tunnel::all() {
        let vip = bed::vip(tunnel.vip(), tunnel.protocol, tunnel.mode);
        bed.serve(&vip, &[(tunnel.outer.backend(1, PORT), Role::Active)])?;
        rows(tunnel, &mut all);
    }
    bed.check(&all)
}

#[test]
fn payloads_of_every_size() -> Result<()> {
    check(|tunnel, rows| {
        let sizes = (0..=64).chain([100, 127, 128, 255, 256, 511, 512, 1000, 1360, 1400]);
        rows.extend(sizes.map(|size| tunnel.row(&format!("{size} bytes"), tunnel.packet(size))));
    })
}

/// The outer header speaks of the packet only; bytes are counted without the padding.
#[test]
fn ethernet_padding_stays_behind_the_packet() -> Result<()> {
    check(|tunnel, rows| {
        let bare = tunnel.packet(0);
        rows.extend([1, 6, 18, 200].map(|padding| {
            tunnel.row(
                &format!("{padding} bytes"),
                padded(&bare, bare.len() + padding),
            )
        }));
    })
}

#[test]
fn inner_ipv4_options_travel_along() -> Result<()> {
    check(|tunnel, rows| {
        if tunnel.inner == Family::V6 || tunnel.protocol == UDP {
            return;
        }
        rows.extend((1..=10).map(|words| {
            let options = vec![1; words * 4];
            let client = client(Family::V4);
            tunnel.row(
                &format!("{words} words"),
                tcp_with_options(client, tunnel.vip(), &options, Tcp::Ack, b"hello"),
            )
        }));
    })
}

/// Every flow has its own outer flow label, and every checksum is right, also
/// one that folds twice.
#[test]
fn flows_of_many_clients() -> Result<()> {
    check(|tunnel, rows| {
        rows.extend((0..100u16).map(|n| {
            let client = tunnel.inner.client(n as u8, 1 + n * 655);
            let payload = payload(usize::from(n) * 14);
            let packet = match tunnel.protocol {
                TCP => tcp(client, tunnel.vip(), Tcp::Ack, &payload),
                _ => udp(client, tunnel.vip(), &payload),
            };
            tunnel.row(&format!("client {client}"), packet)
        }));
    })
}

/// The outer header's sum depends on its addresses only, its length aside.
#[test]
fn backends_of_many_addresses() -> Result<()> {
    let mut bed = Bed::new()?;
    let mut rows = Vec::new();
    for inner in Family::BOTH {
        for number in 1..30 {
            let vip = inner.vip(number, PORT);
            let backend = Family::V4.backend(number.wrapping_mul(8), PORT);
            let settings = bed::vip(vip, TCP, ForwardMode::Ipip);
            bed.serve(&settings, &[(backend, Role::Active)])?;
            rows.push(row(
                format!("{inner:?} to {backend}"),
                packet(TCP, vip, &payload(1 + usize::from(number) * 40)),
                ipip(key(vip, TCP), backend, Family::V4.local()),
            ));
        }
    }
    bed.check(&rows)
}
