//! The registered instances of services.

use super::{Column, Look, health, numbers, table, text};
use crate::snapshot::{InstanceView, RejectedView, ServiceSummary, ServiceView};
use comfy_table::Cell;
use navigator_core::model::Order;
use serde_json::Value;

const COLUMNS: &[Column] = &[
    ("SERVICE", false),
    ("INSTANCE", false),
    ("HEALTH", false),
    ("WEIGHT", true),
    ("ORIGIN", false),
    ("ORDER", false),
    ("LAST CHECK", false),
    ("LABELS", false),
];

const LIST: &[Column] = &[("SERVICE", false), ("AVAILABLE", true), ("INSTANCES", true)];

const HEALTH: &[Column] = &[
    ("SERVICE", false),
    ("INSTANCE", false),
    ("HEALTH", false),
    ("SINCE", false),
    ("CHECKED", false),
    ("TOOK", true),
    ("LAST CHECK", false),
];

const REJECTED: &[Column] = &[
    ("REJECTED", false),
    ("REASON", false),
    ("IN FORCE", false),
    ("DETAIL", false),
];

/// The services, a line each.
pub fn service_list(look: Look, services: &[ServiceSummary]) -> String {
    if services.is_empty() {
        return "no services\n".to_owned();
    }
    let row = |service: &ServiceSummary| {
        vec![
            text(&service.name),
            text(service.available),
            text(service.instances),
        ]
    };
    table(look, LIST, services.iter().map(row).collect())
}

/// The instances, a line each; `wide` with their labels.
pub fn services(look: Look, services: &[&ServiceView], wide: bool) -> String {
    let rows: Vec<_> = services
        .iter()
        .flat_map(|service| service.instances.iter().map(|i| row(service, i, wide)))
        .collect();
    if rows.is_empty() {
        return "no instances\n".to_owned();
    }
    let columns = if wide {
        COLUMNS
    } else {
        &COLUMNS[..COLUMNS.len() - 1]
    };
    table(look, columns, rows)
}

fn row(service: &ServiceView, instance: &InstanceView, wide: bool) -> Vec<Cell> {
    let mut row = vec![
        text(&service.name),
        text(instance.address),
        health(instance.health),
        text(instance.weight),
        text(&instance.origin),
        text(order(&instance.order)),
        text(&instance.last_check),
    ];
    if wide {
        row.push(text(labels(instance)));
    }
    row
}

/// What the checks say, a line each. `now` is in seconds since 1970, as the times of the checks.
pub fn health_of(look: Look, services: &[&ServiceView], now: f64) -> String {
    let ago = |then: f64| match then > 0.0 {
        true => format!("{} ago", numbers::duration(now - then)),
        false => "-".to_owned(),
    };
    let took = |i: &InstanceView| match i.checked_at > 0.0 {
        true => format!("{:.0} ms", i.check_seconds * 1000.0),
        false => "-".to_owned(),
    };
    let line = |service: &ServiceView, i: &InstanceView| {
        vec![
            text(&service.name),
            text(i.address),
            health(i.health),
            text(ago(i.health_since)),
            text(ago(i.checked_at)),
            text(took(i)),
            text(&i.last_check),
        ]
    };
    let each = |service: &&ServiceView| -> Vec<_> {
        service.instances.iter().map(|i| line(service, i)).collect()
    };
    let rows: Vec<_> = services.iter().flat_map(each).collect();
    if rows.is_empty() {
        return "no instances\n".to_owned();
    }
    table(look, HEALTH, rows)
}

/// Refused entries, a line each.
pub fn rejected(look: Look, rejected: &[&RejectedView]) -> String {
    if rejected.is_empty() {
        return "nothing was refused\n".to_owned();
    }
    let in_force = |entry: &RejectedView| match entry.stale {
        true => "the last valid version",
        false => "nothing",
    };
    let row = |entry: &&RejectedView| {
        vec![
            text(&entry.key),
            text(&entry.reason),
            text(in_force(entry)),
            text(&entry.detail),
        ]
    };
    table(look, REJECTED, rejected.iter().map(row).collect())
}

fn order(order: &Order) -> String {
    let drain = order.drain.then(|| "drain".to_owned());
    let maintenance = order.maintenance.then(|| "maintenance".to_owned());
    let weight = order.weight.map(|weight| format!("weight {weight}"));
    let orders: Vec<_> = drain.into_iter().chain(maintenance).chain(weight).collect();
    if orders.is_empty() {
        return "-".to_owned();
    }
    orders.join(", ")
}

/// An instance's labels: `version=1.2 zone=a`.
pub(in crate::cli) fn labels(instance: &InstanceView) -> String {
    let label = |(name, value): (&String, &Value)| match value {
        Value::String(text) => format!("{name}={text}"),
        other => format!("{name}={other}"),
    };
    let labels: Vec<_> = instance.labels.iter().map(label).collect();
    labels.join(" ")
}
