//! The live view: redrawn on a terminal, a line a second elsewhere.

use super::{
    meter::Now,
    scene::{self, FIRST, name, vips},
};
use navigator_core::plan::members::State;
use std::{
    env,
    fmt::Write as _,
    io::{self, IsTerminal, Write as _},
    time::{Duration, Instant},
};

/// Time between two pictures.
pub(super) const REDRAW: Duration = Duration::from_millis(200);
const LINE: Duration = Duration::from_secs(1);
const BAR: usize = 8;
/// The share that fills a bar.
const FULL: f64 = 0.5;
const COLORS: &[u8] = &[36, 33, 35, 32, 34];

/// The view.
#[derive(Debug)]
pub(super) struct View {
    terminal: bool,
    color: bool,
    start: Instant,
    drawn: usize,
    last_line: Instant,
}

/// What is shown beside the clients' figures.
#[derive(Debug)]
pub(super) struct Caption<'a> {
    /// What happens at the moment.
    pub(super) step: &'a str,
    /// Failed requests of the step.
    pub(super) failed: u64,
    /// States of the backends; empty while nobody knows.
    pub(super) states: Vec<(String, State)>,
}

impl View {
    pub(super) fn new() -> Self {
        let terminal = io::stdout().is_terminal();
        let now = Instant::now();
        Self {
            terminal,
            color: terminal && env::var_os("NO_COLOR").is_none(),
            start: now,
            drawn: 0,
            last_line: now,
        }
    }

    /// Says what begins.
    pub(super) fn announce(&mut self, what: &str) {
        self.drawn = 0;
        self.last_line = Instant::now();
        let seconds = self.start.elapsed().as_secs();
        println!("\n[{seconds:>3} s] {what}");
    }

    /// Shows a picture, if it is time for one.
    pub(super) fn show(&mut self, now: &Now, caption: &Caption<'_>) {
        if self.terminal {
            let picture = self.picture(now, caption);
            let lines = picture.lines().count();
            let mut out = String::new();
            if self.drawn > 0 {
                let _ = write!(out, "\x1b[{}A", self.drawn);
            }
            for line in picture.lines() {
                let _ = writeln!(out, "{line}\x1b[K");
            }
            self.drawn = lines;
            print!("{out}");
        } else if self.last_line.elapsed() >= LINE {
            self.last_line = Instant::now();
            println!("{}", plain(now, caption, self.start.elapsed()));
        }
        // A closed pipe ends the demonstration with the next line break.
        let _ = io::stdout().flush();
    }

    fn picture(&self, now: &Now, caption: &Caption<'_>) -> String {
        let mut out = format!("  {:<14}", "");
        for vip in vips() {
            let _ = write!(out, "{:<15}", vip.name);
        }
        out.push('\n');
        for index in 0..=FIRST {
            let name = name(index);
            let state = caption.states.iter().find(|(n, _)| *n == name);
            let state = state.map_or("", |(_, state)| word(*state));
            let _ = write!(out, "  {name} {state:<11}");
            for vip in vips() {
                let share = now.share(vip.target, &name);
                let bar = self.paint(index, &bar(share));
                let _ = write!(out, "{bar} {:>3.0} % ", share * 100.0);
            }
            out.push('\n');
        }
        let daemon = if caption.states.is_empty() {
            ", the daemon is away"
        } else {
            ""
        };
        let _ = writeln!(
            out,
            "  {} requests/s, {} failed{daemon}",
            now.requests, caption.failed
        );
        out
    }

    fn paint(&self, index: u8, text: &str) -> String {
        if !self.color {
            return text.to_owned();
        }
        let color = COLORS[usize::from(index) % COLORS.len()];
        format!("\x1b[{color}m{text}\x1b[0m")
    }
}

/// One line: the shares over all VIPs.
fn plain(now: &Now, caption: &Caption<'_>, time: Duration) -> String {
    let mut out = format!("[{:>3} s]", time.as_secs());
    let total: u64 = now.answers.values().sum();
    for index in 0..=FIRST {
        let name = scene::name(index);
        let own = now.answers.iter().filter(|((_, n), _)| *n == name);
        let own: u64 = own.map(|(_, count)| count).sum();
        let percent = own as f64 * 100.0 / total.max(1) as f64;
        let _ = write!(out, "  {name} {percent:>3.0} %");
    }
    let _ = write!(
        out,
        "  {} requests/s, {} failed  ({})",
        now.requests, caption.failed, caption.step
    );
    out
}

fn word(state: State) -> &'static str {
    match state {
        State::Active => "active",
        State::FailOpen => "fail-open",
        State::Unknown => "unknown",
        State::Unhealthy => "unhealthy",
        State::Unreachable => "unreachable",
        State::Draining => "draining",
        State::Drained => "drained",
        State::Maintenance => "maintenance",
        State::NotForwardable => "unusable",
    }
}

/// A bar of [`BAR`] cells, drawn in eighths of a cell.
fn bar(share: f64) -> String {
    const PARTS: [&str; 8] = ["", "▏", "▎", "▍", "▌", "▋", "▊", "▉"];
    let most = BAR * PARTS.len();
    let eighths = ((share / FULL * most as f64).round() as usize).min(most);
    let mut out = "█".repeat(eighths / PARTS.len());
    out.push_str(PARTS[eighths % PARTS.len()]);
    let cells = eighths.div_ceil(PARTS.len());
    out.push_str(&" ".repeat(BAR - cells));
    out
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_bar_is_as_wide_as_the_column_whatever_the_share() {
        for percent in 0..=120 {
            let drawn = bar(f64::from(percent) / 100.0);
            assert_eq!(drawn.chars().count(), BAR, "{percent} %: {drawn:?}");
        }
        assert_eq!(bar(0.0).trim(), "");
        assert_eq!(bar(0.25), "████    ");
        assert_eq!(bar(0.9), "████████");
    }
}
