//! Publishing and withdrawing VIPs: address → port word → VIP.

use super::{
    DataplaneError, DataplaneResult, VipSettings,
    addresses::{self, Addresses, Network, Place, Way},
    apply::vip_flags,
    plane::{Plane, VipEntry},
    ports::{NoTable, PortTable, word, words},
    store::{Store, Table, put, vip_address, vip_bits, vip_port, vip_quic, vip_slots, vip_word},
    sweep::Garbage,
};
use navigator_common::{
    addr::Addr,
    maps::{ADDR_BUCKETS, PREFIX_ENTRIES},
    vip::{AddrWord, BUCKET_WAYS, MAX_RANGES, PortWord, Vip, VipWord},
};
use navigator_core::model::{UnservedPolicy, VipKey};
use std::net::IpAddr;

/// Room for a new VIP, in every table.
pub(super) struct Reserved {
    pub(super) base: u32,
    pub(super) vip: u16,
    port: PortPlace,
}

/// Where the port words of a new VIP go.
enum PortPlace {
    /// A free entry of its address's table.
    InPlace { index: u32, word: PortWord },
    /// A new table for an address that is there already.
    NewTable(NewTable),
    /// The first table of a new address, and the address's entry.
    NewAddress { table: NewTable, way: Option<Way> },
}

/// A port table with room for it.
struct NewTable {
    /// What will lead to it.
    word: AddrWord,
    entries: Vec<u64>,
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
        match self.reserve_port(vip, id as u16) {
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

    /// Gives back what was taken for a VIP that could not be published.
    pub(super) fn unreserve(&mut self, reserved: &Reserved, slots: u32) {
        if let PortPlace::NewTable(table) | PortPlace::NewAddress { table, .. } = &reserved.port {
            self.ports.give(table.word.base(), table.word.entries());
        }
        put_record(&self.store, reserved.vip.into(), &Vip::default());
        self.vip_ids.give(reserved.vip.into(), 1);
        self.slots.give(reserved.base, slots);
    }

    fn reserve_port(&mut self, vip: &VipSettings, id: u16) -> DataplaneResult<PortPlace> {
        let network = Network::of(&vip.key);
        let flags = self.address_flags(network) | unserved_flag(vip);
        let new = words(&vip.key, id);
        let Some(place) = self.addresses.get(network) else {
            let way = self.free_way(network)?;
            let table = self.take_table(&new, flags)?;
            return Ok(PortPlace::NewAddress { table, way });
        };
        if let &[word] = new.as_slice()
            && !word.is_range()
        {
            let index = place.word.port_index(word.port(), word.protocol());
            if self.store.load(Table::Ports, index as usize) == 0 {
                return Ok(PortPlace::InPlace { index, word });
            }
        }
        let mut all = self.words_of(network);
        all.extend(new);
        Ok(PortPlace::NewTable(self.take_table(&all, flags)?))
    }

    /// A free entry for a new address; a prefix needs room in the trie only.
    fn free_way(&self, network: Network) -> DataplaneResult<Option<Way>> {
        if !network.is_prefix() {
            let way = Addresses::free_way(&self.store, network.address);
            return way.map(Some).ok_or(DataplaneError::Full {
                table: "vip_addresses",
                capacity: u64::from(ADDR_BUCKETS) * BUCKET_WAYS as u64,
                cure: "too many VIP addresses fall into one bucket: choose another address for this VIP",
            });
        }
        if self.addresses.prefixes() < PREFIX_ENTRIES as usize {
            return Ok(None);
        }
        Err(DataplaneError::Full {
            table: "vip_prefixes",
            capacity: PREFIX_ENTRIES.into(),
            cure: "remove VIPs that are not needed, or join their prefixes to wider ones",
        })
    }

    /// Room for a table of these words.
    fn take_table(&mut self, words: &[PortWord], flags: u8) -> DataplaneResult<NewTable> {
        let capacity = self.ports.capacity().into();
        let full = |table, capacity, cure| DataplaneError::Full {
            table,
            capacity,
            cure,
        };
        let table = PortTable::of(words).map_err(|none| match none {
            NoTable::Ports => full(
                "ports",
                capacity,
                "too many ports on one address: spread them over several addresses",
            ),
            NoTable::Ranges => full(
                "port_ranges of the address",
                MAX_RANGES.into(),
                "join ranges to wider ones, or spread them over several addresses (one of TCP and UDP counts twice)",
            ),
        })?;
        let base = self.ports.take(table.word.entries()).ok_or(full(
            "ports",
            capacity,
            "remove VIPs that are not needed, or use fewer ports on each address",
        ))?;
        Ok(NewTable {
            word: AddrWord(table.word.0 | u64::from(base)).with_flags(flags),
            entries: table.entries,
        })
    }

    fn words_of(&self, network: Network) -> Vec<PortWord> {
        let vips = self.vips_of(network);
        vips.flat_map(|(key, vip)| words(key, vip.id)).collect()
    }

    fn vips_of(&self, network: Network) -> impl Iterator<Item = (&VipKey, &VipEntry)> {
        let vips = self.vips.iter();
        vips.filter(move |(key, _)| Network::of(key) == network)
    }

    /// Publishes a VIP whose table is filled: its record, its ports, its address.
    pub(super) fn publish(
        &mut self,
        vip: &VipSettings,
        reserved: &Reserved,
    ) -> DataplaneResult<()> {
        let network = Network::of(&vip.key);
        let record = Vip {
            word: VipWord::new(reserved.base, vip_flags(vip)).0,
            slots: vip.slots.into(),
            address: vip.key.address.into(),
            port: record_port(&vip.key, reserved.vip),
            bits: network.bits().into(),
            quic: vip.steering.quic.packed(),
            reserved: [0; 1],
        };
        put_record(&self.store, reserved.vip.into(), &record);
        match &reserved.port {
            PortPlace::InPlace { index, word } => {
                self.store.store(Table::Ports, *index as usize, word.0);
            }
            PortPlace::NewTable(table) => self.swap_table(network, table)?,
            PortPlace::NewAddress { table, way } => {
                self.fill_ports(table);
                let place = Place {
                    way: *way,
                    word: table.word,
                };
                self.addresses.publish(&self.store, network, place)?;
            }
        }
        Ok(())
    }

    fn swap_table(&mut self, network: Network, table: &NewTable) -> DataplaneResult<()> {
        self.fill_ports(table);
        let old = self.addresses.get(network);
        self.addresses.replace(&self.store, network, table.word)?;
        self.limbo
            .extend(old.map(|place| Garbage::Ports(place.word)));
        Ok(())
    }

    fn fill_ports(&self, table: &NewTable) {
        for (value, index) in table.entries.iter().zip(table.word.base() as usize..) {
            put(&self.store, Table::Ports, index, *value);
        }
    }

    /// Withdraws a VIP: its address or its ports, and then everything behind.
    pub(super) fn remove_vip(&mut self, key: &VipKey) {
        let Some(vip) = self.vips.remove(key) else {
            return;
        };
        let network = Network::of(key);
        if !self.serves(network) && !self.is_source(network) {
            self.withdraw_address(network);
        } else {
            self.withdraw_ports(key, vip.id);
            self.settle_flags(network);
        }
        self.drop_servers(vip.id);
        self.limbo.push(Garbage::Vip(vip.id));
        self.limbo
            .push(Garbage::Slots(vip.base, vip.settings.slots));
        self.backends.unslot(key);
        for id in vip.members.into_values() {
            self.backends.retire(&self.store, id, None);
        }
        self.backends.mirror_states(&self.store);
    }

    pub(super) fn withdraw_address(&mut self, network: Network) {
        if let Some(place) = self.addresses.withdraw(&self.store, network) {
            self.limbo.extend(place.way.map(Garbage::Address));
            self.limbo.push(Garbage::Ports(place.word));
        }
    }

    /// Takes a VIP's words out of its address's table: one is cleared, several go at once
    /// with the table.
    fn withdraw_ports(&mut self, key: &VipKey, id: u16) {
        let network = Network::of(key);
        let Some(place) = self.addresses.get(network) else {
            return;
        };
        let gone = words(key, id);
        if gone.len() > 1 {
            let flags = self.address_flags(network);
            let left = self.words_of(network);
            let swapped = self.take_table(&left, flags).is_ok_and(|table| {
                let swapped = self.swap_table(network, &table).is_ok();
                if !swapped {
                    self.ports.give(table.word.base(), table.word.entries());
                }
                swapped
            });
            if swapped {
                return;
            }
        }
        for index in (place.word.base()..).take(place.word.entries() as usize) {
            let word = PortWord(self.store.load(Table::Ports, index as usize));
            if gone.contains(&word) {
                self.store.store(Table::Ports, index as usize, 0);
            }
        }
    }

    /// Makes an address's policy for unserved ports that of its VIPs.
    pub(super) fn settle_flags(&mut self, network: Network) {
        let flags = self.address_flags(network);
        if let Some(place) = self.addresses.get(network) {
            let word = place.word.with_flags(flags);
            if let Err(error) = self.addresses.replace(&self.store, network, word) {
                tracing::error!(
                    "{network:?}: its policy for unserved ports is not changed: {error}"
                );
            }
        }
    }

    fn address_flags(&self, network: Network) -> u8 {
        let own = self.source_flags(network);
        self.vips_of(network)
            .fold(own, |flags, (_, vip)| flags | unserved_flag(&vip.settings))
    }

    /// Whether some VIP is there.
    pub(super) fn serves(&self, network: Network) -> bool {
        self.vips_of(network).next().is_some()
    }

    /// Publishes an address that no VIP has.
    pub(super) fn publish_bare(&mut self, address: IpAddr) -> DataplaneResult<()> {
        let network = Network::single(address);
        let way = self.free_way(network)?;
        let table = self.take_table(&[], self.address_flags(network))?;
        self.fill_ports(&table);
        let word = table.word;
        self.addresses
            .publish(&self.store, network, Place { way, word })
    }

    /// Frees what a grace period was waited for.
    pub(super) fn free(&mut self, garbage: Garbage) {
        match garbage {
            Garbage::Slots(base, length) => self.slots.give(base, length),
            Garbage::Ports(word) => self.ports.give(word.base(), word.entries()),
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

/// What a VIP's record says of its ports.
pub(super) fn record_port(key: &VipKey, id: u16) -> u64 {
    word(key.ports, key.protocol.number(), id).0
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
    put(vip_bits(id), record.bits);
    put(vip_quic(id), record.quic);
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
        bits: load(vip_bits(id)),
        quic: load(vip_quic(id)),
        reserved: [0; 1],
    }
}
