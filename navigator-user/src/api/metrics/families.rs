//! The families that have one sample for each VIP, backend or table.

use super::text::Kind;
use crate::snapshot::{BackendView, TableView, VipView};

/// Name, kind, meaning and how to read it.
pub(super) type Family<T> = (&'static str, Kind, &'static str, fn(&T) -> u64);

pub(super) const OF_A_VIP: &[Family<VipView>] = &[
    (
        "vip_applied",
        Kind::Gauge,
        "1 if the VIP is in the maps.",
        |v| v.applied.into(),
    ),
    (
        "vip_announced",
        Kind::Gauge,
        "1 if the VIP is held on the interface.",
        |v| v.announced.into(),
    ),
    ("vip_slots", Kind::Gauge, "Slots of the VIP's table.", |v| {
        v.slots.into()
    }),
    ("vip_at_risk_slots", Kind::Gauge, "Slots at risk.", |v| {
        v.at_risk_slots.into()
    }),
    (
        "vip_packets_total",
        Kind::Counter,
        "Packets forwarded.",
        |v| v.packets,
    ),
    ("vip_bytes_total", Kind::Counter, "Bytes forwarded.", |v| {
        v.bytes
    }),
    (
        "vip_reply_packets_total",
        Kind::Counter,
        "Replies brought to clients, in mode nat.",
        |v| v.reply_packets,
    ),
    (
        "vip_reply_bytes_total",
        Kind::Counter,
        "Bytes of replies brought to clients, in mode nat.",
        |v| v.reply_bytes,
    ),
];

pub(super) const OF_A_BACKEND: &[Family<BackendView>] = &[
    ("backend_weight", Kind::Gauge, "Weight in force.", |b| {
        b.weight.into()
    }),
    (
        "backend_reachable",
        Kind::Gauge,
        "1 if the next hop is known.",
        |b| b.reachable.into(),
    ),
    (
        "backend_slots",
        Kind::Gauge,
        "Slots that the backend owns.",
        |b| b.slots.into(),
    ),
    (
        "backend_at_risk_slots",
        Kind::Gauge,
        "Slots at risk that it owned before.",
        |b| b.at_risk_slots.into(),
    ),
    (
        "backend_packets_total",
        Kind::Counter,
        "Packets forwarded to the backend.",
        |b| b.packets,
    ),
    (
        "backend_bytes_total",
        Kind::Counter,
        "Bytes forwarded to the backend.",
        |b| b.bytes,
    ),
    (
        "backend_reply_packets_total",
        Kind::Counter,
        "Replies of the backend brought to clients, in mode nat.",
        |b| b.reply_packets,
    ),
    (
        "backend_reply_bytes_total",
        Kind::Counter,
        "Bytes of replies of the backend brought to clients, in mode nat.",
        |b| b.reply_bytes,
    ),
];

pub(super) const OF_A_TABLE: &[Family<TableView>] = &[
    (
        "table_entries",
        Kind::Gauge,
        "Entries of the table in use.",
        |t| t.used,
    ),
    (
        "table_capacity_entries",
        Kind::Gauge,
        "Entries that the table has.",
        |t| t.capacity,
    ),
];
