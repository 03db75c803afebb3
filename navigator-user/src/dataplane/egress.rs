//! Ways out: egress indexes of interfaces, next hops of hosts.

use super::{
    DataplaneError, DataplaneResult, NextHop,
    backends::{Entry, Fate, put_record, read, record},
    plane::Plane,
    store::{Store, Table, backend_word, put},
    sweep::Garbage,
};
use navigator_common::{backend::BackendWord, mac, maps::EGRESS_ENTRIES};
use navigator_core::model::ForwardMode;
use std::{collections::HashMap, net::IpAddr};

/// Which interface has which egress index.
#[derive(Default)]
pub(super) struct Egress {
    by_interface: HashMap<u32, Exit>,
    /// Indexes that wait for a grace period, or whose interface is gone.
    blocked: Vec<u8>,
}

#[derive(Clone, Copy)]
struct Exit {
    index: u8,
    /// Never given up: the program is attached there, or a test made it up.
    kept: bool,
    /// Its MAC address was given and is not asked of the kernel.
    given: bool,
}

impl Egress {
    /// Takes over an index that is in the maps.
    pub(super) fn adopt(&mut self, index: u8, interface: Option<u32>) {
        match interface {
            Some(interface) => {
                let exit = Exit {
                    index,
                    kept: false,
                    given: false,
                };
                self.by_interface.insert(interface, exit);
            }
            None => self.blocked.push(index),
        }
    }

    /// The index of an interface, its MAC address in the map as it is now.
    fn ensure(&mut self, store: &mut impl Store, interface: u32) -> DataplaneResult<u8> {
        let known = self.by_interface.get(&interface).copied();
        if let Some(exit) = known.filter(|exit| exit.given) {
            return Ok(exit.index);
        }
        let mac = store.device_mac(interface)?;
        let index = match known {
            Some(exit) => exit.index,
            None => self.free_index()?,
        };
        if store.device(index) != Some(interface) {
            store.set_device(index, interface)?;
        }
        put(store, Table::Egress, index.into(), mac::to_word(mac));
        self.by_interface.entry(interface).or_insert(Exit {
            index,
            kept: false,
            given: false,
        });
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
        self.blocked.contains(&index) || self.by_interface.values().any(|exit| exit.index == index)
    }

    /// An index may be used again.
    pub(super) fn free(&mut self, index: u8) {
        self.blocked.retain(|&blocked| blocked != index);
    }

    /// Indexes in use.
    pub(super) fn len(&self) -> usize {
        self.by_interface.len() + self.blocked.len()
    }
}

impl<S: Store> Plane<S> {
    /// The egress index of an interface that the program is attached to.
    pub(super) fn keep_interface(&mut self, interface: u32) -> DataplaneResult<u8> {
        let index = self.egress.ensure(&mut self.store, interface)?;
        if let Some(exit) = self.egress.by_interface.get_mut(&interface) {
            exit.kept = true;
        }
        Ok(index)
    }

    /// The program is not attached to this interface any more.
    pub(super) fn leave_interface(&mut self, interface: u32) {
        if let Some(exit) = self.egress.by_interface.get_mut(&interface) {
            exit.kept = false;
        }
    }

    /// Brings the MAC addresses of all interfaces up to date, but of those that are gone.
    pub(super) fn refresh_interfaces(&self) {
        let asked = self.egress.by_interface.iter();
        for (&interface, exit) in asked.filter(|(_, exit)| !exit.given) {
            if let Ok(mac) = self.store.device_mac(interface) {
                let index = exit.index.into();
                put(&self.store, Table::Egress, index, mac::to_word(mac));
            }
        }
    }

    /// Makes up an interface with this MAC address, which the kernel need not have:
    /// for tests and benchmarks.
    pub(super) fn make_interface(&mut self, interface: u32, mac: [u8; 6]) -> DataplaneResult<u8> {
        let index = match self.egress.by_interface.get(&interface) {
            Some(exit) => exit.index,
            None => self.egress.free_index()?,
        };
        put(&self.store, Table::Egress, index.into(), mac::to_word(mac));
        let exit = Exit {
            index,
            kept: true,
            given: true,
        };
        self.egress.by_interface.insert(interface, exit);
        Ok(index)
    }

    /// Sets or clears the way to a host, for the backends that are there and those to come.
    pub(super) fn change_next_hop(
        &mut self,
        host: IpAddr,
        hop: Option<NextHop>,
    ) -> DataplaneResult<()> {
        let tunnels = |entry: &Entry| entry.address.ip() == host && entry.mode == ForwardMode::Ipip;
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
                        .by_interface
                        .values()
                        .any(|exit| exit.kept && exit.index == *index)
                    && self.egress.is_used(*index)
                    && !self.limbo.contains(&Garbage::Egress(*index))
            })
            .collect();
        self.egress
            .by_interface
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
            let new = record(entry, vip_id, Some(hop));
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
        let (mac, egress) = way.map_or(([0; 6], 0), |(hop, egress)| (hop.mac, egress));
        let word = BackendWord(old.word).with_next_hop(mac, egress);
        if let Some(entry) = self.backends.get_mut(id) {
            entry.reached |= way.is_some();
        }
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
        self.backends.write(&mut self.store, new, vip_id, hop);
        self.carry_traffic(old, new);
        self.backends.retire(&self.store, old, Some(new));
        if let Some(vip) = self.vips.get_mut(&key) {
            Self::rename(&self.store, &mut self.backends, vip, (old, new));
            vip.members.insert(address, new);
        }
        Ok(())
    }
}
