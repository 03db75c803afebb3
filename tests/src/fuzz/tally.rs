//! What a run saw.

use super::judge::Fate;
use comfy_table::{CellAlignment, Table, presets::NOTHING};
use std::{collections::BTreeMap, fmt, time::Duration};

/// The figures of a run.
#[derive(Clone, Debug, Default)]
pub struct Tally {
    /// Runs of a program.
    pub runs: u64,
    /// How long they took, with everything around them.
    pub time: Duration,
    /// Packets by program and fate.
    pub fates: BTreeMap<(&'static str, Fate), u64>,
    /// Of how many of them only a part lay in the first buffer; 0 where the kernel cannot do that.
    pub split: u64,
    /// How many went through the program that traces packets.
    pub traced: u64,
    /// What was counted in the maps meanwhile, by name; 0 for what never happened.
    pub counted: BTreeMap<String, u64>,
}

impl Tally {
    /// Packets with this fate, of the load balancer.
    pub fn of(&self, fate: Fate) -> u64 {
        let of_balancer = self
            .fates
            .iter()
            .filter(|((name, f), _)| *name == super::BALANCER && *f == fate);
        of_balancer.map(|(_, count)| count).sum()
    }

    /// Packets a second.
    pub fn rate(&self) -> f64 {
        self.runs as f64 / self.time.as_secs_f64().max(1e-9)
    }
}

impl fmt::Display for Tally {
    fn fmt(&self, out: &mut fmt::Formatter<'_>) -> fmt::Result {
        let mut table = Table::new();
        table.load_style(NOTHING);
        table.set_header(["program", "seen", "packets"]);
        for ((program, fate), count) in &self.fates {
            let fate = format!("{fate:?}").to_lowercase();
            table.add_row([(*program).to_owned(), fate, count.to_string()]);
        }
        for (name, count) in &self.counted {
            table.add_row(["", name, &count.to_string()]);
        }
        if let Some(column) = table.column_mut(2) {
            column.set_cell_alignment(CellAlignment::Right);
        }
        writeln!(out, "{table}")?;
        write!(
            out,
            "{} packets ({} of them split, {} traced) in {:.1} s: {:.0} a second",
            self.runs,
            self.split,
            self.traced,
            self.time.as_secs_f64(),
            self.rate()
        )
    }
}
