//! Counting what passed and failed.

use std::{fmt, iter::Sum, process::ExitCode, time::Duration};

use anyhow::Result;

use crate::progress::seconds;

/// How many tests passed and failed.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub(crate) struct Tally {
    pub(crate) passed: u64,
    pub(crate) failed: u64,
}

impl Tally {
    /// Nothing ran, though it should have.
    pub(crate) const FAILED: Self = Self {
        passed: 0,
        failed: 1,
    };

    /// What one line of a test binary's output reports, if it is the line that does.
    pub(crate) fn parse(line: &str) -> Option<Self> {
        let report = line.trim().strip_prefix("test result: ")?;
        Some(Self {
            passed: before(report, "passed")?,
            failed: before(report, "failed")?,
        })
    }

    /// Turns a suite that broke off, or ran no test at all, into a failure.
    pub(crate) fn concluded(self, success: bool) -> Self {
        let Self { passed, failed } = self;
        if failed == 0 && (!success || passed == 0) {
            return Self { passed, failed: 1 };
        }
        self
    }
}

impl Sum for Tally {
    fn sum<I: Iterator<Item = Self>>(tallies: I) -> Self {
        tallies.fold(Self::default(), |sum, tally| Self {
            passed: sum.passed + tally.passed,
            failed: sum.failed + tally.failed,
        })
    }
}

impl fmt::Display for Tally {
    fn fmt(&self, out: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(out, "{} passed, {} failed", self.passed, self.failed)
    }
}

/// A line of the table at the end.
pub(crate) struct Row {
    pub(crate) name: String,
    pub(crate) tally: Tally,
    pub(crate) time: Duration,
}

/// The table at the end.
fn table(rows: &[Row]) -> String {
    let names = rows.iter().map(|row| row.name.chars().count());
    let width = names.max().unwrap_or(0).max("suite".len());
    let mut text = format!("{:width$}  passed  failed  time", "suite");
    for Row { name, tally, time } in rows {
        let Tally { passed, failed } = tally;
        let time = seconds(*time);
        text += &format!("\n{name:width$}  {passed:>6}  {failed:>6}  {time}");
    }
    text
}

/// Prints the table and, as the last line, the sum, in which an error is one more failure.
pub(crate) fn conclude(rows: &[Row], outcome: Result<()>) -> ExitCode {
    if !rows.is_empty() {
        println!("\n{}", table(rows));
    }
    let mut sum: Tally = rows.iter().map(|row| row.tally).sum();
    if let Err(error) = outcome {
        eprintln!("error: {error:#}");
        sum.failed += 1;
    }
    println!("{sum}");
    if sum.failed == 0 {
        ExitCode::SUCCESS
    } else {
        ExitCode::FAILURE
    }
}

/// The number that stands before a word: `12` in `ok. 12 passed; 0 failed;`.
fn before(report: &str, word: &str) -> Option<u64> {
    let words: Vec<&str> = report.split_whitespace().collect();
    let pair = words
        .windows(2)
        .find(|pair| pair[1].trim_end_matches(';') == word)?;
    pair[0].parse().ok()
}

#[cfg(test)]
mod tests {
    use super::*;

    fn tally(passed: u64, failed: u64) -> Tally {
        Tally { passed, failed }
    }

    #[test]
    fn only_the_result_line_is_counted() {
        let line = "test result: ok. 12 passed; 0 failed; 1 ignored; 0 measured; \
                    0 filtered out; finished in 0.01s";
        assert_eq!(Tally::parse(line), Some(tally(12, 0)));
        let line = "test result: FAILED. 3 passed; 2 failed; 0 ignored; 0 measured; 0 filtered out";
        assert_eq!(Tally::parse(line), Some(tally(3, 2)));
        assert_eq!(Tally::parse("test parses_12_passed ... ok"), None);
        assert_eq!(Tally::parse("3 passed; 2 failed;"), None);
        assert_eq!(Tally::parse("test result: garbled"), None);
        assert_eq!(Tally::parse(""), None);
    }

    #[test]
    fn a_suite_that_broke_off_or_ran_nothing_has_failed() {
        assert_eq!(tally(5, 0).concluded(true), tally(5, 0));
        assert_eq!(tally(5, 0).concluded(false), tally(5, 1));
        assert_eq!(tally(0, 0).concluded(true), tally(0, 1));
        assert_eq!(tally(5, 2).concluded(false), tally(5, 2));
    }

    #[test]
    fn the_sum_reads_as_promised() {
        let sum: Tally = [tally(1, 0), tally(2, 3)].into_iter().sum();
        assert_eq!(sum.to_string(), "3 passed, 3 failed");
    }

    #[test]
    fn the_table_is_aligned() {
        let row = |name: &str, tally| Row {
            name: name.to_owned(),
            tally,
            time: Duration::from_secs(61),
        };
        let text = table(&[row("unit", tally(412, 0)), row("registry", tally(9, 1))]);
        assert_eq!(
            text,
            "suite     passed  failed  time\n\
             unit         412       0  61 s\n\
             registry       9       1  61 s"
        );
    }
}
