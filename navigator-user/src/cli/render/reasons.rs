//! The names of counters and what they mean.

use super::{Column, Look, table, text};
use crate::cli::reasons::Meaning;
use comfy_table::{Cell, Color};

const COLUMNS: &[Column] = &[("NAME", false), ("VERDICT", false), ("MEANING", false)];

/// A line for each.
pub(in crate::cli) fn reasons(look: Look, all: &[Meaning]) -> String {
    table(look, COLUMNS, all.iter().map(row).collect())
}

fn row(meaning: &Meaning) -> Vec<Cell> {
    let verdict = match meaning.verdict {
        "drop" => text("drop").fg(Color::Red),
        "count" => text("count").fg(Color::DarkGrey),
        other => text(other),
    };
    vec![text(meaning.name), verdict, text(meaning.meaning)]
}
