//! Ways out: egress indexes of interfaces, next hops of hosts.

use super::{
    DataplaneError, DataplaneResult, NextHop,
    backends::{Entry, Fate, put_record, read, record, way_words},
    plane::Plane,
    store::{Store, Table, WayOut, backend_path, backend_word, put},
    sweep::Garbage,
    tunnel::is_tunnel,
};
use navigator_common::{backend::BackendWord, egress::EgressWord, maps::EGRESS_ENTRIES};
use std::{collections::HashMap, net::IpAddr};

/// A device that sends frames, and the VLAN that they are tagged for.
type Way = (u32, Option<u16>);

/// Which way out has which egress index.
#[derive(Default)]
pub(super) struct Egress {
    exits: HashMap<Way, Exit>,
    /// Indexes that wait for a grace period, or whose interface is gone.
    blocked: Vec<u8>,
}

#[derive(Clone, Copy)]
struct Exit {
    index: u8,
    /// The interface that it is for, once that was asked for.
    interface: Option<u32>,
    /// Never given up: the program is attached there, or a test made it up.
    kept: bool,
    /// Its MAC address was given and is not asked of the kernel.
    given: bool,
}

impl Egress {
    /// Takes over an index that is in the maps.
    pub(super) fn adopt(&mut self, index: u8, device: Option<u32>, word: EgressWord) {
        match device {
            Some(device) => {
                let exit = Exit {
                    index,
                    interface: word.vlan().is_none().then_some(device),
                    kept: false,
                    given: false,
                };
                self.exits.insert((device, word.vlan()), exit);
            }
            None => self.blocked.push(index),
        }
    }

    /// The index of the way out by an interface, the map up to date.
    fn ensure(&mut self, store: &mut impl Store, interface: u32) -> DataplaneResult<u8> {
        let itself = self.exits.get(&(interface, None));
        match itself.filter(|exit| exit.kept) {
            Some(exit) if exit.given => Ok(exit.index),
            Some(_) => self.ensure_itself(store, interface),
            None => {
                let way = store.way_out(interface)?;
                self.ensure_way(store, interface, &way)
            }
        }
    }

    /// The index of an interface that the program sends by from where it is attached, so that
    /// no tag is its business.
    fn ensure_itself(&mut self, store: &mut impl Store, interface: u32) -> DataplaneResult<u8> {
        let way = WayOut {
            device: interface,
            vlan: None,
            mac: store.device_mac(interface)?,
        };
        self.ensure_way(store, interface, &way)
    }

    fn ensure_way(
        &mut self,
        store: &mut impl Store,
        interface: u32,
        way: &WayOut,
    ) -> DataplaneResult<u8> {
        let index = match self.exits.get(&(way.device, way.vlan)) {
            Some(exit) => exit.index,
            None => self.free_index()?,
        };
        if store.device(index) != Some(way.device) {
            store.set_device(index, way.device)?;
        }
        let word = EgressWord::new(way.mac, way.vlan);
        put(store, Table::Egress, index.into(), word.0);
        let exit = self.exits.entry((way.device, way.vlan)).or_insert(Exit {
            index,
            interface: None,
            kept: false,
            given: false,
        });
        exit.interface = Some(interface);
        Ok(index)
    }

    fn free_index(&self) -> DataplaneResult<u8> {
        (0..EGRESS_ENTRIES as u8)
            .find(|index| !self.is_used(*index))
            .ok_or(DataplaneError::Full {
                table: "egress",
                capacity: EGRESS_ENTRIES.into(),
                cure: "backends are reached by too many interfaces: lead them through fewer",
            })
    }

    fn is_used(&self, index: u8) -> bool {
        self.blocked.contains(&index) || self.exits.values().any(|exit| exit.index == index)
    }

    /// An index may be used again.
    pub(super) fn free(&mut self, index: u8) {
        self.blocked.retain(|&blocked| blocked != index);
    }

    /// Indexes in use.
    pub(super) fn len(&self) -> usize {
        self.exits.len() + self.blocked.len()
    }
}

impl<S: Store> Plane<S> {
    /// The egress index of an interface that the program is attached to.
    pub(super) fn keep_interface(&mut self, interface: u32) -> DataplaneResult<u8> {
        let index = self.egress.ensure_itself(&mut self.store, interface)?;
        if let Some(exit) = self.egress.exits.get_mut(&(interface, None)) {
            exit.kept = true;
        }
        Ok(index)
    }

    /// The program is not attached to this interface any more.
    pub(super) fn leave_interface(&mut self, interface: u32) {
        if let Some(exit) = self.egress.exits.get_mut(&(interface, None)) {
            exit.kept = false;
        }
    }

    /// Brings the MAC addresses of all interfaces up to date, but of those that are gone.
    pub(super) fn refresh_interfaces(&self) {
        let asked = self.egress.exits.iter();
        for ((_, vlan), exit) in asked.filter(|(_, exit)| !exit.given) {
            let mac = exit.interface.map(|index| self.store.device_mac(index));
            if let Some(Ok(mac)) = mac {
                let word = EgressWord::new(mac, *vlan);
                put(&self.store, Table::Egress, exit.index.into(), word.0);
            }
        }
    }

    /// Makes up an interface with this MAC address, which the kernel need not have:
    /// for tests and benchmarks.
    pub(super) fn make_interface(&mut self, interface: u32, mac: [u8; 6]) -> DataplaneResult<u8> {
        let index = match self.egress.exits.get(&(interface, None)) {
            Some(exit) => exit.index,
            None => self.egress.free_index()?,
        };
        let word = EgressWord::new(mac, None);
        put(&self.store, Table::Egress, index.into(), word.0);
        let exit = Exit {
            index,
            interface: Some(interface),
            kept: true,
            given: true,
        };
        self.egress.exits.insert((interface, None), exit);
        Ok(index)
    }

    /// Sets or clears the way to a host, for the backends that are there and those to come.
    pub(super) fn change_next_hop(
        &mut self,
        host: IpAddr,
        hop: Option<NextHop>,
    ) -> DataplaneResult<()> {
        let tunnels = |entry: &Entry| entry.address.ip() == host && is_tunnel(entry.mode);
        if let Some(hop) = hop
            && hop.source.is_ipv4() != host.is_ipv4()
            && self.backends.iter().any(|(_, entry)| tunnels(entry))
        {
            return Err(DataplaneError::Kernel {
                action: format!("tunnel to {host}"),
                why: format!("the source address {} is of another family", hop.source),
            });
        }
        let way = match hop {
            Some(hop) => Some((hop, self.ensure_egress(hop.ifindex)?)),
            None => None,
        };
        match way {
            Some(way) => self.hops.insert(host, way),
            None => self.hops.remove(&host),
        };
        let ids: Vec<u32> = self
            .backends
            .iter()
            .filter(|(_, entry)| entry.address.ip() == host)
            .map(|(id, _)| id)
            .collect();
        for id in ids {
            self.reroute(id, way)?;
        }
        Ok(())
    }

    fn ensure_egress(&mut self, interface: u32) -> DataplaneResult<u8> {
        match self.egress.ensure(&mut self.store, interface) {
            Err(full @ DataplaneError::Full { .. }) => {
                self.collect_egress();
                Err(full)
            }
            result => result,
        }
    }

    /// Puts the indexes that no backend and no host needs on the way to be free.
    fn collect_egress(&mut self) {
        let mut needed: Vec<u8> = self.hops.values().map(|way| way.1).collect();
        needed.extend(self.backends.iter().map(|(id, _)| {
            BackendWord(self.store.load(Table::Backends, backend_word(id))).egress() as u8
        }));
        let unneeded: Vec<u8> = (0..EGRESS_ENTRIES as u8)
            .filter(|index| {
                !needed.contains(index)
                    && !self
                        .egress
                        .exits
                        .values()
                        .any(|exit| exit.kept && exit.index == *index)
                    && self.egress.is_used(*index)
                    && !self.limbo.contains(&Garbage::Egress(*index))
            })
            .collect();
        self.egress
            .exits
            .retain(|_, exit| !unneeded.contains(&exit.index));
        for index in unneeded {
            put(&self.store, Table::Egress, index.into(), 0);
            self.egress.free(index);
            self.egress.blocked.push(index);
            self.limbo.push(Garbage::Egress(index));
        }
    }

    /// Gives one backend a next hop. Where that changes its tunnel's source after the
    /// program may have read the old one, its instance gets a new id.
    fn reroute(&mut self, id: u32, way: Option<(NextHop, u8)>) -> DataplaneResult<()> {
        let Some(entry) = self.backends.get(id) else {
            return Ok(());
        };
        let old = read(&self.store, id);
        let vip_id = navigator_common::backend::BackendInfo::unpack(old.info).vip;
        if let Some((hop, _)) = &way {
            let new = record(entry, vip_id, Some(hop), &self.tunnels);
            if (new.info, new.source) != (old.info, old.source) {
                if entry.reached && entry.fate == Fate::Live {
                    return self.replace(id, vip_id);
                }
                if entry.reached {
                    return Ok(());
                }
                put_record(&self.store, id, &new);
            }
        }
        let (word, path) = way_words(entry, BackendWord(old.word), way.as_ref());
        if let Some(entry) = self.backends.get_mut(id) {
            entry.reached |= way.is_some();
        }
        put(&self.store, Table::Backends, backend_path(id), path.0);
        put(&self.store, Table::Backends, backend_word(id), word.0);
        Ok(())
    }

    /// Moves an instance from one id to a new one with the hop that is known now.
    fn replace(&mut self, old: u32, vip_id: u16) -> DataplaneResult<()> {
        let Some(entry) = self.backends.get(old).cloned() else {
            return Ok(());
        };
        let (key, address) = (entry.vip, entry.address);
        let fresh = Entry {
            current: 0,
            previous: 0,
            reached: false,
            ..entry
        };
        let new = self.backends.allocate(fresh)?;
        let hop = self.hops.get(&address.ip());
        self.backends
            .write(&mut self.store, new, vip_id, hop, &self.tunnels);
        self.carry_traffic(old, new);
        self.backends.retire(&self.store, old, Some(new));
        if let Some(vip) = self.vips.get_mut(&key) {
            Self::rename(&self.store, &mut self.backends, vip, (old, new));
            vip.members.insert(address, new);
            self.rename_servers(old, new);
        }
        Ok(())
    }
}
