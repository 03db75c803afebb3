//! ICMP errors about flows of a slot that changed hands: they go where the flow
//! goes, and leave no trace. Anybody can send one, so that none may make an
//! entry, keep one alive, or turn a half-open one into one that is never evicted.

use anyhow::Result;
use navigator_common::reason::Event::{FlowHit, FlowRemembered};
use navigator_core::model::UdpPolicy;
use navigator_tests::packet::{
    Tcp::{Ack, Syn},
    bed::Role::{Active, Dead, Draining},
    script::{
        Backend::{A, B, C},
        LIFETIME,
        Slots::{AtRest, AtRisk},
        Step::{Remembered, Silence, State},
        play_tcp, play_udp, quoted, table, tcp, udp,
    },
};

#[test]
fn in_a_slot_at_rest_they_follow_the_table() -> Result<()> {
    play_tcp(&[
        table(&[(A, Active)], AtRest),
        quoted(1, A, &[]),
        Remembered(0),
    ])
}

#[test]
fn an_unknown_flow_is_an_older_one_and_is_not_remembered() -> Result<()> {
    play_tcp(&[
        table(&[(A, Active)], AtRest),
        table(&[(B, Active), (A, Draining)], AtRisk),
        quoted(1, A, &[]),
        quoted(1, A, &[]),
        Remembered(0),
        tcp(1, Ack, A, &[FlowRemembered]),
    ])
}

#[test]
fn a_remembered_flow_has_its_backend() -> Result<()> {
    play_tcp(&[
        table(&[(A, Active)], AtRest),
        table(&[(B, Active), (A, Draining)], AtRisk),
        tcp(1, Syn, B, &[FlowRemembered]),
        quoted(1, B, &[FlowHit]),
        table(&[(C, Active), (A, Draining), (B, Draining)], AtRisk),
        quoted(1, B, &[FlowHit]),
        quoted(2, A, &[]),
        Remembered(1),
    ])
}

#[test]
fn a_flow_of_a_dead_backend_stays_as_it_is_remembered() -> Result<()> {
    play_tcp(&[
        table(&[(A, Active)], AtRest),
        table(&[(B, Active), (A, Active)], AtRisk),
        tcp(1, Ack, A, &[FlowRemembered]),
        State(A, Dead),
        quoted(1, B, &[]),
        State(A, Active),
        quoted(1, A, &[FlowHit]),
        Remembered(1),
    ])
}

/// Four half-open flows fill the set; errors about them do not save them from a fifth.
#[test]
fn a_half_open_flow_stays_half_open() -> Result<()> {
    let mut steps = vec![
        table(&[(A, Active)], AtRest),
        table(&[(B, Active), (A, Active)], AtRisk),
    ];
    steps.extend((1..=8).map(|flow| tcp(flow, Syn, B, &[FlowRemembered])));
    steps.extend((1..=8).map(|flow| quoted(flow, B, &[FlowHit])));
    steps.extend([tcp(9, Syn, B, &[FlowRemembered]), Remembered(8)]);
    play_tcp(&steps)
}

#[test]
fn they_do_not_keep_a_silent_flow_alive() -> Result<()> {
    play_tcp(&[
        table(&[(A, Active)], AtRest),
        table(&[(B, Active), (A, Active)], AtRisk),
        tcp(1, Ack, A, &[FlowRemembered]),
        Silence(LIFETIME - 1),
        quoted(1, A, &[FlowHit]),
        Silence(2),
        Remembered(0),
    ])
}

#[test]
fn a_udp_vip_that_remembers_all_flows_remembers_none_for_them() -> Result<()> {
    play_udp(
        UdpPolicy::Sticky,
        &[
            table(&[(A, Active)], AtRest),
            quoted(1, A, &[]),
            Remembered(0),
            udp(1, A, &[FlowRemembered]),
            table(&[(B, Active), (A, Draining)], AtRest),
            quoted(1, A, &[FlowHit]),
            Remembered(1),
        ],
    )
}
