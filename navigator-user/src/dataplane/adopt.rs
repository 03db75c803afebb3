//! Taking over what an earlier daemon left in the tables, wherever it was
//! stopped: what a packet can reach is kept, everything else is freed.

use super::{
    AdoptedBackend, AdoptedVip, Steering, VipSettings,
    addresses::{self, Network, Place, Way},
    backends::{self, Entry, Fate, forward_mode},
    plane::{Plane, VipEntry},
    ports::{ports, words},
    slots::count,
    store::{Store, Table, put},
    vips::{put_record, read_record, record_port},
    windows::{Bits, VipWindows},
};
use navigator_common::{
    backend::{BackendInfo, BackendWord, TAKES_NEW, USABLE},
    egress::EgressWord,
    maps::{ADDR_BUCKETS, EGRESS_ENTRIES, meta},
    reason::Traffic,
    slot::{NO_BACKEND, OLDEST_EPOCH, Slot, epoch_age, epoch_at},
    vip::{AddrWord, BUCKET_WAYS, PortWord, Vip, VipWord, addr_buckets},
};
use navigator_core::model::{
    Affinity, ForwardMode, Protocol, QuicConfigs, UdpPolicy, UnservedPolicy, VipKey,
};
use std::{
    collections::{BTreeMap, HashMap, HashSet},
    net::{IpAddr, SocketAddr},
};

const EPOCHS_ARE_TIMES: usize = meta::EPOCHS_ARE_TIMES as usize;

impl<S: Store> Plane<S> {
    /// Reads the tables. No run of the program from before may still be under way.
    pub(super) fn adopt(&mut self) {
        for bucket in 0..ADDR_BUCKETS {
            for way in 0..BUCKET_WAYS {
                self.adopt_address(Way { bucket, way });
            }
        }
        self.adopt_prefixes();
        self.wipe_lost_vips();
        self.adopt_backends();
        self.adopt_servers();
        self.adopt_egress();
        self.adopted = self.vips.values().map(|vip| self.report(vip)).collect();
    }

    fn adopt_address(&mut self, way: Way) {
        let (addr, word) = addresses::read(&self.store, way);
        if addr.lo == 0 {
            addresses::clear(&self.store, way);
            return;
        }
        let address = IpAddr::from(addr);
        let network = Network {
            address,
            prefix: VipKey::whole(address),
        };
        let (first, second) = addr_buckets(addr, ADDR_BUCKETS);
        if ![first, second].contains(&way.bucket) || !self.adopt_table(network, word) {
            tracing::warn!("{address}: damaged entry in pinned map VIP_ADDRS, taken out");
            addresses::clear(&self.store, way);
            return;
        }
        let way = Some(way);
        self.adopt_network(network, Place { way, word });
    }

    fn adopt_prefixes(&mut self) {
        for (addr, bits, word) in self.store.prefixes() {
            let word = AddrWord(word);
            match Network::from_map(addr, bits) {
                Some(network) if self.adopt_table(network, word) => {
                    self.adopt_network(network, Place { way: None, word });
                }
                _ => {
                    let address = IpAddr::from(addr);
                    tracing::warn!(
                        "{address}: damaged entry in pinned map VIP_PREFIXES, taken out"
                    );
                    if let Err(error) = self.store.set_prefix(addr, bits, None) {
                        tracing::error!("{address}: {error}");
                    }
                }
            }
        }
        addresses::tell_of_prefixes(&self.store, self.addresses.prefixes() > 0);
    }

    /// Whether a word is one that a network can lead to, and its port table nobody else's yet.
    fn adopt_table(&mut self, network: Network, word: AddrWord) -> bool {
        word.multiplier() != 0
            && word.log2_size() <= 16
            && self.addresses.get(network).is_none()
            && self.ports.take_at(word.base(), word.entries())
    }

    fn adopt_network(&mut self, network: Network, place: Place) {
        self.addresses.adopt(network, place);
        let word = place.word;
        let mut served: HashMap<VipKey, usize> = HashMap::new();
        for index in word.base()..word.base() + word.entries() {
            let port = PortWord(self.store.load(Table::Ports, index as usize));
            if port == PortWord::default() {
                continue;
            }
            if let Some(key) = self.adopt_port(network, word, index, port) {
                *served.entry(key).or_default() += 1;
            } else {
                tracing::warn!("{network:?}: damaged entry {index} in pinned map PORTS, taken out");
                self.store.store(Table::Ports, index as usize, 0);
            }
        }
        // One that was being taken out when the old daemon ended.
        let halves: Vec<VipKey> = served
            .iter()
            .filter(|(key, found)| **found < key.protocol.numbers().len())
            .map(|(key, _)| *key)
            .collect();
        for key in halves {
            self.remove_vip(&key);
            served.remove(&key);
        }
        if served.is_empty() && !word.is_snat() && self.addresses.get(network).is_some() {
            tracing::warn!("{network:?}: no port of it is served, taken out");
            self.withdraw_address(network);
        }
    }

    /// Adopts the VIP that a port entry leads to, unless another entry did already.
    fn adopt_port(
        &mut self,
        network: Network,
        word: AddrWord,
        index: u32,
        port: PortWord,
    ) -> Option<VipKey> {
        let record = read_record(&self.store, port.vip());
        let id = port.vip() as u16;
        let key = VipKey {
            address: network.address,
            prefix: network.prefix,
            protocol: Protocol::from_number(PortWord(record.port).protocol())?,
            ports: ports(port)?,
        };
        let in_place = if port.is_range() {
            index >= word.range_base()
        } else {
            index == word.port_index(port.port(), port.protocol())
        };
        let named = record.address == network.address.into()
            && record.bits == u64::from(network.bits())
            && record.port == record_port(&key, id)
            && words(&key, id).contains(&port);
        if !in_place || !named {
            return None;
        }
        match self.vips.get(&key) {
            Some(vip) => (vip.id == id).then_some(key),
            None => self.adopt_vip(key, id, word, &record).map(|()| key),
        }
    }

    fn adopt_vip(&mut self, key: VipKey, id: u16, word: AddrWord, record: &Vip) -> Option<()> {
        let slots = u32::try_from(record.slots)
            .ok()
            .filter(|&slots| slots > 0)?;
        if !self.vip_ids.take_at(id.into(), 1) {
            return None;
        }
        let table = VipWord(record.word);
        if !self.slots.take_at(table.base(), slots) {
            self.vip_ids.give(id.into(), 1);
            return None;
        }
        let settings = VipSettings {
            key,
            slots,
            // Known once the backends are read; one without backends has none to tell.
            mode: if table.flags() & VipWord::NAT != 0 {
                ForwardMode::Nat
            } else {
                ForwardMode::L2
            },
            udp: if table.flags() & VipWord::TRACK_ALL != 0 {
                UdpPolicy::Sticky
            } else {
                UdpPolicy::Rehash
            },
            unserved: if word.passes_unserved() {
                UnservedPolicy::Pass
            } else {
                UnservedPolicy::Drop
            },
            steering: Steering {
                affinity: if table.flags() & VipWord::AFFINITY != 0 {
                    Affinity::Source
                } else {
                    Affinity::None
                },
                quic: QuicConfigs::from_packed(record.quic),
                // Known once the backends are read.
                server_ids: Vec::new(),
            },
        };
        let entry = VipEntry {
            id,
            settings,
            base: table.base(),
            windows: VipWindows::default(),
            settling: Bits::default(),
            members: BTreeMap::new(),
        };
        self.vips.insert(key, entry);
        Some(())
    }

    fn wipe_lost_vips(&mut self) {
        let kept: HashSet<u32> = self.vips.values().map(|vip| vip.id.into()).collect();
        for id in 0..Table::Vips.entries(&self.store.sizes()) {
            if !kept.contains(&id) && read_record(&self.store, id) != Vip::default() {
                put_record(&self.store, id, &Vip::default());
            }
        }
    }

    fn adopt_backends(&mut self) {
        let found = self.find_backends();
        let named = self.check_slots(&found);
        let live = live_ids(&found, &named);
        for (&id, backend) in &found {
            let heir = live.get(&(backend.vip, backend.address)).copied();
            let fate = match heir {
                Some(heir) if heir == id => Fate::Live,
                successor => Fate::Retired {
                    successor,
                    swept: false,
                },
            };
            let word = BackendWord(backends::read(&self.store, id).word);
            let entry = Entry {
                vip: backend.vip,
                address: backend.address,
                mode: backend.mode,
                state: backend.state,
                current: 0,
                previous: 0,
                reached: word.mac_word() != 0,
                carried: Traffic::default(),
                fate,
            };
            self.backends.adopt(id, entry);
            if fate == Fate::Live
                && let Some(vip) = self.vips.get_mut(&backend.vip)
            {
                vip.members.insert(backend.address, id);
                vip.settings.mode = backend.mode;
            }
        }
        self.count_slots();
        self.backends.mirror_states(&self.store);
    }

    /// The records that belong to a VIP. The others keep only what tells the next daemon
    /// that the id is not free: it waits until no flow names it.
    fn find_backends(&mut self) -> BTreeMap<u32, Found> {
        let vips: HashMap<u16, VipKey> =
            self.vips.iter().map(|(key, vip)| (vip.id, *key)).collect();
        let mut found = BTreeMap::new();
        for id in 1..self.store.sizes().backends {
            let record = backends::read(&self.store, id);
            let info = BackendInfo::unpack(record.info);
            if record == Default::default() {
                continue;
            }
            let vip = vips.get(&info.vip);
            if let (Some(mode), Some(&vip)) = (forward_mode(info.mode), vip) {
                let address = SocketAddr::new(record.address.into(), info.port);
                let state = BackendWord(record.word).state();
                found.insert(
                    id,
                    Found {
                        vip,
                        address,
                        mode,
                        state,
                    },
                );
            } else {
                self.adopt_orphan(id);
            }
        }
        found
    }

    fn adopt_orphan(&mut self, id: u32) {
        backends::disown(&self.store, id);
        let entry = Entry {
            vip: NO_VIP,
            address: SocketAddr::new(NO_VIP.address, 0),
            // As good as any, and NAT flows are looked for as well.
            mode: ForwardMode::Nat,
            state: 0,
            current: 0,
            previous: 0,
            reached: false,
            carried: Traffic::default(),
            fate: Fate::Retired {
                successor: None,
                swept: false,
            },
        };
        self.backends.adopt(id, entry);
    }

    /// The ids that slots name. A slot that names an id which is none of its VIP's is mended.
    fn check_slots(&self, found: &BTreeMap<u32, Found>) -> HashMap<u32, u32> {
        let mut named = HashMap::new();
        for (key, vip) in &self.vips {
            let mut mended = 0;
            for word in vip.base as usize..(vip.base + vip.settings.slots) as usize {
                let slot = Slot(self.store.load(Table::Slots, word));
                let own = |id| found.get(&id).is_some_and(|backend| backend.vip == *key);
                let sound = mend(slot, own);
                if sound != slot {
                    self.store.store(Table::Slots, word, sound.0);
                    mended += 1;
                }
                for id in [sound.current(), sound.previous()] {
                    *named.entry(id).or_insert(0) += 1;
                }
            }
            if mended > 0 {
                tracing::warn!("{key}: {mended} damaged slots in pinned map SLOTS, mended");
            }
        }
        named
    }

    /// Counts who is named by the slots and which windows are open. A window whose age cannot
    /// be told starts again: its epoch is of an older program, which only counted epochs, or
    /// the window should have been closed long ago.
    fn count_slots(&mut self) {
        let now = epoch_at(self.store.now());
        let known = self.store.load(Table::Meta, EPOCHS_ARE_TIMES) == 1;
        for vip in self.vips.values_mut() {
            for word in vip.base as usize..(vip.base + vip.settings.slots) as usize {
                let mut slot = Slot(self.store.load(Table::Slots, word));
                let age = epoch_age(slot.epoch(), now);
                if slot.is_at_risk() && (!known || age > OLDEST_EPOCH) {
                    slot = Slot::at_risk(slot.current(), slot.previous(), now);
                    put(&self.store, Table::Slots, word, slot.0);
                }
                count(&mut self.backends, slot, 1);
                vip.windows.count(slot, 1);
            }
        }
        put(&self.store, Table::Meta, EPOCHS_ARE_TIMES, 1);
    }

    fn adopt_egress(&mut self) {
        for index in 0..EGRESS_ENTRIES as u8 {
            let word = EgressWord(self.store.load(Table::Egress, index.into()));
            if word != EgressWord::default() {
                self.egress.adopt(index, self.store.device(index), word);
            }
        }
    }

    fn report(&self, vip: &VipEntry) -> AdoptedVip {
        let backends = vip.members.iter().filter_map(|(&address, &id)| {
            let entry = self.backends.get(id)?;
            Some(AdoptedBackend {
                address,
                takes_new: entry.state & TAKES_NEW != 0,
                usable: entry.state & USABLE != 0,
                slots: entry.current,
            })
        });
        let mut settings = vip.settings.clone();
        settings.steering.server_ids = self.servers_of_vip(vip.id);
        AdoptedVip {
            vip: settings,
            backends: backends.collect(),
        }
    }
}

/// A record that belongs to a VIP.
struct Found {
    vip: VipKey,
    address: SocketAddr,
    mode: ForwardMode,
    state: u8,
}

/// Stands for the VIP of a record that belongs to none.
const NO_VIP: VipKey = VipKey::new(
    IpAddr::V4(std::net::Ipv4Addr::UNSPECIFIED),
    Protocol::Tcp,
    0,
);

/// One id for each instance of a VIP. An instance has two where the old daemon was
/// about to move it from one to another: the one with more slots stays. A record that
/// no slot names and that serves nothing has no instance.
fn live_ids(
    found: &BTreeMap<u32, Found>,
    named: &HashMap<u32, u32>,
) -> HashMap<(VipKey, SocketAddr), u32> {
    let mut live: HashMap<(VipKey, SocketAddr), u32> = HashMap::new();
    let slots = |id: &u32| named.get(id).copied().unwrap_or(0);
    for (id, backend) in found {
        if slots(id) == 0 && backend.state == 0 {
            continue;
        }
        let place = live.entry((backend.vip, backend.address)).or_insert(*id);
        if slots(id) > slots(place) {
            *place = *id;
        }
    }
    live
}

fn mend(slot: Slot, own: impl Fn(u32) -> bool) -> Slot {
    let mut slot = slot;
    if slot.current() != NO_BACKEND && !own(slot.current()) {
        slot = slot.with_current(NO_BACKEND);
    }
    if slot.previous() != NO_BACKEND && !own(slot.previous()) {
        slot = slot.closed();
    }
    slot
}
