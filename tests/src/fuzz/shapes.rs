//! Changes of a frame's shape: it gets longer or shorter, or becomes a part of another one.

use super::{
    dice::Dice,
    fields::{WORDS, family, ip_of, place, put, turn_it_around},
    kernel::LONGEST,
    layout::{self, protocol},
};
use crate::packet::{
    Family,
    frame::{ETH, framed, ip_header},
};
use std::net::IpAddr;

fn insert(frame: &mut Vec<u8>, at: usize, bytes: &[u8]) {
    if at <= frame.len() && frame.len() + bytes.len() <= LONGEST {
        frame.splice(at..at, bytes.iter().copied());
    }
}

pub(super) fn cut(frame: &mut Vec<u8>, dice: &mut Dice) {
    let length = place(frame, dice).max(ETH);
    frame.truncate(length);
}

pub(super) fn pad(frame: &mut Vec<u8>, dice: &mut Dice) {
    let length = frame.len() + dice.below(64);
    frame.resize(length, dice.byte());
}

pub(super) fn lengthen(frame: &mut Vec<u8>, dice: &mut Dice) {
    // Rarely: a long frame takes as long as a hundred short ones.
    let most = match dice.below(200) {
        0..4 => return frame.resize(LONGEST - dice.below(150), dice.byte()),
        4..10 => 9000,
        10..30 => 3000,
        _ => 200,
    };
    let length = frame.len() + dice.below(most);
    frame.resize(length.min(LONGEST), dice.byte());
}

pub(super) fn insert_ipv4_options(frame: &mut Vec<u8>, dice: &mut Dice) {
    let Some((4, ip)) = ip_of(frame) else { return };
    let words = 1 + dice.below(10);
    let option = *dice.pick(&[0, 1, 7, 0x44, 0x83, 0x94, 0xff]);
    insert(frame, ip + 20, &vec![option; words * 4]);
    frame[ip] = 0x40 | (5 + words as u8);
}

pub(super) fn insert_extension_headers(frame: &mut Vec<u8>, dice: &mut Dice) {
    let Some((6, ip)) = ip_of(frame) else { return };
    for _ in 0..1 + dice.below(9) {
        let kind = *dice.pick(&[0, 43, 60, 60, 51, 44]);
        let next = std::mem::replace(&mut frame[ip + 6], kind);
        let units = match kind {
            44 => 1,
            _ => 1 + dice.below(3),
        };
        let mut header = vec![0; units * 8];
        header[0] = next;
        header[1] = match kind {
            44 => 0,
            51 => (units * 2 - 2) as u8,
            _ => (units - 1) as u8,
        };
        if kind == 44 && dice.once_in(2) {
            header[3] = dice.byte();
        }
        insert(frame, ip + 40, &header);
    }
}

pub(super) fn make_a_fragment(frame: &mut Vec<u8>, dice: &mut Dice) {
    let Some((version, ip)) = ip_of(frame) else {
        return;
    };
    let offset = match dice.below(4) {
        0 => 0,
        1 => 1 + dice.below(4) as u16,
        2 => 185,
        _ => *dice.pick(&WORDS) & 0x1fff,
    };
    let more = dice.once_in(2) || offset == 0;
    // Few identifications, so that they meet again.
    let id = dice.below(4) as u8;
    if version == 4 {
        put(frame, ip + 4, &[0, id]);
        put(
            frame,
            ip + 6,
            &(u16::from(more) << 13 | offset).to_be_bytes(),
        );
    } else {
        let next = std::mem::replace(&mut frame[ip + 6], 44);
        let [a, b] = (offset << 3 | u16::from(more)).to_be_bytes();
        insert(frame, ip + 40, &[next, 0, a, b, 0, 0, 0, id]);
    }
}

pub(super) fn add_a_tag(frame: &mut Vec<u8>, dice: &mut Dice) {
    let kind = *dice.pick(&[[0x81, 0x00], [0x81, 0x00], [0x88, 0xa8], [0x91, 0x00]]);
    let vlan = *dice.pick(&[0u16, 5, 7, 0xfff, 0xe005]);
    let [a, b] = vlan.to_be_bytes();
    insert(frame, 12, &[kind[0], kind[1], a, b]);
}

pub(super) fn take_a_tag(frame: &mut Vec<u8>, _: &mut Dice) {
    if matches!(frame.get(12..14), Some([0x81 | 0x91, 0x00] | [0x88, 0xa8])) && frame.len() > 18 {
        frame.drain(12..16);
    }
}

/// An ICMP error about it, to where it came from.
pub(super) fn quote_it(frame: &mut Vec<u8>, dice: &mut Dice) {
    let Some((version, ip)) = ip_of(frame) else {
        return;
    };
    // A packet to a VIP is not what an error to the VIP quotes: the way back is.
    if dice.below(4) > 0 {
        turn_it_around(frame, dice);
    }
    let whole = frame.len() - ip;
    let length = match dice.below(4) {
        0 => dice.below(80),
        1 => 28,
        _ => 548,
    };
    let quote = &frame[ip..ip + length.min(whole)];
    let (kind, protocol) = if version == 4 {
        (*dice.pick(&[3, 3, 4, 5, 11, 12, 8]), protocol::ICMP)
    } else {
        (*dice.pick(&[1, 2, 2, 3, 4, 128, 137]), protocol::ICMPV6)
    };
    let to = match version {
        4 => <[u8; 4]>::try_from(&frame[ip + 12..ip + 16]).map(IpAddr::from),
        _ => <[u8; 16]>::try_from(&frame[ip + 8..ip + 24]).map(IpAddr::from),
    };
    let Ok(to) = to else { return };
    let message = [&[kind, dice.below(5) as u8, 0, 0, 0, 0, 5, 20][..], quote].concat();
    let router = family(version).client(200, 0).ip();
    let (ether_type, header) = ip_header(router, to, protocol, message.len(), 60, 0);
    *frame = framed(ether_type, &[header, message].concat());
    layout::mend(frame);
}

/// A tunnel header in front of it.
pub(super) fn wrap_it(frame: &mut Vec<u8>, dice: &mut Dice) {
    let Some((version, ip)) = ip_of(frame) else {
        return;
    };
    if frame.len() > 60_000 {
        return;
    }
    let inner = if version == 4 {
        protocol::IPV4
    } else {
        protocol::IPV6
    };
    let outer = *dice.pick(&Family::BOTH);
    let (from, to) = (outer.local(), outer.backend(1, 0).ip());
    let (ether_type, header) = ip_header(from, to, inner, frame.len() - ip, 64, 0);
    *frame = framed(ether_type, &[&header, &frame[ip..]].concat());
}

pub(super) fn remove_some_bytes(frame: &mut Vec<u8>, dice: &mut Dice) {
    let place = place(frame, dice);
    let end = (place + 1 + dice.below(20)).min(frame.len());
    frame.drain(place.min(end)..end);
}

pub(super) fn repeat_some_bytes(frame: &mut Vec<u8>, dice: &mut Dice) {
    let place = place(frame, dice);
    let end = (place + 1 + dice.below(20)).min(frame.len());
    let bytes = frame[place.min(end)..end].to_vec();
    insert(frame, place, &bytes);
}
