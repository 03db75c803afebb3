//! ICMP and ICMPv6 messages, and what an echo request is answered with.

use super::{
    checksum,
    expect::{Action, Outcome},
    frame::{CLIENT_TTL, ETH, framed, ip_header, ip_packet},
};
use navigator_common::reason::Reason;
use std::{collections::BTreeMap, net::IpAddr};

/// The protocol numbers.
const ICMP: u8 = 1;
const ICMPV6: u8 = 58;

/// An echo request or its reply, by the family of its addresses.
const fn echo_type(v4: bool, reply: bool) -> u8 {
    match (v4, reply) {
        (true, false) => 8,
        (true, true) => 0,
        (false, false) => 128,
        (false, true) => 129,
    }
}

/// A message of this type and code in a frame from the router to us: `rest` are the four bytes
/// whose meaning depends on the type.
pub fn message(
    source: IpAddr,
    destination: IpAddr,
    kind: u8,
    code: u8,
    rest: [u8; 4],
    payload: &[u8],
) -> Vec<u8> {
    let mut message = [&[kind, code, 0, 0][..], &rest, payload].concat();
    let protocol = if source.is_ipv4() { ICMP } else { ICMPV6 };
    let (ether_type, ip) = ip_header(source, destination, protocol, message.len(), CLIENT_TTL, 0);
    let right = checksum_of(&ip, &message).to_be_bytes();
    message[2..4].copy_from_slice(&right);
    framed(ether_type, &[ip, message].concat())
}

/// An echo request with this identifier and sequence number.
pub fn echo(source: IpAddr, destination: IpAddr, rest: [u8; 4], payload: &[u8]) -> Vec<u8> {
    let kind = echo_type(source.is_ipv4(), false);
    message(source, destination, kind, 0, rest, payload)
}

/// The checksum of an ICMP message, whatever stands in its field, behind this IP header.
pub fn checksum_of(ip: &[u8], message: &[u8]) -> u16 {
    let pseudo = match ip[0] >> 4 {
        4 => 0,
        _ => checksum::pseudo_header(ip, ICMPV6, message.len()),
    };
    let sum = checksum::sum(pseudo, &message[..2]);
    !checksum::folded(checksum::sum(sum, &message[4..]))
}

/// Whether the message of an IP packet without options or extensions has the right checksum.
pub fn is_right(ip: &[u8]) -> bool {
    let header = if ip[0] >> 4 == 4 { 20 } else { 40 };
    let (ip, message) = ip.split_at(header);
    let pseudo = match ip[0] >> 4 {
        4 => 0,
        _ => checksum::pseudo_header(ip, ICMPV6, message.len()),
    };
    checksum::folded(checksum::sum(pseudo, message)) == 0xffff
}

/// A sound echo request is sent back as its reply, the checksums computed anew.
pub fn replied(frame: &[u8]) -> Outcome {
    let mut reply = returned(frame);
    let header = ETH + if frame[ETH] >> 4 == 4 { 20 } else { 40 };
    let end = ETH + ip_packet(frame).len();
    reply[header] = echo_type(frame[ETH] >> 4 == 4, true);
    let right = checksum_of(&reply[ETH..header], &reply[header..end]).to_be_bytes();
    reply[header + 2..header + 4].copy_from_slice(&right);
    Outcome {
        action: Action::Tx,
        frame: reply,
        counted: BTreeMap::from([(Reason::ReplyEcho.name().to_owned(), 1)]),
    }
}

/// The frame with its addresses swapped and a TTL or hop limit of 64, its message untouched.
fn returned(frame: &[u8]) -> Vec<u8> {
    const TTL: u8 = 64;
    let mut back = [&frame[6..12], &frame[..6], &frame[12..]].concat();
    let ip = &mut back[ETH..];
    if ip[0] >> 4 == 4 {
        ip[8] = TTL;
        ip[12..16].copy_from_slice(&frame[ETH + 16..ETH + 20]);
        ip[16..20].copy_from_slice(&frame[ETH + 12..ETH + 16]);
        ip[10..12].fill(0);
        let right = checksum::of(&ip[..20]).to_be_bytes();
        ip[10..12].copy_from_slice(&right);
    } else {
        ip[7] = TTL;
        ip[8..24].copy_from_slice(&frame[ETH + 24..ETH + 40]);
        ip[24..40].copy_from_slice(&frame[ETH + 8..ETH + 24]);
    }
    back
}
