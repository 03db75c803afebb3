//! Whether the record of a packet says what became of it.

use super::expect::{Action, Outcome};
use navigator_common::{
    reason::Event,
    trace::{CAPTURE, FORWARDED, TraceRecord, known},
};
use navigator_user::dataplane::kernel::Records;
use std::{collections::BTreeSet, fmt::Write as _};

/// What is wrong with the one record that a packet must have left, a line each; nothing if it
/// is the truth.
pub(super) fn untruths(records: &mut Records, came: &[u8], outcome: &Outcome) -> String {
    let Some(record) = records.next_record() else {
        return "    no record was written\n".to_owned();
    };
    let mut wrong = String::new();
    let mut check = |right: bool, what: &str| {
        if !right {
            let _ = writeln!(wrong, "    record: wrong {what}");
        }
    };
    check(records.next_record().is_none(), "number: there are two");
    let left = outcome.action != Action::Pass && outcome.action != Action::Drop;
    let sent = if left { &outcome.frame[..] } else { &[] };
    check(record.sent() == start(sent), "bytes as it left");
    check(
        record.sent_length as usize == sent.len(),
        "length as it left",
    );
    check(record.action == outcome.action as u32, "action");
    check(record.length as usize == came.len(), "length");
    check(record.packet() == start(came), "bytes as it came");
    let counted = |name: &str| outcome.counted.contains_key(name);
    match record.reason() {
        Some(reason) => check(counted(reason.name()), "reason"),
        None => {
            check(record.outcome == FORWARDED && left, "outcome");
            // A NAT flow that is known asks for no slot.
            let all = known::ADDRESS | known::VIP | known::BACKEND;
            check(record.known & all == all, "stages");
        }
    }
    check(events(&record) == counted_events(outcome), "events");
    if wrong.is_empty() {
        return wrong;
    }
    wrong + &format!("    {record:?}\n")
}

fn start(frame: &[u8]) -> &[u8] {
    &frame[..frame.len().min(CAPTURE)]
}

fn events(record: &TraceRecord) -> BTreeSet<&'static str> {
    let noted = Event::ALL
        .iter()
        .filter(|event| record.events >> **event as u32 & 1 == 1);
    noted.map(|event| event.name()).collect()
}

fn counted_events(outcome: &Outcome) -> BTreeSet<&'static str> {
    let counted = Event::ALL
        .iter()
        .filter(|event| outcome.counted.contains_key(event.name()));
    counted.map(|event| event.name()).collect()
}
