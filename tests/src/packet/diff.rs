//! How an outcome that is not the expected one is told.

use super::expect::Outcome;
use std::{collections::BTreeMap, fmt::Write as _};

const LINE: usize = 16;

/// What differs between two outcomes, in lines; empty if nothing does.
pub(super) fn outcomes(want: &Outcome, got: &Outcome) -> String {
    let mut lines = String::new();
    if want.action != got.action {
        line(
            &mut lines,
            format_args!("verdict: want {:?}, got {:?}", want.action, got.action),
        );
    }
    frames(&mut lines, &want.frame, &got.frame);
    counters(&mut lines, &want.counted, &got.counted);
    lines
}

fn frames(lines: &mut String, want: &[u8], got: &[u8]) {
    if want == got {
        return;
    }
    let equal = want.iter().zip(got).take_while(|(a, b)| a == b).count();
    line(
        lines,
        format_args!(
            "frame: differs from byte {equal} on (want {} bytes, got {})",
            want.len(),
            got.len()
        ),
    );
    let start = equal / LINE * LINE;
    let around = start.saturating_sub(LINE)..want.len().max(got.len());
    for offset in around.step_by(LINE).take_while(|&o| o <= start + LINE) {
        line(lines, format_args!("  want {}", hex(want, offset)));
        line(lines, format_args!("  got  {}", hex(got, offset)));
        if offset == start {
            let column = "  want 0000: ".len() + 3 * (equal - start);
            line(lines, format_args!("{:column$}^^", ""));
        }
    }
}

fn hex(frame: &[u8], offset: usize) -> String {
    let bytes = frame.iter().skip(offset).take(LINE);
    bytes.fold(format!("{offset:04x}:"), |mut text, byte| {
        let _ = write!(text, " {byte:02x}");
        text
    })
}

fn counters(lines: &mut String, want: &BTreeMap<String, u64>, got: &BTreeMap<String, u64>) {
    let of = |counters: &BTreeMap<String, u64>, name| counters.get(name).copied().unwrap_or(0);
    let mut names: Vec<_> = want.keys().chain(got.keys()).collect();
    names.sort();
    names.dedup();
    for name in names {
        let (want, got) = (of(want, name), of(got, name));
        if want != got {
            line(
                lines,
                format_args!("counter `{name}`: want +{want}, got +{got}"),
            );
        }
    }
}

fn line(lines: &mut String, text: std::fmt::Arguments<'_>) {
    let _ = writeln!(lines, "    {text}");
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::packet::expect::Action;

    fn outcome(action: Action, frame: &[u8], counted: &[(&str, u64)]) -> Outcome {
        Outcome {
            action,
            frame: frame.to_vec(),
            counted: counted
                .iter()
                .map(|(name, count)| ((*name).to_owned(), *count))
                .collect(),
        }
    }

    #[test]
    fn equal_outcomes_differ_in_nothing() {
        let one = outcome(Action::Tx, &[1, 2], &[("flow_hit", 1)]);
        assert_eq!(outcomes(&one, &one), "");
    }

    #[test]
    fn every_difference_has_its_line() {
        let frame: Vec<u8> = (0..20).collect();
        let mut other = frame.clone();
        other[18] = 0xff;
        let want = outcome(Action::Tx, &frame, &[("a", 1), ("b", 1)]);
        let got = outcome(Action::Drop, &other[..19], &[("a", 2), ("c", 1)]);
        assert_eq!(
            outcomes(&want, &got),
            "    verdict: want Tx, got Drop
    frame: differs from byte 18 on (want 20 bytes, got 19)
      want 0000: 00 01 02 03 04 05 06 07 08 09 0a 0b 0c 0d 0e 0f
      got  0000: 00 01 02 03 04 05 06 07 08 09 0a 0b 0c 0d 0e 0f
      want 0010: 10 11 12 13
      got  0010: 10 11 ff
                       ^^
    counter `a`: want +1, got +2
    counter `b`: want +1, got +0
    counter `c`: want +0, got +1
"
        );
    }

    #[test]
    fn a_frame_that_is_a_part_of_the_other_differs() {
        let want = outcome(Action::Tx, &[1; 16], &[]);
        let got = outcome(Action::Tx, &[1; 15], &[]);
        assert!(outcomes(&want, &got).contains("differs from byte 15 on"));
    }
}
