//! What is told of which slip.

use super::*;

#[test]
fn each_slip_is_told_with_place_key_value_and_cure() {
    for (text, expected) in [
        (
            "[health]\ninterval = \"5x\"",
            r#"3:12: health.interval = "5x": not a duration; use a number with ms, s, m or h, for example "5s""#,
        ),
        (
            "[health]\ninterval = 5",
            r#"3:12: health.interval = 5: an integer, not a duration; use a number with ms, s, m or h, for example "5s", in quotation marks"#,
        ),
        (
            "[health]\ninterval = \"50ms\"",
            r#"3:12: health.interval = "50ms": out of bounds; use 100ms to 1h"#,
        ),
        (
            "[health]\ntimeout = \"6s\"",
            r#"3:11: health.timeout = "6s": longer than the interval, 5s; make it shorter, or health.interval longer"#,
        ),
        (
            "[health]\nfall = 0",
            "3:8: health.fall = 0: out of bounds; use a whole number from 1 to 100",
        ),
        (
            "intrefaces = 1",
            r#"2:1: intrefaces: unknown key; did you mean "interfaces"?"#,
        ),
        (
            "[health]\njitter = 1",
            "3:1: health.jitter: unknown key; known here are interval, timeout, rise, fall, fast_interval",
        ),
        (
            "attach = \"nativ\"",
            r#"2:10: attach = "nativ": not known; did you mean "native"?"#,
        ),
        (
            "attach = 1",
            "2:10: attach = 1: an integer, not a text; put it in quotation marks",
        ),
        (
            "announce = \"bgp\"",
            r#"2:12: announce = "bgp": not known; use "none" or "address""#,
        ),
        (
            "socket = \"run/n.sock\"",
            r#"2:10: socket = "run/n.sock": not an absolute path; write it out from the root, for example "/run/navigator""#,
        ),
        (
            "window = \"25h\"",
            r#"2:10: window = "25h": out of bounds; use 10s to 24h"#,
        ),
        (
            "[tunnel]\ngue_port = 0",
            "3:12: tunnel.gue_port = 0: out of bounds; use a whole number from 1 to 65535",
        ),
        (
            "[tunnel]\nsource = \"172.16.0.1/16\"",
            "3:10: tunnel.source = \"172.16.0.1/16\": write 172.16.0.0/16 for the network or leave out the prefix for the address",
        ),
        (
            "[tunnel]\nsource = \"224.0.0.0/8\"",
            "3:10: tunnel.source = \"224.0.0.0/8\": no network to send from; use a private network that nothing else uses: at most a /8, or an IPv6 /16",
        ),
        (
            "[tunnel]\nsource = [\"10.0.0.0/8\", \"172.16.0.0/16\"]",
            "3:10: tunnel.source = [\"10.0.0.0/8\", \"172.16.0.0/16\"]: two networks of one family; use \"address\", a network such as \"172.16.0.0/16\", or a list of one network of each family",
        ),
        (
            "[limits]\nflow_sets = 1000",
            "3:13: limits.flow_sets = 1000: not a power of two; use 512 or 1024",
        ),
        (
            "[limits]\nslots = 5",
            "3:9: limits.slots = 5: out of bounds; use a whole number from 1024 to 134217728",
        ),
        (
            "[nat]\naddresses = [\"10.0.0.1\", \"nat\"]",
            r#"3:26: nat.addresses = "nat": not an IP address; name an address that backends reach this host by, for example "192.0.2.2""#,
        ),
        (
            "[nat]\naddresses = [\"127.0.0.1\"]",
            r#"3:14: nat.addresses = "127.0.0.1": not the address of a host; name an address that backends reach this host by, for example "192.0.2.2""#,
        ),
        (
            "[[api.access]]\nname = \"a\"\ntoken_sha256 = \"nvt_secret\"\nroles = [\"read\"]",
            "4:16: api.access.token_sha256: not the hash of a token; write the 64 hexadecimal digits that `navigator token new` prints, never the token",
        ),
        (
            "[[api.access]]\nname = \"a\"\ncertificate = \"a.example\"\nroles = [\"write\"]",
            r#"5:10: api.access.roles = "write": no role; use "read", "operate" or "register:PATTERN" with a service name in which * stands for any characters"#,
        ),
        (
            "[[api.listen]]\naddress = \":7443\"\ncertificate = \"/a\"\nkey = \"/b\"",
            r#"3:11: api.listen.address = ":7443": not an address with a port; write an IP address and a port, for example "0.0.0.0:7443" or "[::]:7443""#,
        ),
        (
            "[nat]\nports = \"80-90\"",
            r#"3:9: nat.ports = "80-90": ports below 1024 belong to the system's services; write first and last port, at least 1024, as "1024-32767""#,
        ),
        (
            "[nat]\nports = \"2000\"",
            r#"3:9: nat.ports = "2000": not a range of ports; write first and last port, at least 1024, as "1024-32767""#,
        ),
        (
            "[nat]\nclosed = \"0s\"",
            r#"3:10: nat.closed = "0s": out of bounds; use 1s to 24h"#,
        ),
        (
            "[registry]\nkind = \"etcd\"",
            r#"2:1: registry.endpoints: missing; name the members of the cluster, for example ["http://127.0.0.1:2379"]"#,
        ),
        (
            "[registry]\nkind = \"etcd\"\nendpoints = [\"10.0.0.1\"]",
            r#"4:14: registry.endpoints = "10.0.0.1": not an endpoint; use http or https, a host and a port, for example "http://127.0.0.1:2379""#,
        ),
        (
            "registry = 1",
            "2:12: registry = 1: not a table; write it as a block that begins with [registry]",
        ),
        (
            "backend_cidrs = [\"10.0.0.1/8\"]",
            r#"2:18: backend_cidrs = "10.0.0.1/8": write 10.0.0.0/8 for the network or leave out the prefix for the address"#,
        ),
        (
            "vip = 1",
            "2:7: vip = 1: not a list of tables; write each VIP as a block that begins with [[vip]]",
        ),
    ] {
        assert_eq!(problem(text), expected);
    }
}

#[test]
fn slips_in_a_vip_are_told_at_their_keys() {
    for (line, expected) in [
        (
            "mode = \"geneve\"",
            r#"7:8: vip.mode = "geneve": must be one of l2, ipip, gue, nat"#,
        ),
        (
            "slots = 65536",
            "7:9: vip.slots = 65536: must be a prime, such as 65521 or 65537",
        ),
        (
            "drain = \"5 min\"",
            r#"7:9: vip.drain = "5 min": write a whole number and a unit, such as 500ms, 5s, 2m or 1h"#,
        ),
        (
            "sevice = \"web\"",
            r#"7:1: vip.sevice: unknown key; did you mean "service"?"#,
        ),
        (
            "udp = 1979-05-27",
            "7:7: vip.udp = 1979-05-27: a date or time; registry entries are JSON: write it as a text, in quotation marks",
        ),
    ] {
        assert_eq!(problem(&format!("{VIP}{line}")), expected);
    }
    let edited = |from: &str, to: &str| problem(&VIP.replace(from, to));
    assert_eq!(
        edited("80", "70000"),
        "5:8: vip.port = 70000: must be a port from 1 to 65535, a range such as \"8000-8999\", or 0 for all ports"
    );
    assert_eq!(
        edited("80", "\"90-80\""),
        "5:8: vip.port = \"90-80\": write \"80-90\""
    );
    assert_eq!(
        edited("port = 80\n", ""),
        "2:1: vip.port: missing; add it, for example port = 80"
    );
    assert!(edited("192.0.2.1", "224.0.0.1").starts_with("4:11: vip.address = \"224.0.0.1\": "));
    assert!(edited("192.0.2.1", "127.0.0.1").starts_with("4:11: vip.address = \"127.0.0.1\": "));
    assert!(edited("192.0.2.1", "www").starts_with("4:11: vip.address = \"www\": write an IPv4"));
    assert!(
        edited("name = \"web\"", "name = \"Web\"")
            .starts_with("3:8: vip.name = \"Web\": not a DNS label; ")
    );
}

#[test]
fn vips_that_collide_or_do_not_fit_are_told() {
    let second = VIP.replace("192.0.2.1", "192.0.2.2");
    let expected =
        r#"8:8: vip.name = "web": there is another VIP of this name; name each VIP once"#;
    assert_eq!(problem(&format!("{VIP}{second}")), expected);
    let second = VIP.replace("name = \"web\"", "name = \"web2\"");
    let expected = r#"9:11: vip.address = "192.0.2.1": VIP web has 192.0.2.1:80/tcp already; change address, port or protocol of one"#;
    assert_eq!(problem(&format!("{VIP}{second}")), expected);
    let over_udp = format!("{second}protocol = \"udp\"\n");
    assert!(parse(&format!("interfaces = [\"eth0\"]\n{VIP}{over_udp}")).is_ok());
    let expected = r#"3:8: vip.name = "web": the VIPs up to here need 65537 slots, there are 65536; raise limits.slots, or give VIPs fewer slots"#;
    assert_eq!(problem(&format!("{VIP}[limits]\nslots = 65536")), expected);
}

#[test]
fn slips_in_a_service_are_told_at_their_keys() {
    let service = |check: &str, instance: &str| {
        problem(&format!(
            "[[service]]\nname = \"web\"\ncheck = {{ {check} }}\ninstances = [ {{ {instance} }} ]"
        ))
    };
    let good = "address = \"10.0.0.1:80\"";
    let check = |check: &str| service(check, good);
    let instance = |instance: &str| service("kind = \"tcp\"", instance);
    for (found, expected) in [
        (
            check("kind = \"ping\""),
            r#"4:18: service.check.kind = "ping": must be one of none, tcp, http"#,
        ),
        (
            check("path = \"health\""),
            r#"4:18: service.check.path = "health": must start with '/'"#,
        ),
        (
            check("kind = \"http\", expect = 99"),
            r#"4:35: service.check.expect = 99: must be a status such as 200 or a range such as "200-399""#,
        ),
        (
            check("kind = \"http\", headers = { host = \"a\" }"),
            r#"4:36: service.check.headers = { host = "a" }: is set by the check itself (see `host`)"#,
        ),
        (
            check("kind = \"tcp\", path = \"/\""),
            r#"4:32: service.check.path = "/": only for HTTP checks; set kind = "http", or leave it out"#,
        ),
        (
            check("timeout = \"6s\""),
            r#"4:21: service.check.timeout = "6s": longer than the interval, 5s; make it shorter, or the interval longer"#,
        ),
        (
            check("interval = \"1s\", timeout = \"2s\""),
            r#"4:37: service.check.timeout = "2s": must be at most the interval, 1s"#,
        ),
        (
            check("kid = \"tcp\""),
            r#"4:11: service.check.kid: unknown key; did you mean "kind"?"#,
        ),
        (
            instance("weight = 5"),
            "5:15: service.instances.address: missing; add it, for example address = \"10.0.0.1:80\"",
        ),
        (
            instance("address = \"10.0.0.1\""),
            r#"5:27: service.instances.address = "10.0.0.1": write it as 10.0.0.1:80 or [2001:db8::1]:80"#,
        ),
        (
            instance("address = \"10.0.0.1:80\", weight = 1001"),
            "5:51: service.instances.weight = 1001: must be a whole number from 0 to 1000",
        ),
        (
            instance("address = \"10.0.0.1:80\" }, { address = \"10.0.0.1:80\""),
            r#"5:56: service.instances.address = "10.0.0.1:80": it is there twice; list each instance once"#,
        ),
    ] {
        assert!(
            found.ends_with(expected.split_once(": ").unwrap().1),
            "{found}\n{expected}"
        );
        assert_eq!(
            found.split(':').next(),
            expected.split(':').next(),
            "{found}"
        );
    }
    let allowed = "backend_cidrs = [\"10.1.0.0/16\"]\n[[service]]\nname = \"web\"\ninstances = [ { address = \"10.0.0.1:80\" } ]";
    assert!(problem(allowed).contains(
        "service.instances.address = \"10.0.0.1:80\": address 10.0.0.1 is outside backend_cidrs"
    ));
    let double = "[[service]]\nname = \"web\"\ninstances = [ { address = \"10.0.0.1:80\" } ]\n";
    assert!(problem(&double.repeat(2)).contains("there is another block for this service"));
}

#[test]
fn everything_wrong_is_told_at_once_in_the_order_of_the_file() {
    let found = problems(
        r#"interfaces = ["eth0", "a name far too long", "eth0"]
[[vip]]
address = "0.0.0.0"
port = "80"
service = "Web!"
mode = "l3"
color = "red"
[[service]]
name = "web"
instances = [ { address = "10.0.0.1:0", weight = -1 }, 7 ]
[health]
rise = 1.5
"#,
    );
    let places: Vec<_> = found
        .iter()
        .map(|line| line.split(": ").take(2).collect::<Vec<_>>().join(" "))
        .collect();
    let keys: Vec<_> = places
        .iter()
        .map(|place| place.split(' ').nth(1).unwrap())
        .collect();
    assert_eq!(
        keys,
        [
            "interfaces",
            "interfaces",
            "vip.name",
            "vip.address",
            "vip.port",
            "vip.service",
            "vip.mode",
            "vip.color",
            "service.instances.address",
            "service.instances.weight",
            "service.instances",
            "health.rise",
        ],
        "{found:#?}"
    );
}

#[test]
fn text_that_is_not_toml_is_told_with_its_place() {
    let found = problems("interfaces = [\"eth0\"]\nannounce \nattach = \"auto\"\n");
    assert!(found[0].starts_with("2:"), "{found:?}");
    let found = problems("interfaces = [\"eth0\"]\nattach = \"auto\"\nattach = \"auto\"\n");
    assert!(
        found[0].starts_with("3:") && found[0].contains("duplicate key"),
        "{found:?}"
    );
    let found = problems(&"[".repeat(100_000));
    assert!(!found.is_empty());
    let found = problems(&format!("{}= 1", "a.".repeat(100_000)));
    assert!(!found.is_empty());
}

#[test]
fn a_flood_of_problems_is_cut_and_says_so() {
    let text: String = (0..1000).map(|i| format!("k{i} = 1\n")).collect();
    let error = parse(&text).unwrap_err();
    assert_eq!(error.problems.len(), 257);
    assert!(
        error
            .to_string()
            .starts_with("navigator.toml: more than 256 problems")
    );
}
