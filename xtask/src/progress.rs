//! What this tool says while it works, on standard error.

use std::{
    fmt::Display,
    time::{Duration, Instant},
};

use anyhow::{Context as _, Result};

/// Says what is done, does it, and says how long it took.
///
/// # Errors
/// Those of the work; its error then names the step.
pub(crate) fn step<T>(what: &str, work: impl FnOnce() -> Result<T>) -> Result<T> {
    say(what);
    let start = Instant::now();
    let result = work().with_context(|| what.to_owned())?;
    say(format_args!("{what}: done in {}", seconds(start.elapsed())));
    Ok(result)
}

/// One line of progress.
pub(crate) fn say(what: impl Display) {
    eprintln!("xtask: {what}");
}

/// A duration as people read it: `0.4 s`, `75 s`, `3 min 20 s`.
pub(crate) fn seconds(time: Duration) -> String {
    match time.as_secs() {
        0..10 => format!("{:.1} s", time.as_secs_f64()),
        whole @ 10..120 => format!("{whole} s"),
        whole => format!("{} min {:02} s", whole / 60, whole % 60),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn durations_read_well() {
        assert_eq!(seconds(Duration::from_millis(420)), "0.4 s");
        assert_eq!(seconds(Duration::from_secs(75)), "75 s");
        assert_eq!(seconds(Duration::from_secs(200)), "3 min 20 s");
    }
}
