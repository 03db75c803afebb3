//! UDP has no SYN: its flows follow the table, or all of them are remembered.

use anyhow::{Result, ensure};
use navigator_common::{
    reason::Event::{FlowHit, FlowRemembered, FlowSetFull},
    slot::Slot,
};
use navigator_core::model::{
    ForwardMode, Protocol,
    UdpPolicy::{Rehash, Sticky},
};
use navigator_tests::packet::{
    Family,
    bed::{
        self, Bed,
        Role::{Active, Dead, Draining},
        SLOTS,
    },
    expect::l2,
    frame,
    row::row,
    script::{
        Backend::{A, B, C},
        LIFETIME,
        Slots::AtRest,
        Step::{Remembered, Silence},
        play_udp, table, udp,
    },
};
use navigator_user::dataplane::store::{Store as _, Table};

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
    let mut steps = vec![
        table(&[(A, Active)], AtRest),
        udp(1, A, &[FlowRemembered]),
        udp(1, A, &[FlowHit]),
    ];
    steps.extend((2..=16).map(|flow| udp(flow, A, &[FlowRemembered])));
    steps.extend([Remembered(8), udp(1, A, &[FlowHit])]);
    play_udp(Sticky, &steps)
}

#[test]
fn sticky_forwards_what_finds_no_room() -> Result<()> {
    let mut steps = vec![table(&[(A, Active)], AtRest)];
    for flow in 1..=8 {
        steps.extend([udp(flow, A, &[FlowRemembered]), udp(flow, A, &[FlowHit])]);
    }
    steps.extend([
        udp(9, A, &[FlowSetFull]),
        table(&[(B, Active), (A, Active)], AtRest),
        udp(9, B, &[FlowSetFull]),
        udp(1, A, &[FlowHit]),
        udp(8, A, &[FlowHit]),
        Silence(LIFETIME + 1),
        udp(9, B, &[FlowRemembered]),
        udp(9, B, &[FlowHit]),
    ]);
    play_udp(Sticky, &steps)
}

/// No table change puts them at risk; but whatever a slot says, the VIP's policy is heeded.
#[test]
fn rehash_does_not_look_at_who_had_a_slot_before() -> Result<()> {
    for family in Family::BOTH {
        let mut bed = Bed::new()?;
        let vip = family.vip(1, 53);
        let (first, second) = (family.backend(1, 53), family.backend(2, 53));
        let settings = bed::vip(vip, Protocol::Udp, ForwardMode::L2);
        bed.serve(&settings, &[(first, Active), (second, Active)])?;
        for slot in 0..SLOTS as usize {
            let old = bed.store().load(Table::Slots, slot);
            ensure!(old == Slot::steady(1).0, "slot {slot} is {old:#x}");
            let at_risk = Slot::at_risk(1, 2, 1);
            bed.store().store(Table::Slots, slot, at_risk.0);
        }
        let query = frame::udp(family.client(1, 4000), vip, b"query");
        bed.check(&[row(format!("{family:?}"), query, l2(settings.key, first))])?;
        ensure!(bed.remembered() == 0, "a flow was remembered");
    }
    Ok(())
}
