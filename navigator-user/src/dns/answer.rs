//! What is answered: a pure function of the question and the snapshot.
//!
//! | name | types |
//! |---|---|
//! | `<service>.<domain>` | A, AAAA, SRV: the instances that take new clients |
//! | `_<service>._tcp.<domain>`, `_udp` | SRV, the same |
//! | `<hexadecimal address>.addr.<domain>` | A or AAAA: the targets of SRV |
//! | `<domain>` | SOA |

use crate::snapshot::{InstanceView, ServiceView, Snapshot};
use hickory_proto::{
    op::{Edns, Message, MessageType, Metadata, OpCode, ResponseCode},
    rr::{
        DNSClass, Name, RData, Record, RecordType,
        rdata::{A, AAAA, SOA, SRV},
    },
};
use std::{
    collections::BTreeSet,
    net::{IpAddr, Ipv4Addr, Ipv6Addr},
    time::Duration,
};

/// Bytes of a datagram that every client takes.
pub(super) const LEAST: usize = 512;
/// Bytes of a datagram that needs no fragments on any usual way.
const MOST: u16 = 1232;
/// Records of an answer, so that it fits a TCP message.
const RECORDS: usize = 512;
/// The label below which addresses have names.
const ADDRESSES: &str = "addr";

/// What is told of services.
#[derive(Clone, PartialEq, Debug)]
pub struct Zone {
    /// The domain below which services have names.
    pub domain: Name,
    /// How long an answer may be kept.
    pub ttl: Duration,
}

/// What a name stands for.
enum Meaning<'a> {
    Apex,
    Service(&'a ServiceView),
    /// The same, asked for as `_name._protocol`: SRV only.
    Named(&'a ServiceView),
    Address(IpAddr),
    /// There are names below it.
    Between,
    Nothing,
}

/// Bytes that an answer to this question may have in a datagram.
pub(super) fn room(question: &Message) -> usize {
    let edns = question.edns.as_ref();
    let told = edns.map_or(0, |edns| usize::from(edns.max_payload().min(MOST)));
    told.max(LEAST)
}

/// The answer to a question that cannot be read, if at least its number can.
pub(super) fn malformed(bytes: &[u8]) -> Option<Message> {
    let [high, low, flags, ..] = *bytes else {
        return None;
    };
    const RESPONSE: u8 = 0x80;
    if bytes.len() < 12 || flags & RESPONSE != 0 {
        return None;
    }
    let id = u16::from_be_bytes([high, low]);
    let code = ResponseCode::FormErr;
    Some(Message::error_msg(id, OpCode::Query, code))
}

/// The answer.
pub(super) fn answer(question: &Message, snapshot: &Snapshot, zone: &Zone) -> Message {
    let id = question.metadata.id;
    let mut answer = Message::new(id, MessageType::Response, OpCode::Query);
    answer.metadata = Metadata::response_from_request(&question.metadata);
    answer.add_queries(question.queries.iter().cloned());
    if let Some(asked) = &question.edns {
        let mut edns = Edns::new();
        edns.set_max_payload(MOST);
        answer.set_edns(edns);
        if asked.version() > 0 {
            answer.metadata.response_code = ResponseCode::BADVERS;
            return answer;
        }
    }
    let code = match (question.metadata.op_code, question.queries.as_slice()) {
        (OpCode::Query, [query]) => {
            let here = zone.domain.zone_of(&query.name);
            match query.query_class {
                DNSClass::IN | DNSClass::ANY if here => {
                    fill(&mut answer, &query.name, query.query_type, snapshot, zone)
                }
                _ => ResponseCode::Refused,
            }
        }
        (OpCode::Query, _) => ResponseCode::FormErr,
        _ => ResponseCode::NotImp,
    };
    answer.metadata.response_code = code;
    answer
}

fn fill(
    answer: &mut Message,
    name: &Name,
    kind: RecordType,
    snapshot: &Snapshot,
    zone: &Zone,
) -> ResponseCode {
    // What nobody has read yet may be there.
    if !snapshot.registry.synced {
        return ResponseCode::ServFail;
    }
    answer.metadata.authoritative = true;
    let meaning = meaning(name, snapshot, zone);
    let turn = usize::from(answer.metadata.id);
    match &meaning {
        Meaning::Service(service) => {
            let instances = available(service, turn);
            match kind {
                RecordType::SRV => servers(answer, name, &instances, zone),
                _ => addresses(answer, name, kind, &instances, zone),
            }
        }
        Meaning::Named(service) if kind == RecordType::SRV => {
            servers(answer, name, &available(service, turn), zone);
        }
        Meaning::Address(ip) if is_asked(kind, *ip) => {
            answer.add_answer(address(name, *ip, zone));
        }
        Meaning::Apex if matches!(kind, RecordType::SOA | RecordType::ANY) => {
            answer.add_answer(authority(snapshot, zone));
        }
        _ => {}
    }
    if answer.answers.is_empty() {
        answer.add_authority(authority(snapshot, zone));
    }
    match meaning {
        Meaning::Nothing => ResponseCode::NXDomain,
        _ => ResponseCode::NoError,
    }
}

fn meaning<'a>(name: &Name, snapshot: &'a Snapshot, zone: &Zone) -> Meaning<'a> {
    let below = usize::from(name.num_labels().saturating_sub(zone.domain.num_labels()));
    let labels = name.iter().take(below);
    let labels: Option<Vec<String>> = labels
        .map(|label| Some(std::str::from_utf8(label).ok()?.to_ascii_lowercase()))
        .collect();
    let Some(labels) = labels else {
        return Meaning::Nothing;
    };
    let labels: Vec<_> = labels.iter().map(String::as_str).collect();
    let service = |name: &str| snapshot.services.iter().find(|there| there.name == name);
    match *labels.as_slice() {
        [] => Meaning::Apex,
        [ADDRESSES | "_tcp" | "_udp"] if service(labels[0]).is_none() => Meaning::Between,
        [name] => service(name).map_or(Meaning::Nothing, |service| Meaning::Service(service)),
        [name, "_tcp" | "_udp"] => {
            let named = name.strip_prefix('_').and_then(service);
            named.map_or(Meaning::Nothing, |service| Meaning::Named(service))
        }
        [hexadecimal, ADDRESSES] => match written_address(hexadecimal) {
            Some(ip) if is_known(snapshot, ip) => Meaning::Address(ip),
            _ => Meaning::Nothing,
        },
        _ => Meaning::Nothing,
    }
}

/// The instances that take new clients, from another one on for each question.
fn available(service: &ServiceView, turn: usize) -> Vec<&InstanceView> {
    let takes_new = |instance: &&InstanceView| instance.takes_new();
    let mut instances: Vec<_> = service.instances.iter().filter(takes_new).collect();
    let most = instances.len().max(1);
    instances.rotate_left(turn % most);
    instances.truncate(RECORDS);
    instances
}

fn is_asked(kind: RecordType, ip: IpAddr) -> bool {
    match kind {
        RecordType::A => ip.is_ipv4(),
        RecordType::AAAA => ip.is_ipv6(),
        kind => kind == RecordType::ANY,
    }
}

fn addresses(
    answer: &mut Message,
    name: &Name,
    kind: RecordType,
    instances: &[&InstanceView],
    zone: &Zone,
) {
    // Several instances of a host have one address.
    let mut told = BTreeSet::new();
    for instance in instances {
        let ip = instance.address.ip();
        if is_asked(kind, ip) && told.insert(ip) {
            answer.add_answer(address(name, ip, zone));
        }
    }
}

fn servers(answer: &mut Message, name: &Name, instances: &[&InstanceView], zone: &Zone) {
    let mut told = BTreeSet::new();
    for instance in instances {
        let ip = instance.address.ip();
        let Some(target) = host(ip, zone) else {
            continue;
        };
        let server = SRV::new(
            0,
            instance.weight_in_force(),
            instance.address.port(),
            target.clone(),
        );
        answer.add_answer(record(name, RData::SRV(server), zone));
        if told.insert(ip) {
            answer.add_additional(address(&target, ip, zone));
        }
    }
}

fn record(name: &Name, data: RData, zone: &Zone) -> Record {
    let ttl = u32::try_from(zone.ttl.as_secs()).unwrap_or(u32::MAX);
    Record::from_rdata(name.clone(), ttl, data)
}

fn address(name: &Name, ip: IpAddr, zone: &Zone) -> Record {
    let data = match ip {
        IpAddr::V4(ip) => RData::A(A(ip)),
        IpAddr::V6(ip) => RData::AAAA(AAAA(ip)),
    };
    record(name, data, zone)
}

/// Says for how long nothing is nothing.
fn authority(snapshot: &Snapshot, zone: &Zone) -> Record {
    // Serial numbers go round.
    let serial = snapshot.services_index as u32;
    let ttl = zone.ttl.as_secs();
    let (seconds, ttl) = (
        i32::try_from(ttl).unwrap_or(i32::MAX),
        u32::try_from(ttl).unwrap_or(u32::MAX),
    );
    let (domain, contact) = (zone.domain.clone(), zone.domain.clone());
    let data = SOA::new(domain, contact, serial, seconds, seconds, seconds, ttl);
    record(&zone.domain, RData::SOA(data), zone)
}

/// The name of an address, for example `0a000005.addr.<domain>`.
fn host(ip: IpAddr, zone: &Zone) -> Option<Name> {
    let label = match ip {
        IpAddr::V4(ip) => format!("{:08x}", ip.to_bits()),
        IpAddr::V6(ip) => format!("{:032x}", ip.to_bits()),
    };
    let labels = [label.as_str(), ADDRESSES];
    let name = Name::from_labels(labels.map(str::as_bytes)).ok()?;
    name.append_domain(&zone.domain).ok()
}

fn written_address(hexadecimal: &str) -> Option<IpAddr> {
    if !hexadecimal.bytes().all(|digit| digit.is_ascii_hexdigit()) {
        return None;
    }
    match hexadecimal.len() {
        8 => Some(Ipv4Addr::from_bits(u32::from_str_radix(hexadecimal, 16).ok()?).into()),
        32 => Some(Ipv6Addr::from_bits(u128::from_str_radix(hexadecimal, 16).ok()?).into()),
        _ => None,
    }
}

/// Whether an instance has this address: nobody gets names for others.
fn is_known(snapshot: &Snapshot, ip: IpAddr) -> bool {
    let instances = snapshot.services.iter().flat_map(|s| &s.instances);
    instances
        .into_iter()
        .any(|instance| instance.address.ip() == ip)
}
