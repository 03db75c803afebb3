//! One line of a packet table: what goes in and what comes out.

use super::{bed::Bed, diff, expect::Outcome, record};
use anyhow::{Context, Result, bail, ensure};
use std::{collections::HashSet, fmt::Write as _};

/// Rows that are told in full when they fail; of the others only the names.
const TOLD: usize = 8;

/// A packet and what becomes of it.
#[derive(Clone, Debug)]
pub struct Row {
    /// What the row says, in words.
    pub name: String,
    /// The frame that comes in.
    pub packet: Vec<u8>,
    /// What it leaves as.
    pub expect: Outcome,
}

/// A row; `expect` makes the outcome of the packet.
pub fn row(name: impl Into<String>, packet: Vec<u8>, expect: impl FnOnce(&[u8]) -> Outcome) -> Row {
    Row {
        name: name.into(),
        expect: expect(&packet),
        packet,
    }
}

impl Bed {
    /// Runs every row, in their order: through the program that runs while nobody looks, then
    /// through the one that writes down packets, which must do the same and write the truth. Where
    /// NAT is done a packet is another one the second time: there the first program runs alone.
    ///
    /// # Errors
    /// Says which rows failed, and how.
    pub fn check(&mut self, rows: &[Row]) -> Result<()> {
        if self.is_marked_by_packets() {
            return self.check_once(rows);
        }
        // Loaded first: what is remembered grows old meanwhile.
        self.look(true)?;
        self.look(false)?;
        // What the first run remembers of flows and fragments is nothing to the second.
        let memory = self.memory();
        self.check_once(rows)?;
        self.remember(&memory);
        self.look(true)?;
        let checked = self.check_once(rows).context("while somebody looks");
        self.look(false)?;
        checked
    }

    fn check_once(&mut self, rows: &[Row]) -> Result<()> {
        ensure!(!rows.is_empty(), "a table without rows proves nothing");
        let mut names = HashSet::new();
        let (mut failed, mut report) = (0, String::new());
        for row in rows {
            ensure!(
                names.insert(row.name.as_str()),
                "two rows are called `{}`",
                row.name
            );
            let got = self.run(&row.packet)?;
            let mut difference = diff::outcomes(&row.expect, &got);
            if self.is_observed() {
                difference += &record::untruths(self.records()?, &row.packet, &got);
            }
            if difference.is_empty() {
                continue;
            }
            failed += 1;
            let told = if failed <= TOLD { &*difference } else { "" };
            writeln!(report, "  `{}`\n{told}", row.name)?;
        }
        if failed > 0 {
            bail!("{failed} of {} rows failed:\n{report}", rows.len());
        }
        Ok(())
    }
}
