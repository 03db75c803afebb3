//! Tests of the configuration: what it says, what is told of slips, and that nothing panics.
#![allow(clippy::unwrap_used, reason = "a test may panic")]

mod fuzz;
mod slips;

use super::*;
use navigator_core::{
    entry::{Rules, parse_instance, parse_vip},
    model::{CheckKind, ForwardMode, Instance, Protocol, Vip},
};
use std::time::Duration;

const EXAMPLE: &str = include_str!("../../../../deploy/navigator.example.toml");

/// A sound VIP, whose lines count from the one it begins in.
const VIP: &str =
    "[[vip]]\nname = \"web\"\naddress = \"192.0.2.1\"\nport = 80\nservice = \"web\"\n";

fn parse(text: &str) -> Result<Config, ConfigError> {
    Config::parse(text, "navigator.toml")
}

/// The problems of a text, without the file's name.
fn problems(text: &str) -> Vec<String> {
    let error = parse(text).map(|config| panic!("{config:?}")).unwrap_err();
    let lines = error.to_string();
    let lines = lines
        .lines()
        .map(|line| line.strip_prefix("navigator.toml:").unwrap());
    lines.map(str::to_owned).collect()
}

/// The only problem of a text that begins with a valid `interfaces` line.
fn problem(text: &str) -> String {
    let found = problems(&format!("interfaces = [\"eth0\"]\n{text}\n"));
    assert_eq!(found.len(), 1, "{found:#?}");
    found[0].clone()
}

fn vips(config: &Config) -> Vec<Vip> {
    let vips = config.entries().into_iter().take(config.vip_count());
    vips.map(|(key, value)| parse_vip(&key, &value).unwrap())
        .collect()
}

fn instances(config: &Config) -> Vec<Instance> {
    let instances = config.entries().into_iter().skip(config.vip_count());
    let read =
        |(key, value): (String, Vec<u8>)| parse_instance(&key, &value, false, &Rules::default());
    instances.map(|entry| read(entry).unwrap()).collect()
}

#[test]
fn the_example_is_sound_and_says_what_it_seems_to() {
    let config = parse(EXAMPLE).unwrap();
    assert_eq!(config.warnings, []);
    let keys: Vec<_> = config.entries().into_iter().map(|(key, _)| key).collect();
    assert_eq!(
        keys,
        [
            "/navigator/vips/web",
            "/navigator/vips/dns",
            "/services/web/10.0.0.1:80",
            "/services/web/10.0.0.2:80",
            "/services/dns/[2001:db8:1::1]:53",
            "/services/dns/10.1.0.1:53",
        ]
    );
    let vips = vips(&config);
    assert_eq!(vips[0].mode, ForwardMode::L2);
    assert_eq!(
        (vips[1].mode, vips[1].key.protocol),
        (ForwardMode::Ipip, Protocol::Udp)
    );
    let instances = instances(&config);
    assert_eq!((instances[0].weight, instances[1].weight), (100, 50));
    assert_eq!(instances[1].labels["zone"], "b");
    let CheckKind::Http { path, expect, .. } = &instances[1].check.kind else {
        panic!("{:?}", instances[1].check);
    };
    assert_eq!((path.as_str(), *expect), ("/health", (200, 299)));
    assert_eq!(instances[2].check.interval, Some(Duration::from_secs(2)));
    assert_eq!(
        instances[3].check.kind,
        CheckKind::None,
        "its own check counts"
    );
}

#[test]
fn what_the_example_comments_out_are_the_defaults() {
    let least = parse("interfaces = [\"eth0\"]").unwrap();
    let shown: String = EXAMPLE
        .lines()
        .take_while(|line| !line.starts_with("[[vip]]"))
        .map(|line| match line.strip_prefix("# ") {
            Some(rest) if rest.contains(" = ") && !rest.contains("etcd") => rest,
            Some(section @ ("[limits]" | "[tunnel]" | "[nat]" | "[api]")) => section,
            _ => line,
        })
        .filter(|line| {
            // These have no default that could be written down.
            let examples = [
                "backend_cidrs",
                "endpoints",
                "address",
                "ports",
                "certificate",
                "key",
                "client_ca",
                "name",
                "token_sha256",
                "roles",
                "listen",
                "domain",
                "ttl",
            ];
            !examples.iter().any(|key| line.starts_with(key))
        })
        .map(|line| format!("{line}\n"))
        .collect();
    assert!(
        shown.contains("\nflow_sets = ") && shown.contains("\nsocket = "),
        "{shown}"
    );
    let shown = parse(&shown).unwrap();
    assert_eq!(shown, least);
    assert_eq!(least.health, health::Settings::default());
    assert_eq!(least.window, crate::dataplane::DEFAULT_WINDOW);
    assert_eq!(least.registry, RegistryConfig::Embedded);
}

#[test]
fn settings_are_taken_over() {
    let config = parse(
        r#"
        interfaces = ["eth0", "eth1"]
        announce = "address"
        attach = "generic"
        socket = "/tmp/n.sock"
        pins = "/sys/fs/bpf/n"
        state = "/tmp/n"
        backend_cidrs = ["10.0.0.0/8"]
        window = "30m"
        [registry]
        kind = "etcd"
        endpoints = ["https://etcd-1.example:2379", "http://[2001:db8::1]:2379/"]
        [health]
        interval = "500ms"
        rise = 1
        [limits]
        slots = 0x1_0000
        flow_sets = 1024
        [tunnel]
        gue_port = 6090
        source = ["172.16.0.0/16", "fd00:6e61::/64"]
        "#,
    )
    .unwrap();
    assert_eq!(config.interfaces, ["eth0", "eth1"]);
    let sources = config.tunnels.sources.iter().map(ToString::to_string);
    assert_eq!(
        (config.tunnels.gue_port, sources.collect::<Vec<_>>()),
        (
            6090,
            vec!["172.16.0.0/16".to_owned(), "fd00:6e61::/64".to_owned()]
        )
    );
    assert_eq!(
        (config.announce, config.attach),
        (Announce::Address, Attach::Generic)
    );
    assert_eq!(config.socket, Path::new("/tmp/n.sock"));
    assert_eq!(config.window, Duration::from_secs(1800));
    assert!(config.backend_cidrs[0].contains("10.1.2.3".parse().unwrap()));
    let RegistryConfig::Etcd { endpoints } = &config.registry else {
        panic!("{:?}", config.registry);
    };
    assert_eq!(endpoints.len(), 2);
    assert_eq!(
        (config.limits.slots, config.limits.flow_sets),
        (65536, 1024)
    );
    let half = Duration::from_millis(500);
    assert_eq!((config.health.interval, config.health.rise), (half, 1));
    assert_eq!(
        (config.health.timeout, config.health.fast_interval),
        (half, half)
    );
}

#[test]
fn what_only_looks_wrong_is_a_warning() {
    let text = format!("interfaces = [\"eth0\"]\n{VIP}[registry]\nendpoints = [\"http://a:1\"]\n");
    let config = parse(&text).unwrap();
    let lines: Vec<_> = config
        .warnings
        .iter()
        .map(|warning| warning.line("n"))
        .collect();
    assert_eq!(lines.len(), 2, "{lines:#?}");
    assert!(lines[0].starts_with("n:6:11: vip.service = \"web\": no [[service]] block lists"));
    assert!(lines[1].starts_with("n:8:13: registry.endpoints = "));
    let etcd = text.replace("[registry]", "[registry]\nkind = \"etcd\"");
    assert_eq!(
        parse(&etcd).unwrap().warnings,
        [],
        "etcd may know instances"
    );
}

#[test]
fn instances_that_a_vip_cannot_reach_are_a_warning() {
    let text = format!(
        "interfaces = [\"eth0\"]\n{VIP}[[service]]\nname = \"web\"\ninstances = [\n\
         {{ address = \"10.0.0.1:80\" }},\n{{ address = \"10.0.0.1:8080\" }},\n\
         {{ address = \"[2001:db8::1]:80\" }},\n{{ address = \"192.0.2.1:80\" }} ]\n"
    );
    let config = parse(&text).unwrap();
    let lines: Vec<_> = config.warnings.iter().map(|w| w.line("n")).collect();
    assert_eq!(lines.len(), 3, "{lines:#?}");
    for (address, why) in [
        ("10.0.0.1:8080", "port_mismatch"),
        ("[2001:db8::1]:80", "family_mismatch"),
        ("192.0.2.1:80", "is_vip"),
    ] {
        let told = |line: &&String| line.starts_with("n:6:11: ") && line.contains(address);
        let line = lines.iter().find(told);
        assert!(line.is_some_and(|line| line.contains(why)), "{lines:#?}");
    }
}

#[test]
fn columns_count_characters_and_long_values_are_cut() {
    let found = problems("interfaces = [\"ä0\", 1]");
    assert!(found[0].starts_with("1:21: interfaces = 1: "), "{found:?}");
    let found = problem(&format!("attach = \"{}\"", "ä".repeat(10_000)));
    assert!(
        found.chars().count() < 200 && found.contains('…'),
        "{found}"
    );
}
