//! A packet, as people and programs are told of it.

use super::time;
use etherparse::{EtherType, IpNumber, Ipv6ExtensionSlice, LaxNetSlice, LaxSlicedPacket};
use navigator_common::{
    backend::{BackendWord, Mode},
    reason::{Event, Reason, Verdict},
    slot::Slot,
    trace::{FORWARDED, TraceRecord, known},
};
use navigator_core::model::{Ports, Protocol, VipKey};
use serde::{Deserialize, Serialize};
use std::{fmt::Write as _, net::IpAddr};

/// One packet, what it was, and what became of it.
#[derive(Clone, PartialEq, Eq, Debug, Serialize, Deserialize)]
pub struct Packet {
    /// When it came, in UTC.
    pub time: String,
    /// The same in nanoseconds since 1970.
    pub unix_nanoseconds: u64,
    /// The interface that it came in by.
    pub interface: String,
    /// Its VLAN tags, outermost first.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub vlans: Vec<u16>,
    /// Who sent it: the source of an IP packet, or, of an ICMP error, whom the quoted packet went to;
    /// of a reply whom it goes to.
    pub client: Option<IpAddr>,
    /// Its source, with the port if it has one.
    pub source: Option<String>,
    /// Its destination, with the port if it has one.
    pub destination: Option<String>,
    /// Its protocol, for people: `TCP`, `UDP`, `ICMP`, `ARP` …
    pub protocol: String,
    /// Flags of a TCP segment, as tcpdump writes them; else empty.
    pub flags: String,
    /// Bytes of the frame as it came.
    pub length: u32,
    /// `forwarded`, `passed`, `dropped` or `replied`.
    pub verdict: String,
    /// Under which reason, if it was not forwarded.
    pub reason: Option<String>,
    /// The VIP's name, or its address if it has none any more.
    pub vip: Option<String>,
    /// The slot that its flow falls into.
    pub slot: Option<SlotSeen>,
    /// What became of its flow in a tracked slot: names of events, such as `flow_hit`.
    pub events: Vec<String>,
    /// The backend that was chosen for it, or whose reply it is.
    pub backend: Option<BackendSeen>,
    /// It is a backend's reply on its way to the client, in mode `nat`.
    #[serde(default)]
    pub reply: bool,
    /// Bytes of the frame as it left; 0 if it did not.
    pub sent_length: u32,
    /// The first bytes of the frame as it came, in hexadecimal digits.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub packet: Option<String>,
    /// The first bytes of the frame as it left.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub sent: Option<String>,
}

/// A slot.
#[derive(Clone, PartialEq, Eq, Debug, Serialize, Deserialize)]
pub struct SlotSeen {
    /// Its place in the VIP's table.
    pub index: u32,
    /// `at_rest`, `at_risk` or `tracked`.
    pub state: String,
    /// Whose the packet became: `current`, `previous`, or `remembered` if the flow is neither's; empty if nobody's.
    pub owner: String,
}

/// A backend.
#[derive(Clone, PartialEq, Eq, Debug, Serialize, Deserialize)]
pub struct BackendSeen {
    /// Its address and port.
    pub address: String,
    /// How it is reached: `l2`, `ipip` …
    pub mode: String,
    /// The MAC address of the next hop; empty if it is not known.
    pub next_hop: String,
}

impl Packet {
    /// What a record says; `interface` and `vip` know the names.
    pub fn new(
        record: &TraceRecord,
        interface: impl FnOnce(u32) -> String,
        vip: impl FnOnce(VipKey) -> String,
        bytes: bool,
    ) -> Self {
        let unix = time::unix(record.time);
        let mut packet = Self {
            time: time::rfc3339(unix),
            unix_nanoseconds: unix,
            interface: interface(record.ifindex),
            vlans: Vec::new(),
            client: None,
            source: None,
            destination: None,
            protocol: "?".to_owned(),
            flags: String::new(),
            length: record.length,
            verdict: verdict(record.reason()).to_owned(),
            reason: record.reason().map(|reason| reason.name().to_owned()),
            vip: vip_key(record).map(vip),
            slot: record.slot().map(|slot| slot_seen(record, slot)),
            events: events(record),
            backend: backend(record),
            reply: record.known & known::REPLY != 0,
            sent_length: record.sent_length,
            packet: bytes.then(|| hex(record.packet())),
            sent: (bytes && record.sent_length > 0).then(|| hex(record.sent())),
        };
        packet.client = (!record.client.is_empty()).then(|| record.client.into());
        packet.read_headers(record.packet());
        packet
    }

    /// Fills in what the headers say, as far as they were written down.
    fn read_headers(&mut self, frame: &[u8]) {
        let Ok(headers) = LaxSlicedPacket::from_ethernet(frame) else {
            return;
        };
        self.vlans = headers.vlan_ids().iter().map(|id| id.value()).collect();
        let Some(net) = &headers.net else {
            if let Some(payload) = headers.ether_payload() {
                self.protocol = ether_type(payload.ether_type);
            }
            return;
        };
        let (source, destination): (IpAddr, IpAddr) = match net {
            LaxNetSlice::Ipv4(ip) => (
                ip.header().source_addr().into(),
                ip.header().destination_addr().into(),
            ),
            LaxNetSlice::Ipv6(ip) => (
                ip.header().source_addr().into(),
                ip.header().destination_addr().into(),
            ),
            LaxNetSlice::Arp(_) => {
                self.protocol = "ARP".to_owned();
                return;
            }
        };
        let Some(payload) = net.ip_payload_ref() else {
            return;
        };
        let first = first_of_its_packet(net);
        let ports = first
            .then(|| ports(payload.ip_number, payload.payload))
            .flatten();
        let (from, to) = ports.unzip();
        self.source = Some(endpoint(source, from));
        self.destination = Some(endpoint(destination, to));
        self.protocol = ip_protocol(payload.ip_number);
        if !first {
            self.flags = "fragment".to_owned();
        } else if payload.ip_number == IpNumber::TCP {
            self.flags = payload
                .payload
                .get(13)
                .map_or_else(String::new, |f| tcp_flags(*f));
        }
    }

    /// Its client, for people.
    pub fn client_name(&self) -> String {
        self.client
            .map_or_else(|| "somebody".to_owned(), |client| client.to_string())
    }

    /// What became of it and why, in a sentence.
    pub fn explain(&self) -> String {
        let mut text = match (self.verdict.as_str(), &self.backend) {
            ("forwarded", Some(backend)) if self.reply => {
                format!("reply of {} to {}", backend.address, self.client_name())
            }
            ("forwarded", Some(backend)) => {
                format!("forwarded to {} by {}", backend.address, backend.mode)
            }
            _ => self.verdict.clone(),
        };
        // Writing to a String cannot fail.
        if let Some(vip) = &self.vip {
            let _ = write!(text, ", VIP {vip}");
        }
        if let Some(slot) = &self.slot {
            let _ = write!(
                text,
                ", slot {} {}",
                slot.index,
                slot.state.replace('_', " ")
            );
            if slot.state != "at_rest" && !slot.owner.is_empty() {
                let _ = write!(text, ", to its {} backend", slot.owner);
            }
        }
        for event in &self.events {
            let _ = write!(text, ", {event}");
        }
        if let Some(reason) = &self.reason {
            let meaning = Reason::ALL.iter().find(|known| known.name() == reason);
            let _ = write!(text, ": {reason}");
            if let Some(meaning) = meaning {
                let _ = write!(text, ": {}", meaning.describe());
            }
        }
        text
    }
}

fn verdict(reason: Option<Reason>) -> &'static str {
    match reason.map(Reason::verdict) {
        None => "forwarded",
        Some(Verdict::Pass) => "passed",
        Some(Verdict::Drop) => "dropped",
        Some(Verdict::Reply) => "replied",
    }
}

fn vip_key(record: &TraceRecord) -> Option<VipKey> {
    let port = record.vip_port()?;
    let address = IpAddr::from(record.vip_address);
    let last = if port.is_range() {
        port.last()
    } else {
        port.port()
    };
    // An IPv4 address is the last part of a mapped one.
    let before = 128 - u32::from(VipKey::whole(address));
    Some(VipKey {
        address,
        prefix: u8::try_from(record.vip_bits.checked_sub(before)?).ok()?,
        protocol: Protocol::from_number(port.protocol())?,
        ports: Ports::range(port.port(), last)?,
    })
}

fn slot_seen(record: &TraceRecord, slot: Slot) -> SlotSeen {
    let state = if slot.is_at_risk() {
        "at_risk"
    } else if slot.is_tracked() {
        "tracked"
    } else {
        "at_rest"
    };
    let owner = if record.known & known::BACKEND == 0 {
        ""
    } else if record.backend == slot.current() {
        "current"
    } else if slot.is_at_risk() && record.backend == slot.previous() {
        "previous"
    } else {
        "remembered"
    };
    SlotSeen {
        index: record.slot_index,
        state: state.to_owned(),
        owner: owner.to_owned(),
    }
}

fn events(record: &TraceRecord) -> Vec<String> {
    let noted = Event::ALL.iter();
    let noted = noted.filter(|event| record.events >> **event as u32 & 1 == 1);
    noted.map(|event| event.name().to_owned()).collect()
}

fn backend(record: &TraceRecord) -> Option<BackendSeen> {
    let info = record.backend()?;
    let next_hop = BackendWord(record.backend_word).mac();
    let next_hop = next_hop.map(|byte| format!("{byte:02x}")).join(":");
    let known = record.outcome == FORWARDED || next_hop != "00:00:00:00:00:00";
    Some(BackendSeen {
        address: endpoint(record.backend_address.into(), Some(info.port)),
        mode: mode(info.mode),
        next_hop: if known { next_hop } else { String::new() },
    })
}

fn mode(byte: u8) -> String {
    match Mode::from_byte(byte) {
        Some(mode) => format!("{mode:?}").to_lowercase(),
        None => format!("mode {byte}"),
    }
}

fn endpoint(address: IpAddr, port: Option<u16>) -> String {
    match port {
        Some(port) => std::net::SocketAddr::new(address, port).to_string(),
        None => address.to_string(),
    }
}

/// Whether it starts with the packet's transport header, as a later fragment does not.
fn first_of_its_packet(net: &LaxNetSlice<'_>) -> bool {
    match net {
        LaxNetSlice::Ipv4(ip) => ip.header().fragments_offset().value() == 0,
        LaxNetSlice::Ipv6(ip) => !ip.extensions().clone().into_iter().any(|extension| {
            matches!(extension, Ipv6ExtensionSlice::Fragment(f) if f.fragment_offset().value() != 0)
        }),
        LaxNetSlice::Arp(_) => false,
    }
}

fn ports(protocol: IpNumber, payload: &[u8]) -> Option<(u16, u16)> {
    let has_ports = matches!(protocol, IpNumber::TCP | IpNumber::UDP | IpNumber::SCTP);
    let &[a, b, c, d] = payload.first_chunk()?;
    has_ports.then_some((u16::from_be_bytes([a, b]), u16::from_be_bytes([c, d])))
}

fn tcp_flags(byte: u8) -> String {
    const LETTERS: [(u8, char); 8] = [
        (0x01, 'F'),
        (0x02, 'S'),
        (0x04, 'R'),
        (0x08, 'P'),
        (0x10, '.'),
        (0x20, 'U'),
        (0x40, 'E'),
        (0x80, 'W'),
    ];
    let set = LETTERS.iter().filter(|(bit, _)| byte & bit != 0);
    set.map(|(_, letter)| letter).collect()
}

fn ip_protocol(number: IpNumber) -> String {
    match number {
        IpNumber::TCP => "TCP".to_owned(),
        IpNumber::UDP => "UDP".to_owned(),
        IpNumber::ICMP => "ICMP".to_owned(),
        IpNumber::IPV6_ICMP => "ICMPv6".to_owned(),
        IpNumber::IGMP => "IGMP".to_owned(),
        IpNumber::SCTP => "SCTP".to_owned(),
        other => format!("IP {}", other.0),
    }
}

fn ether_type(number: EtherType) -> String {
    match number {
        EtherType::ARP => "ARP".to_owned(),
        EtherType::IPV4 => "IPv4".to_owned(),
        EtherType::IPV6 => "IPv6".to_owned(),
        other => format!("{:#06x}", other.0),
    }
}

fn hex(bytes: &[u8]) -> String {
    let mut text = String::with_capacity(bytes.len() * 2);
    for byte in bytes {
        // Writing to a String cannot fail.
        let _ = write!(text, "{byte:02x}");
    }
    text
}

/// The bytes that hexadecimal digits stand for; `None` if they do not.
pub fn unhex(text: &str) -> Option<Vec<u8>> {
    let digit = |c: u8| (c as char).to_digit(16).map(|d| d as u8);
    let pairs = text.as_bytes().chunks(2);
    pairs
        .map(|pair| match pair {
            &[high, low] => Some(digit(high)? << 4 | digit(low)?),
            _ => None,
        })
        .collect()
}
