#![allow(clippy::unwrap_used, reason = "a test's own input")]

use super::*;
use crate::entry::{Rules, parse_instance, parse_vip};
use proptest::prelude::*;
use std::fmt::Write;

const NOW: Duration = Duration::from_secs(1000);

/// A VIP `192.0.2.10:80/tcp` of mode l2 with a drain of 300 s, changed by `fields`.
fn vip(fields: &str) -> Vip {
    let value = format!(r#"{{"address":"192.0.2.10","port":80,"service":"web"{fields}}}"#);
    parse_vip("/navigator/vips/web", value.as_bytes()).unwrap()
}

fn candidate(address: &str, health: Health) -> Candidate {
    let address: SocketAddr = address.parse().unwrap();
    let value = format!(
        r#"{{"name":"web","address":"{}","port":{}}}"#,
        address.ip(),
        address.port()
    );
    let key = format!("/services/web/{address}");
    let registered = parse_instance(&key, value.as_bytes(), true, &Rules::default()).unwrap();
    Candidate {
        registered: Some(registered),
        address,
        last_weight: 100,
        health,
        health_why: if health == Health::Unhealthy {
            "connection refused"
        } else {
            ""
        }
        .into(),
        unreachable: None,
        order: Order::default(),
        draining_since: None,
    }
}

fn one(vip: &Vip, candidate: Candidate) -> Member {
    let mut members = members(vip, &[candidate], NOW);
    assert_eq!(members.len(), 1);
    members.remove(0)
}

/// State, flags (`n` takes new flows, `u` usable) and reason in one line.
fn line(member: &Member) -> String {
    let mut line = format!("{:?} ", member.state);
    line.push_str(if member.takes_new { "n" } else { "-" });
    line.push_str(if member.usable { "u" } else { "-" });
    write!(line, " {}", member.why).unwrap();
    line
}

const BACKEND: &str = "10.0.0.5:80";

#[test]
fn health_and_policy_make_the_state() {
    use Health::*;
    for (fields, health, expected) in [
        ("", Healthy, "Active nu "),
        ("", Unknown, "Unknown -u not checked yet"),
        (
            "",
            Unhealthy,
            "Unhealthy -u checks fail: connection refused",
        ),
        (
            r#","on_down":"reset""#,
            Unhealthy,
            "Unhealthy -- checks fail: connection refused",
        ),
        (r#","on_down":"reset""#, Healthy, "Active nu "),
        (
            r#","protocol":"udp""#,
            Unhealthy,
            "Unhealthy -- checks fail: connection refused",
        ),
        (
            r#","on_empty":"open""#,
            Unhealthy,
            "FailOpen nu checks fail: connection refused; gets new flows all the same, as no backend is healthy (on_empty = open)",
        ),
    ] {
        assert_eq!(
            line(&one(&vip(fields), candidate(BACKEND, health))),
            expected,
            "{fields}"
        );
    }
}

#[test]
fn a_drain_lasts_for_the_drain_time_whatever_ordered_it() {
    let since = |seconds: u64| Some(NOW - Duration::from_secs(seconds));
    let base = candidate(BACKEND, Health::Healthy);
    let drain = Order {
        drain: true,
        maintenance: false,
        weight: None,
    };
    let zero = Order {
        drain: false,
        maintenance: false,
        weight: Some(0),
    };
    let mut weightless = base.clone();
    weightless.registered.as_mut().unwrap().weight = 0;
    let gone = Candidate {
        registered: None,
        ..base.clone()
    };
    for (candidate, draining_since, expected) in [
        (
            Candidate {
                order: drain.clone(),
                ..base.clone()
            },
            since(88),
            "Draining -u ordered to drain by an operator; draining, 212 s left",
        ),
        (
            Candidate {
                order: drain,
                ..base.clone()
            },
            None,
            "Draining -u ordered to drain by an operator; draining, 300 s left",
        ),
        (
            Candidate {
                order: zero,
                ..base
            },
            since(1),
            "Draining -u weight set to 0 by an operator; draining, 299 s left",
        ),
        (
            weightless.clone(),
            since(299),
            "Draining -u registered with weight 0; draining, 1 s left",
        ),
        (
            weightless,
            since(300),
            "Drained -- registered with weight 0; the drain is over",
        ),
        (
            gone.clone(),
            since(10),
            "Draining -u deregistered; draining, 290 s left",
        ),
        (
            gone,
            since(301),
            "Drained -- deregistered; the drain is over",
        ),
    ] {
        let member = one(
            &vip(""),
            Candidate {
                draining_since,
                ..candidate
            },
        );
        assert_eq!(line(&member), expected);
    }
}

#[test]
fn under_reset_what_is_gone_or_fails_keeps_no_flows() {
    let reset = vip(r#","on_down":"reset""#);
    let gone = Candidate {
        registered: None,
        ..candidate(BACKEND, Health::Healthy)
    };
    assert_eq!(
        line(&one(&reset, gone)),
        "Drained -- deregistered; its flows go to other backends (on_down = reset)"
    );
    let order = Order {
        drain: true,
        maintenance: false,
        weight: None,
    };
    let drained = Candidate {
        order: order.clone(),
        ..candidate(BACKEND, Health::Healthy)
    };
    assert!(one(&reset, drained).usable, "a drain is not a death");
    let failing = Candidate {
        order,
        ..candidate(BACKEND, Health::Unhealthy)
    };
    let member = one(&reset, failing);
    assert_eq!(
        (member.state, member.usable),
        (State::Draining, false),
        "{}",
        member.why
    );
}

#[test]
fn an_ordered_weight_replaces_the_registered_one() {
    let order = Order {
        drain: false,
        maintenance: false,
        weight: Some(7),
    };
    let member = one(
        &vip(""),
        Candidate {
            order,
            ..candidate(BACKEND, Health::Healthy)
        },
    );
    assert_eq!((member.weight, member.state), (7, State::Active));
    let gone = Candidate {
        registered: None,
        last_weight: 33,
        ..candidate(BACKEND, Health::Healthy)
    };
    assert_eq!(one(&vip(""), gone).weight, 33);
}

#[test]
fn what_the_mode_cannot_reach_is_named() {
    let l2 = vip("");
    let ipip = vip(r#","mode":"ipip""#);
    for (vip, address, says) in [
        (
            &l2,
            "10.0.0.5:8080",
            "port_mismatch: port 8080 differs from the VIP's 80: mode l2",
        ),
        (
            &ipip,
            "10.0.0.5:8080",
            "port_mismatch: port 8080 differs from the VIP's 80: mode ipip",
        ),
        (&l2, "[2001:db8::5]:80", "family_mismatch: 2001:db8::5"),
        (&l2, "127.0.0.1:80", "loopback: 127.0.0.1"),
        (&ipip, "[::1]:80", "loopback: ::1"),
    ] {
        let member = one(vip, candidate(address, Health::Healthy));
        assert_eq!(
            (member.state, member.takes_new, member.usable),
            (State::NotForwardable, false, false)
        );
        assert!(member.why.starts_with(says), "{}", member.why);
    }
    let member = one(&ipip, candidate("[2001:db8::5]:80", Health::Healthy));
    assert_eq!(member.state, State::Active, "a tunnel takes any family");
    let gone = Candidate {
        registered: None,
        ..candidate("10.0.0.5:8080", Health::Healthy)
    };
    assert_eq!(one(&l2, gone).state, State::Drained, "nothing to wait for");
}

#[test]
fn an_unreachable_backend_gets_no_new_flows_whatever_its_checks_say() {
    let unreachable = |health| Candidate {
        unreachable: Some("10.0.0.5 does not answer on eth0".into()),
        ..candidate(BACKEND, health)
    };
    let why = "cannot be reached: 10.0.0.5 does not answer on eth0";
    let reset = vip(r#","on_down":"reset""#);
    for health in [Health::Healthy, Health::Unknown, Health::Unhealthy] {
        let kept = line(&one(&vip(""), unreachable(health)));
        assert_eq!(kept, format!("Unreachable -u {why}"));
        let moved = line(&one(&reset, unreachable(health)));
        assert_eq!(moved, format!("Unreachable -- {why}"));
    }
    let drained = Candidate {
        order: Order {
            drain: true,
            maintenance: false,
            weight: None,
        },
        ..unreachable(Health::Healthy)
    };
    let line = line(&one(&reset, drained));
    assert!(
        line.starts_with("Draining -- ") && line.contains(why),
        "{line}"
    );
}

#[test]
fn failing_open_leaves_unreachable_ones_out() {
    let open = vip(r#","on_empty":"open""#);
    let failing = candidate("10.0.0.6:80", Health::Unhealthy);
    let unreachable = Candidate {
        unreachable: Some("there is no route to 10.0.0.5".into()),
        ..candidate(BACKEND, Health::Unhealthy)
    };
    let found = members(&open, &[unreachable.clone(), failing], NOW);
    let states: Vec<_> = found.iter().map(|member| member.state).collect();
    assert_eq!(states, [State::Unreachable, State::FailOpen]);
    assert_eq!(one(&open, unreachable).state, State::Unreachable);
}

#[test]
fn failing_open_waits_until_nobody_is_healthy() {
    let open = vip(r#","on_empty":"open""#);
    let failing = candidate("10.0.0.5:80", Health::Unhealthy);
    let healthy = candidate("10.0.0.6:80", Health::Healthy);
    let states = |candidates: &[Candidate]| -> Vec<State> {
        members(&open, candidates, NOW)
            .iter()
            .map(|member| member.state)
            .collect()
    };
    assert_eq!(
        states(&[failing.clone(), healthy]),
        [State::Unhealthy, State::Active]
    );
    let order = Order {
        drain: true,
        maintenance: false,
        weight: None,
    };
    let drained = Candidate {
        order,
        ..candidate("10.0.0.7:80", Health::Unhealthy)
    };
    assert_eq!(
        states(&[failing, drained]),
        [State::FailOpen, State::Draining]
    );
}

proptest! {
    #[test]
    fn flags_and_reasons_fit_the_state(health in 0usize..3, on_down in prop::sample::select(vec!["keep", "reset"]), on_empty in prop::sample::select(vec!["drop", "open"]), registered: bool, drain: bool, maintenance: bool, ordered in proptest::option::of(0u16..3), draining in proptest::option::of(0u64..600), port in prop::sample::select(vec![80, 81]), unreachable: bool) {
        let health = [Health::Unknown, Health::Healthy, Health::Unhealthy][health];
        let vip = vip(&format!(r#","on_down":"{on_down}","on_empty":"{on_empty}""#));
        let mut candidate = candidate(&format!("10.0.0.5:{port}"), health);
        candidate.order = Order { drain, maintenance, weight: ordered };
        candidate.draining_since = draining.map(|seconds| NOW - Duration::from_secs(seconds));
        if !registered {
            candidate.registered = None;
        }
        candidate.unreachable = unreachable.then(|| "no route".into());
        let member = one(&vip, candidate);
        prop_assert!(member.usable || !member.takes_new);
        prop_assert_eq!(member.takes_new, matches!(member.state, State::Active | State::FailOpen));
        prop_assert!(!member.takes_new || (member.weight > 0 && !drain && !maintenance && registered && port == 80 && !unreachable));
        prop_assert_eq!(member.why.is_empty(), member.state == State::Active);
        prop_assert!(!member.usable || !matches!(member.state, State::Drained | State::NotForwardable | State::Maintenance));
        prop_assert_eq!(maintenance, member.state == State::Maintenance);
    }
}
