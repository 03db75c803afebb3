//! Packets in parts, and IPv6 packets with extension headers.

use super::{
    edit::{claiming, patched, with_checksum},
    frame::{ETH, ip_packet, other},
};
use std::{net::IpAddr, ops::Range};

/// IPv6's number of the fragment header.
pub const FRAGMENT: u8 = 44;

/// What becomes of a fragment's place in its packet.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum Followed {
    /// Others follow it.
    By,
    /// It is the last.
    Nobody,
}

/// The bytes `part` of what an IP packet carries, as a fragment of it. The packet has no IPv4
/// options and no IPv6 extension headers.
pub fn part(frame: &[u8], id: u32, part: Range<usize>, followed: Followed) -> Vec<u8> {
    let packet = ip_packet(frame);
    let header = if packet[0] >> 4 == 4 { 20 } else { 40 };
    let content = &packet[header..][part.clone()];
    placed(frame, id, part.start, followed, content)
}

/// A fragment of the IP packet in `frame` that claims to lie at `offset` of what it carries, and
/// holds `content`.
pub fn placed(frame: &[u8], id: u32, offset: usize, followed: Followed, content: &[u8]) -> Vec<u8> {
    let more = u16::from(followed == Followed::By);
    let units = u16::try_from(offset / 8).unwrap_or_else(|_| panic!("offset {offset}"));
    if frame[ETH] >> 4 == 4 {
        let frame = [&frame[..ETH + 20], content].concat();
        let frame = claiming(&frame, 20 + content.len());
        let frame = patched(&frame, ETH + 4, &(id as u16).to_be_bytes());
        let frame = patched(&frame, ETH + 6, &(more << 13 | units).to_be_bytes());
        with_checksum(&frame)
    } else {
        let header = fragment_header(frame[ETH + 6], id, units, more);
        let frame = [&frame[..ETH + 40], &header, content].concat();
        let frame = claiming(&frame, 8 + content.len());
        patched(&frame, ETH + 6, &[FRAGMENT])
    }
}

/// An IPv6 fragment header in front of `next`: an offset in units of eight bytes, and whether
/// more follow.
pub fn fragment_header(next: u8, id: u32, units: u16, more: u16) -> [u8; 8] {
    let [a, b] = (units << 3 | more).to_be_bytes();
    let [c, d, e, f] = id.to_be_bytes();
    [next, 0, a, b, c, d, e, f]
}

/// An extension header: its number, and its bytes but for the first, which names what follows.
pub type Extension = (u8, Vec<u8>);

/// A header of options that mean nothing, of this many units of eight bytes beyond the first.
pub fn options(number: u8, units: u8) -> Extension {
    // One "pad" option in each unit: type 1, five or (in later units) six bytes.
    let mut bytes = vec![units, 1, 4, 0, 0, 0, 0];
    for _ in 0..units {
        bytes.extend([1, 6, 0, 0, 0, 0, 0, 0]);
    }
    (number, bytes)
}

/// A routing header of type 4 with nothing in it and this many segments left.
pub fn routing(segments_left: u8) -> Extension {
    (43, vec![0, 4, segments_left, 0, 0, 0, 0])
}

/// A fragment header.
pub fn fragment(id: u32, units: u16, more: u16) -> Extension {
    (FRAGMENT, fragment_header(0, id, units, more)[1..].to_vec())
}

/// An IPv6 packet with extension headers in front of `content`, which is of protocol `last`.
pub fn extended(
    client: IpAddr,
    vip: IpAddr,
    extensions: &[Extension],
    last: u8,
    content: &[u8],
) -> Vec<u8> {
    let numbers = extensions.iter().map(|(number, _)| *number).chain([last]);
    let mut bytes = Vec::new();
    for ((_, rest), next) in extensions.iter().zip(numbers.clone().skip(1)) {
        bytes.push(next);
        bytes.extend(rest);
    }
    bytes.extend(content);
    let first = numbers.clone().next().unwrap_or(last);
    other(client, vip, first, &bytes)
}
