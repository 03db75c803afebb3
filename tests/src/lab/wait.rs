//! Waiting for something to become true.

use anyhow::{Result, bail};
use std::{
    fmt::Display,
    time::{Duration, Instant},
};

/// How much longer everything may take here: emulated machines, which say so in their
/// environment, are slow.
pub fn slowness() -> u32 {
    if std::env::var_os("NAVIGATOR_VM").is_some() {
        10
    } else {
        1
    }
}

/// Asks again and again until the answer is `Ok`; returns it with the time that it took.
///
/// # Errors
/// The last answer, when there was no `Ok` after `limit`, times [`slowness`].
pub fn until<T, E: Display>(
    what: &str,
    limit: Duration,
    mut ask: impl FnMut() -> Result<T, E>,
) -> Result<(T, Duration)> {
    let limit = limit * slowness();
    let start = Instant::now();
    let mut pause = Duration::from_millis(2);
    loop {
        let answer = ask();
        let took = start.elapsed();
        match answer {
            Ok(value) => return Ok((value, took)),
            Err(why) if took > limit => bail!("{what}: not after {limit:?}: {why:#}"),
            Err(_) => std::thread::sleep(pause),
        }
        pause = (pause * 2).min(Duration::from_millis(50));
    }
}
