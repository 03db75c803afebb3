//! What a packet leaves as.

use super::{
    addresses::{LOCAL_MAC, ROUTER_MAC, host_mac},
    flow,
    frame::{ETH, ip_header, ip_packet},
};
use anyhow::{Context, Result};
use etherparse::{Icmpv4Header, Icmpv4Type, Icmpv6Header, Icmpv6Type, icmpv4};
use navigator_common::reason::{Event, Reason};
use navigator_core::model::VipKey;
use std::{
    collections::BTreeMap,
    net::{IpAddr, SocketAddr},
};

/// The UDP port that the bed's program sends GUE to: not the usual one.
pub const GUE_PORT: u16 = 6081;

/// XDP actions, as the kernel numbers them.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
#[repr(u32)]
pub enum Action {
    /// The program could not go on.
    Aborted = 0,
    /// Discarded.
    Drop = 1,
    /// To the host's network stack.
    Pass = 2,
    /// Out of the interface that it came in by.
    Tx = 3,
    /// Out of another interface.
    Redirect = 4,
}

impl Action {
    /// The action of a program's return value.
    ///
    /// # Errors
    /// There is none of this number.
    pub fn new(value: u32) -> Result<Self> {
        [
            Self::Aborted,
            Self::Drop,
            Self::Pass,
            Self::Tx,
            Self::Redirect,
        ]
        .into_iter()
        .find(|action| *action as u32 == value)
        .with_context(|| format!("the program returned {value}, which is no XDP action"))
    }
}

/// What became of a packet.
#[derive(Clone, PartialEq, Eq, Debug)]
pub struct Outcome {
    /// The program's verdict.
    pub action: Action,
    /// The frame afterwards.
    pub frame: Vec<u8>,
    /// Every counter that changed, by how much: `pass_not_vip`, `flow_hit`,
    /// `<vip> <backend> packets`, `<vip> <backend> bytes`.
    pub counted: BTreeMap<String, u64>,
}

impl Outcome {
    /// The same with these events counted beside.
    #[must_use]
    pub fn with(mut self, events: &[Event]) -> Self {
        for event in events {
            *self.counted.entry(event.name().to_owned()).or_default() += 1;
        }
        self
    }

    /// The same, but out of another interface, which has this MAC address.
    #[must_use]
    pub fn redirected(mut self, source: [u8; 6]) -> Self {
        self.action = Action::Redirect;
        self.frame[6..12].copy_from_slice(&source);
        self
    }
}

/// Handed to the host as it came, under `reason`.
pub fn passed(reason: Reason) -> impl Fn(&[u8]) -> Outcome {
    move |frame| untouched(Action::Pass, frame, reason)
}

/// Discarded, under `reason`.
pub fn dropped(reason: Reason) -> impl Fn(&[u8]) -> Outcome {
    move |frame| untouched(Action::Drop, frame, reason)
}

/// Sent to `backend` of `vip` by a rewrite of the Ethernet addresses.
pub fn l2(vip: VipKey, backend: SocketAddr) -> impl Fn(&[u8]) -> Outcome {
    move |frame| {
        let sent = [&host_mac(backend.ip())[..], &LOCAL_MAC, &frame[12..]].concat();
        forwarded(vip, backend, frame, sent)
    }
}

/// Sent to `backend` of `vip` in an IP header of the backend's family, which starts at `source`.
pub fn ipip(vip: VipKey, backend: SocketAddr, source: IpAddr) -> impl Fn(&[u8]) -> Outcome {
    move |frame| {
        let hash = flow::hash_of(frame);
        forwarded(
            vip,
            backend,
            frame,
            wrapped(frame, source, backend.ip(), hash),
        )
    }
}

/// As [`ipip`], for a packet that cannot tell its flow's hash by itself.
pub fn ipip_of_hash(
    vip: VipKey,
    backend: SocketAddr,
    source: IpAddr,
    hash: u64,
) -> impl Fn(&[u8]) -> Outcome {
    move |frame| {
        forwarded(
            vip,
            backend,
            frame,
            wrapped(frame, source, backend.ip(), hash),
        )
    }
}

/// Sent to `backend` of `vip` by GUE: an IP header of the backend's family, which starts at
/// `source`, UDP to [`GUE_PORT`] with a checksum of zero, and a GUE header.
pub fn gue(vip: VipKey, backend: SocketAddr, source: IpAddr) -> impl Fn(&[u8]) -> Outcome {
    move |frame| gue_of_hash(vip, backend, source, flow::hash_of(frame))(frame)
}

/// As [`gue`], for a packet that cannot tell its flow's hash by itself.
pub fn gue_of_hash(
    vip: VipKey,
    backend: SocketAddr,
    source: IpAddr,
    hash: u64,
) -> impl Fn(&[u8]) -> Outcome {
    move |frame| {
        let inner = ip_packet(frame);
        let port = 0xc000 | (hash & 0x3fff) as u16;
        let length = (8 + 4 + inner.len()) as u16;
        let kind = if inner[0] >> 4 == 4 { 4 } else { 41 };
        let headers = [
            &port.to_be_bytes()[..],
            &GUE_PORT.to_be_bytes(),
            &length.to_be_bytes(),
            &[0, 0],
            &[0, kind, 0, 0],
        ]
        .concat();
        let sent = tunnelled(frame, (source, backend.ip()), (17, &headers), hash);
        forwarded(vip, backend, frame, sent)
    }
}

/// Answered with "fragmentation needed" or "packet too big" that asks for `mtu` bytes: from the
/// VIP, to where it came from, quoting 128 (IPv4) or 256 (IPv6) bytes.
pub fn too_big(mtu: usize) -> impl Fn(&[u8]) -> Outcome {
    move |frame| {
        let packet = ip_packet(frame);
        let (client, vip, quote) = match packet[0] >> 4 {
            4 => (v4_at(packet, 12), v4_at(packet, 16), &packet[..128]),
            _ => (v6_at(packet, 8), v6_at(packet, 24), &packet[..256]),
        };
        let (protocol, header) = match (vip, client) {
            (IpAddr::V6(vip), IpAddr::V6(client)) => {
                let kind = Icmpv6Type::PacketTooBig { mtu: mtu as u32 };
                let header =
                    Icmpv6Header::with_checksum(kind, vip.octets(), client.octets(), quote);
                let header = header.unwrap_or_else(|error| panic!("ICMPv6: {error}"));
                (58, header.to_bytes().to_vec())
            }
            _ => {
                let needed = icmpv4::DestUnreachableHeader::FragmentationNeeded {
                    next_hop_mtu: mtu as u16,
                };
                let kind = Icmpv4Type::DestinationUnreachable(needed);
                (
                    1,
                    Icmpv4Header::with_checksum(kind, quote).to_bytes().to_vec(),
                )
            }
        };
        let length = header.len() + quote.len();
        let (ether_type, ip) = ip_header(vip, client, protocol, length, 64, 0);
        let ether_type = ether_type.to_be_bytes();
        Outcome {
            action: Action::Tx,
            frame: [
                &ROUTER_MAC[..],
                &LOCAL_MAC,
                &ether_type,
                &ip,
                &header,
                quote,
            ]
            .concat(),
            counted: BTreeMap::from([(Reason::ReplyTooBig.name().to_owned(), 1)]),
        }
    }
}

fn v4_at(packet: &[u8], at: usize) -> IpAddr {
    let mut bytes = [0; 4];
    bytes.copy_from_slice(&packet[at..at + 4]);
    bytes.into()
}

fn v6_at(packet: &[u8], at: usize) -> IpAddr {
    let mut bytes = [0; 16];
    bytes.copy_from_slice(&packet[at..at + 16]);
    bytes.into()
}

fn untouched(action: Action, frame: &[u8], reason: Reason) -> Outcome {
    Outcome {
        action,
        frame: frame.to_vec(),
        counted: BTreeMap::from([(reason.name().to_owned(), 1)]),
    }
}

fn forwarded(vip: VipKey, backend: SocketAddr, came: &[u8], sent: Vec<u8>) -> Outcome {
    Outcome {
        action: Action::Tx,
        frame: sent,
        counted: BTreeMap::from([
            (format!("{vip} {backend} packets"), 1),
            (
                format!("{vip} {backend} bytes"),
                ip_packet(came).len() as u64,
            ),
        ]),
    }
}

fn wrapped(frame: &[u8], source: IpAddr, backend: IpAddr, hash: u64) -> Vec<u8> {
    let protocol = if ip_packet(frame)[0] >> 4 == 4 { 4 } else { 41 };
    tunnelled(frame, (source, backend), (protocol, &[]), hash)
}

/// The frame's packet behind headers of a protocol in an IP header from `source` to `backend`.
fn tunnelled(
    frame: &[u8],
    (source, backend): (IpAddr, IpAddr),
    (protocol, headers): (u8, &[u8]),
    hash: u64,
) -> Vec<u8> {
    const TTL: u8 = 64;
    let label = (hash & 0xf_ffff) as u32;
    let length = headers.len() + ip_packet(frame).len();
    let (ether_type, outer) = ip_header(source, backend, protocol, length, TTL, label);
    // Whatever stood behind the packet in the frame (Ethernet padding) stays there.
    [
        &host_mac(backend)[..],
        &LOCAL_MAC,
        &ether_type.to_be_bytes(),
        &outer,
        headers,
        &frame[ETH..],
    ]
    .concat()
}
