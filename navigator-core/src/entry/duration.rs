//! Durations, as `500ms`, `5s`, `2m` or `1h`.

use std::time::Duration;

/// Why a text is no duration.
#[derive(Clone, PartialEq, Eq, Debug, thiserror::Error)]
#[error("{0:?} is no duration: write a whole number and a unit, such as 500ms, 5s, 2m or 1h")]
pub struct BadDuration(pub String);

const UNITS: [(&str, u64); 4] = [("ms", 1), ("s", 1_000), ("m", 60_000), ("h", 3_600_000)];

/// Reads a duration: a whole number followed by `ms`, `s`, `m` or `h`.
///
/// # Errors
/// For anything else, also one of more than 2^64 milliseconds.
pub fn parse_duration(text: &str) -> Result<Duration, BadDuration> {
    let error = || BadDuration(text.to_owned());
    let digits = text.trim_end_matches(|c: char| !c.is_ascii_digit());
    let unit = &text[digits.len()..];
    let (_, factor) = UNITS
        .into_iter()
        .find(|(name, _)| *name == unit)
        .ok_or_else(error)?;
    if digits.is_empty() || !digits.bytes().all(|c| c.is_ascii_digit()) {
        return Err(error());
    }
    let number: u64 = digits.parse().map_err(|_| error())?;
    number
        .checked_mul(factor)
        .map(Duration::from_millis)
        .ok_or_else(error)
}

/// Writes a duration as [`parse_duration`] reads it, in the largest unit that
/// keeps it exact; parts of a millisecond are rounded up.
pub fn format_duration(duration: Duration) -> String {
    let millis = duration.as_nanos().div_ceil(1_000_000);
    let fits = |(_, factor): &&(&str, u64)| millis.is_multiple_of((*factor).into());
    let (unit, factor) = UNITS.iter().rev().find(fits).unwrap_or(&UNITS[0]);
    match millis {
        0 => "0s".to_owned(),
        _ => format!("{}{unit}", millis / u128::from(*factor)),
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    #[test]
    fn units_mean_what_they_say() {
        for (text, millis) in [
            ("500ms", 500),
            ("5s", 5_000),
            ("2m", 120_000),
            ("1h", 3_600_000),
            ("0s", 0),
        ] {
            assert_eq!(parse_duration(text), Ok(Duration::from_millis(millis)));
            assert_eq!(format_duration(Duration::from_millis(millis)), text);
        }
    }

    #[test]
    fn everything_else_is_refused() {
        for text in [
            "",
            "5",
            "s",
            "5 s",
            "-5s",
            "+5s",
            "1.5s",
            "5S",
            "5d",
            "1m30s",
            "٣s",
            "5sé",
            "99999999999999999999s",
            "18446744073709551615h",
        ] {
            assert_eq!(
                parse_duration(text),
                Err(BadDuration(text.into())),
                "{text}"
            );
        }
    }

    proptest! {
        #[test]
        fn durations_survive_the_round_trip(millis: u64) {
            let duration = Duration::from_millis(millis);
            prop_assert_eq!(parse_duration(&format_duration(duration)), Ok(duration));
        }

        #[test]
        fn no_text_panics(text: String) {
            let _ = parse_duration(&text);
        }
    }
}
