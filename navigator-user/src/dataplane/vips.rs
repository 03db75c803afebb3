//! Publishing and withdrawing VIPs: address → port word → VIP.

use super::{
    DataplaneError, DataplaneResult, VipSettings,
    addresses::{self, Addresses, Way},
    apply::vip_flags,
    plane::Plane,
    ports::find_table,
    store::{Store, Table, put, vip_address, vip_port, vip_slots, vip_word},
    sweep::Garbage,
};
use navigator_common::{
    addr::Addr,
    maps::ADDR_BUCKETS,
    vip::{AddrWord, BUCKET_WAYS, PortWord, Vip, VipWord},
};
use navigator_core::model::{UnservedPolicy, VipKey};
use std::net::IpAddr;

/// Room for a new VIP, in every table.
pub(super) struct Reserved {
    pub(super) base: u32,
    pub(super) vip: u16,
    port: PortPlace,
}

/// Where the port word of a new VIP goes.
enum PortPlace {
    /// A free entry of its address's table.
    InPlace { index: u32 },
    /// A new table for an address that is there already.
    NewTable { word: AddrWord },
    /// The first table of a new address.
    NewAddress { word: AddrWord, way: Way },
}

impl<S: Store> Plane<S> {
    /// Takes room for a new VIP; writes nothing.
    pub(super) fn reserve(&mut self, vip: &VipSettings) -> DataplaneResult<Reserved> {
        let base = self.slots.take(vip.slots).ok_or(DataplaneError::Full {
            table: "slots",
            capacity: self.slots.capacity().into(),
            cure: "raise limits.slots and start again after `navigator detach`, or give VIPs fewer slots",
        })?;
        let Some(id) = self.vip_ids.take(1) else {
            self.slots.give(base, vip.slots);
            return Err(DataplaneError::Full {
                table: "vips",
                capacity: self.vip_ids.capacity().into(),
                cure: "remove VIPs that are not needed",
            });
        };
        match self.reserve_port(vip) {
            Ok(port) => Ok(Reserved {
                base,
                vip: id as u16,
                port,
            }),
            Err(full) => {
                self.vip_ids.give(id, 1);
                self.slots.give(base, vip.slots);
                Err(full)
            }
        }
    }

    fn reserve_port(&mut self, vip: &VipSettings) -> DataplaneResult<PortPlace> {
        let VipKey {
            address,
            protocol,
            port,
        } = vip.key;
        let flags = self.address_flags(address) | unserved_flag(vip);
        let Some(place) = self.addresses.get(address) else {
            let way = Addresses::free_way(&self.store, address).ok_or(DataplaneError::Full {
                table: "vip_addresses",
                capacity: u64::from(ADDR_BUCKETS) * BUCKET_WAYS as u64,
                cure: "too many VIP addresses fall into one bucket: choose another address for this VIP",
            })?;
            let base = self.take_ports(0)?;
            let word = AddrWord::new(base, 0, flags, 1);
            return Ok(PortPlace::NewAddress { word, way });
        };
        let index = place.word.port_index(port, protocol.number());
        if self.store.load(Table::Ports, index as usize) == 0 {
            return Ok(PortPlace::InPlace { index });
        }
        let mut ports = self.ports_of(address);
        ports.push((port, protocol.number()));
        let (log2, multiplier) = find_table(&ports).ok_or(DataplaneError::Full {
            table: "ports",
            capacity: self.ports.capacity().into(),
            cure: "too many ports on one address: spread them over several addresses",
        })?;
        let base = self.take_ports(log2)?;
        let word = AddrWord::new(base, log2, flags, multiplier);
        Ok(PortPlace::NewTable { word })
    }

    fn take_ports(&mut self, log2: u8) -> DataplaneResult<u32> {
        self.ports.take(1 << log2).ok_or(DataplaneError::Full {
            table: "ports",
            capacity: self.ports.capacity().into(),
            cure: "remove VIPs that are not needed, or use fewer ports on each address",
        })
    }

    fn ports_of(&self, address: IpAddr) -> Vec<(u16, u8)> {
        self.vips_of(address)
            .map(|(key, _)| (key.port, key.protocol.number()))
            .collect()
    }

    fn vips_of(&self, address: IpAddr) -> impl Iterator<Item = (&VipKey, &super::plane::VipEntry)> {
        self.vips
            .iter()
            .filter(move |(key, _)| key.address == address)
    }

    /// Publishes a VIP whose table is filled: its record, its port, its address.
    pub(super) fn publish(&mut self, vip: &VipSettings, reserved: &Reserved) {
        let store = &self.store;
        let VipKey {
            address,
            protocol,
            port,
        } = vip.key;
        let port_word = PortWord::new(port, protocol.number(), reserved.vip);
        let record = Vip {
            word: VipWord::new(reserved.base, vip_flags(vip)).0,
            slots: vip.slots.into(),
            address: address.into(),
            port: port_word.0,
            reserved: [0; 3],
        };
        put_record(store, reserved.vip.into(), &record);
        match reserved.port {
            PortPlace::InPlace { index } => {
                store.store(Table::Ports, index as usize, port_word.0);
            }
            PortPlace::NewTable { word } => {
                self.fill_ports(word, address, port_word);
                if let Some(place) = self.addresses.get(address) {
                    self.limbo.push(Garbage::Ports(place.word));
                }
                self.addresses.replace(&self.store, address, word);
            }
            PortPlace::NewAddress { word, way } => {
                put(store, Table::Ports, word.base() as usize, port_word.0);
                self.addresses.publish(store, address, way, word);
            }
        }
    }

    fn fill_ports(&self, word: AddrWord, address: IpAddr, new: PortWord) {
        let mut words = vec![0; 1 << word.log2_size()];
        let old = self
            .vips_of(address)
            .map(|(key, vip)| PortWord::new(key.port, key.protocol.number(), vip.id));
        for port in old.chain([new]) {
            let index = word.port_index(port.port(), port.protocol()) - word.base();
            words[index as usize] = port.0;
        }
        for (index, value) in words.into_iter().enumerate() {
            put(
                &self.store,
                Table::Ports,
                word.base() as usize + index,
                value,
            );
        }
    }

    /// Withdraws a VIP: its address or its port, and then everything behind.
    pub(super) fn remove_vip(&mut self, key: &VipKey) {
        let Some(vip) = self.vips.remove(key) else {
            return;
        };
        let last = self.vips_of(key.address).next().is_none();
        if last {
            if let Some(place) = self.addresses.withdraw(&self.store, key.address) {
                self.limbo.push(Garbage::Address(place.way));
                self.limbo.push(Garbage::Ports(place.word));
            }
        } else if let Some(place) = self.addresses.get(key.address) {
            let index = place.word.port_index(key.port, key.protocol.number());
            put(&self.store, Table::Ports, index as usize, 0);
            self.settle_flags(key.address);
        }
        self.limbo.push(Garbage::Vip(vip.id));
        self.limbo
            .push(Garbage::Slots(vip.base, vip.settings.slots));
        self.backends.unslot(key);
        for id in vip.members.into_values() {
            self.backends.retire(&self.store, id, None);
        }
        self.backends.mirror_states(&self.store);
    }

    /// Makes an address's policy for unserved ports that of its VIPs.
    pub(super) fn settle_flags(&mut self, address: IpAddr) {
        let flags = self.address_flags(address);
        if let Some(place) = self.addresses.get(address) {
            let word = place.word;
            let word = AddrWord::new(
                word.base(),
                word.log2_size() as u8,
                flags,
                word.multiplier(),
            );
            self.addresses.replace(&self.store, address, word);
        }
    }

    fn address_flags(&self, address: IpAddr) -> u8 {
        self.vips_of(address)
            .fold(0, |flags, (_, vip)| flags | unserved_flag(&vip.settings))
    }

    /// Frees what a grace period was waited for.
    pub(super) fn free(&mut self, garbage: Garbage) {
        match garbage {
            Garbage::Slots(base, length) => self.slots.give(base, length),
            Garbage::Ports(word) => self.ports.give(word.base(), 1 << word.log2_size()),
            Garbage::Address(way) => addresses::clear(&self.store, way),
            Garbage::Vip(id) => {
                put_record(&self.store, id.into(), &Vip::default());
                self.vip_ids.give(id.into(), 1);
            }
            Garbage::Backend(id) => self.backends.free(&self.store, id),
            Garbage::Egress(index) => self.egress.free(index),
        }
    }
}

fn unserved_flag(vip: &VipSettings) -> u8 {
    match vip.unserved {
        UnservedPolicy::Drop => 0,
        UnservedPolicy::Pass => AddrWord::PASS_UNSERVED,
    }
}

/// Writes a VIP's record; nothing may lead to it.
pub(super) fn put_record(store: &impl Store, id: u32, record: &Vip) {
    let put = |word, value| put(store, Table::Vips, word, value);
    put(vip_address(id), record.address.hi);
    put(vip_address(id) + 1, record.address.lo);
    put(vip_port(id), record.port);
    put(vip_word(id), record.word);
    put(vip_slots(id), record.slots);
}

/// Reads a VIP's record.
pub(super) fn read_record(store: &impl Store, id: u32) -> Vip {
    let load = |word| store.load(Table::Vips, word);
    Vip {
        word: load(vip_word(id)),
        slots: load(vip_slots(id)),
        address: Addr {
            hi: load(vip_address(id)),
            lo: load(vip_address(id) + 1),
        },
        port: load(vip_port(id)),
        reserved: [0; 3],
    }
}
