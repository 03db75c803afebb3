//! Backends that cannot serve any more, while flows and slots still name them.

use anyhow::Result;
use navigator_common::reason::{
    Event::{FlowHit, FlowRemembered},
    Reason::DropNoBackend,
};
use navigator_tests::packet::{
    Tcp::{Ack, Syn},
    bed::Role::{Active, Dead, Draining},
    script::{
        Backend::{A, B, C},
        Slots::{AtRest, AtRisk},
        Step::{Remembered, State, Sweep},
        dropped, play_tcp, table, tcp,
    },
};

#[test]
fn nothing_is_preserved_for_a_dead_owner() -> Result<()> {
    play_tcp(&[
        table(&[(A, Active)], AtRest),
        tcp(1, Syn, A, &[]),
        table(&[(B, Active), (A, Dead)], AtRest),
        tcp(1, Ack, B, &[]),
        tcp(2, Syn, B, &[]),
        Remembered(0),
    ])
}

#[test]
fn a_previous_owner_that_dies_takes_its_window_along() -> Result<()> {
    play_tcp(&[
        table(&[(A, Active)], AtRest),
        table(&[(B, Active), (A, Draining)], AtRisk),
        tcp(1, Ack, A, &[FlowRemembered]),
        tcp(2, Syn, B, &[FlowRemembered]),
        table(&[(B, Active), (A, Dead)], AtRest),
        tcp(3, Ack, B, &[]),
        tcp(2, Ack, B, &[FlowHit]),
        tcp(1, Ack, B, &[FlowRemembered]),
        tcp(1, Ack, B, &[FlowHit]),
        Remembered(2),
    ])
}

#[test]
fn a_flow_of_a_dead_backend_falls_through_to_the_current_one() -> Result<()> {
    play_tcp(&[
        table(&[(A, Active)], AtRest),
        table(&[(B, Active), (A, Active)], AtRisk),
        tcp(1, Syn, B, &[FlowRemembered]),
        tcp(1, Ack, B, &[FlowHit]),
        tcp(2, Syn, B, &[FlowRemembered]),
        table(&[(C, Active), (A, Dead), (B, Dead)], AtRest),
        tcp(1, Ack, C, &[FlowRemembered]),
        tcp(1, Ack, C, &[FlowHit]),
        tcp(2, Syn, C, &[FlowRemembered]),
        tcp(2, Ack, C, &[FlowHit]),
        Remembered(2),
    ])
}

/// No later segment of it will be older than the window, and the previous owner may know it.
#[test]
fn a_flow_of_a_backend_that_died_in_between_goes_where_older_ones_go() -> Result<()> {
    play_tcp(&[
        table(&[(A, Active)], AtRest),
        table(&[(B, Active), (A, Draining)], AtRisk),
        tcp(1, Syn, B, &[FlowRemembered]),
        tcp(1, Ack, B, &[FlowHit]),
        tcp(2, Syn, B, &[FlowRemembered]),
        table(&[(C, Active), (A, Draining), (B, Dead)], AtRisk),
        tcp(1, Ack, A, &[FlowRemembered]),
        tcp(2, Syn, C, &[FlowRemembered]),
        tcp(2, Ack, C, &[FlowHit]),
    ])
}

#[test]
fn a_backend_that_leaves_the_plan_is_dead() -> Result<()> {
    play_tcp(&[
        table(&[(A, Active)], AtRest),
        table(&[(B, Active), (A, Draining)], AtRisk),
        tcp(1, Ack, A, &[FlowRemembered]),
        table(&[(B, Active)], AtRest),
        tcp(1, Ack, B, &[FlowRemembered]),
        tcp(2, Ack, B, &[]),
        Sweep,
        Remembered(0),
        tcp(1, Ack, B, &[]),
        tcp(3, Syn, B, &[]),
    ])
}

/// Its id is free then, and the flow must not follow it to whoever gets it.
#[test]
fn a_remembered_flow_does_not_follow_a_freed_id() -> Result<()> {
    play_tcp(&[
        table(&[(A, Active)], AtRest),
        table(&[(B, Active), (A, Draining)], AtRisk),
        tcp(1, Ack, A, &[FlowRemembered]),
        tcp(1, Ack, A, &[FlowHit]),
        table(&[(B, Active)], AtRest),
        Sweep,
        Remembered(0),
        table(&[(B, Active), (C, Active)], AtRest),
        tcp(1, Ack, B, &[]),
        tcp(1, Ack, B, &[]),
    ])
}

#[test]
fn the_last_backend_drains() -> Result<()> {
    play_tcp(&[
        table(&[(A, Active)], AtRest),
        table(&[(A, Draining)], AtRisk),
        tcp(1, Ack, A, &[FlowRemembered]),
        tcp(1, Ack, A, &[FlowHit]),
        dropped(2, Syn, DropNoBackend),
        dropped(1, Syn, DropNoBackend),
        tcp(1, Ack, A, &[FlowHit]),
        table(&[(B, Active), (A, Draining)], AtRisk),
        tcp(2, Syn, B, &[FlowRemembered]),
        tcp(1, Ack, A, &[FlowHit]),
        tcp(3, Ack, A, &[FlowRemembered]),
    ])
}

#[test]
fn all_die_and_one_comes_back() -> Result<()> {
    play_tcp(&[
        table(&[(A, Active)], AtRest),
        table(&[(B, Active), (A, Draining)], AtRisk),
        tcp(1, Ack, A, &[FlowRemembered]),
        tcp(2, Syn, B, &[FlowRemembered]),
        table(&[(A, Dead), (B, Dead)], AtRest),
        dropped(1, Ack, DropNoBackend),
        dropped(2, Ack, DropNoBackend),
        dropped(3, Syn, DropNoBackend),
        table(&[(B, Active), (A, Dead)], AtRest),
        tcp(1, Ack, B, &[FlowRemembered]),
        tcp(2, Ack, B, &[FlowHit]),
        tcp(3, Syn, B, &[]),
    ])
}

/// Between a verdict and the table that follows from it.
#[test]
fn a_verdict_counts_before_the_next_table() -> Result<()> {
    play_tcp(&[
        table(&[(A, Active)], AtRest),
        table(&[(B, Active), (A, Active)], AtRisk),
        tcp(1, Ack, A, &[FlowRemembered]),
        State(A, Draining),
        tcp(1, Ack, A, &[FlowHit]),
        tcp(1, Syn, B, &[FlowRemembered]),
        tcp(2, Ack, A, &[FlowRemembered]),
        State(A, Dead),
        tcp(2, Ack, B, &[FlowRemembered]),
        tcp(3, Ack, B, &[FlowRemembered]),
        tcp(3, Ack, B, &[FlowHit]),
        State(A, Active),
        tcp(4, Ack, A, &[FlowRemembered]),
        Remembered(4),
    ])
}

/// Nobody else is in the slot: its flows still have a chance there, and nowhere else.
#[test]
fn a_dead_owner_keeps_its_slot_until_the_next_table() -> Result<()> {
    play_tcp(&[
        table(&[(A, Active), (B, Active)], AtRest),
        State(A, Dead),
        tcp(1, Syn, A, &[]),
        tcp(1, Ack, A, &[]),
        table(&[(B, Active), (A, Dead)], AtRest),
        tcp(1, Ack, B, &[]),
    ])
}
