//! Times of packets: the program has a monotonic clock, people have UTC.

use nix::time::{ClockId, clock_gettime};

const SECOND: u64 = 1_000_000_000;

/// The monotonic clock, in nanoseconds.
pub(crate) fn monotonic() -> u64 {
    nanoseconds(ClockId::CLOCK_MONOTONIC)
}

/// Nanoseconds since 1970 of a time of the monotonic clock that is not long ago.
pub(crate) fn unix(time: u64) -> u64 {
    let ago = monotonic().saturating_sub(time);
    nanoseconds(ClockId::CLOCK_REALTIME).saturating_sub(ago)
}

fn nanoseconds(clock: ClockId) -> u64 {
    // Both clocks always exist.
    clock_gettime(clock).map_or(0, |now| now.tv_sec() as u64 * SECOND + now.tv_nsec() as u64)
}

/// Nanoseconds since 1970 as RFC 3339 writes them, in UTC.
pub(crate) fn rfc3339(unix: u64) -> String {
    let (seconds, fraction) = (unix / SECOND, unix % SECOND);
    let (days, second) = (seconds / 86_400, seconds % 86_400);
    let (year, month, day) = date(days);
    let (hour, minute, second) = (second / 3600, second / 60 % 60, second % 60);
    format!("{year:04}-{month:02}-{day:02}T{hour:02}:{minute:02}:{second:02}.{fraction:09}Z")
}

/// The date of a day, counted from the first of 1970. Years begin in March here, so that the
/// leap day is their last one.
fn date(days: u64) -> (u64, u64, u64) {
    const FOUR_CENTURIES: u64 = 146_097;
    let days = days + 719_468; // from the first of March of the year 0
    let (era, day) = (days / FOUR_CENTURIES, days % FOUR_CENTURIES);
    let year = (day - day / 1460 + day / 36_524 - day / 146_096) / 365;
    let day = day - (365 * year + year / 4 - year / 100);
    let month = (5 * day + 2) / 153;
    let date = day - (153 * month + 2) / 5 + 1;
    let (month, next_year) = if month < 10 {
        (month + 3, 0)
    } else {
        (month - 9, 1)
    };
    (era * 400 + year + next_year, month, date)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn dates_are_those_of_the_calendar() {
        for (seconds, text) in [
            (0, "1970-01-01T00:00:00.000000000Z"),
            (951_782_400, "2000-02-29T00:00:00.000000000Z"),
            (1_709_164_799, "2024-02-28T23:59:59.000000000Z"),
            (4_107_542_400, "2100-03-01T00:00:00.000000000Z"),
        ] {
            assert_eq!(rfc3339(seconds * SECOND), text);
        }
        assert!(rfc3339(1_234_567_890_123_456_789).ends_with("23:31:30.123456789Z"));
    }

    #[test]
    fn now_is_now() {
        let (before, after) = (unix(monotonic()), unix(monotonic()));
        assert!(after.abs_diff(before) < SECOND);
    }
}
