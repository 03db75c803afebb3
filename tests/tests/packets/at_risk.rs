//! A slot that changed hands while its old owner can still serve.

use anyhow::Result;
use navigator_common::reason::Event::{FlowHit, FlowRemembered};
use navigator_tests::packet::{
    Tcp::{Ack, Fin, Rst, Syn, SynAck},
    bed::Role::{Active, Draining},
    script::{
        Backend::{A, B, C},
        Slots::{AtRest, AtRisk},
        Step::Remembered,
        play_tcp, table, tcp,
    },
};

#[test]
fn a_slot_at_rest_remembers_nothing() -> Result<()> {
    play_tcp(&[
        table(&[(A, Active)], AtRest),
        tcp(1, Syn, A, &[]),
        tcp(1, Ack, A, &[]),
        tcp(2, Ack, A, &[]),
        tcp(1, Fin, A, &[]),
        Remembered(0),
    ])
}

#[test]
fn an_older_flow_stays_with_the_previous_owner_and_is_remembered() -> Result<()> {
    play_tcp(&[
        table(&[(A, Active)], AtRest),
        tcp(1, Syn, A, &[]),
        table(&[(B, Active), (A, Draining)], AtRisk),
        tcp(1, Ack, A, &[FlowRemembered]),
        tcp(1, Ack, A, &[FlowHit]),
        tcp(1, Fin, A, &[FlowHit]),
        Remembered(1),
    ])
}

/// Only a SYN without ACK opens a connection.
#[test]
fn whatever_is_no_opening_belongs_to_an_older_flow() -> Result<()> {
    play_tcp(&[
        table(&[(A, Active)], AtRest),
        table(&[(B, Active), (A, Active)], AtRisk),
        tcp(1, Ack, A, &[FlowRemembered]),
        tcp(2, SynAck, A, &[FlowRemembered]),
        tcp(3, Fin, A, &[FlowRemembered]),
        tcp(4, Rst, A, &[FlowRemembered]),
        Remembered(4),
    ])
}

#[test]
fn a_new_flow_goes_to_the_current_owner_and_stays_there() -> Result<()> {
    play_tcp(&[
        table(&[(A, Active)], AtRest),
        table(&[(B, Active), (A, Draining)], AtRisk),
        tcp(1, Syn, B, &[FlowRemembered]),
        tcp(1, Ack, B, &[FlowHit]),
        tcp(1, Ack, B, &[FlowHit]),
        tcp(1, Rst, B, &[FlowHit]),
        Remembered(1),
    ])
}

#[test]
fn a_repeated_syn_goes_where_the_first_one_went() -> Result<()> {
    play_tcp(&[
        table(&[(A, Active)], AtRest),
        table(&[(B, Active), (A, Draining)], AtRisk),
        tcp(1, Syn, B, &[FlowRemembered]),
        tcp(1, Syn, B, &[FlowHit]),
        table(&[(C, Active), (A, Draining), (B, Active)], AtRisk),
        tcp(1, Syn, B, &[FlowHit]),
        tcp(1, Ack, B, &[FlowHit]),
        Remembered(1),
    ])
}

/// A port that a client uses again: its flow is still known, and its backend takes new flows.
#[test]
fn a_syn_of_an_established_flow_goes_where_that_went() -> Result<()> {
    play_tcp(&[
        table(&[(A, Active)], AtRest),
        table(&[(B, Active), (A, Active)], AtRisk),
        tcp(1, Ack, A, &[FlowRemembered]),
        tcp(1, Fin, A, &[FlowHit]),
        tcp(1, Syn, A, &[FlowHit]),
        tcp(1, Ack, A, &[FlowHit]),
    ])
}

#[test]
fn a_draining_backend_keeps_its_flows_and_gets_no_new_ones() -> Result<()> {
    play_tcp(&[
        table(&[(A, Active)], AtRest),
        table(&[(B, Active), (A, Draining)], AtRisk),
        tcp(1, Ack, A, &[FlowRemembered]),
        tcp(1, Ack, A, &[FlowHit]),
        tcp(1, Syn, B, &[FlowRemembered]),
        tcp(1, Ack, B, &[FlowHit]),
        tcp(2, Ack, A, &[FlowRemembered]),
        Remembered(2),
    ])
}

#[test]
fn a_second_change_keeps_the_previous_owner() -> Result<()> {
    play_tcp(&[
        table(&[(A, Active)], AtRest),
        table(&[(B, Active), (A, Draining)], AtRisk),
        tcp(1, Ack, A, &[FlowRemembered]),
        tcp(2, Syn, B, &[FlowRemembered]),
        table(&[(C, Active), (A, Draining), (B, Draining)], AtRisk),
        tcp(1, Ack, A, &[FlowHit]),
        tcp(2, Ack, B, &[FlowHit]),
        tcp(3, Ack, A, &[FlowRemembered]),
        tcp(4, Syn, C, &[FlowRemembered]),
        tcp(4, Ack, C, &[FlowHit]),
        Remembered(4),
    ])
}

#[test]
fn an_owner_that_comes_back_closes_the_window() -> Result<()> {
    play_tcp(&[
        table(&[(A, Active)], AtRest),
        table(&[(B, Active), (A, Draining)], AtRisk),
        tcp(1, Syn, B, &[FlowRemembered]),
        tcp(2, Ack, A, &[FlowRemembered]),
        table(&[(A, Active), (B, Active)], AtRest),
        tcp(1, Ack, B, &[FlowHit]),
        tcp(2, Ack, A, &[FlowHit]),
        tcp(3, Ack, A, &[]),
        tcp(4, Syn, A, &[]),
        tcp(4, Ack, A, &[]),
        Remembered(2),
    ])
}

#[test]
fn a_window_opens_again_after_it_was_closed() -> Result<()> {
    play_tcp(&[
        table(&[(A, Active)], AtRest),
        table(&[(B, Active), (A, Draining)], AtRisk),
        tcp(1, Syn, B, &[FlowRemembered]),
        table(&[(A, Active), (B, Active)], AtRest),
        table(&[(C, Active), (A, Active), (B, Active)], AtRisk),
        tcp(1, Ack, B, &[FlowHit]),
        tcp(2, Ack, A, &[FlowRemembered]),
        tcp(3, Syn, C, &[FlowRemembered]),
    ])
}

#[test]
fn a_table_that_is_applied_again_changes_nothing() -> Result<()> {
    play_tcp(&[
        table(&[(A, Active)], AtRest),
        table(&[(B, Active), (A, Draining)], AtRisk),
        tcp(1, Ack, A, &[FlowRemembered]),
        table(&[(B, Active), (A, Draining)], AtRisk),
        tcp(1, Ack, A, &[FlowHit]),
        tcp(2, Ack, A, &[FlowRemembered]),
        tcp(3, Syn, B, &[FlowRemembered]),
    ])
}
