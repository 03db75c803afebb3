//! The VIPs, a line each.

use super::{Column, Look, numbers, table, text};
use crate::snapshot::{BackendView, VipView};
use comfy_table::{Cell, Color};
use navigator_core::plan::members::State;

const COLUMNS: &[Column] = &[
    ("VIP", false),
    ("ADDRESS", false),
    ("SERVICE", false),
    ("MODE", false),
    ("ACTIVE", true),
    ("AT RISK", true),
    ("PACKETS", true),
    ("BYTES", true),
    ("STATE", false),
];

/// The VIPs.
pub fn vips(look: Look, vips: &[VipView]) -> String {
    if vips.is_empty() {
        return "no VIPs\n".to_owned();
    }
    table(look, COLUMNS, vips.iter().map(row).collect())
}

fn row(vip: &VipView) -> Vec<Cell> {
    vec![
        text(&vip.name),
        text(vip.key()),
        text(&vip.service),
        text(vip.mode),
        text(active(vip)),
        text(numbers::percent(
            f64::from(vip.at_risk_slots) / f64::from(vip.slots.max(1)),
        )),
        text(numbers::per_second(vip.packets_per_second)),
        text(numbers::bytes_per_second(vip.bytes_per_second)),
        state(vip),
    ]
}

fn active(vip: &VipView) -> String {
    let takes_new = |b: &&BackendView| matches!(b.state, State::Active | State::FailOpen);
    let active = vip.backends.iter().filter(takes_new).count();
    format!("{active}/{}", vip.backends.len())
}

fn state(vip: &VipView) -> Cell {
    let (word, colour) = match (vip.applied, vip.announced) {
        (true, true) => ("announced", Color::Green),
        (true, false) => ("applied", Color::Green),
        (false, _) => ("not applied", Color::Red),
    };
    if vip.problem.is_empty() {
        return text(word).fg(colour);
    }
    text(format!("{word}: {}", vip.problem)).fg(Color::Red)
}
