//! `[nat]`: what mode `nat` needs of this host.

use super::{
    NatConfig,
    problem::Complaint,
    reader::Section,
    values::{duration, text},
};
use crate::dataplane::nat::Timeouts;
use navigator_common::nat::{LOWEST_PORT, NAT_SOURCES};
use std::{collections::BTreeSet, net::IpAddr, time::Duration};
use toml::de::DeValue;

/// Shortest and longest timeout.
const TIMEOUTS: std::ops::RangeInclusive<Duration> =
    Duration::from_secs(1)..=Duration::from_secs(24 * 3600);

pub(super) fn read(root: &mut Section<'_, '_>) -> NatConfig {
    let mut nat = NatConfig::default();
    let Some(mut section) = root.table("nat") else {
        return nat;
    };
    nat.addresses = section.list("addresses", address).unwrap_or_default();
    check(&section, &nat.addresses);
    nat.ports = section.read("ports", ports);
    let Timeouts {
        opening,
        established,
        half_closed,
        closed,
        udp,
        udp_replied,
    } = &mut nat.timeouts;
    for (key, timeout) in [
        ("opening", opening),
        ("established", established),
        ("half_closed", half_closed),
        ("closed", closed),
        ("udp", udp),
        ("udp_replied", udp_replied),
    ] {
        *timeout = section.read(key, duration(TIMEOUTS)).unwrap_or(*timeout);
    }
    section.unknown_keys();
    nat
}

fn check(section: &Section<'_, '_>, addresses: &[IpAddr]) {
    let mut seen = BTreeSet::new();
    if let Some(twice) = addresses.iter().find(|address| !seen.insert(*address)) {
        section.complain(
            "addresses",
            format!("{twice} is there twice"),
            "name each address once",
        );
    }
    for v4 in [true, false] {
        let count = addresses.iter().filter(|a| a.is_ipv4() == v4).count();
        if count > NAT_SOURCES {
            let cure = format!("name at most {NAT_SOURCES} of each family");
            section.complain("addresses", format!("{count} of one family"), cure);
        }
    }
}

/// An address that a host can have.
fn address(value: &DeValue<'_>) -> Result<IpAddr, Complaint> {
    const CURE: &str =
        "name an address that backends reach this host by, for example \"192.0.2.2\"";
    let address: IpAddr = text(value)?
        .parse()
        .map_err(|_| Complaint::new("not an IP address", CURE))?;
    let bad = match address {
        IpAddr::V4(ip) => ip.is_unspecified() || ip.is_broadcast(),
        // The last 64 bits of a subnet router's address are zero, and the program has no room for it.
        IpAddr::V6(ip) => ip.octets()[8..] == [0; 8] || ip.to_ipv4_mapped().is_some(),
    };
    if bad || address.is_loopback() || address.is_multicast() {
        return Err(Complaint::new("not the address of a host", CURE));
    }
    Ok(address)
}

/// `"1024-32767"`.
fn ports(value: &DeValue<'_>) -> Result<(u16, u16), Complaint> {
    let cure =
        || format!("write first and last port, at least {LOWEST_PORT}, as \"{LOWEST_PORT}-32767\"");
    let text = text(value)?;
    let range = text.split_once('-').and_then(|(first, last)| {
        let port = |text: &str| text.trim().parse::<u16>().ok();
        Some((port(first)?, port(last)?))
    });
    match range {
        Some((first, last)) if first > last => Err(Complaint::new("empty", cure())),
        Some((first, _)) if first < LOWEST_PORT => Err(Complaint::new(
            format!("ports below {LOWEST_PORT} belong to the system's services"),
            cure(),
        )),
        Some(range) => Ok(range),
        None => Err(Complaint::new("not a range of ports", cure())),
    }
}
