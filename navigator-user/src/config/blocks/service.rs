//! `[[service]]` blocks.

use super::{
    Measures,
    rules::{Case, Json, bytes},
};
use crate::config::{
    reader::Section,
    values::{endpoint_of_instance, name},
};
use navigator_core::{
    entry::{Rules, format_duration, parse_instance},
    model::{CheckKind, InstanceKey, SERVER_ID_LABEL, ServiceName, keys},
};
use serde_json::{Value, json};
use std::{
    collections::{BTreeMap, BTreeSet},
    net::SocketAddr,
};

/// All keys of a check.
const CHECK_KEYS: [&str; 11] = [
    "kind", "port", "path", "host", "method", "expect", "headers", "interval", "timeout", "rise",
    "fall",
];
/// Keys that only an HTTP check has.
const HTTP_KEYS: [&str; 5] = ["path", "host", "method", "expect", "headers"];
/// Keys of an instance that go into its entry as they are.
const INSTANCE_KEYS: [&str; 8] = [
    "weight",
    "id",
    "priority",
    "zone",
    "version",
    "tags",
    "meta",
    SERVER_ID_LABEL,
];

/// The services of the blocks read so far, with the addresses of their instances.
#[derive(Default)]
pub(super) struct Services(BTreeMap<ServiceName, BTreeSet<SocketAddr>>);

impl Services {
    /// Reads a block and appends the entries of its instances.
    pub(super) fn read(
        &mut self,
        mut section: Section<'_, '_>,
        measures: &Measures<'_>,
        entries: &mut Vec<(String, Vec<u8>)>,
    ) {
        section.require("name", &json!("web"));
        let named = section.read("name", name);
        let check = section
            .table("check")
            .and_then(|section| check(section, measures));
        let cure = "write it as a list, for example [ { address = \"10.0.0.1:80\" } ]";
        let instances = section.tables("instances", cure);
        section.unknown_keys();
        if instances.is_empty() {
            section.warn(
                "name",
                "the block lists no instances",
                "nothing comes of it",
            );
        }
        if let Some(name) = &named
            && self.0.contains_key(name)
        {
            let cure = "list all its instances in one block";
            section.complain("name", "there is another block for this service", cure);
        }
        // The instances are looked at even if the name is wrong.
        let Some(service) = named.or_else(|| "unnamed".parse().ok()) else {
            return;
        };
        let mut seen = BTreeSet::new();
        for section in instances {
            let entry = instance(section, &service, check.as_ref(), &mut seen, measures);
            entries.extend(entry);
        }
        self.0.entry(service).or_default().extend(seen);
    }

    /// The addresses of the instances that the blocks list of a service.
    pub(super) fn instances_of(&self, service: &ServiceName) -> impl Iterator<Item = SocketAddr> {
        self.0.get(service).into_iter().flatten().copied()
    }
}

fn instance(
    mut section: Section<'_, '_>,
    service: &ServiceName,
    check_of_service: Option<&Json>,
    seen: &mut BTreeSet<SocketAddr>,
    measures: &Measures<'_>,
) -> Option<(String, Vec<u8>)> {
    section.require("address", &json!("10.0.0.1:80"));
    let address = section.read("address", endpoint_of_instance);
    let own_check = section
        .table("check")
        .and_then(|section| check(section, measures));
    for key in INSTANCE_KEYS {
        section.get(key);
    }
    section.unknown_keys();
    if address.is_some_and(|address| !seen.insert(address)) {
        section.complain("address", "it is there twice", "list each instance once");
    }
    let key = InstanceKey {
        service: service.clone(),
        address: address.unwrap_or(STAND_IN),
    };
    let mut value = section.json(&INSTANCE_KEYS);
    value.extend(identity(&key));
    if let Some(check) = own_check.as_ref().or(check_of_service) {
        value.insert("check".into(), check.clone().into());
    }
    let case = Case {
        section: &section,
        prefix: "",
        fields: &INSTANCE_KEYS,
        main_key: "address",
        stand_ins: &[],
    };
    let identity = bytes(&identity(&key));
    let key = keys::instance(&key);
    if address.is_some()
        && let Err(rejection) = parse_instance(&key, &identity, false, &measures.rules)
    {
        section.complain("address", rejection.detail, "");
    }
    let anywhere = Rules::default();
    case.judge(value.clone(), |value| {
        parse_instance(&key, &bytes(value), false, &anywhere)
    })?;
    address?;
    Some((key, bytes(&value)))
}

/// Reads a check; its JSON, if nothing is wrong with it.
fn check(mut section: Section<'_, '_>, measures: &Measures<'_>) -> Option<Json> {
    for key in CHECK_KEYS {
        section.get(key);
    }
    section.unknown_keys();
    let value = section.json(&CHECK_KEYS);
    // A check is judged as part of an instance, here of one that is sure to be good.
    let service = "unnamed".parse().ok()?;
    let key = InstanceKey {
        service,
        address: STAND_IN,
    };
    let text = keys::instance(&key);
    let case = Case {
        section: &section,
        prefix: "check.",
        fields: &CHECK_KEYS,
        main_key: "kind",
        stand_ins: &[],
    };
    let instance = case.judge(value.clone(), |value| {
        let mut whole = identity(&key);
        whole.insert("check".into(), value.clone().into());
        parse_instance(&text, &bytes(&whole), false, &Rules::default())
    })?;
    let check = instance.check;
    let interval = check.interval.unwrap_or(measures.health.interval);
    if check.timeout.is_some_and(|timeout| timeout > interval) {
        let what = format!("longer than the interval, {}", format_duration(interval));
        section.complain("timeout", what, "make it shorter, or the interval longer");
    }
    if !matches!(check.kind, CheckKind::Http { .. }) {
        for key in HTTP_KEYS.into_iter().filter(|key| section.has(key)) {
            section.complain(
                key,
                "only for HTTP checks",
                "set kind = \"http\", or leave it out",
            );
        }
    }
    Some(value)
}

/// The fields of an entry that repeat its key.
fn identity(key: &InstanceKey) -> Json {
    let field = |name: &str, value: Value| (name.to_owned(), value);
    Json::from_iter([
        field("name", json!(key.service)),
        field("address", json!(key.address.ip())),
        field("port", json!(key.address.port())),
    ])
}

/// An instance's address that is sure to be good.
const STAND_IN: SocketAddr = SocketAddr::new(
    std::net::IpAddr::V4(std::net::Ipv4Addr::new(192, 0, 2, 1)),
    80,
);
