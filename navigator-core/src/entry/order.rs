//! Operators' orders for single instances.

use super::{
    Flaw, RejectReason, Rejection,
    address::parse_instance_key,
    json::{Fields, parse_object},
};
use crate::model::{InstanceKey, MAX_WEIGHT, Order, keys};
use serde_json::Value;

/// Reads an order: the key `/navigator/orders/<service>/<address>:<port>`,
/// and as the value an object of `drain`, `maintenance` and `weight`. Unlike in an instance's
/// entry, an unknown field is refused: an order that is not understood must
/// not look obeyed.
///
/// # Errors
/// With the reason for the first thing that is wrong.
pub fn parse_order(key: &str, value: &[u8]) -> Result<(InstanceKey, Order), Rejection> {
    parse(key, value).map_err(|flaw| flaw.of(key))
}

fn parse(key: &str, value: &[u8]) -> Result<(InstanceKey, Order), Flaw> {
    let rest = key.strip_prefix(keys::ORDERS).ok_or_else(|| {
        RejectReason::KeyMismatch.because(format!("an order's key starts with {}", keys::ORDERS))
    })?;
    let map = parse_object(value)?;
    let instance = parse_instance_key(rest)?;
    let fields = Fields::new(&map, "", RejectReason::BadOrder);
    let unknown = map
        .iter()
        .find(|(name, _)| !["drain", "maintenance", "weight"].contains(&name.as_str()));
    if let Some((name, value)) = unknown {
        let name = super::json::shorten(name);
        return Err(fields.flaw(
            &name,
            value,
            "an order has `drain`, `maintenance` and `weight` only",
        ));
    }
    let flag = |name| match fields.get(name) {
        None => Ok(false),
        Some(Value::Bool(set)) => Ok(*set),
        Some(other) => Err(fields.flaw(name, other, "must be true or false")),
    };
    let drain = flag("drain")?;
    let maintenance = flag("maintenance")?;
    let weights = fields.under(RejectReason::BadWeight);
    let weight = weights.number("weight", 0..=u32::from(MAX_WEIGHT))?;
    let weight = weight.map(|weight| weight as u16);
    let order = Order {
        drain,
        maintenance,
        weight,
    };
    Ok((instance, order))
}
