//! `/metrics`: the snapshot in Prometheus' text format.
//!
//! Series are named for VIPs, backends, services and reasons, never for
//! clients or flows: their number is bounded by the configuration.

mod families;
mod text;

use super::{ApiState, word};
use crate::snapshot::{BackendView, Snapshot, VipView, WindowsView};
use axum::{
    extract::State,
    http::header::CONTENT_TYPE,
    response::{IntoResponse, Response},
};
use families::{OF_A_BACKEND, OF_A_TABLE, OF_A_VIP};
use navigator_common::reason::Reason;
use std::collections::BTreeMap;
use text::{Kind, Text};

/// The snapshot in Prometheus' text format.
#[utoipa::path(
    get,
    path = "/metrics",
    responses((status = OK, body = String)),
    security(("token" = ["read"]))
)]
pub(in crate::api) async fn metrics(State(state): State<ApiState>) -> Response {
    let (_, snapshot) = state.snapshots.borrow().clone();
    let kind = [(CONTENT_TYPE, "text/plain; version=0.0.4; charset=utf-8")];
    (kind, render(&snapshot)).into_response()
}

/// The whole exposition.
pub(super) fn render(snapshot: &Snapshot) -> String {
    let mut text = Text::default();
    daemon(&mut text, snapshot);
    registry(&mut text, snapshot);
    vips(&mut text, snapshot);
    backends(&mut text, snapshot);
    services(&mut text, snapshot);
    counters(&mut text, snapshot);
    tables(&mut text, snapshot);
    windows(&mut text, &snapshot.windows);
    text.finish()
}

fn daemon(text: &mut Text, snapshot: &Snapshot) {
    let daemon = &snapshot.daemon;
    text.family("build_info", Kind::Gauge, "Version of the daemon.")
        .sample(&[("version", &daemon.version)], 1);
    text.family(
        "ready",
        Kind::Gauge,
        "1 once the registry was read and first verdicts are in.",
    )
    .sample(&[], u8::from(daemon.ready));
    text.family(
        "uptime_seconds",
        Kind::Gauge,
        "Seconds since the daemon started.",
    )
    .sample(&[], daemon.uptime_seconds);
    text.family(
        "slots_written_total",
        Kind::Counter,
        "Slots written since the daemon started.",
    )
    .sample(&[], daemon.slots_written);
    text.family(
        "interface_info",
        Kind::Gauge,
        "Interfaces that packets come in by, with their attach mode.",
    );
    for interface in &daemon.interfaces {
        text.sample(
            &[
                ("interface", &interface.name),
                ("attach", &interface.attach),
            ],
            1,
        );
    }
    text.family(
        "tracers",
        Kind::Gauge,
        "How many trace packets at the moment; while anybody does, packets cost more.",
    )
    .sample(&[], daemon.tracers);
    text.family(
        "problems",
        Kind::Gauge,
        "VIPs and backends that could not be applied.",
    )
    .sample(&[], snapshot.problems.len());
}

fn registry(text: &mut Text, snapshot: &Snapshot) {
    let registry = &snapshot.registry;
    text.family(
        "registry_connected",
        Kind::Gauge,
        "1 while the registry is reached and nothing was missed.",
    )
    .sample(&[], u8::from(registry.connected));
    text.family(
        "registry_revision",
        Kind::Gauge,
        "Revision of the registry up to which all changes are known.",
    )
    .sample(&[], registry.revision);
    text.family(
        "registry_stale_seconds",
        Kind::Gauge,
        "Seconds since the registry was last heard of; 0 while it is connected.",
    )
    .sample(&[], registry.stale_seconds);
    let mut rejected = BTreeMap::<&str, u64>::new();
    for entry in &snapshot.rejected {
        *rejected.entry(&entry.reason).or_default() += 1;
    }
    text.family(
        "rejected_entries",
        Kind::Gauge,
        "Registry and configuration entries that are refused, by reason.",
    );
    for (reason, count) in rejected {
        text.sample(&[("reason", reason)], count);
    }
}

fn vips(text: &mut Text, snapshot: &Snapshot) {
    text.family("vip_info", Kind::Gauge, "What each VIP is.");
    for vip in &snapshot.vips {
        let labels = [
            ("vip", vip.name.as_str()),
            ("address", &vip.key().network()),
            ("port", &vip.port.to_string()),
            ("protocol", &vip.protocol.to_string()),
            ("mode", &vip.mode.to_string()),
            ("service", &vip.service),
        ];
        text.sample(&labels, 1);
    }
    for (name, kind, help, value) in OF_A_VIP {
        text.family(name, *kind, help);
        for vip in &snapshot.vips {
            text.sample(&[("vip", &vip.name)], value(vip));
        }
    }
}

fn backends(text: &mut Text, snapshot: &Snapshot) {
    text.family(
        "backend_state",
        Kind::Gauge,
        "1 for the state that the backend is in.",
    );
    for (vip, backend) in all_backends(snapshot) {
        let labels = [
            ("vip", vip.name.as_str()),
            ("backend", &backend.address.to_string()),
            ("state", &word(&backend.state)),
        ];
        text.sample(&labels, 1);
    }
    for (name, kind, help, value) in OF_A_BACKEND {
        text.family(name, *kind, help);
        for (vip, backend) in all_backends(snapshot) {
            let address = backend.address.to_string();
            text.sample(&[("vip", &vip.name), ("backend", &address)], value(backend));
        }
    }
}

fn all_backends(snapshot: &Snapshot) -> impl Iterator<Item = (&VipView, &BackendView)> {
    snapshot
        .vips
        .iter()
        .flat_map(|vip| vip.backends.iter().map(move |backend| (vip, backend)))
}

fn services(text: &mut Text, snapshot: &Snapshot) {
    text.family(
        "instance_health",
        Kind::Gauge,
        "1 for what the checks of the instance say.",
    );
    for service in &snapshot.services {
        for instance in &service.instances {
            let labels = [
                ("service", service.name.as_str()),
                ("instance", &instance.address.to_string()),
                ("health", &word(&instance.health)),
            ];
            text.sample(&labels, 1);
        }
    }
}

fn counters(text: &mut Text, snapshot: &Snapshot) {
    let is_reason = |name: &str| Reason::ALL.iter().any(|reason| reason.name() == name);
    let (reasons, events): (Vec<_>, Vec<_>) = snapshot
        .counters
        .iter()
        .partition(|counter| is_reason(&counter.name));
    text.family(
        "unforwarded_packets_total",
        Kind::Counter,
        "Packets that were passed to the host or dropped, by reason.",
    );
    for counter in reasons {
        text.sample(&[("reason", &counter.name)], counter.packets);
    }
    text.family(
        "flow_events_total",
        Kind::Counter,
        "Packets from tracked slots, by what became of their flow.",
    );
    for counter in events {
        text.sample(&[("event", &counter.name)], counter.packets);
    }
}

fn tables(text: &mut Text, snapshot: &Snapshot) {
    for (name, kind, help, value) in OF_A_TABLE {
        text.family(name, *kind, help);
        for table in &snapshot.tables {
            text.sample(&[("table", &table.name)], value(table));
        }
    }
}

fn windows(text: &mut Text, windows: &WindowsView) {
    text.family(
        "oldest_window_seconds",
        Kind::Gauge,
        "Seconds for which the oldest open window has been open; 0 if none is open.",
    )
    .sample(&[], windows.oldest_seconds);
    text.family(
        "windows_closed_total",
        Kind::Counter,
        "Slots whose window was closed: after its time, or early because the flow cache was too full.",
    )
    .sample(&[("cause", "time")], windows.closed)
    .sample(&[("cause", "full_cache")], windows.closed_early);
    text.family(
        "slots_settled_total",
        Kind::Counter,
        "Slots at rest again: none of their flows had to be remembered any more.",
    )
    .sample(&[], windows.settled);
}
