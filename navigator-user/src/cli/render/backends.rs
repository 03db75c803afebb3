//! The backends of VIPs: state and why, share of the table, traffic.

use super::{Column, Look, clean, numbers, state, table, text};
use crate::snapshot::{BackendView, VipView};
use comfy_table::Cell;
use navigator_core::model::ForwardMode;

const BAR_CELLS: usize = 8;

const COLUMNS: &[Column] = &[
    ("BACKEND", false),
    ("STATE", false),
    ("WEIGHT", true),
    ("SHARE", false),
    ("SLOTS", true),
    ("AT RISK", true),
    ("PACKETS", true),
    ("BYTES", true),
    ("WHY", false),
];

/// Where the column stands that only VIPs in mode `nat` have: packets of backends that were brought
/// to clients, all of them.
const REPLIES_AT: usize = 8;

/// A table for each VIP.
pub fn backends(look: Look, vips: &[&VipView]) -> String {
    if vips.is_empty() {
        return "no VIPs\n".to_owned();
    }
    let tables: Vec<String> = vips.iter().map(|vip| of_one(look, vip)).collect();
    tables.join("\n")
}

fn of_one(look: Look, vip: &VipView) -> String {
    let title = format!(
        "{}: {} to service {} by {}, {} slots, {} at risk\n",
        clean(&vip.name),
        vip.key(),
        clean(&vip.service),
        vip.mode,
        vip.slots,
        vip.at_risk_slots,
    );
    if vip.backends.is_empty() {
        return format!("{title}no backends\n");
    }
    let replies = vip.mode == ForwardMode::Nat;
    let largest = vip.backends.iter().map(|b| b.share).fold(0.0, f64::max);
    let mut columns = COLUMNS.to_vec();
    if replies {
        columns.insert(REPLIES_AT, ("REPLIES", true));
    }
    let rows = vip.backends.iter().map(|b| row(b, largest, replies));
    title + &table(look, &columns, rows.collect())
}

// The bar is relative to the largest share: with many backends all would be near nothing.
fn row(backend: &BackendView, largest: f64, replies: bool) -> Vec<Cell> {
    let bar = numbers::bar(backend.share, largest, BAR_CELLS);
    let share = numbers::percent(backend.share);
    let mut cells = vec![
        text(backend.address),
        state(backend.state),
        text(backend.weight),
        text(format!("{bar} {share:>6}")),
        text(backend.slots),
        text(backend.at_risk_slots),
        text(numbers::per_second(backend.packets_per_second)),
        text(numbers::bytes_per_second(backend.bytes_per_second)),
        text(why(backend)),
    ];
    if replies {
        cells.insert(REPLIES_AT, text(backend.reply_packets));
    }
    cells
}

fn why(backend: &BackendView) -> String {
    let hop = if backend.reachable {
        ""
    } else {
        "next hop not known"
    };
    let parts = [backend.why.as_str(), hop];
    let said: Vec<_> = parts.into_iter().filter(|part| !part.is_empty()).collect();
    said.join("; ")
}
