//! Frames of several buffers: longer than a page, up to the longest IP packet.

use crate::world::{PORT, TCP, UDP, key, packet, payload};
use anyhow::Result;
use navigator_common::reason::Reason;
use navigator_core::model::ForwardMode;
use navigator_tests::packet::{
    Family,
    bed::{self, Bed, Role},
    edit::{cut, padded},
    expect::{dropped, gue, ipip, l2},
    frame::{ETH, ip_packet},
    row::row,
};

/// The longest IP packets: by the 16 bits of IPv4's total length and IPv6's payload length.
const fn longest(family: Family) -> usize {
    match family {
        Family::V4 => 65_535,
        Family::V6 => 40 + 65_535,
    }
}

/// A TCP packet to `family`'s VIP of this number, `length` bytes long.
fn tcp_of(family: Family, number: u8, length: usize) -> Vec<u8> {
    let vip = family.vip(number, PORT);
    let packet = packet(TCP, vip, &payload(length - family.header() - 20));
    assert_eq!(ip_packet(&packet).len(), length);
    packet
}

/// About the sizes at which a frame gets one more buffer, and up to the longest.
fn lengths(family: Family) -> impl Iterator<Item = usize> {
    let steps = [
        3500, 3506, 3507, 3520, 4096, 7600, 7602, 7603, 9000, 16_000, 40_000,
    ];
    steps.into_iter().chain([longest(family)])
}

#[test]
fn l2_takes_them() -> Result<()> {
    let mut bed = Bed::new()?;
    let mut rows = Vec::new();
    for family in Family::BOTH {
        let (vip, backend) = (family.vip(1, PORT), family.backend(1, PORT));
        bed.serve(
            &bed::vip(vip, TCP, ForwardMode::L2),
            &[(backend, Role::Active)],
        )?;
        rows.extend(lengths(family).map(|length| {
            row(
                format!("{family:?}, {length} bytes"),
                tcp_of(family, 1, length),
                l2(key(vip, TCP), backend),
            )
        }));
    }
    bed.check(&rows)
}

#[test]
fn a_tunnel_takes_what_fits_an_ip_packet() -> Result<()> {
    let mut bed = Bed::new()?;
    let mut rows = Vec::new();
    for inner in Family::BOTH {
        for (number, outer, mode, limit) in [
            (4, Family::V4, ForwardMode::Ipip, 65_535 - 20),
            (6, Family::V6, ForwardMode::Ipip, 65_535),
            (14, Family::V4, ForwardMode::Gue, 65_535 - 32),
            (16, Family::V6, ForwardMode::Gue, 65_535 - 12),
        ] {
            let (vip, backend) = (inner.vip(number, PORT), outer.backend(1, PORT));
            bed.serve(&bed::vip(vip, TCP, mode), &[(backend, Role::Active)])?;
            let lengths = lengths(inner).chain([limit - 1, limit, limit + 1]);
            let mut lengths: Vec<_> = lengths.filter(|l| *l <= longest(inner)).collect();
            lengths.sort_unstable();
            lengths.dedup();
            rows.extend(lengths.into_iter().map(|length| {
                let name = format!("{mode}, {inner:?} in {outer:?}, {length} bytes");
                let packet = tcp_of(inner, number, length);
                if length > limit {
                    row(name, packet, dropped(Reason::DropTooLong))
                } else if mode == ForwardMode::Gue {
                    row(name, packet, gue(key(vip, TCP), backend, outer.local()))
                } else {
                    row(name, packet, ipip(key(vip, TCP), backend, outer.local()))
                }
            }));
        }
    }
    bed.check(&rows)
}

#[test]
fn lengths_are_held_against_the_whole_frame() -> Result<()> {
    let mut bed = Bed::new()?;
    let mut rows = Vec::new();
    for family in Family::BOTH {
        let (vip, backend) = (family.vip(1, PORT), family.backend(1, PORT));
        bed.serve(
            &bed::vip(vip, UDP, ForwardMode::L2),
            &[(backend, Role::Active)],
        )?;
        let whole = packet(UDP, vip, &payload(9000));
        rows.push(row(
            format!("{family:?}: the last byte is missing"),
            cut(&whole, whole.len() - 1),
            dropped(Reason::DropMalformed),
        ));
        rows.push(row(
            format!("{family:?}: all but the first buffer is missing"),
            cut(&whole, ETH + 2000),
            dropped(Reason::DropMalformed),
        ));
        rows.push(row(
            format!("{family:?}: padding behind the last byte"),
            padded(&whole, whole.len() + 5000),
            l2(key(vip, UDP), backend),
        ));
        let small = packet(UDP, vip, b"hello");
        rows.push(row(
            format!("{family:?}: a small packet, padded to several buffers"),
            padded(&small, 9000),
            l2(key(vip, UDP), backend),
        ));
    }
    bed.check(&rows)
}
