//! `[[vip]]` blocks.

use super::{
    rules::{Case, bytes},
    service::Services,
};
use crate::config::{reader::Section, values::name};
use navigator_core::{
    entry::parse_vip,
    model::{Vip, keys},
    plan::members::obstacle,
};
use serde_json::json;
use std::collections::BTreeSet;

/// All keys of a block but its name.
const KEYS: [&str; 13] = [
    "address", "port", "protocol", "service", "mode", "slots", "udp", "affinity", "quic",
    "unserved", "on_down", "on_empty", "drain",
];

/// A sound block, with its place.
pub(super) struct Placed<'r, 'i> {
    section: Section<'r, 'i>,
    vip: Vip,
}

/// Reads a block and appends its entry.
pub(super) fn read<'r, 'i>(
    mut section: Section<'r, 'i>,
    entries: &mut Vec<(String, Vec<u8>)>,
) -> Option<Placed<'r, 'i>> {
    section.require("name", &json!("web"));
    let named = section.read("name", name);
    for key in KEYS {
        section.get(key);
    }
    section.unknown_keys();
    let value = section.json(&KEYS);
    // The other keys are looked at even if the name is wrong.
    let name = named.clone().or_else(|| "unnamed".parse().ok())?;
    let key = keys::vip(&name);
    let case = Case {
        section: &section,
        prefix: "",
        fields: &KEYS,
        main_key: "name",
        stand_ins: &[
            ("address", json!("192.0.2.10")),
            ("port", json!(80)),
            ("service", json!("web")),
        ],
    };
    let vip = case.judge(value.clone(), |value| parse_vip(&key, &bytes(value)))?;
    named?;
    entries.push((key, bytes(&value)));
    Some(Placed { section, vip })
}

/// Checks what one block alone cannot know: doubles, and whether all tables fit.
pub(super) fn check_together(vips: &[Placed<'_, '_>], limit: u32, announces: bool) {
    let mut names = BTreeSet::new();
    let mut before: Vec<&Vip> = Vec::new();
    let mut slots = 0u64;
    for Placed { section, vip } in vips {
        if !names.insert(&vip.name) {
            section.complain(
                "name",
                "there is another VIP of this name",
                "name each VIP once",
            );
        }
        if let Some(first) = before.iter().find(|first| first.key.rivals(&vip.key)) {
            let what = if first.key == vip.key {
                format!("VIP {} has {} already", first.name, vip.key)
            } else {
                format!(
                    "{} and VIP {}'s {} overlap and neither is narrower",
                    vip.key, first.name, first.key
                )
            };
            section.complain("address", what, "change address, port or protocol of one");
        }
        before.push(vip);
        if announces && vip.key.is_prefix() {
            let what = format!("announce = \"address\" cannot hold {}", vip.key.network());
            let cure = "set announce = \"none\" and let a router send the prefix here, or list single addresses";
            section.complain("address", what, cure);
        }
        let fitted = slots <= limit.into();
        slots += u64::from(vip.slots);
        if fitted && slots > limit.into() {
            let what = format!("the VIPs up to here need {slots} slots, there are {limit}");
            section.complain("name", what, "raise limits.slots, or give VIPs fewer slots");
        }
    }
}

/// Without another registry, a service that has no instances here has none for now.
pub(super) fn warn_of_empty_services(vips: &[Placed<'_, '_>], services: &Services) {
    for Placed { section, vip } in vips {
        if services.instances_of(&vip.service).next().is_none() {
            let what = "no [[service]] block lists instances of it";
            let cure = format!(
                "packets for the VIP are dropped until some register: navigator register {}",
                vip.service
            );
            section.warn("service", what, cure);
        }
    }
}

/// An instance may be meant for another VIP of its service: what this one cannot do with
/// it is no error.
pub(super) fn warn_of_unreachable_instances(vips: &[Placed<'_, '_>], services: &Services) {
    let is_vip = |ip| vips.iter().any(|placed| placed.vip.key.covers(ip));
    for Placed { section, vip } in vips {
        for instance in services.instances_of(&vip.service) {
            let why = if is_vip(instance.ip()) {
                "is_vip: an instance must have an address of its own, not that of a VIP".to_owned()
            } else {
                let Some(why) = obstacle(vip, instance) else {
                    continue;
                };
                why
            };
            let what = format!("instance {instance} of it gets nothing from this VIP");
            section.warn("service", what, why);
        }
    }
}
