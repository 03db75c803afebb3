//! Changes to a frame, most of them for the worse.

use super::{checksum, frame::ETH};

/// Offset of an IPv4 header's version and length.
pub const V4_VERSION: usize = ETH;
/// Offset of an IPv4 header's fragment flags and offset.
pub const V4_FRAGMENT: usize = ETH + 6;
/// Offset of an IPv4 header's TTL.
pub const V4_TTL: usize = ETH + 8;
/// Offset of an IPv6 header's hop limit.
pub const V6_HOP_LIMIT: usize = ETH + 7;
/// Offset of an IPv6 header's version.
pub const V6_VERSION: usize = ETH;

/// The first `length` bytes.
pub fn cut(frame: &[u8], length: usize) -> Vec<u8> {
    frame[..length].to_vec()
}

/// The frame, padded to `length` bytes; with something else than zeros, so that none can get lost.
pub fn padded(frame: &[u8], length: usize) -> Vec<u8> {
    let mut padded = frame.to_vec();
    padded.extend(
        (0..)
            .map(|n: usize| n as u8 | 0x80)
            .take(length - frame.len()),
    );
    padded
}

/// The frame with `bytes` at `offset`.
pub fn patched(frame: &[u8], offset: usize, bytes: &[u8]) -> Vec<u8> {
    let mut patched = frame.to_vec();
    patched[offset..offset + bytes.len()].copy_from_slice(bytes);
    patched
}

/// The frame, sent to another MAC address.
pub fn sent_to(frame: &[u8], mac: [u8; 6]) -> Vec<u8> {
    patched(frame, 0, &mac)
}

/// The frame, sent from another MAC address.
pub fn sent_from(frame: &[u8], mac: [u8; 6]) -> Vec<u8> {
    patched(frame, 6, &mac)
}

/// The frame with the right checksum in its IPv4 header; as it is, if it has none, or not all of one.
pub fn with_checksum(frame: &[u8]) -> Vec<u8> {
    let words = usize::from(frame[ETH] & 0xf);
    let header = ETH..ETH + words * 4;
    if frame[ETH] >> 4 != 4 || words < 5 || header.end > frame.len() {
        return frame.to_vec();
    }
    let mut frame = patched(frame, ETH + 10, &[0, 0]);
    let right = checksum::of(&frame[header]).to_be_bytes();
    frame[ETH + 10..ETH + 12].copy_from_slice(&right);
    frame
}

/// The frame with another length in its IP header: IPv4's total length, IPv6's payload length. The
/// checksum is that of the new header.
pub fn claiming(frame: &[u8], length: usize) -> Vec<u8> {
    let offset = if frame[ETH] >> 4 == 4 {
        ETH + 2
    } else {
        ETH + 4
    };
    let length = u16::try_from(length).unwrap_or_else(|_| panic!("{length} is no IP length"));
    with_checksum(&patched(frame, offset, &length.to_be_bytes()))
}

/// The frame with an 802.1Q tag.
pub fn tagged(frame: &[u8], tag: u16) -> Vec<u8> {
    tagged_as(frame, 0x8100, tag)
}

/// The frame with a tag of this type: priority, DEI and VLAN id.
pub fn tagged_as(frame: &[u8], tag_type: u16, tag: u16) -> Vec<u8> {
    [
        &frame[..12],
        &tag_type.to_be_bytes(),
        &tag.to_be_bytes(),
        &frame[12..],
    ]
    .concat()
}
