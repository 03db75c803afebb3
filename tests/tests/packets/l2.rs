//! `l2`: the packet stays as it is, the frame gets the backend's address.

use crate::world::{
    BACKEND, DROPS, PASSES, PORT, TCP, UDP, client, key, l2_world, packet, payload,
};
use anyhow::Result;
use navigator_tests::packet::{
    Family, Tcp,
    edit::{V4_FRAGMENT, V4_TTL, padded, patched, with_checksum},
    expect::l2,
    frame::{ETH, tcp, tcp_with_options, udp_with_options},
    row::row,
};

#[test]
fn payloads_of_every_size() -> Result<()> {
    let mut rows = Vec::new();
    for family in Family::BOTH {
        for protocol in [TCP, UDP] {
            for address in [DROPS, PASSES] {
                let vip = family.vip(address, PORT);
                rows.extend([0, 1, 2, 3, 63, 64, 512, 1400, 1432].map(|length| {
                    row(
                        format!("{family:?}, {protocol}, address {address}, {length} bytes"),
                        packet(protocol, vip, &payload(length)),
                        l2(key(vip, protocol), family.backend(BACKEND, PORT)),
                    )
                }));
            }
        }
    }
    l2_world()?.check(&rows)
}

#[test]
fn every_kind_of_tcp_segment() -> Result<()> {
    let mut rows = Vec::new();
    for family in Family::BOTH {
        let vip = family.vip(DROPS, PORT);
        for flags in [Tcp::Syn, Tcp::SynAck, Tcp::Ack, Tcp::Fin, Tcp::Rst] {
            rows.push(row(
                format!("{family:?}: {flags:?}"),
                tcp(client(family), vip, flags, b""),
                l2(key(vip, TCP), family.backend(BACKEND, PORT)),
            ));
        }
    }
    l2_world()?.check(&rows)
}

#[test]
fn ipv4_options_of_every_length() -> Result<()> {
    let vip = Family::V4.vip(DROPS, PORT);
    let backend = Family::V4.backend(BACKEND, PORT);
    let mut rows = Vec::new();
    for words in 1..=10 {
        // Two bytes that, taken for the ports, would lead nowhere, then "no operation".
        let options = [vec![1; words * 4 - 1], vec![0]].concat();
        rows.push(row(
            format!("TCP, {words} words"),
            tcp_with_options(client(Family::V4), vip, &options, Tcp::Ack, b"hello"),
            l2(key(vip, TCP), backend),
        ));
        rows.push(row(
            format!("UDP, {words} words"),
            udp_with_options(client(Family::V4), vip, &options, b"hello"),
            l2(key(vip, UDP), backend),
        ));
    }
    l2_world()?.check(&rows)
}

/// Bytes are counted without the padding.
#[test]
fn ethernet_padding_is_kept() -> Result<()> {
    let mut rows = Vec::new();
    for family in Family::BOTH {
        for protocol in [TCP, UDP] {
            let vip = family.vip(DROPS, PORT);
            let bare = packet(protocol, vip, b"");
            for padding in [1, 2, 6, 46, 300] {
                rows.push(row(
                    format!("{family:?}, {protocol}: {padding} bytes"),
                    padded(&bare, bare.len() + padding),
                    l2(key(vip, protocol), family.backend(BACKEND, PORT)),
                ));
            }
        }
    }
    l2_world()?.check(&rows)
}

/// What a router or a backend judges, Navigator does not.
#[test]
fn headers_are_left_alone() -> Result<()> {
    let vip = Family::V4.vip(DROPS, PORT);
    let backend = Family::V4.backend(BACKEND, PORT);
    let good = packet(TCP, vip, b"hello");
    let mut rows: Vec<_> = [
        ("a TTL of 1", V4_TTL, vec![1]),
        ("no flags", V4_FRAGMENT, vec![0, 0]),
        ("the reserved flag", V4_FRAGMENT, vec![0x80, 0]),
        ("DSCP and ECN", ETH + 1, vec![0xff]),
        ("a wrong TCP checksum", ETH + 20 + 16, vec![0xde, 0xad]),
        (
            "TCP options that are the payload",
            ETH + 20 + 12,
            vec![0x60],
        ),
    ]
    .into_iter()
    .map(|(name, offset, bytes)| {
        row(
            format!("V4: {name}"),
            with_checksum(&patched(&good, offset, &bytes)),
            l2(key(vip, TCP), backend),
        )
    })
    .collect();
    let vip = Family::V6.vip(DROPS, PORT);
    let backend = Family::V6.backend(BACKEND, PORT);
    let good = packet(TCP, vip, b"hello");
    for (name, offset, bytes) in [
        ("a hop limit of 1", ETH + 7, vec![1]),
        (
            "traffic class and flow label",
            ETH,
            vec![0x6f, 0xff, 0xff, 0xff],
        ),
    ] {
        rows.push(row(
            format!("V6: {name}"),
            patched(&good, offset, &bytes),
            l2(key(vip, TCP), backend),
        ));
    }
    l2_world()?.check(&rows)
}
