//! What full NAT makes of packets: headers rewritten and checksums computed anew by etherparse.

use super::{
    addresses::{Family, LOCAL_MAC, host_mac},
    bed::{Bed, Role},
    expect::{Action, Outcome},
    flow,
    frame::{ETH, ip_packet},
};
use anyhow::{Context, Result, ensure};
use etherparse::{NetHeaders, PacketHeaders, TransportHeader};
use navigator_common::{
    nat::{nat_port, nat_source},
    reason::Event,
};
use navigator_core::model::VipKey;
use navigator_user::dataplane::{VipSettings, nat::NatSettings};
use std::{
    collections::BTreeMap,
    net::{IpAddr, SocketAddr},
};

/// Number of the first source address of NAT flows, in the backends' network.
pub const SOURCE: u8 = 240;

/// Source addresses of both families, so many of each.
pub fn settings(sources: u8) -> NatSettings {
    let of = |family: Family| (0..sources).map(move |n| family.backend(SOURCE + n, 0).ip());
    NatSettings {
        sources: Family::BOTH.into_iter().flat_map(of).collect(),
        ..NatSettings::default()
    }
}

/// The source that a flow gets if nobody has its first port.
pub fn source_of(settings: &NatSettings, client: SocketAddr, vip: VipKey) -> SocketAddr {
    try_of(settings, client, vip, 0)
}

/// The source that a flow gets in its `attempt`-th try.
pub fn try_of(settings: &NatSettings, client: SocketAddr, vip: VipKey, attempt: u32) -> SocketAddr {
    let target = SocketAddr::new(vip.address, vip.ports.first());
    let hash = flow::hash(client, target, vip.protocol.number());
    let sources: Vec<_> = settings.of_family(vip.address.is_ipv4()).collect();
    let source = sources[nat_source(hash, sources.len() as u32) as usize];
    let port = nat_port(hash, attempt, settings.ports.0, settings.port_count());
    SocketAddr::new(source, port)
}

/// The frame with other addresses, ports and MAC addresses, and checksums that were computed
/// over all of it. A UDP datagram without a checksum stays without.
pub fn rewritten(
    frame: &[u8],
    (source, destination): (SocketAddr, SocketAddr),
    (from, to): ([u8; 6], [u8; 6]),
) -> Vec<u8> {
    let headers = PacketHeaders::from_ethernet_slice(frame)
        .unwrap_or_else(|error| panic!("a frame of {} bytes: {error}", frame.len()));
    let payload = headers.payload.slice();
    let (Some(net), Some(transport)) = (headers.net, headers.transport) else {
        panic!("no IP packet with a transport header");
    };
    let transport = with_ports(transport, source.port(), destination.port());
    let mut out = [&to[..], &from, &frame[12..14]].concat();
    let written = match (net, source.ip(), destination.ip()) {
        (NetHeaders::Ipv4(mut ip, _), IpAddr::V4(source), IpAddr::V4(destination)) => {
            (ip.source, ip.destination) = (source.octets(), destination.octets());
            ip.header_checksum = ip.calc_header_checksum();
            let transport = summed(transport, |t| t.calc_checksum_ipv4(&ip, payload).ok());
            ip.write(&mut out).and_then(|()| transport.write(&mut out))
        }
        (NetHeaders::Ipv6(mut ip, _), IpAddr::V6(source), IpAddr::V6(destination)) => {
            (ip.source, ip.destination) = (source.octets(), destination.octets());
            let transport = summed(transport, |t| t.calc_checksum_ipv6(&ip, payload).ok());
            ip.write(&mut out).and_then(|()| transport.write(&mut out))
        }
        _ => panic!("{source} and {destination} do not fit the packet"),
    };
    written.unwrap_or_else(|error| panic!("a packet could not be built: {error}"));
    out.extend_from_slice(payload);
    out.extend_from_slice(&frame[ETH + ip_packet(frame).len()..]);
    out
}

fn with_ports(transport: TransportHeader, source: u16, destination: u16) -> TransportHeader {
    match transport {
        TransportHeader::Tcp(mut tcp) => {
            (tcp.source_port, tcp.destination_port) = (source, destination);
            TransportHeader::Tcp(tcp)
        }
        TransportHeader::Udp(mut udp) => {
            (udp.source_port, udp.destination_port) = (source, destination);
            TransportHeader::Udp(udp)
        }
        other => panic!("{other:?} has no ports"),
    }
}

fn summed(transport: TransportHeader, sum: impl Fn(&Sums<'_>) -> Option<u16>) -> TransportHeader {
    let checksum =
        |sums: Sums<'_>| sum(&sums).unwrap_or_else(|| panic!("a packet too long for its checksum"));
    match transport {
        TransportHeader::Tcp(mut tcp) => {
            tcp.checksum = checksum(Sums::Tcp(&tcp));
            TransportHeader::Tcp(tcp)
        }
        TransportHeader::Udp(mut udp) => {
            if udp.checksum != 0 {
                udp.checksum = checksum(Sums::Udp(&udp));
            }
            TransportHeader::Udp(udp)
        }
        other => panic!("{other:?} is not translated"),
    }
}

/// A header whose checksum is computed.
enum Sums<'a> {
    Tcp(&'a etherparse::TcpHeader),
    Udp(&'a etherparse::UdpHeader),
}

impl Sums<'_> {
    fn calc_checksum_ipv4(
        &self,
        ip: &etherparse::Ipv4Header,
        payload: &[u8],
    ) -> Result<u16, etherparse::err::ValueTooBigError<usize>> {
        match self {
            Self::Tcp(tcp) => tcp.calc_checksum_ipv4(ip, payload),
            Self::Udp(udp) => udp.calc_checksum_ipv4(ip, payload),
        }
    }

    fn calc_checksum_ipv6(
        &self,
        ip: &etherparse::Ipv6Header,
        payload: &[u8],
    ) -> Result<u16, etherparse::err::ValueTooBigError<usize>> {
        match self {
            Self::Tcp(tcp) => tcp.calc_checksum_ipv6(ip, payload),
            Self::Udp(udp) => udp.calc_checksum_ipv6(ip, payload),
        }
    }
}

/// Sent to `backend` of `vip`, from `source`.
pub fn to_backend(
    vip: VipKey,
    source: SocketAddr,
    backend: SocketAddr,
) -> impl Fn(&[u8]) -> Outcome {
    move |frame| Outcome {
        action: Action::Tx,
        frame: rewritten(
            frame,
            (source, backend),
            (LOCAL_MAC, host_mac(backend.ip())),
        ),
        counted: counted(vip, backend, frame, ["packets", "bytes"]),
    }
}

/// The same for the first packet of a flow.
pub fn opened(vip: VipKey, source: SocketAddr, backend: SocketAddr) -> impl Fn(&[u8]) -> Outcome {
    let sent = to_backend(vip, source, backend);
    move |frame| sent(frame).with(&[Event::NatOpened])
}

/// A reply of `backend`, sent to `client` by the router at `mac`.
pub fn to_client(
    vip: VipKey,
    backend: SocketAddr,
    client: SocketAddr,
    mac: [u8; 6],
) -> impl Fn(&[u8]) -> Outcome {
    let target = SocketAddr::new(vip.address, vip.ports.first());
    move |frame| Outcome {
        action: Action::Tx,
        frame: rewritten(frame, (target, client), (LOCAL_MAC, mac)),
        counted: counted(vip, backend, frame, ["replies", "reply bytes"]),
    }
}

fn counted(
    vip: VipKey,
    backend: SocketAddr,
    frame: &[u8],
    [packets, bytes]: [&str; 2],
) -> BTreeMap<String, u64> {
    BTreeMap::from([
        (format!("{vip} {backend} {packets}"), 1),
        (
            format!("{vip} {backend} {bytes}"),
            ip_packet(frame).len() as u64,
        ),
    ])
}

/// A bed with one NAT VIP, and what its rows are made of.
pub struct Scene {
    /// The bed.
    pub bed: Bed,
    /// How NAT is done.
    pub settings: NatSettings,
    /// The VIP.
    pub vip: VipSettings,
}

impl Scene {
    /// Where clients send to.
    pub const fn target(&self) -> SocketAddr {
        SocketAddr::new(self.vip.key.address, self.vip.key.ports.first())
    }

    /// The source that the flow of `client` gets if nobody has its first port.
    pub fn source(&self, client: SocketAddr) -> SocketAddr {
        source_of(&self.settings, client, self.vip.key)
    }

    /// Gives every slot to the first active one of these backends.
    ///
    /// # Errors
    /// If the data plane refuses.
    pub fn serve(&mut self, backends: &[(SocketAddr, Role)]) -> Result<()> {
        self.bed.serve(&self.vip, backends).map(drop)
    }

    /// Runs one packet that is to be sent on, and returns the frame that left.
    ///
    /// # Errors
    /// If it was not sent.
    pub fn sent(&mut self, packet: &[u8]) -> Result<Vec<u8>> {
        let outcome = self.bed.run(packet)?;
        ensure!(outcome.action == Action::Tx, "not sent: {outcome:?}");
        Ok(outcome.frame)
    }

    /// Runs one packet and checks what becomes of it.
    ///
    /// # Errors
    /// If something else does.
    pub fn expect(
        &mut self,
        name: &str,
        packet: Vec<u8>,
        expect: impl FnOnce(&[u8]) -> Outcome,
    ) -> Result<()> {
        self.bed.check(&[super::row::row(name, packet, expect)])
    }

    /// Runs a packet that opens a flow of a client to a backend.
    ///
    /// # Errors
    /// If it does not.
    pub fn open(&mut self, client: SocketAddr, backend: SocketAddr) -> Result<SocketAddr> {
        let source = self.source(client);
        let packet = match self.vip.key.protocol {
            navigator_core::model::Protocol::Tcp => {
                super::tcp(client, self.target(), super::Tcp::Syn, b"")
            }
            navigator_core::model::Protocol::Udp => super::udp(client, self.target(), b"hello"),
        };
        let what = format!("{client} opens a flow to {backend}");
        self.expect(&what, packet, opened(self.vip.key, source, backend))
            .context(what)?;
        Ok(source)
    }
}
