//! VIPs, as operators set them.

use super::{
    Flaw, RejectReason, Rejection,
    address::{check_instance_address, parse_ip, parse_name},
    format_duration,
    json::{Fields, parse_object},
};
use crate::{
    model::{
        DEFAULT_DRAIN, DEFAULT_SLOTS, ForwardMode, OnDown, OnEmpty, Protocol, ServiceName,
        UdpPolicy, UnservedPolicy, Vip, VipKey, keys,
    },
    prime,
};
use serde_json::{Value, json};
use std::{net::IpAddr, time::Duration};

/// The fewest slots of a VIP; prime.
pub const MIN_SLOTS: u32 = 251;
/// The most slots of a VIP; prime.
pub const MAX_SLOTS: u32 = 655_373;
const MAX_DRAIN: Duration = Duration::from_secs(86_400);

/// Reads a VIP: the key `/navigator/vips/<name>`, and as the value an object
/// of `address`, `port`, `service` and, if wanted, `protocol`, `mode`,
/// `slots`, `udp`, `unserved`, `on_down`, `on_empty` and `drain`.
///
/// # Errors
/// `bad_name`, `bad_json`, `too_large` or `bad_vip` with what is wrong.
pub fn parse_vip(key: &str, value: &[u8]) -> Result<Vip, Rejection> {
    parse(key, value).map_err(|flaw| flaw.of(key))
}

fn parse(key: &str, value: &[u8]) -> Result<Vip, Flaw> {
    let name = key.strip_prefix(keys::VIPS).ok_or_else(|| {
        RejectReason::KeyMismatch.because(format!("a VIP's key starts with {}", keys::VIPS))
    })?;
    let name = parse_name(name)?;
    let map = parse_object(value)?;
    let fields = Fields::new(&map, "", RejectReason::BadVip);
    check_body_name(&fields, &name)?;
    let protocols = [("tcp", Protocol::Tcp), ("udp", Protocol::Udp)];
    let protocol = fields
        .choice("protocol", &protocols)?
        .unwrap_or(Protocol::Tcp);
    let modes = [("l2", ForwardMode::L2), ("ipip", ForwardMode::Ipip)];
    let on_down = [("keep", OnDown::Keep), ("reset", OnDown::Reset)];
    let on_empty = [("drop", OnEmpty::Drop), ("open", OnEmpty::Open)];
    let udp = [("rehash", UdpPolicy::Rehash), ("sticky", UdpPolicy::Sticky)];
    let unserved = [
        ("drop", UnservedPolicy::Drop),
        ("pass", UnservedPolicy::Pass),
    ];
    Ok(Vip {
        key: VipKey {
            address: parse_address(&fields)?,
            protocol,
            port: fields.port("port")?.ok_or_else(|| fields.missing("port"))?,
        },
        service: parse_service(&fields)?,
        mode: fields.choice("mode", &modes)?.unwrap_or(ForwardMode::L2),
        slots: parse_slots(&fields)?,
        udp: fields.choice("udp", &udp)?.unwrap_or_default(),
        unserved: fields.choice("unserved", &unserved)?.unwrap_or_default(),
        on_down: fields
            .choice("on_down", &on_down)?
            .unwrap_or(match protocol {
                Protocol::Tcp => OnDown::Keep,
                Protocol::Udp => OnDown::Reset,
            }),
        on_empty: fields.choice("on_empty", &on_empty)?.unwrap_or_default(),
        drain: fields
            .duration("drain", Duration::ZERO..=MAX_DRAIN)?
            .unwrap_or(DEFAULT_DRAIN),
        name,
    })
}

fn check_body_name(fields: &Fields<'_>, name: &ServiceName) -> Result<(), Flaw> {
    match fields.text("name")? {
        Some(own) if own != name.as_str() => {
            let fields = fields.under(RejectReason::KeyMismatch);
            let cure = format_args!("the key's name is {name}: make them agree");
            Err(fields.flaw("name", format_args!("{own:?}"), cure))
        }
        _ => Ok(()),
    }
}

fn parse_address(fields: &Fields<'_>) -> Result<IpAddr, Flaw> {
    let text = fields
        .text("address")?
        .ok_or_else(|| fields.missing("address"))?;
    let checked = parse_ip(text).and_then(|ip| check_instance_address(ip).map(|()| ip));
    let ip = checked.map_err(|flaw| RejectReason::BadVip.because(flaw.detail))?;
    if ip.is_loopback() {
        let cure = "packets for a loopback address never reach an interface";
        return Err(fields.flaw("address", ip, cure));
    }
    if matches!(ip, IpAddr::V6(ip) if ip.octets()[8..] == [0; 8]) {
        let cure = "an address whose last 64 bits are zero is that of a subnet's routers: choose another one";
        return Err(fields.flaw("address", ip, cure));
    }
    Ok(ip)
}

fn parse_service(fields: &Fields<'_>) -> Result<ServiceName, Flaw> {
    let text = fields
        .text("service")?
        .ok_or_else(|| fields.missing("service"))?;
    parse_name(text).map_err(|flaw| RejectReason::BadVip.because(flaw.detail))
}

fn parse_slots(fields: &Fields<'_>) -> Result<u32, Flaw> {
    let slots = fields
        .number("slots", MIN_SLOTS..=MAX_SLOTS)?
        .unwrap_or(DEFAULT_SLOTS);
    if prime::is_prime(slots) {
        return Ok(slots);
    }
    let (below, above) = prime::nearest(slots, MIN_SLOTS, MAX_SLOTS);
    let near: Vec<String> = [below, above]
        .into_iter()
        .flatten()
        .map(|n| n.to_string())
        .collect();
    let cure = format_args!("must be a prime, such as {}", near.join(" or "));
    Err(fields.flaw("slots", slots, cure))
}

/// The value of a VIP's entry: what [`parse_vip`] reads as `vip`.
pub fn vip_json(vip: &Vip) -> Value {
    json!({
        "address": vip.key.address,
        "port": vip.key.port,
        "protocol": vip.key.protocol,
        "service": vip.service,
        "mode": vip.mode,
        "slots": vip.slots,
        "udp": vip.udp,
        "unserved": vip.unserved,
        "on_down": vip.on_down,
        "on_empty": vip.on_empty,
        "drain": format_duration(vip.drain),
    })
}
