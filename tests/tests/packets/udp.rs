//! UDP has no SYN: its flows follow the table, or all of them are remembered.

use anyhow::Result;
use navigator_common::reason::Event::{FlowHit, FlowRemembered, FlowSetFull};
use navigator_core::model::UdpPolicy::{Rehash, Sticky};
use navigator_tests::packet::{
    bed::Role::{Active, Dead, Draining},
    script::{
        Backend::{A, B, C},
        LIFETIME,
        Slots::AtRest,
        Step::{Remembered, Silence},
        play_udp, table, udp,
    },
};

#[test]
fn rehash_follows_the_table_and_remembers_nothing() -> Result<()> {
    play_udp(
        Rehash,
        &[
            table(&[(A, Active)], AtRest),
            udp(1, A, &[]),
            table(&[(B, Active), (A, Draining)], AtRest),
            udp(1, B, &[]),
            udp(2, B, &[]),
            table(&[(A, Active), (B, Active)], AtRest),
            udp(1, A, &[]),
            udp(2, A, &[]),
            Remembered(0),
        ],
    )
}

#[test]
fn sticky_remembers_every_flow_at_once() -> Result<()> {
    play_udp(
        Sticky,
        &[
            table(&[(A, Active)], AtRest),
            udp(1, A, &[FlowRemembered]),
            udp(1, A, &[FlowHit]),
            Remembered(1),
            table(&[(B, Active), (A, Active)], AtRest),
            udp(1, A, &[FlowHit]),
            udp(2, B, &[FlowRemembered]),
            table(&[(C, Active), (A, Draining), (B, Active)], AtRest),
            udp(1, A, &[FlowHit]),
            udp(2, B, &[FlowHit]),
            udp(3, C, &[FlowRemembered]),
            Remembered(3),
        ],
    )
}

#[test]
fn sticky_leaves_a_dead_backend_for_good() -> Result<()> {
    play_udp(
        Sticky,
        &[
            table(&[(A, Active)], AtRest),
            udp(1, A, &[FlowRemembered]),
            table(&[(B, Active), (A, Dead)], AtRest),
            udp(1, B, &[FlowRemembered]),
            table(&[(A, Active), (B, Active)], AtRest),
            udp(1, B, &[FlowHit]),
            Remembered(1),
        ],
    )
}

/// A flow of one datagram gives way; one that went on does not.
#[test]
fn sticky_forgets_single_datagrams_first() -> Result<()> {
    play_udp(
        Sticky,
        &[
            table(&[(A, Active)], AtRest),
            udp(1, A, &[FlowRemembered]),
            udp(1, A, &[FlowHit]),
            udp(2, A, &[FlowRemembered]),
            udp(3, A, &[FlowRemembered]),
            udp(4, A, &[FlowRemembered]),
            udp(5, A, &[FlowRemembered]),
            udp(6, A, &[FlowRemembered]),
            udp(7, A, &[FlowRemembered]),
            udp(8, A, &[FlowRemembered]),
            Remembered(4),
            udp(1, A, &[FlowHit]),
        ],
    )
}

#[test]
fn sticky_forwards_what_finds_no_room() -> Result<()> {
    let mut steps = vec![table(&[(A, Active)], AtRest)];
    for flow in 1..=4 {
        steps.extend([udp(flow, A, &[FlowRemembered]), udp(flow, A, &[FlowHit])]);
    }
    steps.extend([
        udp(5, A, &[FlowSetFull]),
        table(&[(B, Active), (A, Active)], AtRest),
        udp(5, B, &[FlowSetFull]),
        udp(1, A, &[FlowHit]),
        udp(4, A, &[FlowHit]),
        Silence(LIFETIME + 1),
        udp(5, B, &[FlowRemembered]),
        udp(5, B, &[FlowHit]),
    ]);
    play_udp(Sticky, &steps)
}
