//! The hash of a packet's flow: what balancer and table agree on.

use super::bed::HASH_KEY;
use etherparse::{NetSlice, SlicedPacket, TransportSlice};
use navigator_common::{addr::Addr, hash};
use std::net::{IpAddr, SocketAddr};

/// The hash of a flow of this IP protocol.
pub fn hash(client: SocketAddr, vip: SocketAddr, protocol: u8) -> u64 {
    let [a, b] = client.port().to_be_bytes();
    let [c, d] = vip.port().to_be_bytes();
    let ports = u32::from_ne_bytes([a, b, c, d]);
    match (client.ip(), vip.ip()) {
        (IpAddr::V4(source), IpAddr::V4(destination)) => hash::flow_v4(
            &HASH_KEY,
            u32::from_ne_bytes(source.octets()),
            u32::from_ne_bytes(destination.octets()),
            ports,
            protocol,
        ),
        (IpAddr::V6(source), IpAddr::V6(destination)) => hash::flow_v6(
            &HASH_KEY,
            Addr::from(source),
            Addr::from(destination),
            ports,
            protocol,
        ),
        _ => panic!("client {client} and VIP {vip} are of different families"),
    }
}

/// The hash of the flow of a TCP or UDP packet in a frame.
pub fn hash_of(frame: &[u8]) -> u64 {
    let packet = SlicedPacket::from_ethernet(frame)
        .unwrap_or_else(|error| panic!("a frame of {} bytes: {error}", frame.len()));
    let (source, destination): (IpAddr, IpAddr) = match &packet.net {
        Some(NetSlice::Ipv4(ip)) => (
            ip.header().source_addr().into(),
            ip.header().destination_addr().into(),
        ),
        Some(NetSlice::Ipv6(ip)) => (
            ip.header().source_addr().into(),
            ip.header().destination_addr().into(),
        ),
        _ => panic!("no IP packet in a frame"),
    };
    let (protocol, source_port, destination_port) = match &packet.transport {
        Some(TransportSlice::Tcp(tcp)) => (6, tcp.source_port(), tcp.destination_port()),
        Some(TransportSlice::Udp(udp)) => (17, udp.source_port(), udp.destination_port()),
        _ => panic!("neither TCP nor UDP in a frame"),
    };
    hash(
        SocketAddr::new(source, source_port),
        SocketAddr::new(destination, destination_port),
        protocol,
    )
}
