//! Instances, as services register them.

use super::{
    Flaw, RejectReason, Rejection, Rules,
    address::{check_instance_address, parse_instance_key, parse_ip, parse_name},
    check::{check_json, parse_check},
    json::{Fields, parse_object, shorten},
};
use crate::model::{
    BadServerId, DEFAULT_WEIGHT, Instance, InstanceKey, MAX_WEIGHT, SERVER_ID_LABEL, ServerId, keys,
};
use serde_json::{Map, Value, json};
use std::{collections::BTreeMap, net::IpAddr};

/// Fields that are kept as they are; but for the server id they mean nothing here.
const LABELS: [&str; 7] = [
    "id",
    "meta",
    "priority",
    SERVER_ID_LABEL,
    "tags",
    "version",
    "zone",
];
/// The most QUIC server ids of an instance.
const MAX_SERVER_IDS: usize = 16;

/// Reads an instance: the key `/services/<service>/<address>:<port>`, and as
/// the value an object of `name`, `address`, `port` and, if wanted,
/// `health_check_endpoint`, `weight`, `check` and labels. `leased` tells
/// whether the registration ends with a lease.
///
/// # Errors
/// With the reason for the first thing that is wrong. Whether the address is
/// a VIP is for the [`crate::catalog`] to judge.
pub fn parse_instance(
    key: &str,
    value: &[u8],
    leased: bool,
    rules: &Rules,
) -> Result<Instance, Rejection> {
    parse(key, value, leased, rules).map_err(|flaw| flaw.of(key))
}

fn parse(key: &str, value: &[u8], leased: bool, rules: &Rules) -> Result<Instance, Flaw> {
    let rest = key.strip_prefix(keys::SERVICES).ok_or_else(|| {
        RejectReason::KeyMismatch
            .because(format!("an instance's key starts with {}", keys::SERVICES))
    })?;
    let map = parse_object(value)?;
    let fields = Fields::new(&map, "", RejectReason::BadJson);
    let key = parse_instance_key(rest)?;
    check_body(&fields, &key)?;
    check_allowed(key.address.ip(), rules)?;
    check_server_ids(&fields)?;
    Ok(Instance {
        weight: parse_weight(&fields)?,
        check: parse_check(&fields)?,
        leased,
        labels: labels(&fields),
        key,
    })
}

/// The value must say what the key says.
fn check_body(fields: &Fields<'_>, key: &InstanceKey) -> Result<(), Flaw> {
    let names = fields.under(RejectReason::BadName);
    let name = names.text("name")?.ok_or_else(|| names.missing("name"))?;
    let name = parse_name(name)?;
    let addresses = fields.under(RejectReason::BadAddress);
    let address = addresses
        .text("address")?
        .ok_or_else(|| addresses.missing("address"))?;
    let address = parse_ip(address)?;
    check_instance_address(address)?;
    let ports = fields.under(RejectReason::BadPort);
    let port = ports.port("port")?.ok_or_else(|| ports.missing("port"))?;

    let differ = |what: &str, value: &str, wanted: &str| {
        let detail =
            format!("the value's {what} is {value}, the key's is {wanted}: make them agree");
        Err(RejectReason::KeyMismatch.because(detail))
    };
    if name != key.service {
        return differ("name", name.as_str(), key.service.as_str());
    }
    if address != key.address.ip() {
        return differ(
            "address",
            &address.to_string(),
            &key.address.ip().to_string(),
        );
    }
    if port != key.address.port() {
        return differ("port", &port.to_string(), &key.address.port().to_string());
    }
    Ok(())
}

fn check_allowed(ip: IpAddr, rules: &Rules) -> Result<(), Flaw> {
    if !ip.is_loopback() && rules.host_addresses.contains(&ip) {
        return Err(RejectReason::IsVip.because(format!(
            "address {ip} is this host's own: an instance must be on another host"
        )));
    }
    let allowed =
        rules.backend_cidrs.is_empty() || rules.backend_cidrs.iter().any(|cidr| cidr.contains(ip));
    if allowed {
        return Ok(());
    }
    let cidrs: Vec<String> = rules
        .backend_cidrs
        .iter()
        .map(ToString::to_string)
        .collect();
    Err(RejectReason::NotAllowed.because(format!(
        "address {ip} is outside backend_cidrs ({}): widen them if it belongs there",
        shorten(&cidrs.join(", "))
    )))
}

fn parse_weight(fields: &Fields<'_>) -> Result<u16, Flaw> {
    let fields = fields.under(RejectReason::BadWeight);
    let weight = fields.number("weight", 0..=u32::from(MAX_WEIGHT))?;
    Ok(weight.map_or(DEFAULT_WEIGHT, |weight| weight as u16))
}

/// A QUIC server id, or a list of some.
fn check_server_ids(fields: &Fields<'_>) -> Result<(), Flaw> {
    let Some(value) = fields.get(SERVER_ID_LABEL) else {
        return Ok(());
    };
    let ids = match value {
        Value::Array(ids) => ids.as_slice(),
        id => std::slice::from_ref(id),
    };
    let sound = |id: &Value| id.as_str().is_some_and(|id| id.parse::<ServerId>().is_ok());
    if let Some(bad) = ids.iter().find(|id| !sound(id)) {
        return Err(fields.flaw(SERVER_ID_LABEL, bad, BadServerId));
    }
    if ids.len() > MAX_SERVER_IDS {
        let cure = format_args!("must be at most {MAX_SERVER_IDS} ids");
        return Err(fields.flaw(SERVER_ID_LABEL, value, cure));
    }
    Ok(())
}

fn labels(fields: &Fields<'_>) -> BTreeMap<String, Value> {
    let label = |name: &str| Some((name.to_owned(), fields.get(name)?.clone()));
    LABELS.into_iter().filter_map(label).collect()
}

/// The value of an instance's entry: what [`parse_instance`] reads as `instance`.
pub fn instance_json(instance: &Instance) -> Value {
    let (endpoint, check) = check_json(&instance.check);
    let mut map = Map::new();
    map.insert("name".into(), json!(instance.key.service));
    map.insert("address".into(), json!(instance.key.address.ip()));
    map.insert("port".into(), json!(instance.key.address.port()));
    map.insert("health_check_endpoint".into(), json!(endpoint));
    map.insert("weight".into(), json!(instance.weight));
    if let Some(check) = check {
        map.insert("check".into(), check);
    }
    map.extend(instance.labels.clone());
    Value::Object(map)
}
