//! What is wrong with a configuration, told so that it can be put right.

use std::fmt;

/// One thing that is wrong, or looks wrong, in a configuration.
#[derive(Clone, PartialEq, Eq, PartialOrd, Ord, Debug)]
pub struct Problem {
    /// Line and column, from 1; `None` if it concerns the file as a whole.
    pub place: Option<(usize, usize)>,
    /// The key with the tables that it is in, for example `health.interval`; may be empty.
    pub key: String,
    /// The value as it was written, shortened; empty if it concerns the key itself.
    pub value: String,
    /// What is wrong.
    pub what: String,
    /// What to do; may be empty.
    pub cure: String,
}

/// Everything that is wrong with one configuration.
#[derive(Clone, PartialEq, Eq, Debug)]
pub struct ConfigError {
    /// The file's name.
    pub source_name: String,
    /// At least one, in the order of their places.
    pub problems: Vec<Problem>,
}

impl Problem {
    /// The line for people: `navigator.toml:12:12: health.interval = "5x": not a duration; use …`.
    pub fn line(&self, source_name: &str) -> String {
        let mut line = source_name.to_owned();
        if let Some((row, column)) = self.place {
            line += &format!(":{row}:{column}");
        }
        if !self.key.is_empty() {
            line += &format!(": {}", self.key);
        }
        if !self.value.is_empty() {
            line += &format!(" = {}", self.value);
        }
        line += &format!(": {}", self.what);
        if !self.cure.is_empty() {
            line += &format!("; {}", self.cure);
        }
        line
    }
}

/// One line for each problem.
impl fmt::Display for ConfigError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        for (i, problem) in self.problems.iter().enumerate() {
            if i > 0 {
                f.write_str("\n")?;
            }
            f.write_str(&problem.line(&self.source_name))?;
        }
        Ok(())
    }
}

impl std::error::Error for ConfigError {}

/// What is wrong with one value, before it is known where that stands.
#[derive(Clone, PartialEq, Eq, Debug)]
pub(super) struct Complaint {
    pub(super) what: String,
    pub(super) cure: String,
}

impl Complaint {
    pub(super) fn new(what: impl Into<String>, cure: impl Into<String>) -> Self {
        Self {
            what: what.into(),
            cure: cure.into(),
        }
    }
}

/// The one of `known` that `word` was probably meant to be.
pub(super) fn near_miss<'k>(word: &str, known: &[&'k str]) -> Option<&'k str> {
    // A word much longer than all that is known is not worth a matrix.
    if word.len() > 64 {
        return None;
    }
    let word = word.to_ascii_lowercase().replace('-', "_");
    let scored = known.iter().map(|k| (distance(&word, k), *k));
    let (distance, best) = scored.min()?;
    (distance <= (best.len() / 3).max(1)).then_some(best)
}

/// Number of characters to insert, delete, replace or swap with their neighbour.
fn distance(a: &str, b: &str) -> usize {
    let (a, b): (Vec<_>, Vec<_>) = (a.chars().collect(), b.chars().collect());
    let mut before = vec![0; b.len() + 1];
    let mut last: Vec<usize> = (0..=b.len()).collect();
    for i in 1..=a.len() {
        let mut row = vec![i; b.len() + 1];
        for j in 1..=b.len() {
            let replaced = last[j - 1] + usize::from(a[i - 1] != b[j - 1]);
            row[j] = replaced.min(last[j] + 1).min(row[j - 1] + 1);
            if i > 1 && j > 1 && a[i - 1] == b[j - 2] && a[i - 2] == b[j - 1] {
                row[j] = row[j].min(before[j - 2] + 1);
            }
        }
        before = std::mem::replace(&mut last, row);
    }
    last[b.len()]
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_slip_of_the_finger_is_understood() {
        let known = ["interval", "timeout", "rise", "fall", "fast_interval"];
        for (word, meant) in [
            ("intervall", Some("interval")),
            ("inetrval", Some("interval")),
            ("Fast-Interval", Some("fast_interval")),
            ("tiemout", Some("timeout")),
            ("fal", Some("fall")),
            ("jitter", None),
            ("", None),
        ] {
            assert_eq!(near_miss(word, &known), meant, "{word}");
        }
    }

    #[test]
    fn a_problem_names_place_key_value_and_cure() {
        let problem = Problem {
            place: Some((12, 9)),
            key: "health.interval".into(),
            value: "\"5x\"".into(),
            what: "not a duration".into(),
            cure: "use a number with a unit".into(),
        };
        assert_eq!(
            problem.line("navigator.toml"),
            "navigator.toml:12:9: health.interval = \"5x\": not a duration; use a number with a unit"
        );
    }
}
