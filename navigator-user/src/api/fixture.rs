//! A snapshot with a bit of everything, for tests of what renders it.

use crate::snapshot::{
    BackendView, CounterView, DaemonView, InstanceView, InterfaceView, RegistryView, RejectedView,
    ServiceView, Snapshot, TableView, VipView, WindowsView,
};
use navigator_core::{
    health::Health,
    model::{ForwardMode, Order, Ports, Protocol},
    plan::members::State,
};
use std::{net::SocketAddr, sync::Arc};

pub(crate) fn snapshot() -> Snapshot {
    Snapshot {
        daemon: DaemonView {
            version: "0.1.0".to_owned(),
            pid: 4242,
            uptime_seconds: 7500.0,
            ready: true,
            adopted: true,
            slots_written: 12,
            interfaces: vec![InterfaceView {
                name: "eth0".to_owned(),
                attach: "native".to_owned(),
            }],
            tracers: 1,
            time: 1.0,
        },
        registry: RegistryView {
            kind: "etcd http://127.0.0.1:2379".to_owned(),
            synced: true,
            connected: false,
            why: "connection refused".to_owned(),
            revision: 42,
            stale_seconds: 65.0,
        },
        vips: vec![web(), empty()],
        services: vec![Arc::new(ServiceView {
            name: "web".to_owned(),
            index: 5,
            instances: vec![
                instance([10, 0, 0, 1], Health::Healthy, false),
                instance([10, 0, 0, 2], Health::Unhealthy, false),
                instance([10, 0, 0, 3], Health::Healthy, true),
            ],
        })],
        services_index: 5,
        rejected: vec![RejectedView {
            key: "/services/web/10.0.0.9:0".to_owned(),
            reason: "bad_port".to_owned(),
            detail: "port 0".to_owned(),
            stale: true,
        }],
        counters: [
            ("pass_not_vip", 1000),
            ("drop_unserved", 7),
            ("drop_fragment", 0),
            ("flow_hit", 3),
        ]
        .map(|(name, packets)| CounterView {
            name: name.to_owned(),
            packets,
            packets_per_second: packets as f64 / 2.0,
        })
        .into(),
        tables: vec![TableView {
            name: "slots".to_owned(),
            used: 65_537,
            capacity: 4_194_304,
        }],
        windows: WindowsView {
            oldest_seconds: 7200,
            closed: 40,
            closed_early: 9,
            settled: 30,
        },
        problems: vec!["VIP api: slots is full\u{1b}[2J".to_owned()],
    }
}

fn web() -> VipView {
    VipView {
        name: "web".to_owned(),
        address: [192, 0, 2, 10].into(),
        prefix: 32,
        port: Ports::one(80),
        protocol: Protocol::Tcp,
        mode: ForwardMode::L2,
        service: "web".to_owned(),
        applied: true,
        announced: true,
        slots: 1000,
        at_risk_slots: 25,
        tracked_slots: 5,
        packets: 5000,
        bytes: 640_000,
        reply_packets: 0,
        reply_bytes: 0,
        packets_per_second: 1234.0,
        bytes_per_second: 3.4e6,
        problem: String::new(),
        backends: vec![
            backend([10, 0, 0, 1], State::Active, 750),
            backend([10, 0, 0, 2], State::Unhealthy, 0),
            backend([10, 0, 0, 3], State::Draining, 250),
        ],
    }
}

fn empty() -> VipView {
    VipView {
        name: "api".to_owned(),
        address: [0x2001, 0xdb8, 0, 0, 0, 0, 0, 1].into(),
        prefix: 128,
        port: Ports::one(443),
        mode: ForwardMode::Ipip,
        service: "api".to_owned(),
        applied: false,
        announced: false,
        at_risk_slots: 0,
        tracked_slots: 0,
        packets: 0,
        bytes: 0,
        packets_per_second: 0.0,
        bytes_per_second: 0.0,
        problem: "slots is full".to_owned(),
        backends: Vec::new(),
        ..web()
    }
}

fn backend(ip: [u8; 4], state: State, slots: u32) -> BackendView {
    let why = match state {
        State::Unhealthy => "connection refused",
        State::Draining => "ordered",
        _ => "",
    };
    BackendView {
        address: SocketAddr::from((ip, 80)),
        state,
        why: why.to_owned(),
        weight: 100,
        reachable: state != State::Unhealthy,
        slots,
        share: f64::from(slots) / 1000.0,
        at_risk_slots: 25,
        packets: u64::from(slots),
        bytes: 2 * u64::from(slots),
        reply_packets: 0,
        reply_bytes: 0,
        packets_per_second: f64::from(slots),
        bytes_per_second: f64::from(slots) * 1000.0,
    }
}

fn instance(ip: [u8; 4], health: Health, drain: bool) -> InstanceView {
    let labels = [("version", "1.2".into()), ("zone", "a".into())];
    InstanceView {
        address: SocketAddr::from((ip, 80)),
        weight: 100,
        origin: "lease".to_owned(),
        health,
        health_since: 1_700_000_000.0,
        last_check: "HTTP 200".to_owned(),
        checked_at: 1_700_003_600.0,
        check_seconds: 0.012,
        order: Order {
            drain,
            maintenance: false,
            weight: None,
        },
        labels: labels.map(|(name, value)| (name.to_owned(), value)).into(),
    }
}
