//! Everything but the VIPs and services.

use super::{
    Announce, Attach, Config, RegistryConfig, Sizes, TunnelSettings, api, blocks, dns, nat,
    reader::Section,
    values::{choice, cidr, duration, endpoint, interface, number, path, sources},
};
use crate::dataplane::DEFAULT_WINDOW;
use navigator_common::maps::default_entries;
use navigator_core::{
    entry::{Rules, format_duration},
    health,
};
use std::{collections::BTreeSet, path::PathBuf, time::Duration};

/// Bytes of a Unix socket's path: what the kernel's address has room for, less the end mark.
const SOCKET_PATH: usize = 107;
/// Bytes of any other path.
const PATH: usize = 4096 - 256;

/// Reads the whole file; what is wrong counts as absent.
pub(super) fn read(mut root: Section<'_, '_>) -> Config {
    let interfaces = interfaces(&mut root);
    let announce = root.read(
        "announce",
        choice(&[("none", Announce::None), ("address", Announce::Address)]),
    );
    let attach = root.read(
        "attach",
        choice(&[
            ("auto", Attach::Auto),
            ("native", Attach::Native),
            ("generic", Attach::Generic),
        ]),
    );
    let socket = root.read("socket", path(SOCKET_PATH));
    let pins = root.read("pins", path(PATH));
    let state = root.read("state", path(PATH));
    let backend_cidrs = root.list("backend_cidrs", cidr).unwrap_or_default();
    let registry = registry(&mut root);
    let health = health(&mut root);
    let window = root.read("window", duration(SHORTEST_WINDOW..=LONGEST_WINDOW));
    let nat = nat::read(&mut root);
    let limits = limits(&mut root, !nat.addresses.is_empty());
    let tunnels = tunnels(&mut root);
    let api = api::read(&mut root);
    let dns = dns::read(&mut root);
    let measures = blocks::Measures {
        rules: Rules {
            backend_cidrs: backend_cidrs.clone(),
            host_addresses: Vec::new(),
        },
        health: &health,
        slots: limits.slots,
        announces: announce == Some(Announce::Address),
        embedded: registry == RegistryConfig::Embedded,
    };
    let blocks = blocks::read(&mut root, &measures);
    root.unknown_keys();
    Config {
        source_name: String::new(),
        interfaces,
        announce: announce.unwrap_or(Announce::None),
        attach: attach.unwrap_or(Attach::Auto),
        socket: socket.unwrap_or_else(|| PathBuf::from("/run/navigator/navigator.sock")),
        pins: pins.unwrap_or_else(|| PathBuf::from(super::DEFAULT_PINS)),
        state: state.unwrap_or_else(|| PathBuf::from("/var/lib/navigator")),
        backend_cidrs,
        registry,
        health,
        window: window.unwrap_or(DEFAULT_WINDOW),
        limits,
        tunnels,
        nat,
        api,
        dns,
        warnings: Vec::new(),
        vips: blocks.vips,
        instances: blocks.instances,
    }
}

fn interfaces(root: &mut Section<'_, '_>) -> Vec<String> {
    let cure = "name the interfaces that packets come in by, for example [\"eth0\"]";
    let list = root
        .get("interfaces")
        .map(|value| value.get_ref().as_array());
    match list {
        None => root.complain("interfaces", "missing", cure),
        Some(Some(list)) if list.is_empty() => root.complain("interfaces", "empty", cure),
        _ => {}
    }
    let names = root.list("interfaces", interface).unwrap_or_default();
    let mut seen = BTreeSet::new();
    if let Some(twice) = names.iter().find(|name| !seen.insert(*name)) {
        let what = format!("{twice:?} is there twice");
        root.complain("interfaces", what, "name each interface once");
    }
    names
}

fn registry(root: &mut Section<'_, '_>) -> RegistryConfig {
    let Some(mut section) = root.table("registry") else {
        return RegistryConfig::Embedded;
    };
    let etcd = section.read("kind", choice(&[("embedded", false), ("etcd", true)]));
    let listed = section.list("endpoints", endpoint);
    let registry = match (etcd, listed) {
        (Some(true), endpoints) => {
            let missing = match section
                .get("endpoints")
                .map(|value| value.get_ref().as_array())
            {
                None => Some("missing"),
                Some(Some(list)) if list.is_empty() => Some("empty"),
                _ => None,
            };
            if let Some(missing) = missing {
                let cure =
                    "name the members of the cluster, for example [\"http://127.0.0.1:2379\"]";
                section.complain("endpoints", missing, cure);
            }
            RegistryConfig::Etcd {
                endpoints: endpoints.unwrap_or_default(),
            }
        }
        (_, Some(_)) => {
            let cure = "set registry.kind = \"etcd\" if services are to come from there";
            section.warn("endpoints", "not used by the embedded registry", cure);
            RegistryConfig::Embedded
        }
        _ => RegistryConfig::Embedded,
    };
    section.unknown_keys();
    registry
}

/// Longest interval, and with it timeout, of a check.
const LONGEST: Duration = Duration::from_secs(3600);
/// Shortest timeout of a check.
const SHORTEST_TIMEOUT: Duration = Duration::from_millis(10);
/// Most checks in a row for a verdict.
const MOST_IN_A_ROW: u32 = 100;

/// A default that does not fit a shorter interval gives way; a value that somebody wrote does not.
fn health(root: &mut Section<'_, '_>) -> health::Settings {
    let defaults = health::Settings::default();
    let Some(mut section) = root.table("health") else {
        return defaults;
    };
    let intervals = || duration(health::MIN_INTERVAL..=LONGEST);
    let in_a_row = || number(1..=MOST_IN_A_ROW);
    let interval = section
        .read("interval", intervals())
        .unwrap_or(defaults.interval);
    let timeout = section.read("timeout", duration(SHORTEST_TIMEOUT..=LONGEST));
    let rise = section.read("rise", in_a_row()).unwrap_or(defaults.rise);
    let fall = section.read("fall", in_a_row()).unwrap_or(defaults.fall);
    let fast = section.read("fast_interval", intervals());
    for (key, value) in [("timeout", timeout), ("fast_interval", fast)] {
        if value.is_some_and(|value| value > interval) {
            let what = format!("longer than the interval, {}", format_duration(interval));
            section.complain(key, what, "make it shorter, or health.interval longer");
        }
    }
    section.unknown_keys();
    health::Settings {
        interval,
        timeout: timeout.unwrap_or(defaults.timeout).min(interval),
        rise,
        fall,
        fast_interval: fast.unwrap_or(defaults.fast_interval).min(interval),
    }
}

/// Shortest window: a flow's time is renewed twice a minute, and a slot tells seconds by eights.
const SHORTEST_WINDOW: Duration = Duration::from_secs(10);
/// Longest window: a slot's epoch tells ages up to 29 hours.
const LONGEST_WINDOW: Duration = Duration::from_secs(24 * 3600);

/// Bounds of the table sizes: below them little works, above them a table takes over 1 GiB.
const SLOTS: std::ops::RangeInclusive<u32> = 1 << 10..=1 << 27;
/// A remembered flow names its backend by 19 bits.
const BACKENDS: std::ops::RangeInclusive<u32> = 1 << 6..=navigator_common::flow::MAX_BACKEND + 1;
const FLOW_SETS: std::ops::RangeInclusive<u32> = 1 << 6..=1 << 24;
const NAT_FLOWS: std::ops::RangeInclusive<u32> = 1 << 6..=1 << 22;

fn limits(root: &mut Section<'_, '_>, does_nat: bool) -> Sizes {
    let mut limits = Sizes {
        slots: default_entries::SLOTS,
        backends: default_entries::BACKENDS,
        flow_sets: default_entries::FLOW_SETS,
        nat_flows: if does_nat {
            default_entries::NAT_FLOWS
        } else {
            1
        },
    };
    let Some(mut section) = root.table("limits") else {
        return limits;
    };
    limits.slots = section.read("slots", number(SLOTS)).unwrap_or(limits.slots);
    limits.backends = section
        .read("backends", number(BACKENDS))
        .unwrap_or(limits.backends);
    limits.flow_sets = section
        .read("flow_sets", number(FLOW_SETS))
        .unwrap_or(limits.flow_sets);
    let nat_flows = section.read("nat_flows", number(NAT_FLOWS));
    if does_nat {
        limits.nat_flows = nat_flows.unwrap_or(limits.nat_flows);
    }
    if !limits.flow_sets.is_power_of_two() {
        let higher = limits.flow_sets.next_power_of_two();
        let cure = format!("use {} or {higher}", higher / 2);
        section.complain("flow_sets", "not a power of two", cure);
    }
    section.unknown_keys();
    limits
}

fn tunnels(root: &mut Section<'_, '_>) -> TunnelSettings {
    let defaults = TunnelSettings::default();
    let Some(mut section) = root.table("tunnel") else {
        return defaults;
    };
    let port = section.read("gue_port", number(1..=u16::MAX.into()));
    let sources = section.read("source", sources);
    section.unknown_keys();
    TunnelSettings {
        gue_port: port.map_or(defaults.gue_port, |port| port as u16),
        sources: sources.unwrap_or_default(),
    }
}
