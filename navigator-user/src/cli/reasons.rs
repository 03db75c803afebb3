//! `navigator reasons`: what the names of counters mean.

use super::{
    args::Format,
    failure::Outcome,
    output,
    render::{self, Look},
};
use navigator_common::reason::{Event, Reason, Verdict};
use serde::Serialize;

/// One name.
#[derive(Serialize)]
pub(super) struct Meaning {
    /// Of a reason or an event.
    pub(super) name: &'static str,
    /// `pass`, `drop`, `reply`, or `count` for an event: the packet is forwarded.
    pub(super) verdict: &'static str,
    /// What it means.
    pub(super) meaning: &'static str,
}

/// Prints all of them.
pub(super) fn list(format: Format) -> Outcome {
    let all = all();
    let text = match format {
        Format::Table | Format::Wide => render::reasons(Look::of_stdout(), &all),
        format => output::document(&all, format, false)?,
    };
    output::print(&text).map(drop)
}

fn all() -> Vec<Meaning> {
    let reasons = Reason::ALL.iter().map(|reason| Meaning {
        name: reason.name(),
        verdict: match reason.verdict() {
            Verdict::Pass => "pass",
            Verdict::Drop => "drop",
            Verdict::Reply => "reply",
        },
        meaning: reason.describe(),
    });
    let events = Event::ALL.iter().map(|event| Meaning {
        name: event.name(),
        verdict: "count",
        meaning: event.describe(),
    });
    reasons.chain(events).collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn every_name_is_listed_with_its_meaning() {
        let plain = Look {
            colour: false,
            width: None,
        };
        let text = render::reasons(plain, &all());
        let row = |name: &str| text.lines().find(|line| line.starts_with(name));
        for reason in Reason::ALL {
            let line = row(reason.name()).unwrap_or_default();
            assert!(line.ends_with(reason.describe()), "{line}");
        }
        assert!(row("flow_hit").is_some_and(|line| line.contains("count")));
    }
}
