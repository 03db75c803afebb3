//! Changes of what stands in a frame's headers; its length stays.

use super::{
    dice::Dice,
    layout::{Packet, ether_type, protocol},
    world::{KINDS, NO_VIP, PORT},
};
use crate::packet::{Family, LOCAL_MAC, ROUTER_MAC, addresses::host_mac, nat::SOURCE};
use std::net::IpAddr;

/// Values at which something may turn.
const BYTES: [u8; 12] = [0, 1, 4, 5, 6, 0x11, 0x3a, 0x40, 0x45, 0x7f, 0x80, 0xff];
/// The same of two bytes.
pub(super) const WORDS: [u16; 12] = [
    0, 1, 7, 8, 20, 0x7f, 0x80, 0x1fff, 0x2000, 0x7fff, 0x8000, 0xffff,
];

/// A place in the headers, or anywhere once in a while.
pub(super) fn place(frame: &[u8], dice: &mut Dice) -> usize {
    let end = if dice.once_in(8) {
        frame.len()
    } else {
        frame.len().min(110)
    };
    dice.below(end.max(1))
}

/// `version`, offset of the IP header, if the frame's type says that there is one.
pub(super) fn ip_of(frame: &[u8]) -> Option<(u8, usize)> {
    let at = ether_type(frame)?;
    match frame[at..at + 2] {
        [0x08, 0x00] if frame.len() >= at + 22 => Some((4, at + 2)),
        [0x86, 0xdd] if frame.len() >= at + 42 => Some((6, at + 2)),
        _ => None,
    }
}

pub(super) const fn family(version: u8) -> Family {
    if version == 4 { Family::V4 } else { Family::V6 }
}

/// Writes what lies within the frame.
pub(super) fn put(frame: &mut [u8], at: usize, bytes: &[u8]) {
    if let Some(place) = frame.get_mut(at..at + bytes.len()) {
        place.copy_from_slice(bytes);
    }
}

fn put_address(frame: &mut [u8], at: usize, address: IpAddr) {
    match address {
        IpAddr::V4(ip) => put(frame, at, &ip.octets()),
        IpAddr::V6(ip) => put(frame, at, &ip.octets()),
    }
}

pub(super) fn flip_a_bit(frame: &mut [u8], dice: &mut Dice) {
    let place = place(frame, dice);
    if let Some(byte) = frame.get_mut(place) {
        *byte ^= 1 << dice.below(8);
    }
}

pub(super) fn set_a_header_byte(frame: &mut [u8], dice: &mut Dice) {
    let (place, any) = (place(frame, dice), dice.once_in(2));
    if let Some(byte) = frame.get_mut(place) {
        *byte = if any { dice.byte() } else { *dice.pick(&BYTES) };
    }
}

pub(super) fn set_a_header_word(frame: &mut [u8], dice: &mut Dice) {
    let place = place(frame, dice) & !1;
    if let Some(word) = frame.get_mut(place..place + 2) {
        let value = if dice.once_in(3) {
            dice.below(1600) as u16
        } else {
            *dice.pick(&WORDS)
        };
        word.copy_from_slice(&value.to_be_bytes());
    }
}

pub(super) fn claim_another_ip_length(frame: &mut [u8], dice: &mut Dice) {
    if let Some((version, ip)) = ip_of(frame) {
        let field = if version == 4 { ip + 2 } else { ip + 4 };
        let right = u16::from_be_bytes([frame[field], frame[field + 1]]);
        let value = match dice.below(4) {
            0 => *dice.pick(&WORDS),
            1 => dice.word() as u16,
            _ => right.wrapping_add(dice.below(50) as u16).wrapping_sub(25),
        };
        frame[field..field + 2].copy_from_slice(&value.to_be_bytes());
    }
}

pub(super) fn claim_another_transport_length(frame: &mut [u8], dice: &mut Dice) {
    let Some(packet) = Packet::of(frame) else {
        return;
    };
    match packet.protocol {
        protocol::TCP => put(frame, packet.transport + 12, &[dice.byte()]),
        protocol::UDP => {
            let value = if dice.once_in(2) {
                *dice.pick(&WORDS)
            } else {
                dice.below(100) as u16
            };
            put(frame, packet.transport + 4, &value.to_be_bytes());
        }
        _ => {}
    }
}

pub(super) fn change_the_source(frame: &mut [u8], dice: &mut Dice) {
    let Some((version, ip)) = ip_of(frame) else {
        return;
    };
    let (at, size) = if version == 4 {
        (ip + 12, 4)
    } else {
        (ip + 8, 16)
    };
    let family = family(version);
    match dice.below(6) {
        0 => put_address(frame, at, family.vip(KINDS[0].number, 0).ip()),
        1 => put_address(frame, at, family.backend(1, 0).ip()),
        2 => put(
            frame,
            at,
            &[*dice.pick(&[0, 127, 224, 239, 240, 255, 0xfe])],
        ),
        3 => frame[at..at + size].fill(*dice.pick(&[0, 0xff])),
        // Many flows, so that a set of the flow cache gets full.
        _ => put_address(frame, at, family.client(dice.byte(), 0).ip()),
    }
}

pub(super) fn change_the_destination(frame: &mut [u8], dice: &mut Dice) {
    let Some((version, ip)) = ip_of(frame) else {
        return;
    };
    let at = if version == 4 { ip + 16 } else { ip + 24 };
    let number = match dice.below(8) {
        0 => NO_VIP,
        1 => dice.byte(),
        2 => {
            let source = SOURCE + dice.below(2) as u8;
            return put_address(frame, at, family(version).backend(source, 0).ip());
        }
        _ => {
            let kind = dice.pick(&KINDS);
            kind.number + u8::from(kind.is_prefix) * dice.below(16) as u8
        }
    };
    put_address(frame, at, family(version).vip(number, 0).ip());
}

pub(super) fn change_the_ports(frame: &mut [u8], dice: &mut Dice) {
    let Some(packet) = Packet::of(frame) else {
        return;
    };
    let port = match dice.below(4) {
        0 => 0,
        1 => PORT,
        2 => *dice.pick(&WORDS),
        _ => 1024 + dice.below(64) as u16,
    };
    put(
        frame,
        packet.transport + 2 * dice.below(2),
        &port.to_be_bytes(),
    );
}

pub(super) fn change_a_mac(frame: &mut [u8], dice: &mut Dice) {
    let mac = match dice.below(6) {
        0 => [0xff; 6],
        1 => [0; 6],
        2 => ROUTER_MAC,
        3 => host_mac(Family::V4.backend(1, 0).ip()),
        _ => LOCAL_MAC,
    };
    // To us, mostly: who is not meant passes it on.
    let place = if dice.once_in(8) { 0 } else { 6 };
    put(frame, place, &mac);
}

pub(super) fn change_the_tcp_flags(frame: &mut [u8], dice: &mut Dice) {
    if let Some(packet) = Packet::of(frame) {
        let flags = *dice.pick(&[0x02, 0x10, 0x12, 0x11, 0x04, 0x00, 0xff, 0x29]);
        put(frame, packet.transport + 13, &[flags]);
    }
}

pub(super) fn change_the_life(frame: &mut [u8], dice: &mut Dice) {
    if let Some((version, ip)) = ip_of(frame) {
        let at = if version == 4 { ip + 8 } else { ip + 7 };
        frame[at] = *dice.pick(&[0, 1, 2, 64, 255]);
    }
}

pub(super) fn change_the_protocol(frame: &mut [u8], dice: &mut Dice) {
    if let Some((version, ip)) = ip_of(frame) {
        let at = if version == 4 { ip + 9 } else { ip + 6 };
        frame[at] = *dice.pick(&[
            0, 1, 4, 6, 17, 41, 43, 44, 50, 51, 58, 59, 60, 132, 135, 255,
        ]);
    }
}

/// Addresses and ports the other way round.
pub(super) fn turn_it_around(frame: &mut [u8], _: &mut Dice) {
    let Some(packet) = Packet::of(frame) else {
        return;
    };
    let (at, size) = if packet.version == 4 {
        (12, 4)
    } else {
        (8, 16)
    };
    let at = packet.ip + at;
    let (source, destination) = frame[at..at + 2 * size].split_at_mut(size);
    source.swap_with_slice(destination);
    // As if its receiver had answered, and to us.
    frame[..6].copy_from_slice(&LOCAL_MAC);
    if matches!(packet.protocol, protocol::TCP | protocol::UDP)
        && let Some(ports) = frame.get_mut(packet.transport..packet.transport + 4)
    {
        ports.rotate_left(2);
    }
}
