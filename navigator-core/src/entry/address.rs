//! Addresses and ports, in text.

use super::{Flaw, RejectReason, json::shorten};
use crate::model::{InstanceKey, ServiceName};
use std::net::{IpAddr, Ipv4Addr, Ipv6Addr, SocketAddr};

/// Reads `10.0.0.1:80` or `[2001:db8::1]:80`: an address that an instance can
/// have, in canonical text, and a port from 1 to 65535.
///
/// # Errors
/// `bad_address` or `bad_port`, with what is wrong and what to write.
pub fn parse_endpoint(text: &str) -> Result<SocketAddr, Flaw> {
    let Some((host, port)) = text.rsplit_once(':') else {
        let text = shorten(text);
        return Err(RejectReason::BadPort.because(format!(
            "{text:?} has no port: write it as 10.0.0.1:80 or [2001:db8::1]:80"
        )));
    };
    let bracketed = host
        .strip_prefix('[')
        .and_then(|host| host.strip_suffix(']'));
    let ip = match bracketed {
        Some(inner) if inner.contains(':') => parse_ip(inner)?,
        None if !host.contains([':', '[', ']']) => parse_ip(host)?,
        _ => {
            let text = shorten(text);
            return Err(RejectReason::BadAddress.because(format!(
                "{text:?} is no address and port: write it as 10.0.0.1:80 or [2001:db8::1]:80"
            )));
        }
    };
    check_instance_address(ip)?;
    Ok(SocketAddr::new(ip, parse_port(port)?))
}

/// Reads the part of a key behind its prefix: `<service>/<address>:<port>`.
pub(super) fn parse_instance_key(rest: &str) -> Result<InstanceKey, Flaw> {
    let (service, endpoint) = rest.split_once('/').ok_or_else(|| {
        RejectReason::KeyMismatch.because(format!(
            "{:?} is no key of an instance: it ends with <service>/<address>:<port>",
            shorten(rest)
        ))
    })?;
    Ok(InstanceKey {
        service: parse_name(service)?,
        address: parse_endpoint(endpoint)?,
    })
}

pub(super) fn parse_name(text: &str) -> Result<ServiceName, Flaw> {
    let short = shorten(text);
    let name: Result<ServiceName, _> = short.parse();
    name.map_err(|error| RejectReason::BadName.because(error.to_string()))
}

/// Reads an address in canonical text.
pub(super) fn parse_ip(text: &str) -> Result<IpAddr, Flaw> {
    let bad = |what: String| RejectReason::BadAddress.because(what);
    let ip: IpAddr = text.parse().map_err(|_| {
        let text = shorten(text);
        bad(format!(
            "address {text:?} is no IP address: write an IPv4 address without leading zeros or an \
             IPv6 address; host names are not looked up"
        ))
    })?;
    if ip.to_string() == text {
        Ok(ip)
    } else {
        Err(bad(format!(
            "address {text:?} is not in canonical text: write {ip}"
        )))
    }
}

fn parse_port(text: &str) -> Result<u16, Flaw> {
    let canonical = |port: &u16| *port > 0 && port.to_string() == text;
    text.parse().ok().filter(canonical).ok_or_else(|| {
        let text = shorten(text);
        RejectReason::BadPort.because(format!("port {text:?} is not a number from 1 to 65535"))
    })
}

/// Refuses what no instance and no VIP can have.
pub(super) fn check_instance_address(ip: IpAddr) -> Result<(), Flaw> {
    let what = match ip {
        IpAddr::V4(ip) => useless_v4(ip),
        IpAddr::V6(ip) => useless_v6(ip),
    };
    match what {
        None => Ok(()),
        Some(what) => Err(RejectReason::BadAddress.because(format!(
            "address {ip} is {what}: give an address of one host"
        ))),
    }
}

fn useless_v4(ip: Ipv4Addr) -> Option<&'static str> {
    let what = match ip.octets()[0] {
        0 if ip.is_unspecified() => "unspecified",
        0 => "of \"this network\" (0.0.0.0/8)",
        224..=239 => "a multicast address",
        255 if ip.is_broadcast() => "the broadcast address",
        240..=255 => "of class E (reserved)",
        169 if ip.is_link_local() => "link-local",
        _ => return None,
    };
    Some(what)
}

fn useless_v6(ip: Ipv6Addr) -> Option<&'static str> {
    if ip.is_unspecified() {
        Some("unspecified")
    } else if ip.is_multicast() {
        Some("a multicast address")
    } else if ip.is_unicast_link_local() {
        Some("link-local")
    } else if ip.to_ipv4_mapped().is_some() {
        Some("an IPv4 address mapped into IPv6")
    } else {
        None
    }
}
