//! The registered instances of services.

use super::{Column, Look, health, table, text};
use crate::snapshot::{InstanceView, ServiceView};
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

/// The instances, a line each.
pub fn services(look: Look, services: &[&ServiceView]) -> String {
    let rows: Vec<_> = services
        .iter()
        .flat_map(|service| service.instances.iter().map(|i| row(service, i)))
        .collect();
    if rows.is_empty() {
        return "no instances\n".to_owned();
    }
    table(look, COLUMNS, rows)
}

fn row(service: &ServiceView, instance: &InstanceView) -> Vec<Cell> {
    vec![
        text(&service.name),
        text(instance.address),
        health(instance.health),
        text(instance.weight),
        text(&instance.origin),
        text(order(&instance.order)),
        text(&instance.last_check),
        text(labels(instance)),
    ]
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
