//! Numbers for people.

const UNITS: [&str; 6] = ["", "k", "M", "G", "T", "P"];

/// A number of things per second: `0/s`, `999/s`, `1.2k/s`.
pub(super) fn per_second(value: f64) -> String {
    let (digits, unit) = scaled(value);
    format!("{digits}{unit}/s")
}

/// Bytes per second, in powers of ten: `0 B/s`, `3.4 MB/s`.
pub(super) fn bytes_per_second(value: f64) -> String {
    let (digits, unit) = scaled(value);
    format!("{digits} {unit}B/s")
}

/// A count: `999`, `1.2k`, `3.4M`.
pub(super) fn count(value: u64) -> String {
    let (digits, unit) = scaled(value as f64);
    format!("{digits}{unit}")
}

fn scaled(value: f64) -> (String, &'static str) {
    if !value.is_finite() || value <= 0.0 {
        return ("0".to_owned(), "");
    }
    let mut value = value;
    let mut unit = 0;
    // 999.5 would be printed as 1000 of the smaller unit.
    while value >= 999.5 && unit + 1 < UNITS.len() {
        value /= 1000.0;
        unit += 1;
    }
    let small = value < 9.95 && (unit > 0 || value.fract() >= 0.05);
    let digits = if small {
        format!("{value:.1}")
    } else {
        format!("{value:.0}")
    };
    (digits, UNITS[unit])
}

/// A part of a whole: `12.5%`.
pub(super) fn percent(part: f64) -> String {
    let part = if part.is_finite() { part } else { 0.0 };
    format!("{:.1}%", part * 100.0)
}

/// A time of day in UTC, of seconds since 1970: `12:34:56Z`.
pub(in crate::cli) fn clock(time: f64) -> String {
    let second = if time.is_finite() {
        time.max(0.0) as u64
    } else {
        0
    } % 86_400;
    let (hours, minutes, seconds) = (second / 3600, second / 60 % 60, second % 60);
    format!("{hours:02}:{minutes:02}:{seconds:02}Z")
}

/// A time, in its two largest units: `5s`, `3m 20s`, `2d 4h`.
pub(super) fn duration(seconds: f64) -> String {
    let all = if seconds.is_finite() {
        seconds.max(0.0) as u64
    } else {
        0
    };
    let (days, hours, minutes, seconds) = (all / 86_400, all / 3600 % 24, all / 60 % 60, all % 60);
    match (days, hours, minutes) {
        (0, 0, 0) => format!("{seconds}s"),
        (0, 0, _) => format!("{minutes}m {seconds}s"),
        (0, _, _) => format!("{hours}h {minutes}m"),
        _ => format!("{days}d {hours}h"),
    }
}

/// A bar of `cells` character cells, filled to `part` of `whole`, in eighths of a cell.
pub(super) fn bar(part: f64, whole: f64, cells: usize) -> String {
    const EIGHTHS: [char; 8] = [' ', '▏', '▎', '▍', '▌', '▋', '▊', '▉'];
    let filled = if whole > 0.0 && part.is_finite() {
        (part / whole).clamp(0.0, 1.0)
    } else {
        0.0
    };
    let eighths = (filled * cells as f64 * 8.0).round() as usize;
    let mut bar = "█".repeat(eighths / 8);
    if eighths / 8 < cells {
        bar.push(EIGHTHS[eighths % 8]);
        bar.extend(std::iter::repeat_n(' ', cells - eighths / 8 - 1));
    }
    bar
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    #[test]
    fn rates_are_short() {
        let shown = [
            0.0,
            0.3,
            7.0,
            999.0,
            999.9,
            1234.0,
            12_345.0,
            3.4e6,
            f64::NAN,
        ]
        .map(per_second);
        let wanted = [
            "0/s", "0.3/s", "7/s", "999/s", "1.0k/s", "1.2k/s", "12k/s", "3.4M/s", "0/s",
        ];
        assert_eq!(shown, wanted);
        assert_eq!(bytes_per_second(3.4e6), "3.4 MB/s");
        assert_eq!(bytes_per_second(12.0), "12 B/s");
        assert_eq!(count(65_537), "66k");
    }

    #[test]
    fn times_have_two_units() {
        let shown = [0.4, 59.9, 200.0, 7500.0, 187_200.0, -1.0].map(duration);
        assert_eq!(shown, ["0s", "59s", "3m 20s", "2h 5m", "2d 4h", "0s"]);
    }

    #[test]
    fn bars_show_eighths() {
        assert_eq!(bar(1.0, 1.0, 4), "████");
        assert_eq!(bar(0.5, 1.0, 4), "██  ");
        assert_eq!(bar(0.125, 0.5, 1), "▎");
        assert_eq!(bar(1.0, 0.0, 2), "  ");
    }

    proptest! {
        #[test]
        fn a_bar_is_as_wide_as_its_cells(part in 0.0..2.0f64, whole in 0.0..2.0f64, cells in 1usize..20) {
            prop_assert_eq!(bar(part, whole, cells).chars().count(), cells);
        }

        #[test]
        fn a_rate_fits_six_characters(value in 0.0..1e15f64) {
            prop_assert!(per_second(value).len() <= 6, "{}", per_second(value));
        }
    }
}
