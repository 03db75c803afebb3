//! Kinds of VIPs: one port, ranges, all ports; TCP, UDP, both; addresses and
//! prefixes. Of several that have a packet the most specific one gets it.

use crate::world::{TCP, UDP, packet};
use anyhow::{Context, Result, ensure};
use navigator_common::reason::Reason;
use navigator_core::model::{ForwardMode, Ports, Protocol, UnservedPolicy, VipKey};
use navigator_tests::packet::{
    Family,
    bed::{self, Bed, Role},
    expect::{dropped, ipip, l2, passed},
    row::{Row, row},
};
use navigator_user::dataplane::{Dataplane as _, VipSettings};
use std::net::{IpAddr, SocketAddr};

/// The most ranges of one address.
const RANGES: u16 = 64;

/// A VIP that is in the tables, and its one backend.
#[derive(Clone, Copy)]
struct Served {
    key: VipKey,
    backend: SocketAddr,
}

/// Serves a VIP by backend `number`, whose own port is none of the VIP's.
fn serve(bed: &mut Bed, key: VipKey, number: u8) -> Result<Served> {
    let backend = Family::of(key.address).backend(number, 9);
    let settings = VipSettings {
        key,
        ..bed::vip(SocketAddr::new(key.address, 1), TCP, ForwardMode::L2)
    };
    bed.serve(&settings, &[(backend, Role::Active)])?;
    Ok(Served { key, backend })
}

fn ports(text: &str) -> Result<Ports> {
    text.parse().with_context(|| format!("ports {text}"))
}

fn key(address: IpAddr, protocol: Protocol, text: &str) -> Result<VipKey> {
    Ok(VipKey {
        ports: ports(text)?,
        ..VipKey::new(address, protocol, 1)
    })
}

/// The packet of `protocol` to `port` of `address` goes to `to`, or to nobody.
fn goes(protocol: Protocol, address: IpAddr, port: u16, to: Option<Served>) -> Row {
    let vip = SocketAddr::new(address, port);
    let expect = |frame: &[u8]| match to {
        Some(to) => l2(to.key, to.backend)(frame),
        None => dropped(Reason::DropUnserved)(frame),
    };
    let name = format!("{vip}/{protocol}");
    row(name, packet(protocol, vip, b"hello"), expect)
}

#[test]
fn a_range_has_its_first_and_last_port_and_those_between() -> Result<()> {
    let mut bed = Bed::new()?;
    let mut rows = Vec::new();
    for family in Family::BOTH {
        let address = family.vip(1, 1).ip();
        let range = serve(&mut bed, key(address, TCP, "8000-8999")?, 1)?;
        let low = serve(&mut bed, key(address, UDP, "1-2")?, 2)?;
        let high = serve(&mut bed, key(address, UDP, "65534-65535")?, 3)?;
        for (port, to) in [
            (7999, None),
            (8000, Some(range)),
            (8500, Some(range)),
            (8999, Some(range)),
            (9000, None),
        ] {
            rows.push(goes(TCP, address, port, to));
        }
        for (port, to) in [
            (1, Some(low)),
            (2, Some(low)),
            (3, None),
            (8000, None),
            (65_533, None),
            (65_534, Some(high)),
            (65_535, Some(high)),
        ] {
            rows.push(goes(UDP, address, port, to));
        }
    }
    bed.check(&rows)
}

#[test]
fn the_most_specific_vip_wins_and_gives_back_what_it_took() -> Result<()> {
    let mut bed = Bed::new()?;
    for family in Family::BOTH {
        let address = family.vip(1, 1).ip();
        let all = serve(&mut bed, key(address, Protocol::Both, "0")?, 1)?;
        let wide = serve(&mut bed, key(address, TCP, "8000-8999")?, 2)?;
        let narrow = serve(&mut bed, key(address, Protocol::Both, "8400-8600")?, 3)?;
        let one = serve(&mut bed, key(address, TCP, "8500")?, 4)?;
        bed.check(&[
            goes(TCP, address, 1, Some(all)),
            goes(TCP, address, 65_535, Some(all)),
            goes(TCP, address, 8399, Some(wide)),
            goes(TCP, address, 8400, Some(narrow)),
            goes(TCP, address, 8499, Some(narrow)),
            goes(TCP, address, 8500, Some(one)),
            goes(TCP, address, 8501, Some(narrow)),
            goes(TCP, address, 8601, Some(wide)),
            goes(UDP, address, 8000, Some(all)),
            goes(UDP, address, 8500, Some(narrow)),
            goes(UDP, address, 8601, Some(all)),
        ])?;
        bed.plane().remove(&one.key)?;
        bed.check(&[goes(TCP, address, 8500, Some(narrow))])?;
        bed.plane().remove(&narrow.key)?;
        bed.check(&[
            goes(TCP, address, 8500, Some(wide)),
            goes(UDP, address, 8500, Some(all)),
        ])?;
        bed.plane().remove(&wide.key)?;
        bed.check(&[goes(TCP, address, 8500, Some(all))])?;
        bed.plane().remove(&all.key)?;
        let vip = SocketAddr::new(address, 8500);
        let gone = packet(TCP, vip, b"hello");
        bed.check(&[row("no VIP is left", gone, passed(Reason::PassNotVip))])?;
    }
    Ok(())
}

#[test]
fn both_protocols_share_one_table() -> Result<()> {
    let mut bed = Bed::new()?;
    for family in Family::BOTH {
        let vip = family.vip(1, 53);
        let dns = serve(&mut bed, key(vip.ip(), Protocol::Both, "53")?, 1)?;
        bed.check(&[
            goes(TCP, vip.ip(), 53, Some(dns)),
            goes(UDP, vip.ip(), 53, Some(dns)),
            goes(UDP, vip.ip(), 54, None),
        ])?;
        let tables = bed.plane().figures().vips;
        ensure!(tables.len() == 1, "one VIP, not one for each protocol");
        bed.plane().remove(&dns.key)?;
    }
    Ok(())
}

/// As many ranges as an address may have, and one more.
#[test]
fn an_address_has_room_for_64_ranges() -> Result<()> {
    let mut bed = Bed::new()?;
    let address = Family::V4.vip(1, 1).ip();
    let range = |n: u16| key(address, TCP, &format!("{}-{}", 100 * n + 1, 100 * n + 90));
    let mut rows = Vec::new();
    for n in 0..RANGES {
        let settings = VipSettings {
            key: range(n)?,
            slots: 7,
            ..bed::vip(SocketAddr::new(address, 1), TCP, ForwardMode::L2)
        };
        // The bed has ids for fewer backends than that: the last ranges have none.
        if n >= 40 {
            bed.serve(&settings, &[])?;
            continue;
        }
        let backend = Family::V4.backend(n as u8 + 1, 9);
        bed.serve(&settings, &[(backend, Role::Active)])?;
        let to = Served {
            key: settings.key,
            backend,
        };
        rows.push(goes(TCP, address, 100 * n + 1, Some(to)));
        rows.push(goes(TCP, address, 100 * n + 90, Some(to)));
        rows.push(goes(TCP, address, 100 * n + 91, None));
    }
    bed.check(&rows)?;
    let settings = VipSettings {
        key: range(RANGES)?,
        slots: 7,
        ..bed::vip(SocketAddr::new(address, 1), TCP, ForwardMode::L2)
    };
    let full = bed.serve(&settings, &[]);
    let why = full
        .err()
        .map(|error| error.to_string())
        .unwrap_or_default();
    ensure!(why.contains("port_ranges"), "one too many: {why:?}");
    bed.check(&rows)
}

#[test]
fn what_a_range_does_not_have_follows_the_address() -> Result<()> {
    let mut bed = Bed::new()?;
    for family in Family::BOTH {
        let address = family.vip(1, 1).ip();
        let settings = VipSettings {
            key: key(address, TCP, "8000-8999")?,
            unserved: UnservedPolicy::Pass,
            ..bed::vip(SocketAddr::new(address, 1), TCP, ForwardMode::L2)
        };
        bed.serve(&settings, &[(family.backend(1, 80), Role::Active)])?;
        let packet = packet(TCP, SocketAddr::new(address, 22), b"ssh");
        let name = format!("{family:?}: ssh to the host");
        bed.check(&[row(name, packet, passed(Reason::PassUnserved))])?;
    }
    Ok(())
}

fn prefix(text: &str, protocol: Protocol, port: u16) -> Result<VipKey> {
    let (address, length) = text.split_once('/').context("no prefix")?;
    Ok(VipKey {
        prefix: length.parse()?,
        ..VipKey::new(address.parse()?, protocol, port)
    })
}

#[test]
fn an_address_wins_over_its_prefix_and_a_longer_prefix_over_a_shorter() -> Result<()> {
    let mut bed = Bed::new()?;
    let wide = serve(&mut bed, prefix("2001:db8:1::/48", TCP, 80)?, 1)?;
    let long = serve(&mut bed, prefix("2001:db8:1:7::/64", TCP, 80)?, 2)?;
    let one = serve(&mut bed, key("2001:db8:1:7::1".parse()?, TCP, "80")?, 3)?;
    let v4 = serve(&mut bed, prefix("203.0.113.0/24", UDP, 0)?, 4)?;
    let of = |address: &str, port, to| Ok(goes(TCP, address.parse()?, port, to));
    let rows: Result<Vec<Row>> = [
        of("2001:db8:1::", 80, Some(wide)),
        of("2001:db8:1:6:ffff:ffff:ffff:ffff", 80, Some(wide)),
        of("2001:db8:1:8::1", 80, Some(wide)),
        of("2001:db8:1:ffff::", 80, Some(wide)),
        of("2001:db8:1:7::", 80, Some(long)),
        of("2001:db8:1:7::2", 80, Some(long)),
        of("2001:db8:1:7::1", 80, Some(one)),
        // Which VIPs count is the address's business alone: the port does not fall through.
        of("2001:db8:1:7::1", 81, None),
        of("2001:db8:1:7::2", 81, None),
        of("2001:db8:1::2", 81, None),
    ]
    .into_iter()
    .collect();
    bed.check(&rows?)?;
    bed.check(&[
        goes(UDP, "203.0.113.0".parse()?, 9, Some(v4)),
        goes(UDP, "203.0.113.255".parse()?, 5353, Some(v4)),
        goes(TCP, "203.0.113.7".parse()?, 80, None),
    ])?;
    let stranger = |address: &str| -> Result<Row> {
        let packet = packet(TCP, SocketAddr::new(address.parse()?, 80), b"hello");
        Ok(row(address, packet, passed(Reason::PassNotVip)))
    };
    bed.check(&[
        stranger("2001:db8:2::1")?,
        stranger("203.0.112.255")?,
        stranger("203.0.114.0")?,
    ])?;

    bed.plane().remove(&long.key)?;
    bed.check(&[goes(TCP, "2001:db8:1:7::2".parse()?, 80, Some(wide))])?;
    for served in [wide, v4] {
        bed.plane().remove(&served.key)?;
    }
    bed.check(&[
        stranger("2001:db8:1:7::2")?,
        stranger("203.0.113.7")?,
        goes(TCP, one.key.address, 80, Some(one)),
    ])
}

/// The tunnel does not care how the VIP was found.
#[test]
fn a_prefix_is_served_by_a_tunnel_as_well() -> Result<()> {
    let mut bed = Bed::new()?;
    let key = prefix("2001:db8:1::/64", TCP, 0)?;
    let backend = Family::V4.backend(1, 80);
    let settings = VipSettings {
        key,
        ..bed::vip(SocketAddr::new(key.address, 1), TCP, ForwardMode::Ipip)
    };
    bed.serve(&settings, &[(backend, Role::Active)])?;
    let vip = SocketAddr::new("2001:db8:1::abcd".parse()?, 8443);
    let packet = packet(TCP, vip, b"hello");
    let expect = ipip(key, backend, Family::V4.local());
    bed.check(&[row("into IPv4", packet, expect)])
}
