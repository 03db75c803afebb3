//! Packets from clients, in frames from the router to us.

use super::addresses::{LOCAL_MAC, ROUTER_MAC};
use etherparse::{
    IpHeaders, IpNumber, Ipv4Header, Ipv6FlowLabel, Ipv6Header, PacketBuilder, PacketBuilderStep,
};
use std::net::{IpAddr, Ipv4Addr, Ipv6Addr, SocketAddr};

/// Length of an Ethernet header.
pub const ETH: usize = 14;
/// Ethernet type of IPv4.
pub const TYPE_IPV4: u16 = 0x0800;
/// Ethernet type of IPv6.
pub const TYPE_IPV6: u16 = 0x86dd;
/// TTL or hop limit of the clients' packets.
pub const CLIENT_TTL: u8 = 61;

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

/// A TCP packet from `client` to `vip`.
pub fn tcp(client: SocketAddr, vip: SocketAddr, flags: Tcp, payload: &[u8]) -> Vec<u8> {
    tcp_with_options(client, vip, &[], flags, payload)
}

/// As [`tcp`], with IPv4 options.
pub fn tcp_with_options(
    client: SocketAddr,
    vip: SocketAddr,
    options: &[u8],
    flags: Tcp,
    payload: &[u8],
) -> Vec<u8> {
    let step = ip(client.ip(), vip.ip(), options).tcp(client.port(), vip.port(), 1_000, 65_535);
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
    udp_with_options(client, vip, &[], payload)
}

/// As [`udp`], with IPv4 options.
pub fn udp_with_options(
    client: SocketAddr,
    vip: SocketAddr,
    options: &[u8],
    payload: &[u8],
) -> Vec<u8> {
    let step = ip(client.ip(), vip.ip(), options).udp(client.port(), vip.port());
    written(|out| step.write(out, payload))
}

/// An ICMP or ICMPv6 echo request from `client` to `vip`.
pub fn echo(client: IpAddr, vip: IpAddr) -> Vec<u8> {
    let step = ip(client, vip, &[]);
    if vip.is_ipv4() {
        let step = step.icmpv4_echo_request(7, 1);
        written(|out| step.write(out, b"ping"))
    } else {
        let step = step.icmpv6_echo_request(7, 1);
        written(|out| step.write(out, b"ping"))
    }
}

/// An IP packet with any content, of an IPv4 protocol or with an IPv6 next header.
pub fn other(client: IpAddr, vip: IpAddr, protocol: u8, payload: &[u8]) -> Vec<u8> {
    let (ether_type, header) = ip_header(client, vip, protocol, payload.len(), CLIENT_TTL, 0);
    framed(ether_type, &[header, payload.to_vec()].concat())
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

/// An Ethernet type and an IP header of the addresses' family, without options.
/// `flow_label` is for IPv6 only.
pub fn ip_header(
    source: IpAddr,
    destination: IpAddr,
    protocol: u8,
    payload: usize,
    ttl: u8,
    flow_label: u32,
) -> (u16, Vec<u8>) {
    let length = u16::try_from(payload)
        .unwrap_or_else(|_| panic!("{payload} bytes do not fit an IP packet"));
    match (source, destination) {
        (IpAddr::V4(source), IpAddr::V4(destination)) => {
            let mut header = ipv4(source, destination, length);
            header.time_to_live = ttl;
            header.protocol = IpNumber(protocol);
            header.header_checksum = header.calc_header_checksum();
            (TYPE_IPV4, written(|out| header.write(out)))
        }
        (IpAddr::V6(source), IpAddr::V6(destination)) => {
            let header = Ipv6Header {
                flow_label: Ipv6FlowLabel::try_new(flow_label)
                    .unwrap_or_else(|error| panic!("flow label: {error}")),
                payload_length: length,
                next_header: IpNumber(protocol),
                hop_limit: ttl,
                ..ipv6(source, destination)
            };
            (TYPE_IPV6, written(|out| header.write(out)))
        }
        _ => panic!("{source} and {destination} are of different families"),
    }
}

/// The IP packet in a frame, without what pads the frame.
pub fn ip_packet(frame: &[u8]) -> &[u8] {
    let length = match frame[ETH] >> 4 {
        4 => usize::from(u16::from_be_bytes([frame[16], frame[17]])),
        _ => 40 + usize::from(u16::from_be_bytes([frame[18], frame[19]])),
    };
    &frame[ETH..ETH + length]
}

fn ip(client: IpAddr, vip: IpAddr, options: &[u8]) -> PacketBuilderStep<IpHeaders> {
    let headers = match (client, vip) {
        (IpAddr::V4(source), IpAddr::V4(destination)) => {
            let mut header = ipv4(source, destination, 0);
            header.options = options
                .try_into()
                .unwrap_or_else(|error| panic!("IPv4 options: {error}"));
            IpHeaders::Ipv4(header, Default::default())
        }
        (IpAddr::V6(source), IpAddr::V6(destination)) => {
            assert!(options.is_empty(), "IPv6 has no options in its header");
            IpHeaders::Ipv6(ipv6(source, destination), Default::default())
        }
        _ => panic!("client {client} and VIP {vip} are of different families"),
    };
    PacketBuilder::ethernet2(ROUTER_MAC, LOCAL_MAC).ip(headers)
}

fn ipv4(source: Ipv4Addr, destination: Ipv4Addr, payload: u16) -> Ipv4Header {
    let mut header = Ipv4Header::new(
        payload,
        CLIENT_TTL,
        IpNumber::TCP,
        source.octets(),
        destination.octets(),
    )
    .unwrap_or_else(|error| panic!("IPv4 header: {error}"));
    header.dont_fragment = true;
    header
}

fn ipv6(source: Ipv6Addr, destination: Ipv6Addr) -> Ipv6Header {
    Ipv6Header {
        hop_limit: CLIENT_TTL,
        source: source.octets(),
        destination: destination.octets(),
        ..Ipv6Header::default()
    }
}

fn written<E: std::fmt::Debug>(write: impl FnOnce(&mut Vec<u8>) -> Result<(), E>) -> Vec<u8> {
    let mut out = Vec::new();
    write(&mut out).unwrap_or_else(|error| panic!("a packet could not be built: {error:?}"));
    out
}
