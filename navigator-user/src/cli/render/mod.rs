//! Tables for people. Pure: from a snapshot and a [`Look`] to text.

mod backends;
mod numbers;
mod reasons;
mod services;
mod status;
#[cfg(test)]
mod tests;
mod vips;

pub use backends::backends;
pub(super) use numbers::clock;
pub(super) use reasons::reasons;
pub(super) use services::labels;
pub use services::{health_of, rejected, service_list, services};
pub use status::status;
pub use vips::vips;

use crate::api::word;
use comfy_table::{
    Cell, CellAlignment, Color, ColumnConstraint, ContentArrangement, Table, Width, presets,
};
use navigator_core::{health::Health, plan::members::State};
use std::io::IsTerminal;

/// What the output can show.
#[derive(Clone, Copy, PartialEq, Eq, Debug, Default)]
pub struct Look {
    /// Colours.
    pub colour: bool,
    /// Columns of the terminal; without a terminal lines are as long as they are.
    pub width: Option<u16>,
}

impl Look {
    /// What standard output can show: colours only on a terminal and without `NO_COLOR`.
    pub fn of_stdout() -> Self {
        let no_colour = std::env::var_os("NO_COLOR").is_some_and(|value| !value.is_empty());
        Self {
            colour: std::io::stdout().is_terminal() && !no_colour,
            width: Table::new().width(),
        }
    }
}

/// Text from a registry or the network, without what could steer a terminal.
pub(super) fn clean(text: &str) -> String {
    let mut shown = String::with_capacity(text.len());
    for c in text.chars() {
        // Besides control characters, those that turn the direction of what follows.
        if c.is_control()
            || matches!(c, '\u{200e}'..='\u{200f}' | '\u{202a}'..='\u{202e}' | '\u{2066}'..='\u{2069}')
        {
            shown.extend(c.escape_default());
        } else {
            shown.push(c);
        }
    }
    shown
}

/// A column: its title, and whether it holds numbers.
type Column = (&'static str, bool);

/// Least width of the last column.
const PROSE: u16 = 16;

fn table(look: Look, columns: &[Column], rows: Vec<Vec<Cell>>) -> String {
    let mut table = Table::new();
    table.load_style(presets::NOTHING);
    table.force_no_tty();
    if look.colour {
        table.enforce_styling();
        table.style_text_only();
    }
    if let Some(width) = look.width {
        table.set_content_arrangement(ContentArrangement::Dynamic);
        table.set_width(width);
    }
    table.set_header(columns.iter().map(|(title, _)| *title));
    table.add_rows(rows);
    for (index, (_, number)) in columns.iter().enumerate() {
        let Some(column) = table.column_mut(index) else {
            continue;
        };
        column.set_padding((0, 2));
        // Only the last column is prose: an address that is broken over lines cannot be copied.
        if index + 1 < columns.len() || *number {
            column.set_constraint(ColumnConstraint::ContentWidth);
        } else if look.width.is_some() {
            column.set_constraint(ColumnConstraint::LowerBoundary(Width::Fixed(PROSE)));
        }
        if *number {
            column.set_cell_alignment(CellAlignment::Right);
        }
    }
    let mut text = table.trim_fmt();
    text.push('\n');
    text
}

fn text(value: impl ToString) -> Cell {
    Cell::new(clean(&value.to_string()))
}

fn state(state: State) -> Cell {
    let colour = match state {
        State::Active => Color::Green,
        State::FailOpen | State::Draining | State::Maintenance => Color::Yellow,
        State::Unhealthy | State::Unreachable | State::NotForwardable => Color::Red,
        State::Unknown | State::Drained => Color::DarkGrey,
    };
    Cell::new(word(&state)).fg(colour)
}

fn health(health: Health) -> Cell {
    let colour = match health {
        Health::Healthy => Color::Green,
        Health::Unhealthy => Color::Red,
        Health::Unknown => Color::DarkGrey,
    };
    Cell::new(word(&health)).fg(colour)
}

/// Good and bad news outside of tables.
#[derive(Clone, Copy)]
enum News {
    Good,
    Bad,
}

fn paint(look: Look, news: News, text: &str) -> String {
    if !look.colour {
        return text.to_owned();
    }
    let code = match news {
        News::Good => 32,
        News::Bad => 31,
    };
    format!("\x1b[{code}m{text}\x1b[0m")
}
