//! Windows that close, by the clock.

use anyhow::Result;
use navigator_common::reason::Event::{FlowHit, FlowRemembered};
use navigator_tests::packet::{
    Tcp::{Ack, Fin, Syn},
    bed::Role::{Active, Draining},
    script::{
        Backend::{A, B, C},
        Slots::{AtRest, AtRisk},
        Step::{Minutes, Remembered, Rest, Sweep, Tracked},
        play_tcp, table, tcp,
    },
};

#[test]
fn an_open_window_stays_open_for_130_minutes() -> Result<()> {
    play_tcp(&[
        table(&[(A, Active)], AtRest),
        table(&[(B, Active), (A, Draining)], AtRisk),
        Minutes(129),
        Sweep,
        tcp(1, Ack, A, &[FlowRemembered]),
        tcp(2, Syn, B, &[FlowRemembered]),
        Tracked(0),
        Minutes(2),
        Sweep,
        tcp(3, Ack, B, &[]),
        tcp(4, Syn, B, &[]),
        tcp(4, Ack, B, &[]),
    ])
}

/// A flow that is remembered outlives the window; one that leads where its slot leads is forgotten.
#[test]
fn remembered_flows_stay_where_they_are_when_the_window_closes() -> Result<()> {
    play_tcp(&[
        table(&[(A, Active)], AtRest),
        table(&[(B, Active), (A, Draining)], AtRisk),
        tcp(1, Ack, A, &[FlowRemembered]),
        tcp(2, Syn, B, &[FlowRemembered]),
        Minutes(66),
        tcp(1, Ack, A, &[FlowHit]),
        tcp(2, Ack, B, &[FlowHit]),
        Minutes(66),
        Sweep,
        Remembered(1),
        Tracked(1),
        tcp(1, Ack, A, &[FlowHit]),
        tcp(2, Ack, B, &[]),
        Minutes(100),
        Rest,
        tcp(1, Fin, A, &[FlowHit]),
        Minutes(132),
        Rest,
        Tracked(0),
        tcp(1, Ack, B, &[]),
        Remembered(0),
    ])
}

#[test]
fn a_slot_at_rest_again_can_be_put_at_risk_again() -> Result<()> {
    play_tcp(&[
        table(&[(A, Active)], AtRest),
        table(&[(B, Active), (A, Active)], AtRisk),
        tcp(1, Ack, A, &[FlowRemembered]),
        Minutes(100),
        tcp(1, Ack, A, &[FlowHit]),
        tcp(2, Syn, B, &[FlowRemembered]),
        Minutes(32),
        Sweep,
        Tracked(1),
        table(&[(C, Active), (A, Active), (B, Active)], AtRisk),
        tcp(1, Ack, A, &[FlowHit]),
        tcp(2, Ack, B, &[FlowRemembered]),
        tcp(3, Ack, B, &[FlowRemembered]),
        tcp(4, Syn, C, &[FlowRemembered]),
    ])
}

/// Two changes in one window: it closes when the first one is old enough, and by then nothing
/// of the owner in between is unremembered.
#[test]
fn a_window_counts_from_its_first_change() -> Result<()> {
    play_tcp(&[
        table(&[(A, Active)], AtRest),
        table(&[(B, Active), (A, Draining)], AtRisk),
        tcp(1, Syn, B, &[FlowRemembered]),
        Minutes(100),
        tcp(1, Ack, B, &[FlowHit]),
        table(&[(C, Active), (A, Draining), (B, Draining)], AtRisk),
        Minutes(32),
        Sweep,
        Tracked(1),
        tcp(1, Ack, B, &[FlowHit]),
        tcp(2, Ack, C, &[]),
    ])
}

#[test]
fn a_window_without_flows_leaves_nothing_behind() -> Result<()> {
    play_tcp(&[
        table(&[(A, Active)], AtRest),
        table(&[(B, Active), (A, Active)], AtRisk),
        Minutes(132),
        Sweep,
        Tracked(0),
        table(&[(A, Active), (B, Active)], AtRisk),
        tcp(1, Ack, B, &[FlowRemembered]),
    ])
}
