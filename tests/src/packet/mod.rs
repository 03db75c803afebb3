//! Packets for the tables: built by `etherparse`, which computes lengths and
//! checksums by its own code, so that what the program makes of them is held
//! against something that the program has no part in.

pub mod bed;

use etherparse::{IpNumber, Ipv4Header, Ipv6FlowLabel, Ipv6Header, PacketBuilder};
use std::net::{IpAddr, Ipv4Addr, Ipv6Addr, SocketAddr};

/// MAC address of the interface that the program thinks it is on.
pub const LOCAL_MAC: [u8; 6] = [0x02, 0x4e, 0x41, 0x56, 0x00, 0x01];
/// MAC address that clients' packets come from: the router's.
pub const ROUTER_MAC: [u8; 6] = [0x02, 0x4e, 0x41, 0x56, 0x00, 0xfe];

/// Length of an Ethernet header.
pub const ETH: usize = 14;

/// TCP flags of a packet.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum Tcp {
    /// Opens a connection.
    Syn,
    /// Answers one that was opened.
    SynAck,
    /// Any later segment.
    Ack,
    /// The last one.
    Fin,
    /// Ends it at once.
    Rst,
}

/// A TCP packet from `client` to `vip`, in a frame from the router to us.
pub fn tcp(client: SocketAddr, vip: SocketAddr, flags: Tcp, payload: &[u8]) -> Vec<u8> {
    let frame = PacketBuilder::ethernet2(ROUTER_MAC, LOCAL_MAC);
    let step = match (client.ip(), vip.ip()) {
        (IpAddr::V4(source), IpAddr::V4(destination)) => {
            frame.ipv4(source.octets(), destination.octets(), 61)
        }
        (IpAddr::V6(source), IpAddr::V6(destination)) => {
            frame.ipv6(source.octets(), destination.octets(), 61)
        }
        _ => panic!("client {client} and VIP {vip} are of different families"),
    };
    let step = step.tcp(client.port(), vip.port(), 1_000, 65_535);
    let step = match flags {
        Tcp::Syn => step.syn(),
        Tcp::SynAck => step.syn().ack(77),
        Tcp::Ack => step.ack(77),
        Tcp::Fin => step.fin().ack(77),
        Tcp::Rst => step.rst(),
    };
    written(|out| step.write(out, payload))
}

/// A UDP packet from `client` to `vip`.
pub fn udp(client: SocketAddr, vip: SocketAddr, payload: &[u8]) -> Vec<u8> {
    let frame = PacketBuilder::ethernet2(ROUTER_MAC, LOCAL_MAC);
    let step = match (client.ip(), vip.ip()) {
        (IpAddr::V4(source), IpAddr::V4(destination)) => {
            frame.ipv4(source.octets(), destination.octets(), 61)
        }
        (IpAddr::V6(source), IpAddr::V6(destination)) => {
            frame.ipv6(source.octets(), destination.octets(), 61)
        }
        _ => panic!("client {client} and VIP {vip} are of different families"),
    };
    let step = step.udp(client.port(), vip.port());
    written(|out| step.write(out, payload))
}

/// An ICMP or ICMPv6 echo request from `client` to `vip`.
pub fn echo(client: IpAddr, vip: IpAddr) -> Vec<u8> {
    let frame = PacketBuilder::ethernet2(ROUTER_MAC, LOCAL_MAC);
    match (client, vip) {
        (IpAddr::V4(source), IpAddr::V4(destination)) => {
            let step = frame
                .ipv4(source.octets(), destination.octets(), 61)
                .icmpv4_echo_request(7, 1);
            written(|out| step.write(out, b"ping"))
        }
        (IpAddr::V6(source), IpAddr::V6(destination)) => {
            let step = frame
                .ipv6(source.octets(), destination.octets(), 61)
                .icmpv6_echo_request(7, 1);
            written(|out| step.write(out, b"ping"))
        }
        _ => panic!("client {client} and VIP {vip} are of different families"),
    }
}

/// An IPv4 packet of another protocol, or an IPv6 one with another next header.
pub fn other(client: IpAddr, vip: IpAddr, protocol: u8, payload: &[u8]) -> Vec<u8> {
    match (client, vip) {
        (IpAddr::V4(source), IpAddr::V4(destination)) => framed(
            0x0800,
            &[
                ipv4(source, destination, protocol, payload.len()),
                payload.to_vec(),
            ]
            .concat(),
        ),
        (IpAddr::V6(source), IpAddr::V6(destination)) => framed(
            0x86dd,
            &[
                ipv6(source, destination, protocol, payload.len(), 0),
                payload.to_vec(),
            ]
            .concat(),
        ),
        _ => panic!("client {client} and VIP {vip} are of different families"),
    }
}

/// A frame from the router to us with this type and content.
pub fn framed(ether_type: u16, content: &[u8]) -> Vec<u8> {
    [
        &LOCAL_MAC[..],
        &ROUTER_MAC,
        &ether_type.to_be_bytes(),
        content,
    ]
    .concat()
}

/// `frame` as it leaves towards the Ethernet address `to`, sent by `from`.
pub fn readdressed(frame: &[u8], to: [u8; 6], from: [u8; 6]) -> Vec<u8> {
    [&to[..], &from, &frame[12..]].concat()
}

/// The packet in `frame`, wrapped for `backend` by `source`; `flow_label` is of an outer IPv6 header.
pub fn wrapped(
    frame: &[u8],
    to: [u8; 6],
    source: IpAddr,
    backend: IpAddr,
    flow_label: u32,
) -> Vec<u8> {
    let inner = ip_packet(frame);
    let protocol = if inner[0] >> 4 == 4 { 4 } else { 41 };
    let (ether_type, outer) = match (source, backend) {
        (IpAddr::V4(source), IpAddr::V4(backend)) => {
            (0x0800u16, ipv4(source, backend, protocol, inner.len()))
        }
        (IpAddr::V6(source), IpAddr::V6(backend)) => (
            0x86dd,
            ipv6(source, backend, protocol, inner.len(), flow_label),
        ),
        _ => panic!("outer source {source} and backend {backend} are of different families"),
    };
    // Whatever stood behind the packet in the frame (Ethernet padding) stays there.
    [
        &to[..],
        &LOCAL_MAC,
        &ether_type.to_be_bytes(),
        &outer,
        &frame[ETH..],
    ]
    .concat()
}

fn ip_packet(frame: &[u8]) -> &[u8] {
    let length = match frame[ETH] >> 4 {
        4 => usize::from(u16::from_be_bytes([frame[16], frame[17]])),
        _ => 40 + usize::from(u16::from_be_bytes([frame[18], frame[19]])),
    };
    &frame[ETH..ETH + length]
}

fn ipv4(source: Ipv4Addr, destination: Ipv4Addr, protocol: u8, payload: usize) -> Vec<u8> {
    let length = u16::try_from(payload)
        .unwrap_or_else(|_| panic!("{payload} bytes do not fit an IPv4 packet"));
    let mut header = Ipv4Header::new(
        length,
        64,
        IpNumber(protocol),
        source.octets(),
        destination.octets(),
    )
    .unwrap_or_else(|error| panic!("IPv4 header: {error}"));
    header.dont_fragment = true;
    header.header_checksum = header.calc_header_checksum();
    written(|out| header.write(out))
}

fn ipv6(
    source: Ipv6Addr,
    destination: Ipv6Addr,
    next_header: u8,
    payload: usize,
    flow_label: u32,
) -> Vec<u8> {
    let header = Ipv6Header {
        traffic_class: 0,
        flow_label: Ipv6FlowLabel::try_new(flow_label)
            .unwrap_or_else(|error| panic!("flow label: {error}")),
        payload_length: u16::try_from(payload)
            .unwrap_or_else(|_| panic!("{payload} bytes do not fit an IPv6 packet")),
        next_header: IpNumber(next_header),
        hop_limit: 64,
        source: source.octets(),
        destination: destination.octets(),
    };
    written(|out| header.write(out))
}

fn written<E: std::fmt::Debug>(write: impl FnOnce(&mut Vec<u8>) -> Result<(), E>) -> Vec<u8> {
    let mut out = Vec::new();
    write(&mut out).unwrap_or_else(|error| panic!("a packet could not be built: {error:?}"));
    out
}
