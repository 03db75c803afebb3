//! More flows than a set of the cache holds: eight. Established ones are never
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

/// Eight flows from before the change, all established at the previous owner, A.
fn full_of_older_flows(previous: Role) -> Vec<Step> {
    let mut steps = vec![
        table(&[(A, Active)], AtRest),
        table(&[(B, Active), (A, previous)], AtRisk),
    ];
    for flow in 1..=8 {
        steps.push(tcp(flow, Ack, A, &[FlowRemembered]));
        steps.push(tcp(flow, Ack, A, &[FlowHit]));
    }
    steps
}

/// All eight are still known.
fn none_was_evicted() -> Vec<Step> {
    let mut steps: Vec<_> = (1..=8).map(|flow| tcp(flow, Ack, A, &[FlowHit])).collect();
    steps.push(Remembered(8));
    steps
}

#[test]
fn a_syn_without_room_goes_to_the_previous_owner_where_its_segments_will_go() -> Result<()> {
    let mut steps = full_of_older_flows(Active);
    for flow in 9..=30 {
        steps.push(tcp(flow, Syn, A, &[FlowSetFull]));
    }
    steps.push(tcp(9, Ack, A, &[FlowSetFull]));
    steps.extend(none_was_evicted());
    play_tcp(&steps)
}

#[test]
fn a_syn_without_room_goes_to_the_current_owner_if_the_previous_one_takes_none() -> Result<()> {
    let mut steps = full_of_older_flows(Draining);
    for flow in 9..=30 {
        steps.push(tcp(flow, Syn, B, &[FlowSetFull]));
    }
    steps.extend(none_was_evicted());
    play_tcp(&steps)
}

#[test]
fn an_older_flow_without_room_stays_with_the_previous_owner() -> Result<()> {
    let mut steps = full_of_older_flows(Draining);
    steps.extend([
        tcp(9, Ack, A, &[FlowSetFull]),
        tcp(9, Ack, A, &[FlowSetFull]),
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
        Remembered(8),
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
    for flow in 1..=8 {
        steps.push(tcp(flow, Syn, B, &[FlowRemembered]));
        steps.push(tcp(flow, Syn, B, &[FlowHit]));
    }
    steps.push(tcp(9, Syn, B, &[FlowRemembered]));
    steps.push(Remembered(8));
    play_tcp(&steps)
}

/// The embryonic flow that was silent for longest is the one that goes.
#[test]
fn the_most_silent_embryonic_flow_is_replaced() -> Result<()> {
    let mut steps = vec![
        table(&[(A, Active)], AtRest),
        table(&[(B, Active), (A, Draining)], AtRisk),
        tcp(1, Syn, B, &[FlowRemembered]),
        tcp(2, Syn, B, &[FlowRemembered]),
        Silence(100),
        tcp(1, Syn, B, &[FlowHit]),
    ];
    steps.extend((3..=9).map(|flow| tcp(flow, Syn, B, &[FlowRemembered])));
    steps.push(tcp(1, Ack, B, &[FlowHit]));
    steps.extend((3..=9).map(|flow| tcp(flow, Ack, B, &[FlowHit])));
    steps.push(tcp(2, Ack, A, &[FlowSetFull]));
    play_tcp(&steps)
}

#[test]
fn an_established_flow_that_outlived_its_time_is_replaced() -> Result<()> {
    let mut steps = full_of_older_flows(Draining);
    steps.extend([
        Silence(LIFETIME - 10),
        tcp(9, Syn, B, &[FlowSetFull]),
        tcp(1, Ack, A, &[FlowHit]),
        Silence(20),
    ]);
    steps.extend((9..=15).map(|flow| tcp(flow, Syn, B, &[FlowRemembered])));
    steps.push(tcp(1, Ack, A, &[FlowHit]));
    steps.extend((9..=15).map(|flow| tcp(flow, Ack, B, &[FlowHit])));
    steps.push(tcp(16, Syn, B, &[FlowSetFull]));
    play_tcp(&steps)
}

/// In a window that closed early, what finds no room goes where the table says.
#[test]
fn a_closed_window_asks_for_no_room() -> Result<()> {
    let mut steps = full_of_older_flows(Active);
    steps.extend([
        table(&[(C, Active), (A, Active), (B, Dead)], AtRisk),
        tcp(9, Syn, A, &[FlowSetFull]),
        table(&[(A, Active), (C, Active)], AtRest),
        tcp(10, Syn, A, &[]),
        tcp(10, Ack, A, &[]),
    ]);
    steps.extend(none_was_evicted());
    play_tcp(&steps)
}
