//! More flows than a set of the cache holds: four. Established ones are never
//! evicted while they live, so a flood of SYNs cannot harm them.

use anyhow::Result;
use navigator_common::reason::Event::{FlowHit, FlowRemembered, FlowSetFull};
use navigator_tests::packet::{
    Tcp::{Ack, Syn},
    bed::Role::{self, Active, Dead, Draining},
    script::{
        Backend::{A, B, C},
        LIFETIME,
        Slots::{AtRest, AtRisk},
        Step::{self, Remembered, Silence},
        play_tcp, table, tcp,
    },
};

/// Four flows from before the change, all established at the previous owner, A.
fn full_of_older_flows(previous: Role) -> Vec<Step> {
    let mut steps = vec![
        table(&[(A, Active)], AtRest),
        table(&[(B, Active), (A, previous)], AtRisk),
    ];
    for flow in 1..=4 {
        steps.push(tcp(flow, Ack, A, &[FlowRemembered]));
        steps.push(tcp(flow, Ack, A, &[FlowHit]));
    }
    steps
}

/// All four are still known.
fn none_was_evicted() -> Vec<Step> {
    let mut steps: Vec<_> = (1..=4).map(|flow| tcp(flow, Ack, A, &[FlowHit])).collect();
    steps.push(Remembered(4));
    steps
}

#[test]
fn a_syn_without_room_goes_to_the_previous_owner_where_its_segments_will_go() -> Result<()> {
    let mut steps = full_of_older_flows(Active);
    for flow in 5..=30 {
        steps.push(tcp(flow, Syn, A, &[FlowSetFull]));
    }
    steps.push(tcp(5, Ack, A, &[FlowSetFull]));
    steps.extend(none_was_evicted());
    play_tcp(&steps)
}

#[test]
fn a_syn_without_room_goes_to_the_current_owner_if_the_previous_one_takes_none() -> Result<()> {
    let mut steps = full_of_older_flows(Draining);
    for flow in 5..=30 {
        steps.push(tcp(flow, Syn, B, &[FlowSetFull]));
    }
    steps.extend(none_was_evicted());
    play_tcp(&steps)
}

#[test]
fn an_older_flow_without_room_stays_with_the_previous_owner() -> Result<()> {
    let mut steps = full_of_older_flows(Draining);
    steps.extend([
        tcp(5, Ack, A, &[FlowSetFull]),
        tcp(5, Ack, A, &[FlowSetFull]),
    ]);
    steps.extend(none_was_evicted());
    play_tcp(&steps)
}

/// Flows of which only the SYN was seen give way to each other, and to others.
#[test]
fn embryonic_flows_are_replaced() -> Result<()> {
    let mut steps = vec![
        table(&[(A, Active)], AtRest),
        table(&[(B, Active), (A, Active)], AtRisk),
        tcp(1, Ack, A, &[FlowRemembered]),
        tcp(1, Ack, A, &[FlowHit]),
        tcp(2, Syn, B, &[FlowRemembered]),
        tcp(2, Ack, B, &[FlowHit]),
    ];
    steps.extend((3..=40).map(|flow| tcp(flow, Syn, B, &[FlowRemembered])));
    steps.extend([
        Remembered(4),
        tcp(1, Ack, A, &[FlowHit]),
        tcp(2, Ack, B, &[FlowHit]),
        tcp(41, Ack, A, &[FlowRemembered]),
        tcp(41, Ack, A, &[FlowHit]),
    ]);
    play_tcp(&steps)
}

/// A SYN that is repeated does not make a flow established.
#[test]
fn a_syn_alone_establishes_nothing() -> Result<()> {
    let mut steps = vec![
        table(&[(A, Active)], AtRest),
        table(&[(B, Active), (A, Active)], AtRisk),
    ];
    for flow in 1..=4 {
        steps.push(tcp(flow, Syn, B, &[FlowRemembered]));
        steps.push(tcp(flow, Syn, B, &[FlowHit]));
    }
    steps.push(tcp(5, Syn, B, &[FlowRemembered]));
    steps.push(Remembered(4));
    play_tcp(&steps)
}

/// The embryonic flow that was silent for longest is the one that goes.
#[test]
fn the_most_silent_embryonic_flow_is_replaced() -> Result<()> {
    play_tcp(&[
        table(&[(A, Active)], AtRest),
        table(&[(B, Active), (A, Draining)], AtRisk),
        tcp(1, Syn, B, &[FlowRemembered]),
        tcp(2, Syn, B, &[FlowRemembered]),
        Silence(100),
        tcp(1, Syn, B, &[FlowHit]),
        tcp(3, Syn, B, &[FlowRemembered]),
        tcp(4, Syn, B, &[FlowRemembered]),
        tcp(5, Syn, B, &[FlowRemembered]),
        tcp(1, Ack, B, &[FlowHit]),
        tcp(3, Ack, B, &[FlowHit]),
        tcp(4, Ack, B, &[FlowHit]),
        tcp(5, Ack, B, &[FlowHit]),
        tcp(2, Ack, A, &[FlowSetFull]),
    ])
}

#[test]
fn an_established_flow_that_outlived_its_time_is_replaced() -> Result<()> {
    let mut steps = full_of_older_flows(Draining);
    steps.extend([
        Silence(LIFETIME - 10),
        tcp(5, Syn, B, &[FlowSetFull]),
        tcp(1, Ack, A, &[FlowHit]),
        Silence(20),
        tcp(5, Syn, B, &[FlowRemembered]),
        tcp(6, Syn, B, &[FlowRemembered]),
        tcp(7, Syn, B, &[FlowRemembered]),
        tcp(1, Ack, A, &[FlowHit]),
        tcp(5, Ack, B, &[FlowHit]),
        tcp(6, Ack, B, &[FlowHit]),
        tcp(7, Ack, B, &[FlowHit]),
        tcp(8, Syn, B, &[FlowSetFull]),
    ]);
    play_tcp(&steps)
}

/// In a window that closed early, what finds no room goes where the table says.
#[test]
fn a_closed_window_asks_for_no_room() -> Result<()> {
    let mut steps = full_of_older_flows(Active);
    steps.extend([
        table(&[(C, Active), (A, Active), (B, Dead)], AtRisk),
        tcp(5, Syn, A, &[FlowSetFull]),
        table(&[(A, Active), (C, Active)], AtRest),
        tcp(6, Syn, A, &[]),
        tcp(6, Ack, A, &[]),
    ]);
    steps.extend(none_was_evicted());
    play_tcp(&steps)
}
