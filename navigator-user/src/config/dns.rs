//! `[dns]`: where discovery by DNS listens, and under which domain.

use super::{
    api::socket,
    problem::Complaint,
    reader::Section,
    values::{duration, text},
};
use crate::dns::{DnsConfig, Zone};
use hickory_proto::rr::Name;
use std::time::Duration;

/// Bounds of the time for which an answer may be kept.
const TTL: std::ops::RangeInclusive<Duration> = Duration::ZERO..=Duration::from_secs(3600);
const DEFAULT_TTL: Duration = Duration::from_secs(5);
/// Below it a service's name and an address's have room.
const LONGEST_DOMAIN: usize = 150;

pub(super) fn read(root: &mut Section<'_, '_>) -> Option<DnsConfig> {
    let mut section = root.table("dns")?;
    section.require("listen", &"127.0.0.1:5300".into());
    section.require("domain", &"navigator.internal".into());
    let listen = section.read("listen", socket);
    let domain = section.read("domain", |value| {
        let text = text(value)?;
        let cure = "write a domain of a-z, 0-9, '-' and dots, for example \"navigator.internal\"";
        let bad = || Complaint::new("not a domain", cure);
        let sound = |c: u8| c.is_ascii_lowercase() || c.is_ascii_digit() || b"-.".contains(&c);
        if text.is_empty() || text.len() > LONGEST_DOMAIN || !text.bytes().all(sound) {
            return Err(bad());
        }
        let mut name = Name::from_ascii(&text).map_err(|_| bad())?;
        name.set_fqdn(true);
        Ok(name)
    });
    let ttl = section.read("ttl", duration(TTL)).unwrap_or(DEFAULT_TTL);
    section.unknown_keys();
    Some(DnsConfig {
        listen: listen?,
        zone: Zone {
            domain: domain?,
            ttl,
        },
    })
}
