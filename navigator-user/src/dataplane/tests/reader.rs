//! Reads the words as the XDP program does: address → port → VIP → slot →
//! backend, one word at a time, so that a test can change the tables between
//! any two steps of one run.

use super::world::probes;
use crate::dataplane::{
    memory::MemoryStore,
    store::{Store, Table},
};
use navigator_common::{
    addr::Addr,
    backend::{Backend, BackendInfo, BackendWord},
    slot::Slot,
    vip::{AddrWord, PortWord, VipWord, addr_buckets},
};
use navigator_core::model::VipKey;

/// What one run found.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub(super) enum Outcome {
    NotVip,
    Unserved,
    NoBackend,
    NoNeighbour(u32),
    Backend {
        id: u32,
        record: Backend,
        vip: u16,
        /// The first port of the VIP that was found: its instances' here.
        port: u16,
    },
}

/// One run of the program for a flow that falls into slot `slot` of `slots`.
#[derive(Clone, Copy, Debug)]
pub(super) struct Run {
    pub(super) key: VipKey,
    address: Addr,
    protocol: u8,
    port: u16,
    slot: u32,
    step: Step,
}

#[derive(Clone, Copy, Debug)]
enum Step {
    Low { second: bool },
    High { bucket: u32, way: usize },
    Value { bucket: u32, way: usize },
    Prefix,
    Port(AddrWord, Addr),
    Range(AddrWord, Addr, u32),
    Vip(PortWord, Addr),
    VipWord(u16),
    VipSlots(u16, VipWord),
    Slot(u16, u32),
    Word(u16, u32),
    Record(u16, u32, BackendWord),
    Done(Outcome),
}

impl Run {
    pub(super) fn new(key: VipKey, slot: u32) -> Self {
        Self::all(key, slot)[0]
    }

    /// One for each protocol of the VIP.
    pub(super) fn all(key: VipKey, slot: u32) -> Vec<Self> {
        let run = |(address, protocol, port): (std::net::IpAddr, u8, u16)| Self {
            key,
            address: address.into(),
            protocol,
            port,
            slot,
            step: Step::Low { second: false },
        };
        probes(&key).into_iter().map(run).collect()
    }

    /// The whole run at one moment.
    pub(super) fn finish(mut self, store: &MemoryStore) -> Outcome {
        loop {
            if let Some(outcome) = self.advance(store) {
                return outcome;
            }
        }
    }

    /// The id of the VIP and the first slot of its table, if there is such a VIP.
    pub(super) fn table(mut self, store: &MemoryStore) -> Option<(u16, u32)> {
        loop {
            match self.step {
                Step::Slot(vip, index) => return Some((vip, index - self.slot)),
                Step::Done(_) => return None,
                _ => self.step = self.next(store),
            }
        }
    }

    /// Reads one more word; the outcome once there is one.
    pub(super) fn advance(&mut self, store: &MemoryStore) -> Option<Outcome> {
        self.step = self.next(store);
        match self.step {
            Step::Done(outcome) => Some(outcome),
            _ => None,
        }
    }

    fn next(&self, store: &MemoryStore) -> Step {
        let addr = self.address;
        let (first, second_bucket) = addr_buckets(addr, 1024);
        let word = |table, entry: u32, words: usize, offset: usize| {
            store.load(table, entry as usize * words + offset)
        };
        match self.step {
            Step::Low { second } => {
                let bucket = if second { second_bucket } else { first };
                let found = (0..5).find(|&way| word(Table::VipAddrs, bucket, 16, way) == addr.lo);
                match found {
                    Some(way) => Step::High { bucket, way },
                    None if !second && word(Table::VipAddrs, first, 16, 5) & 1 != 0 => {
                        Step::Low { second: true }
                    }
                    None => Step::Prefix,
                }
            }
            Step::High { bucket, way } => {
                if word(Table::VipAddrs, bucket, 16, 6 + way) == addr.hi {
                    Step::Value { bucket, way }
                } else {
                    Step::Prefix
                }
            }
            Step::Value { bucket, way } => match word(Table::VipAddrs, bucket, 16, 11 + way) {
                0 => Step::Prefix,
                value => Step::Port(AddrWord(value), addr),
            },
            Step::Prefix if word(Table::VipAddrs, first, 16, 5) & 2 == 0 => {
                Step::Done(Outcome::NotVip)
            }
            Step::Prefix => {
                let bits = |addr: Addr| {
                    u128::from(addr.hi.swap_bytes()) << 64 | u128::from(addr.lo.swap_bytes())
                };
                let same = |(to, length, _): &(Addr, u32, u64)| {
                    (bits(*to) ^ bits(addr)).leading_zeros() >= *length
                };
                let longest = store.prefixes().into_iter().filter(same);
                match longest.max_by_key(|(_, length, _)| *length) {
                    Some((first, _, value)) => Step::Port(AddrWord(value), first),
                    None => Step::Done(Outcome::NotVip),
                }
            }
            Step::Port(address, owner) => {
                let index = address.port_index(self.port, self.protocol);
                assert_ne!(index, 0, "port entry 0 is used");
                let port = PortWord(store.load(Table::Ports, index as usize));
                if port.is_for(self.port, self.protocol) {
                    Step::Vip(port, owner)
                } else {
                    Step::Range(address, owner, 0)
                }
            }
            Step::Range(address, _, n) if n == address.range_room() => {
                Step::Done(Outcome::Unserved)
            }
            Step::Range(address, owner, n) => {
                let at = address.range_base() + n;
                let port = PortWord(store.load(Table::Ports, at as usize));
                if port.has(self.port, self.protocol) {
                    Step::Vip(port, owner)
                } else {
                    Step::Range(address, owner, n + 1)
                }
            }
            Step::Vip(port, owner) => {
                assert_ne!(port.vip(), 0, "VIP id 0 is used");
                let address = [2, 3].map(|at| word(Table::Vips, port.vip(), 8, at));
                assert_eq!(
                    address,
                    [owner.hi, owner.lo],
                    "{}: a run met another VIP",
                    self.key
                );
                let record = PortWord(word(Table::Vips, port.vip(), 8, 4));
                let same = (record.port(), record.last(), record.vip());
                assert_eq!(same, (port.port(), port.last(), port.vip()));
                Step::VipWord(port.vip() as u16)
            }
            Step::VipWord(vip) => Step::VipSlots(vip, VipWord(word(Table::Vips, vip.into(), 8, 0))),
            Step::VipSlots(vip, table) => {
                let slots = word(Table::Vips, vip.into(), 8, 1) as u32;
                assert_ne!(slots, 0, "{}: a run met a free VIP entry", self.key);
                Step::Slot(vip, table.base() + self.slot % slots)
            }
            Step::Slot(vip, index) => {
                match Slot(store.load(Table::Slots, index as usize)).current() {
                    0 => Step::Done(Outcome::NoBackend),
                    id => Step::Word(vip, id),
                }
            }
            Step::Word(vip, id) => {
                let word = BackendWord(word(Table::Backends, id, 8, 0));
                if word.mac_word() == 0 {
                    Step::Done(Outcome::NoNeighbour(id))
                } else {
                    Step::Record(vip, id, word)
                }
            }
            Step::Record(vip, id, word_read) => {
                let load = |offset| word(Table::Backends, id, 8, offset);
                let record = Backend {
                    word: word_read.0,
                    info: load(1),
                    address: Addr {
                        hi: load(2),
                        lo: load(3),
                    },
                    source: Addr {
                        hi: load(4),
                        lo: load(5),
                    },
                    path: load(6),
                    reserved: load(7),
                };
                let port = PortWord(word(Table::Vips, vip.into(), 8, 4)).port();
                Step::Done(Outcome::Backend {
                    id,
                    record,
                    vip,
                    port: port.max(1),
                })
            }
            done @ Step::Done(_) => done,
        }
    }
}

impl Outcome {
    /// Whatever was changed meanwhile, a run ends nowhere or at a whole record of the VIP
    /// that it was for.
    pub(super) fn check(self, key: &VipKey) {
        let Self::Backend {
            record, vip, port, ..
        } = self
        else {
            return;
        };
        let info = BackendInfo::unpack(record.info);
        assert_eq!(
            info.vip, vip,
            "{key}: a run met a backend of another VIP: {record:?}"
        );
        assert_eq!(
            info.port, port,
            "{key}: a run met a foreign record: {record:?}"
        );
        let source = std::net::IpAddr::from(record.source);
        let address = std::net::IpAddr::from(record.address);
        match info.mode {
            1 => assert_eq!((record.source, info.checksum_base), (Addr::default(), 0)),
            2 => {
                assert_eq!(
                    source.is_ipv4(),
                    address.is_ipv4(),
                    "{key}: half a record: {record:?}"
                );
                if let (std::net::IpAddr::V4(source), std::net::IpAddr::V4(address)) =
                    (source, address)
                {
                    let inner = if key.address.is_ipv4() { 4 } else { 41 };
                    let base = navigator_common::checksum::tunnel_base(source, address, inner);
                    assert_eq!(info.checksum_base, base, "{key}: half a record: {record:?}");
                }
            }
            mode => panic!("{key}: a run met mode {mode}"),
        }
    }

    /// Where it leads, without ids: what must not change unasked.
    pub(super) fn face(self) -> Face {
        match self {
            Self::NotVip | Self::Unserved => Face::Absent,
            Self::NoBackend => Face::Nobody,
            Self::NoNeighbour(_) => Face::Unreachable,
            Self::Backend { record, .. } => {
                let info = BackendInfo::unpack(record.info);
                let mac = BackendWord(record.word).mac();
                Face::Instance(
                    record.address.into(),
                    info.port,
                    info.mode,
                    mac,
                    record.source,
                )
            }
        }
    }
}

/// Where a slot leads.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub(super) enum Face {
    Absent,
    Nobody,
    Unreachable,
    Instance(std::net::IpAddr, u16, u8, [u8; 6], Addr),
}
