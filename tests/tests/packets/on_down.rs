//! `on_down = "reset"`: a dead backend's connections go to a living one, whose kernel refuses
//! them. Every path that a segment may take; "dead" is what the planner makes of a backend
//! whose checks fail under `reset`, and of one whose drain is over under either policy.
//! (Under `keep` a backend whose checks fail is like one that drains.)

use anyhow::Result;
use navigator_common::reason::{
    Event::{FlowHit, FlowRemembered},
    Reason::DropNoBackend,
};
use navigator_tests::packet::{
    Tcp::{Ack, Fin, Rst, Syn},
    bed::Role::{Active, Dead, Draining},
    script::{
        Backend::{A, B, C},
        Slots::{AtRest, AtRisk},
        Step::{Remembered, State},
        dropped, play_tcp, table, tcp,
    },
};

#[test]
fn steady_the_new_owner_refuses() -> Result<()> {
    play_tcp(&[
        table(&[(A, Active), (B, Active)], AtRest),
        tcp(1, Syn, A, &[]),
        tcp(1, Ack, A, &[]),
        State(A, Dead),
        tcp(1, Ack, A, &[]),
        table(&[(B, Active), (A, Dead)], AtRest),
        tcp(1, Ack, B, &[]),
        tcp(1, Fin, B, &[]),
        tcp(1, Rst, B, &[]),
        Remembered(0),
    ])
}

#[test]
fn previous_owner_the_current_one_refuses_at_once() -> Result<()> {
    play_tcp(&[
        table(&[(A, Active)], AtRest),
        table(&[(B, Active), (A, Active)], AtRisk),
        State(A, Dead),
        tcp(1, Ack, B, &[FlowRemembered]),
        table(&[(B, Active), (A, Dead)], AtRest),
        tcp(1, Ack, B, &[FlowHit]),
        tcp(2, Ack, B, &[]),
    ])
}

#[test]
fn remembered_flow_of_the_previous_owner_the_current_one_refuses() -> Result<()> {
    play_tcp(&[
        table(&[(A, Active)], AtRest),
        table(&[(B, Active), (A, Active)], AtRisk),
        tcp(1, Ack, A, &[FlowRemembered]),
        tcp(1, Ack, A, &[FlowHit]),
        State(A, Dead),
        tcp(1, Ack, B, &[FlowRemembered]),
        tcp(1, Ack, B, &[FlowHit]),
    ])
}

#[test]
fn remembered_flow_of_the_owner_in_between_the_previous_one_refuses() -> Result<()> {
    play_tcp(&[
        table(&[(A, Active)], AtRest),
        table(&[(B, Active), (A, Active)], AtRisk),
        tcp(1, Syn, B, &[FlowRemembered]),
        tcp(1, Ack, B, &[FlowHit]),
        State(B, Dead),
        tcp(1, Ack, A, &[FlowRemembered]),
        table(&[(C, Active), (A, Active), (B, Dead)], AtRisk),
        tcp(1, Ack, A, &[FlowHit]),
        tcp(1, Syn, A, &[FlowHit]),
    ])
}

/// A client that was refused connects again: from another port to the current owner.
#[test]
fn a_client_that_was_refused_connects_to_a_living_backend() -> Result<()> {
    play_tcp(&[
        table(&[(A, Active)], AtRest),
        table(&[(B, Active), (A, Draining)], AtRisk),
        tcp(1, Ack, A, &[FlowRemembered]),
        table(&[(B, Active), (A, Dead)], AtRest),
        tcp(1, Ack, B, &[FlowRemembered]),
        tcp(2, Syn, B, &[]),
        tcp(2, Ack, B, &[]),
    ])
}

/// A connection that wavered would be worse than one that ended.
#[test]
fn what_was_given_up_is_not_taken_back() -> Result<()> {
    play_tcp(&[
        table(&[(A, Active)], AtRest),
        table(&[(B, Active), (A, Active)], AtRisk),
        tcp(1, Ack, A, &[FlowRemembered]),
        table(&[(B, Active), (A, Dead)], AtRest),
        tcp(1, Ack, B, &[FlowRemembered]),
        table(&[(B, Active), (A, Active)], AtRest),
        tcp(1, Ack, B, &[FlowHit]),
    ])
}

#[test]
fn with_nobody_left_segments_are_dropped() -> Result<()> {
    play_tcp(&[
        table(&[(A, Active)], AtRest),
        table(&[(B, Active), (A, Active)], AtRisk),
        tcp(1, Ack, A, &[FlowRemembered]),
        table(&[(A, Dead), (B, Dead)], AtRest),
        dropped(1, Ack, DropNoBackend),
        dropped(2, Ack, DropNoBackend),
        dropped(3, Syn, DropNoBackend),
    ])
}

/// An order, weight 0 or a deregistration: for the drain time it serves, then it does not.
#[test]
fn the_end_of_a_drain_ends_its_connections() -> Result<()> {
    play_tcp(&[
        table(&[(A, Active)], AtRest),
        table(&[(B, Active), (A, Draining)], AtRisk),
        tcp(1, Ack, A, &[FlowRemembered]),
        tcp(2, Ack, A, &[FlowRemembered]),
        tcp(2, Ack, A, &[FlowHit]),
        table(&[(B, Active), (A, Dead)], AtRest),
        tcp(1, Ack, B, &[FlowRemembered]),
        tcp(2, Ack, B, &[FlowRemembered]),
        tcp(3, Ack, B, &[]),
    ])
}
