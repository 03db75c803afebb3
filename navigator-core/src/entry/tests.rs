#![allow(clippy::unwrap_used, reason = "a test's own input")]

use super::*;
use crate::model::*;
use proptest::prelude::*;
use serde_json::{Value, json};
use std::{net::SocketAddr, time::Duration};

mod fuzz;

const KEY: &str = "/services/web/10.0.0.5:80";
const VIP: &str = "/navigator/vips/web";

fn rules() -> Rules {
    Rules {
        backend_cidrs: vec![
            "10.0.0.0/8".parse().unwrap(),
            "2001:db8::/32".parse().unwrap(),
        ],
        host_addresses: vec!["10.0.0.1".parse().unwrap()],
    }
}

fn founding() -> Value {
    json!({"name": "web", "address": "10.0.0.5", "port": 80, "health_check_endpoint": "/health"})
}

/// `base` with the fields of `changes`; null takes one out.
fn with(mut base: Value, changes: Value) -> Value {
    base.as_object_mut()
        .unwrap()
        .extend(changes.as_object().unwrap().clone());
    base
}

fn instance(key: &str, value: &Value) -> Result<Instance, Rejection> {
    parse_instance(key, &serde_json::to_vec(value).unwrap(), true, &rules())
}

fn vip(changes: Value) -> Result<Vip, Rejection> {
    let least = json!({"address": "192.0.2.10", "port": 80, "service": "web"});
    parse_vip(VIP, &serde_json::to_vec(&with(least, changes)).unwrap())
}

/// The reason, and that the detail names what is wrong.
fn assert_refused<T: std::fmt::Debug>(
    result: Result<T, Rejection>,
    reason: RejectReason,
    says: &str,
) {
    let rejection = result.unwrap_err();
    assert_eq!(rejection.reason, reason, "{rejection}");
    assert!(
        rejection.detail.contains(says),
        "{says:?} not in {rejection}"
    );
    assert!(rejection.detail.len() < 600, "{rejection}");
}

#[test]
fn the_founding_format_is_an_instance() {
    let parsed = instance(KEY, &founding()).unwrap();
    assert_eq!(parsed.key.to_string(), "web/10.0.0.5:80");
    assert_eq!(parsed.weight, DEFAULT_WEIGHT);
    let CheckKind::Http {
        path,
        method,
        expect,
        ..
    } = &parsed.check.kind
    else {
        panic!("{:?}", parsed.check);
    };
    assert_eq!(
        (path.as_str(), method.as_str(), *expect),
        ("/health", "GET", (200, 399))
    );
    for none in [json!(null), json!("")] {
        let tcp = with(founding(), json!({"health_check_endpoint": none}));
        assert_eq!(instance(KEY, &tcp).unwrap().check.kind, CheckKind::Tcp);
    }
}

#[test]
fn unknown_fields_are_ignored_and_labels_kept() {
    let value = with(
        founding(),
        json!({"colour": "blue", "version": "2", "tags": ["a"], "zone": null}),
    );
    let labels = instance(KEY, &value).unwrap().labels;
    assert_eq!(labels.keys().collect::<Vec<_>>(), ["tags", "version"]);
}

#[test]
fn ipv6_instances_have_brackets_in_their_key() {
    let value = with(founding(), json!({"address": "2001:db8::5"}));
    assert!(instance("/services/web/[2001:db8::5]:80", &value).is_ok());
    assert_refused(
        instance("/services/web/2001:db8::5:80", &value),
        RejectReason::BadAddress,
        "[2001:db8::1]:80",
    );
}

#[test]
fn fields_that_are_wrong_are_refused_by_name() {
    use RejectReason::*;
    for (changes, reason, says) in [
        (json!({"name": "api"}), KeyMismatch, "name is api"),
        (
            json!({"address": "10.0.0.6"}),
            KeyMismatch,
            "address is 10.0.0.6",
        ),
        (json!({"port": 81}), KeyMismatch, "port is 81"),
        (json!({"name": null}), BadName, "name is missing"),
        (json!({"name": "Web"}), BadName, "\"Web\""),
        (json!({"address": null}), BadAddress, "address is missing"),
        (
            json!({"address": "backend-5.example"}),
            BadAddress,
            "host names",
        ),
        (json!({"address": "10.0.0.05"}), BadAddress, "leading zeros"),
        (json!({"address": 5}), BadAddress, "must be a string"),
        (json!({"port": null}), BadPort, "port is missing"),
        (json!({"port": 0}), BadPort, "port 0"),
        (json!({"port": 65_536}), BadPort, "port 65536"),
        (json!({"port": "80"}), BadPort, "port \"80\""),
        (json!({"port": 80.0}), BadPort, "port 80.0"),
        (json!({"port": -1}), BadPort, "port -1"),
        (json!({"weight": -1}), BadWeight, "weight -1"),
        (json!({"weight": 1001}), BadWeight, "from 0 to 1000"),
        (json!({"weight": 1.5}), BadWeight, "weight 1.5"),
        (json!({"weight": "NaN"}), BadWeight, "weight \"NaN\""),
        (
            json!({"health_check_endpoint": "health"}),
            BadCheck,
            "start with '/'",
        ),
        (
            json!({"health_check_endpoint": "http://x/health"}),
            BadCheck,
            "not a URL",
        ),
        (
            json!({"health_check_endpoint": "/a\r\nX: y"}),
            BadCheck,
            "line breaks",
        ),
        (
            json!({"health_check_endpoint": format!("/{}", "a".repeat(1024))}),
            BadCheck,
            "1024",
        ),
        (
            json!({"health_check_endpoint": 7}),
            BadCheck,
            "must be a string",
        ),
        (json!({"check": "http"}), BadCheck, "must be an object"),
        (
            json!({"check": {"kind": "exec"}}),
            BadCheck,
            "none, tcp, http",
        ),
        (
            json!({"check": {"kind": "http", "path": "x"}}),
            BadCheck,
            "check.path",
        ),
        (json!({"check": {"port": 0}}), BadCheck, "check.port 0"),
        (
            json!({"check": {"interval": "10ms"}}),
            BadCheck,
            "from 100ms to 24h",
        ),
        (
            json!({"check": {"interval": 5}}),
            BadCheck,
            "check.interval 5",
        ),
        (
            json!({"check": {"interval": "5"}}),
            BadCheck,
            "such as 500ms",
        ),
        (
            json!({"check": {"interval": "1s", "timeout": "2s"}}),
            BadCheck,
            "at most the interval, 1s",
        ),
        (json!({"check": {"rise": 0}}), BadCheck, "check.rise 0"),
        (
            json!({"check": {"expect": "2xx"}}),
            BadCheck,
            "check.expect",
        ),
        (
            json!({"check": {"expect": "399-200"}}),
            BadCheck,
            "check.expect",
        ),
        (
            json!({"check": {"method": "GET /"}}),
            BadCheck,
            "check.method",
        ),
        (json!({"check": {"host": "a b"}}), BadCheck, "check.host"),
        (
            json!({"check": {"headers": {"X": "a\r\nb"}}}),
            BadCheck,
            "check.headers.X",
        ),
        (
            json!({"check": {"headers": {"X y": "a"}}}),
            BadCheck,
            "check.headers.X y",
        ),
        (
            json!({"check": {"headers": {"Host": "a"}}}),
            BadCheck,
            "see `host`",
        ),
    ] {
        assert_refused(instance(KEY, &with(founding(), changes)), reason, says);
    }
}

#[test]
fn addresses_that_no_instance_can_have_are_refused() {
    for address in [
        "0.0.0.0",
        "0.1.2.3",
        "169.254.1.1",
        "224.0.0.1",
        "255.255.255.255",
        "240.0.0.1",
        "::",
        "fe80::1",
        "ff02::1",
        "::ffff:10.0.0.5",
    ] {
        let ip: std::net::IpAddr = address.parse().unwrap();
        let key = format!("/services/web/{}", SocketAddr::new(ip, 80));
        let value = with(founding(), json!({"address": address}));
        assert_refused(instance(&key, &value), RejectReason::BadAddress, address);
    }
    let loose = with(founding(), json!({"address": "2001:DB8::5"}));
    assert_refused(
        instance("/services/web/[2001:DB8::5]:80", &loose),
        RejectReason::BadAddress,
        "write 2001:db8::5",
    );
}

#[test]
fn keys_that_name_no_instance_are_refused() {
    use RejectReason::*;
    for (key, reason) in [
        ("/other/web/10.0.0.5:80", KeyMismatch),
        ("/services/web", KeyMismatch),
        ("/services//10.0.0.5:80", BadName),
        ("/services/we_b/10.0.0.5:80", BadName),
        ("/services/web/10.0.0.5", BadPort),
        ("/services/web/10.0.0.5:", BadPort),
        ("/services/web/10.0.0.5:080", BadPort),
        ("/services/web/10.0.0.5:80/x", BadPort),
        ("/services/web/host:80", BadAddress),
        ("/services/web/[10.0.0.5]:80", BadAddress),
        ("/services/web/[fe80::1%eth0]:80", BadAddress),
    ] {
        assert_refused(instance(key, &founding()), reason, "");
    }
    let long = format!("/services/{}/10.0.0.5:80", "a".repeat(64));
    assert_refused(instance(&long, &founding()), BadName, "DNS label");
}

#[test]
fn the_operators_rules_bind_instances() {
    let at = |address: &str| {
        let ip: std::net::IpAddr = address.parse().unwrap();
        let key = format!("/services/web/{}", SocketAddr::new(ip, 80));
        instance(&key, &with(founding(), json!({"address": address})))
    };
    assert_refused(
        at("192.0.2.1"),
        RejectReason::NotAllowed,
        "10.0.0.0/8, 2001:db8::/32",
    );
    assert_refused(at("10.0.0.1"), RejectReason::IsVip, "this host's own");
    let free = Rules::default();
    let loopback = br#"{"name":"web","address":"127.0.0.1","port":80}"#;
    let result = parse_instance("/services/web/127.0.0.1:80", loopback, false, &free);
    assert!(
        result.is_ok_and(|instance| !instance.leased),
        "discoverable"
    );
}

#[test]
fn values_that_are_no_object_are_refused() {
    let text = |value: &[u8]| parse_instance(KEY, value, true, &rules());
    for value in [
        &b""[..],
        b"{",
        b"{\"name\":\"we",
        b"[]",
        b"null",
        b"\xff\xfe",
        b"{} {}",
    ] {
        assert_refused(text(value), RejectReason::BadJson, "");
    }
    let deep = "[".repeat(16_000);
    assert_refused(
        text(deep.as_bytes()),
        RejectReason::BadJson,
        "recursion limit",
    );
    let deep = format!("{{\"a\":{}", "{\"a\":".repeat(3_000));
    assert_refused(
        text(deep.as_bytes()),
        RejectReason::BadJson,
        "recursion limit",
    );
    let large = with(founding(), json!({"meta": "x".repeat(MAX_VALUE)}));
    assert_refused(instance(KEY, &large), RejectReason::TooLarge, "16384");
}

#[test]
fn a_check_may_say_more_than_an_endpoint() {
    let checked = |check: Value| {
        instance(KEY, &with(founding(), json!({"check": check})))
            .unwrap()
            .check
    };
    assert_eq!(checked(json!({"kind": "none"})).kind, CheckKind::None);
    assert_eq!(checked(json!({"kind": "tcp", "port": 81})).port, Some(81));
    let http = checked(
        json!({"kind": "http", "host": "a.example", "expect": 204, "interval": "1s", "timeout": "250ms", "fall": 5}),
    );
    assert_eq!(
        (http.interval, http.timeout),
        (
            Some(Duration::from_secs(1)),
            Some(Duration::from_millis(250))
        )
    );
    let CheckKind::Http {
        path, host, expect, ..
    } = http.kind
    else {
        panic!("{http:?}")
    };
    assert_eq!(
        (path.as_str(), host.as_deref(), expect),
        ("/health", Some("a.example"), (204, 204))
    );
}

#[test]
fn server_ids_are_read_strictly() {
    let with_id = |id: Value| instance(KEY, &with(founding(), json!({"quic_server_id": id})));
    let ids = |id: Value| with_id(id).unwrap().server_ids();
    assert_eq!(ids(json!("c4605e")), ["c4605e".parse().unwrap()]);
    assert_eq!(ids(json!(["01", "0203"])).len(), 2);
    assert!(instance(KEY, &founding()).unwrap().server_ids().is_empty());
    for bad in [
        json!("c460f"),
        json!(7),
        json!(""),
        json!(["01", "x"]),
        json!({}),
    ] {
        assert_refused(with_id(bad), RejectReason::BadJson, "hexadecimal");
    }
    assert_refused(
        with_id(json!(vec!["01"; 17])),
        RejectReason::BadJson,
        "at most 16",
    );
}

#[test]
fn a_vip_has_sensible_defaults() {
    let tcp = vip(json!({})).unwrap();
    assert_eq!(tcp.key.to_string(), "192.0.2.10:80/tcp");
    assert_eq!(
        (tcp.mode, tcp.slots, tcp.on_down),
        (ForwardMode::L2, 65_537, OnDown::Keep)
    );
    assert_eq!(
        (tcp.on_empty, tcp.unserved, tcp.drain),
        (
            OnEmpty::Drop,
            UnservedPolicy::Drop,
            Duration::from_secs(300)
        )
    );
    let both = vip(json!({"protocol": "both", "port": 0})).unwrap();
    assert_eq!(both.key.to_string(), "192.0.2.10:*/both");
    assert_eq!(both.on_down, OnDown::Keep);
    let udp = vip(json!({"protocol": "udp"})).unwrap();
    assert_eq!((udp.udp, udp.on_down), (UdpPolicy::Rehash, OnDown::Reset));
}

#[test]
fn vips_that_are_wrong_are_refused() {
    use RejectReason::*;
    for (changes, reason, says) in [
        (json!({"address": null}), BadVip, "address is missing"),
        (json!({"address": "0.0.0.0"}), BadVip, "unspecified"),
        (json!({"address": "224.0.0.1"}), BadVip, "multicast"),
        (json!({"address": "127.0.0.1"}), BadVip, "loopback"),
        (json!({"address": "www"}), BadVip, "no IP address"),
        (json!({"address": "2001:db8::"}), BadVip, "last 64 bits"),
        (json!({"affinity": "cookie"}), BadVip, "none, source"),
        (
            json!({"affinity": "source", "mode": "nat"}),
            BadVip,
            "choose l2, ipip or gue",
        ),
        (
            json!({"quic": [{"config": 0, "server_id_length": 3}], "protocol": "udp", "mode": "nat"}),
            BadVip,
            "choose l2, ipip or gue",
        ),
        (
            json!({"affinity": "source", "udp": "rehash", "protocol": "udp"}),
            BadVip,
            "leave udp out",
        ),
        (
            json!({"quic": [{"config": 0, "server_id_length": 3}]}),
            BadVip,
            "udp or both",
        ),
        (json!({"quic": {"config": 0}}), BadVip, "a list such as"),
        (json!({"quic": [3]}), BadVip, "a list such as"),
        (
            json!({"quic": [{"config": 7, "server_id_length": 3}]}),
            BadVip,
            "quic.config 7",
        ),
        (
            json!({"quic": [{"config": 0, "server_id_length": 16}]}),
            BadVip,
            "from 1 to 15",
        ),
        (
            json!({"quic": [{"config": 0}]}),
            BadVip,
            "quic.server_id_length is missing",
        ),
        (
            json!({"quic": [{"config": 0, "length": 3}]}),
            BadVip,
            "\"length\" is not known",
        ),
        (
            json!({"quic": [{"config": 1, "server_id_length": 3}, {"config": 1, "server_id_length": 4}]}),
            BadVip,
            "configuration 1 twice",
        ),
        (json!({"port": "0-9"}), BadVip, "write 0 for all ports"),
        (json!({"port": "90-80"}), BadVip, "write \"80-90\""),
        (json!({"port": "80-80"}), BadVip, "write 80"),
        (json!({"port": "80"}), BadVip, "write the number 80"),
        (json!({"port": "http"}), BadVip, "8000-8999"),
        (json!({"port": 65_536}), BadVip, "65535"),
        (json!({"port": 80.5}), BadVip, "65535"),
        (json!({"port": true}), BadVip, "8000-8999"),
        (json!({"address": "2001:db8::/64x"}), BadVip, "no prefix"),
        (
            json!({"address": "2001:db8::1/64"}),
            BadVip,
            "write 2001:db8::/64",
        ),
        (
            json!({"address": "2001:0db8::/64"}),
            BadVip,
            "write 2001:db8::/64",
        ),
        (
            json!({"address": "2001:db8::1/128"}),
            BadVip,
            "write 2001:db8::1",
        ),
        (json!({"address": "2000::/3"}), BadVip, "/16"),
        (json!({"address": "10.0.0.0/7"}), BadVip, "/8"),
        (
            json!({"address": "fe80::/64"}),
            BadVip,
            "no client can reach",
        ),
        (
            json!({"address": "224.0.0.0/8"}),
            BadVip,
            "no client can reach",
        ),
        (
            json!({"address": "2001:db8::"}),
            BadVip,
            "2001:db8::/64 for all",
        ),
        (json!({"port": null}), BadVip, "port is missing"),
        (json!({"protocol": "sctp"}), BadVip, "tcp, udp, both"),
        (json!({"mode": "geneve"}), BadVip, "l2, ipip, gue"),
        (json!({"service": null}), BadVip, "service is missing"),
        (json!({"service": "A"}), BadVip, "\"A\""),
        (json!({"slots": 65_536}), BadVip, "65521 or 65537"),
        (json!({"slots": 250}), BadVip, "from 251 to 655373"),
        (json!({"slots": 655_374}), BadVip, "from 251 to 655373"),
        (json!({"drain": "25h"}), BadVip, "from 0s to 24h"),
        (json!({"drain": 300}), BadVip, "drain 300"),
        (json!({"on_down": "ignore"}), BadVip, "keep, reset"),
        (json!({"on_empty": true}), BadVip, "must be a string"),
        (json!({"name": "api"}), KeyMismatch, "key's name is web"),
    ] {
        assert_refused(vip(changes), reason, says);
    }
    assert_refused(parse_vip("/navigator/vips/A", b"{}"), BadName, "\"A\"");
    assert_refused(parse_vip(VIP, b"{"), BadJson, "not JSON");
    assert!(vip(json!({"slots": MIN_SLOTS})).is_ok() && vip(json!({"slots": MAX_SLOTS})).is_ok());
}

#[test]
fn orders_are_read_strictly() {
    let key = "/navigator/orders/web/10.0.0.5:80";
    let (instance, order) = parse_order(key, br#"{"drain":true,"weight":0}"#).unwrap();
    assert_eq!(keys::order(&instance), key);
    assert_eq!(
        order,
        Order {
            drain: true,
            maintenance: false,
            weight: Some(0)
        }
    );
    assert_eq!(parse_order(key, b"{}").unwrap().1, Order::default());
    assert_refused(
        parse_order(key, br#"{"drian":true}"#),
        RejectReason::BadOrder,
        "drian",
    );
    assert_refused(
        parse_order(key, br#"{"drain":"yes"}"#),
        RejectReason::BadOrder,
        "true or false",
    );
    assert_refused(
        parse_order(key, br#"{"weight":1001}"#),
        RejectReason::BadWeight,
        "1001",
    );
    assert_refused(
        parse_order("/navigator/orders/web", b"{}"),
        RejectReason::KeyMismatch,
        "",
    );
}

fn any_check() -> impl Strategy<Value = CheckSpec> {
    let http = (
        "/[a-z/?=&]{0,20}",
        proptest::option::of("[a-z.]{1,12}"),
        "[A-Z]{3,6}",
        100u16..400,
        0u16..200,
        proptest::collection::btree_map("X-[A-Z]{1,5}", "[ -~]{0,10}", 0..3),
    )
        .prop_map(|(path, host, method, low, more, headers)| CheckKind::Http {
            path,
            host,
            method,
            expect: (low, low + more),
            headers: headers.into_iter().collect(),
        });
    let kind = prop_oneof![Just(CheckKind::None), Just(CheckKind::Tcp), http];
    let ports = proptest::option::of(1u16..);
    let millis = proptest::option::of(100u64..100_000);
    let counts = proptest::option::of(1u32..100);
    (kind, ports, millis, counts.clone(), counts).prop_map(|(kind, port, millis, rise, fall)| {
        CheckSpec {
            kind,
            port,
            interval: millis.map(Duration::from_millis),
            timeout: millis.map(|millis| Duration::from_millis(millis / 2)),
            rise,
            fall,
        }
    })
}

proptest! {
    #[test]
    fn instances_survive_the_round_trip(check in any_check(), weight in 0u16..=1000, v6: bool, port in 1u16.., leased: bool) {
        let address = if v6 { "2001:db8::5".parse().unwrap() } else { "10.0.0.5".parse().unwrap() };
        let address = SocketAddr::new(address, port);
        let key = InstanceKey { service: "web".parse().unwrap(), address };
        let labels = [("tags".to_owned(), json!(["a", 1]))].into();
        let instance = Instance { key, weight, check, leased, labels };
        let value = serde_json::to_vec(&instance_json(&instance)).unwrap();
        prop_assert_eq!(parse_instance(&keys::instance(&instance.key), &value, leased, &rules()), Ok(instance));
    }

    #[test]
    fn vips_survive_the_round_trip(port: u16, last: u16, protocol in prop::sample::select(vec!["tcp", "udp", "both"]), prefix: bool, mode in prop::sample::select(vec!["l2", "ipip", "gue"]), open: bool, millis in 0u64..86_400_000) {
        let choices = json!({
            "address": if prefix { "2001:db8::/64" } else { "2001:db8::10" },
            "port": if port > 0 && last > port { json!(format!("{port}-{last}")) } else { json!(port) },
            "protocol": protocol,
            "mode": mode, "on_empty": if open { "open" } else { "drop" },
            "affinity": if open && mode != "nat" { "source" } else { "none" }, "udp": "sticky",
            "quic": if protocol == "tcp" || mode == "nat" { json!([]) } else { json!([{"config": 6, "server_id_length": 15}]) },
            "unserved": "pass", "on_down": if open { "keep" } else { "reset" },
            "drain": format!("{millis}ms"), "slots": 251,
        });
        let parsed = vip(choices).unwrap();
        let value = serde_json::to_vec(&vip_json(&parsed)).unwrap();
        prop_assert_eq!(parse_vip(VIP, &value), Ok(parsed));
    }

    #[test]
    fn no_input_panics(rest in "\\PC{0,40}", value in proptest::collection::vec(any::<u8>(), 0..200), json in "[{}\\[\\]\":,a-z0-9.\\-]{0,60}") {
        for prefix in [keys::SERVICES, keys::VIPS, keys::ORDERS, ""] {
            let key = format!("{prefix}{rest}");
            for value in [&value[..], json.as_bytes()] {
                let _ = parse_instance(&key, value, true, &rules());
                let _ = parse_vip(&key, value);
                let _ = parse_order(&key, value);
            }
        }
    }
}
