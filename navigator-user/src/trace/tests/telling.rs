//! What is told of a packet; and that no bytes, whosever they are, do harm.

use crate::trace::packet::{Packet, unhex};
use navigator_common::{
    backend::{BackendInfo, BackendWord, Mode},
    reason::{Event, Reason},
    slot::Slot,
    trace::{CAPTURE, FORWARDED, TraceRecord, client, known},
    vip::PortWord,
};
use proptest::prelude::*;
use std::net::{IpAddr, Ipv4Addr};

/// A TCP SYN from 198.51.100.7:40000 that was forwarded from an at-risk slot to 10.0.0.2:80.
pub(crate) fn record() -> TraceRecord {
    let mut packet = [0; CAPTURE];
    let frame = [
        &[2, 0, 0, 0, 0, 1, 2, 0, 0, 0, 0, 9, 8, 0][..],
        &[0x45, 0, 0, 40, 0, 0, 0x40, 0, 64, 6, 0, 0],
        &[198, 51, 100, 7, 192, 0, 2, 1],
        &[
            0x9c, 0x40, 0, 80, 0, 0, 0, 1, 0, 0, 0, 0, 0x50, 2, 0xff, 0xff, 0, 0, 0, 0,
        ],
    ]
    .concat();
    packet[..frame.len()].copy_from_slice(&frame);
    let backend = BackendInfo {
        port: 80,
        mode: Mode::L2 as u8,
        ..BackendInfo::unpack(0)
    };
    TraceRecord {
        time: 1000,
        hash: 1,
        slot: Slot::at_risk(2, 1, 5).0,
        vip_port: PortWord::new(80, 6, 3).0,
        backend_word: BackendWord::new([2, 0, 0, 0, 0, 2], 0, 3).0,
        backend_info: backend.pack(),
        vip_address: IpAddr::V4(Ipv4Addr::new(192, 0, 2, 1)).into(),
        backend_address: IpAddr::V4(Ipv4Addr::new(10, 0, 0, 2)).into(),
        client: IpAddr::V4(Ipv4Addr::new(198, 51, 100, 7)).into(),
        known: known::ADDRESS | known::VIP | known::SLOT | known::BACKEND,
        ifindex: 4,
        length: 54,
        sent_length: 54,
        outcome: FORWARDED,
        action: 3,
        filters: 1,
        events: 1 << Event::FlowRemembered as u32,
        vip: 3,
        slot_index: 17,
        backend: 2,
        captured: 54,
        sent_captured: 54,
        vip_bits: 128,
        packet,
        sent: packet,
    }
}

fn told(record: &TraceRecord) -> Packet {
    Packet::new(
        record,
        |index| format!("eth{index}"),
        |key| key.to_string(),
        true,
    )
}

#[test]
fn a_forwarded_packet() {
    let packet = told(&record());
    assert_eq!(packet.source.as_deref(), Some("198.51.100.7:40000"));
    assert_eq!(packet.destination.as_deref(), Some("192.0.2.1:80"));
    assert_eq!(
        (packet.protocol.as_str(), packet.flags.as_str()),
        ("TCP", "S")
    );
    assert_eq!(packet.interface, "eth4");
    assert_eq!(
        (packet.verdict.as_str(), packet.reason.as_ref()),
        ("forwarded", None)
    );
    assert_eq!(
        packet.explain(),
        "forwarded to 10.0.0.2:80 by l2, VIP 192.0.2.1:80/tcp, slot 17 at risk, to its current backend, flow_remembered"
    );
    let bytes = packet.packet.as_deref().and_then(unhex);
    assert_eq!(bytes.as_deref(), Some(record().packet()));
}

#[test]
fn whose_a_packet_became() {
    let owner = |slot: Slot, backend| {
        let packet = told(&TraceRecord {
            slot: slot.0,
            backend,
            ..record()
        });
        packet
            .slot
            .map(|slot| (slot.state, slot.owner))
            .unwrap_or_default()
    };
    let at_risk = Slot::at_risk(2, 1, 5);
    let said = [
        owner(at_risk, 2),
        owner(at_risk, 1),
        owner(at_risk, 9),
        owner(at_risk.closed(), 9),
        owner(Slot(2), 2),
    ];
    let said = said
        .each_ref()
        .map(|(state, owner)| (state.as_str(), owner.as_str()));
    assert_eq!(
        said,
        [
            ("at_risk", "current"),
            ("at_risk", "previous"),
            ("at_risk", "remembered"),
            ("tracked", "remembered"),
            ("at_rest", "current"),
        ]
    );
}

#[test]
fn a_dropped_packet_has_a_reason_and_what_it_means() {
    let packet = told(&TraceRecord {
        known: known::ADDRESS,
        outcome: Reason::DropUnserved.index(),
        events: 0,
        sent_length: 0,
        ..record()
    });
    assert_eq!(packet.reason.as_deref(), Some("drop_unserved"));
    assert_eq!(
        (packet.backend.is_some(), packet.sent.is_some()),
        (false, false)
    );
    let meaning = Reason::DropUnserved.describe();
    assert_eq!(
        packet.explain(),
        format!("dropped: drop_unserved: {meaning}")
    );
}

#[test]
fn a_reply_is_told_with_whom_it_goes_to_and_who_sent_it() {
    let reply = TraceRecord {
        known: known::ADDRESS | known::VIP | known::BACKEND | known::REPLY,
        events: 0,
        ..record()
    };
    assert_eq!(
        told(&reply).explain(),
        "reply of 10.0.0.2:80 to 198.51.100.7, VIP 192.0.2.1:80/tcp"
    );
}

#[test]
fn a_fragment_has_no_ports_and_a_tagged_frame_its_tags() {
    let mut later = record();
    later.packet[21] = 7;
    let packet = told(&later);
    assert_eq!(packet.source.as_deref(), Some("198.51.100.7"));
    assert_eq!(packet.flags, "fragment");
    let mut tagged = record();
    tagged.packet.copy_within(12..124, 16);
    tagged.packet[12..16].copy_from_slice(&[0x81, 0, 0x20, 100]);
    tagged.captured += 4;
    let packet = told(&tagged);
    assert_eq!(packet.vlans, [100]);
    assert_eq!(packet.client, Some(IpAddr::from([198, 51, 100, 7])));
    assert_eq!(packet.source.as_deref(), Some("198.51.100.7:40000"));
}

/// An ICMP error is its client's whose packet it is about.
#[test]
fn an_icmp_error_belongs_to_the_client_of_the_flow() {
    let mut error = record();
    error.packet[23] = 1;
    error.packet[34..36].copy_from_slice(&[3, 4]);
    let quoted = [192, 0, 2, 1, 203, 0, 113, 5];
    error.packet[54..62].copy_from_slice(&quoted);
    error.captured = 62;
    error.client = client(&error.packet);
    let packet = told(&error);
    assert_eq!(packet.client, Some(IpAddr::from([203, 0, 113, 5])));
    assert_eq!(packet.source.as_deref(), Some("198.51.100.7"));
    assert_eq!(packet.protocol, "ICMP");
}

fn bytes_of(record: &TraceRecord) -> Vec<u8> {
    let words = [
        record.time,
        record.hash,
        record.slot,
        record.vip_port,
        record.backend_word,
        record.backend_info,
        record.vip_address.hi,
        record.vip_address.lo,
        record.backend_address.hi,
        record.backend_address.lo,
        record.client.hi,
        record.client.lo,
    ];
    let halves = [
        record.known,
        record.ifindex,
        record.length,
        record.sent_length,
        record.outcome,
        record.action,
        record.filters,
        record.events,
        record.vip,
        record.slot_index,
        record.backend,
        record.captured,
        record.sent_captured,
        record.vip_bits,
    ];
    let words = words.iter().flat_map(|word| word.to_ne_bytes());
    let halves = halves.iter().flat_map(|half| half.to_ne_bytes());
    words
        .chain(halves)
        .chain(record.packet)
        .chain(record.sent)
        .collect()
}

#[test]
fn a_record_is_read_as_it_was_written() {
    let bytes = bytes_of(&record());
    assert_eq!(bytes.len(), size_of::<TraceRecord>());
    assert_eq!(TraceRecord::decode(&bytes), Some(record()));
    assert_eq!(TraceRecord::decode(&bytes[1..]), None);
    let unknown = TraceRecord {
        outcome: 126,
        ..record()
    };
    assert_eq!(TraceRecord::decode(&bytes_of(&unknown)), None);
    let too_long = TraceRecord {
        captured: 129,
        ..record()
    };
    assert_eq!(TraceRecord::decode(&bytes_of(&too_long)), None);
}

proptest! {
    #[test]
    fn any_bytes_are_a_record_that_can_be_told_or_none(bytes in proptest::collection::vec(any::<u8>(), 0..500), whole: bool, outcome in 0u32..130, captured in 0u32..140) {
        let mut bytes = bytes;
        if whole {
            // Long enough, with an outcome that may be one: what a broken program might write.
            bytes.resize(size_of::<TraceRecord>(), 0x45);
            bytes[112..116].copy_from_slice(&outcome.to_ne_bytes());
            bytes[140..144].copy_from_slice(&captured.to_ne_bytes());
            bytes[144..148].copy_from_slice(&captured.to_ne_bytes());
        }
        if let Some(record) = TraceRecord::decode(&bytes) {
            let packet = told(&record);
            prop_assert!(!packet.explain().is_empty());
            let json = serde_json::to_string(&packet).map_err(|e| TestCaseError::fail(e.to_string()))?;
            let read: Packet = serde_json::from_str(&json).map_err(|e| TestCaseError::fail(e.to_string()))?;
            prop_assert_eq!(read, packet);
        }
    }

    #[test]
    fn any_frame_can_be_told(ether_type in prop::sample::select(vec![[8u8, 0], [0x86, 0xdd], [0x81, 0], [8, 6], [0x88, 0xcc]]), body in proptest::collection::vec(any::<u8>(), 0..CAPTURE - 14), version in 0u8..16) {
        let mut frame = record();
        frame.packet = [0; CAPTURE];
        frame.packet[12..14].copy_from_slice(&ether_type);
        frame.packet[14..14 + body.len()].copy_from_slice(&body);
        frame.packet[14] = version << 4 | frame.packet[14] & 0xf;
        frame.captured = 14 + body.len() as u32;
        prop_assert!(!told(&frame).protocol.is_empty());
        let client = client(&frame.packet);
        prop_assert!(ether_type == [8, 0] || ether_type == [0x86, 0xdd] || ether_type == [0x81, 0] || client.is_empty());
    }

    #[test]
    fn hexadecimal_digits_are_bytes_or_nothing(text in ".{0,40}") {
        let even = text.len().is_multiple_of(2) && text.bytes().all(|c| c.is_ascii_hexdigit());
        prop_assert_eq!(unhex(&text).is_some(), even);
    }
}
