//! The table at the end.

use comfy_table::{CellAlignment, Table, presets};

/// What one step came to.
#[derive(Clone, PartialEq, Eq, Debug)]
pub(super) struct Row {
    /// What happened.
    pub(super) step: String,
    /// Requests, or downloads.
    pub(super) requests: u64,
    /// Those that failed.
    pub(super) failed: u64,
    /// What was measured.
    pub(super) figure: String,
}

/// The rows as a table for a terminal.
pub(super) fn render(rows: &[Row]) -> String {
    let mut table = Table::new();
    table
        .load_style(presets::NOTHING)
        .set_header(["step", "requests", "failed", "figure"]);
    for row in rows {
        table.add_row([
            row.step.clone(),
            row.requests.to_string(),
            row.failed.to_string(),
            row.figure.clone(),
        ]);
    }
    for column in [1, 2] {
        if let Some(column) = table.column_mut(column) {
            column.set_cell_alignment(CellAlignment::Right);
        }
    }
    table.to_string()
}
