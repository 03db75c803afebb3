//! VIPs, as operators set them.

use super::{
    BadCidr, Cidr, Flaw, RejectReason, Rejection, Rules,
    address::{check_instance_address, parse_ip, parse_name},
    format_duration,
    json::{Fields, parse_object},
};
use crate::{
    model::{
        Affinity, BadPorts, DEFAULT_DRAIN, DEFAULT_SLOTS, ForwardMode, MAX_SERVER_ID, OnDown,
        OnEmpty, Ports, Protocol, QUIC_CONFIGS, QuicConfigs, ServiceName, UdpPolicy,
        UnservedPolicy, Vip, VipKey, keys,
    },
    prime,
};
use serde_json::{Value, json};
use std::{net::IpAddr, time::Duration};

/// The fewest slots of a VIP; prime.
pub const MIN_SLOTS: u32 = 251;
/// The most slots of a VIP; prime.
pub const MAX_SLOTS: u32 = 655_373;
/// The shortest prefixes that can be VIPs.
const MIN_PREFIX_V4: u8 = 8;
const MIN_PREFIX_V6: u8 = 16;
/// Networks that no VIP's prefix may touch.
const USELESS: [&str; 8] = [
    "0.0.0.0/8",
    "127.0.0.0/8",
    "169.254.0.0/16",
    "224.0.0.0/3",
    "::/16",
    "fe80::/10",
    "ff00::/8",
    "::ffff:0:0/96",
];
const QUIC_KEYS: [&str; 2] = ["config", "server_id_length"];
const MAX_DRAIN: Duration = Duration::from_secs(86_400);

/// Reads a VIP: the key `/navigator/vips/<name>`, and as the value an object
/// of `address`, `port`, `service` and, if wanted, `protocol`, `mode`,
/// `slots`, `udp`, `affinity`, `quic`, `unserved`, `on_down`, `on_empty` and `drain`.
///
/// # Errors
/// `bad_name`, `bad_json`, `too_large` or `bad_vip` with what is wrong.
pub fn parse_vip(key: &str, value: &[u8]) -> Result<Vip, Rejection> {
    parse(key, value).map_err(|flaw| flaw.of(key))
}

/// Whether a prefix spares the addresses of this host, whose own traffic would get lost.
///
/// # Errors
/// `bad_vip` with the address that it covers.
pub fn check_prefix(vip: &Vip, rules: &Rules) -> Result<(), Rejection> {
    let mut own = rules.host_addresses.iter();
    match own.find(|ip| vip.key.is_prefix() && vip.key.covers(**ip)) {
        None => Ok(()),
        Some(ip) => {
            let network = vip.key.network();
            let detail = format!(
                "address {network}: has {ip}, an address of this host, whose own traffic would be \
                 taken for the VIP's: choose a prefix that is routed to this host and none of its own"
            );
            Err(RejectReason::BadVip
                .because(detail)
                .of(&keys::vip(&vip.name)))
        }
    }
}

fn parse(key: &str, value: &[u8]) -> Result<Vip, Flaw> {
    let name = key.strip_prefix(keys::VIPS).ok_or_else(|| {
        RejectReason::KeyMismatch.because(format!("a VIP's key starts with {}", keys::VIPS))
    })?;
    let name = parse_name(name)?;
    let map = parse_object(value)?;
    let fields = Fields::new(&map, "", RejectReason::BadVip);
    check_body_name(&fields, &name)?;
    let protocols = [
        ("tcp", Protocol::Tcp),
        ("udp", Protocol::Udp),
        ("both", Protocol::Both),
    ];
    let protocol = fields
        .choice("protocol", &protocols)?
        .unwrap_or(Protocol::Tcp);
    let modes = [
        ("l2", ForwardMode::L2),
        ("ipip", ForwardMode::Ipip),
        ("gue", ForwardMode::Gue),
        ("nat", ForwardMode::Nat),
    ];
    let on_down = [("keep", OnDown::Keep), ("reset", OnDown::Reset)];
    let on_empty = [("drop", OnEmpty::Drop), ("open", OnEmpty::Open)];
    let affinities = [("none", Affinity::None), ("source", Affinity::Source)];
    let affinity = fields.choice("affinity", &affinities)?.unwrap_or_default();
    let unserved = [
        ("drop", UnservedPolicy::Drop),
        ("pass", UnservedPolicy::Pass),
    ];
    let mode = fields.choice("mode", &modes)?.unwrap_or(ForwardMode::L2);
    let quic = parse_quic(&fields, protocol)?;
    check_mode(&fields, mode, affinity, &quic)?;
    let (address, prefix) = parse_address(&fields)?;
    Ok(Vip {
        key: VipKey {
            address,
            prefix,
            protocol,
            ports: parse_ports(&fields)?,
        },
        service: parse_service(&fields)?,
        mode,
        slots: parse_slots(&fields)?,
        udp: parse_udp(&fields, affinity)?,
        affinity,
        quic,
        unserved: fields.choice("unserved", &unserved)?.unwrap_or_default(),
        on_down: fields
            .choice("on_down", &on_down)?
            .unwrap_or(match protocol {
                Protocol::Tcp | Protocol::Both => OnDown::Keep,
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

/// The address, and how many of its leading bits count.
fn parse_address(fields: &Fields<'_>) -> Result<(IpAddr, u8), Flaw> {
    let text = fields
        .text("address")?
        .ok_or_else(|| fields.missing("address"))?;
    if text.contains('/') {
        return parse_prefix(fields, text);
    }
    let checked = parse_ip(text).and_then(|ip| check_instance_address(ip).map(|()| ip));
    let ip = checked.map_err(|flaw| RejectReason::BadVip.because(flaw.detail))?;
    if ip.is_loopback() {
        let cure = "packets for a loopback address never reach an interface";
        return Err(fields.flaw("address", ip, cure));
    }
    if matches!(ip, IpAddr::V6(ip) if ip.octets()[8..] == [0; 8]) {
        let cure = format_args!(
            "an address whose last 64 bits are zero is that of a subnet's routers: choose another \
             one, or write {ip}/64 for all addresses of the subnet"
        );
        return Err(fields.flaw("address", ip, cure));
    }
    Ok((ip, VipKey::whole(ip)))
}

/// A prefix: all addresses of a network.
fn parse_prefix(fields: &Fields<'_>, text: &str) -> Result<(IpAddr, u8), Flaw> {
    let bad = |cure: &dyn std::fmt::Display| Err(fields.flaw("address", text, cure));
    let cidr: Cidr = match text.parse() {
        Ok(cidr) => cidr,
        Err(BadCidr::HostBits(_, cidr)) => {
            let cure = "has bits set behind its prefix: write";
            return bad(&format_args!("{cure} {cidr}, or leave the prefix out"));
        }
        Err(BadCidr::Malformed(_)) => return bad(&"is no prefix: write it as 2001:db8:1::/64"),
    };
    let (ip, length) = (cidr.network(), cidr.prefix());
    let shortest = if ip.is_ipv4() {
        MIN_PREFIX_V4
    } else {
        MIN_PREFIX_V6
    };
    if cidr.to_string() != text {
        return bad(&format_args!("is not in canonical text: write {cidr}"));
    }
    if length == VipKey::whole(ip) {
        return bad(&format_args!("is one address: write {ip}"));
    }
    if length < shortest {
        return bad(&format_args!(
            "is too wide: the shortest prefix is /{shortest}"
        ));
    }
    for useless in USELESS {
        if useless
            .parse::<Cidr>()
            .is_ok_and(|useless| useless.meets(&cidr))
        {
            return bad(&format_args!(
                "has addresses of {useless}, which no client can reach"
            ));
        }
    }
    Ok((ip, length))
}

/// One port, a range such as `"8000-8999"`, or 0 for all.
fn parse_ports(fields: &Fields<'_>) -> Result<Ports, Flaw> {
    let value = fields.get("port").ok_or_else(|| fields.missing("port"))?;
    let text = match value {
        Value::String(text) => text.clone(),
        other => other.to_string(),
    };
    let ports: Ports = text
        .parse()
        .map_err(|BadPorts(_, why)| fields.flaw("port", value, why))?;
    if value.is_string() && (ports.single().is_some() || ports == Ports::ALL) {
        let cure = format_args!("is a text: write the number {ports}");
        return Err(fields.flaw("port", value, cure));
    }
    Ok(ports)
}

/// NAT has a memory of its own, which goes by flows.
fn check_mode(
    fields: &Fields<'_>,
    mode: ForwardMode,
    affinity: Affinity,
    quic: &QuicConfigs,
) -> Result<(), Flaw> {
    const CURE: &str =
        "mode nat goes by addresses and ports alone: choose l2, ipip or gue, or leave it out";
    if mode != ForwardMode::Nat {
        Ok(())
    } else if affinity == Affinity::Source {
        Err(fields.flaw("affinity", "\"source\"", CURE))
    } else if !quic.is_empty() {
        Err(fields.flaw("quic", "is listed", CURE))
    } else {
        Ok(())
    }
}

/// Who remembers clients remembers their UDP flows.
fn parse_udp(fields: &Fields<'_>, affinity: Affinity) -> Result<UdpPolicy, Flaw> {
    let words = [("rehash", UdpPolicy::Rehash), ("sticky", UdpPolicy::Sticky)];
    match (fields.choice("udp", &words)?, affinity) {
        (Some(UdpPolicy::Rehash), Affinity::Source) => {
            let cure = "contradicts affinity = \"source\", which remembers clients: leave udp out, \
                        or say \"sticky\"";
            Err(fields.flaw("udp", "\"rehash\"", cure))
        }
        (None, Affinity::Source) => Ok(UdpPolicy::Sticky),
        (policy, _) => Ok(policy.unwrap_or_default()),
    }
}

/// A list of `{config, server_id_length}`, one for each configuration that connection ids name.
fn parse_quic(fields: &Fields<'_>, protocol: Protocol) -> Result<QuicConfigs, Flaw> {
    const CURE: &str = "must be a list such as [{\"config\": 0, \"server_id_length\": 3}]";
    let mut configs = QuicConfigs::default();
    let Some(value) = fields.get("quic") else {
        return Ok(configs);
    };
    let list = value
        .as_array()
        .ok_or_else(|| fields.flaw("quic", value, CURE))?;
    for item in list {
        let map = item
            .as_object()
            .ok_or_else(|| fields.flaw("quic", value, CURE))?;
        if let Some(unknown) = map.keys().find(|key| !QUIC_KEYS.contains(&key.as_str())) {
            let cure = format_args!("{unknown:?} is not known: {CURE}");
            return Err(fields.flaw("quic", value, cure));
        }
        let inner = Fields::new(map, "quic.", RejectReason::BadVip);
        let [config, length] = QUIC_KEYS;
        let most = u32::from(QUIC_CONFIGS - 1);
        let config = inner
            .number(config, 0..=most)?
            .ok_or_else(|| inner.missing(config))?;
        let length = inner
            .number(length, 1..=MAX_SERVER_ID as u32)?
            .ok_or_else(|| inner.missing(length))?;
        if !configs.set(config as u8, length as u8) {
            let cure = format_args!("lists configuration {config} twice: list it once");
            return Err(fields.flaw("quic", value, cure));
        }
    }
    if protocol == Protocol::Tcp && !configs.is_empty() {
        let cure = "is for UDP: set protocol to udp or both, or leave quic out";
        return Err(fields.flaw("quic", value, cure));
    }
    Ok(configs)
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

fn quic_json((config, length): (u8, u8)) -> Value {
    json!({"config": config, "server_id_length": length})
}

/// The value of a VIP's entry: what [`parse_vip`] reads as `vip`.
pub fn vip_json(vip: &Vip) -> Value {
    json!({
        "address": vip.key.network(),
        "port": vip.key.ports,
        "protocol": vip.key.protocol,
        "service": vip.service,
        "mode": vip.mode,
        "slots": vip.slots,
        "udp": vip.udp,
        "affinity": vip.affinity,
        "quic": vip.quic.iter().map(quic_json).collect::<Vec<_>>(),
        "unserved": vip.unserved,
        "on_down": vip.on_down,
        "on_empty": vip.on_empty,
        "drain": format_duration(vip.drain),
    })
}
