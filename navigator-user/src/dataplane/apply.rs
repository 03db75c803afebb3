//! Making a VIP true: what is new first, then what leads to it, then the end
//! of what is no longer wanted.

use super::{
    Applied, DataplaneError, DataplaneResult, NOBODY, VipPlan, VipSettings,
    addresses::Network,
    backends::{Entry, Fate, flags},
    plane::{Plane, VipEntry},
    slots::Retable,
    store::{Store, Table, put, vip_quic, vip_word},
    windows::{Bits, VipWindows},
};
use navigator_common::{
    addr::Addr,
    reason::Traffic,
    slot::{NO_BACKEND, epoch_at},
    vip::VipWord,
};
use navigator_core::{
    model::{Affinity, ForwardMode, Protocol, UdpPolicy},
    plan::members::Member,
};
use std::{
    collections::{BTreeMap, HashSet},
    net::SocketAddr,
};

/// Refuses a plan that contradicts itself.
pub(super) fn check(plan: &VipPlan) -> DataplaneResult<()> {
    let bad = |why: String| DataplaneError::Plan {
        vip: plan.vip.key,
        why,
    };
    let slots = plan.vip.slots;
    if slots == 0 || plan.table.len() != slots as usize {
        let entries = plan.table.len();
        return Err(bad(format!("{entries} table entries for {slots} slots")));
    }
    if !plan.vip.key.is_prefix() && Addr::from(plan.vip.key.address).lo == 0 {
        return Err(bad(
            "an IPv6 address whose last 64 bits are zero cannot be a VIP: choose another address"
                .to_owned(),
        ));
    }
    let mut seen = HashSet::new();
    if let Some(twice) = plan.members.iter().find(|m| !seen.insert(m.address)) {
        return Err(bad(format!("instance {} twice", twice.address)));
    }
    let takes_new = |&&index: &&u32| {
        plan.members
            .get(index as usize)
            .is_none_or(|m| !m.takes_new)
    };
    match plan.table.iter().filter(|&&i| i != NOBODY).find(takes_new) {
        Some(index) => Err(bad(format!(
            "a slot is given to member {index} of {}, which takes no new flows",
            plan.members.len()
        ))),
        None => Ok(()),
    }
}

/// Flags of a VIP's mutable word.
pub(super) fn vip_flags(vip: &VipSettings) -> u16 {
    if vip.mode == ForwardMode::Nat {
        // It has a memory of its own, of every flow.
        return VipWord::NAT;
    }
    let of_udp = match (vip.key.protocol, vip.udp) {
        (Protocol::Tcp, _) => 0,
        (Protocol::Udp | Protocol::Both, UdpPolicy::Rehash) => VipWord::FOLLOW_TABLE,
        (Protocol::Udp | Protocol::Both, UdpPolicy::Sticky) => VipWord::TRACK_ALL,
    };
    let of_affinity = match vip.steering.affinity {
        Affinity::None => 0,
        Affinity::Source => VipWord::AFFINITY | VipWord::TRACK_ALL,
    };
    let of_quic = if vip.steering.quic.is_empty() {
        0
    } else {
        VipWord::QUIC
    };
    of_udp | of_affinity | of_quic
}

/// Backend ids for the members of a plan.
#[derive(Default)]
struct Ids {
    /// Of every member that has one.
    members: BTreeMap<SocketAddr, u32>,
    /// Those that are in no map yet.
    fresh: Vec<u32>,
    /// Ids whose instance gets another one, and that one.
    replaced: Vec<(u32, u32)>,
}

impl<S: Store> Plane<S> {
    pub(super) fn apply_plan(&mut self, plan: &VipPlan) -> DataplaneResult<Applied> {
        let fixed = self.vips.get(&plan.vip.key).map(|vip| vip.settings.slots);
        if let Some(slots) = fixed.filter(|&slots| slots != plan.vip.slots) {
            return Err(DataplaneError::Fixed {
                vip: plan.vip.key,
                what: format!(
                    "its number of slots, {slots} (asked for: {})",
                    plan.vip.slots
                ),
            });
        }
        let ids = self.allocate_ids(plan)?;
        let owners = owners(plan, &ids.members);
        match self.vips.remove(&plan.vip.key) {
            Some(vip) => Ok(self.change(plan, vip, ids, &owners)),
            None => self.create(plan, ids, &owners),
        }
    }

    /// An id for every member: the one that it has, or a new one. A member that
    /// never was usable to this VIP needs none yet.
    fn allocate_ids(&mut self, plan: &VipPlan) -> DataplaneResult<Ids> {
        let mut ids = Ids::default();
        for member in &plan.members {
            let old = self.vips.get(&plan.vip.key);
            let old = old
                .and_then(|vip| vip.members.get(&member.address))
                .copied();
            let kept = old.filter(|&id| {
                let entry = self.backends.get(id);
                entry.is_some_and(|entry| entry.mode == plan.vip.mode)
            });
            if old.is_none() && !member.takes_new && !member.usable {
                continue;
            }
            let id = match kept {
                Some(id) => id,
                None => match self.backends.allocate(new_entry(plan, member)) {
                    Ok(id) => {
                        ids.fresh.push(id);
                        id
                    }
                    Err(full) => {
                        self.forget(&ids);
                        return Err(full);
                    }
                },
            };
            if let Some(old) = old.filter(|&old| old != id) {
                ids.replaced.push((old, id));
            }
            ids.members.insert(member.address, id);
        }
        Ok(ids)
    }

    fn forget(&mut self, ids: &Ids) {
        for &id in &ids.fresh {
            self.backends.forget(id);
        }
    }

    fn write_fresh(&mut self, ids: &Ids, vip_id: u16) {
        for &id in &ids.fresh {
            let host = self.backends.get(id).map(|entry| entry.address.ip());
            let hop = host.and_then(|host| self.hops.get(&host));
            self.backends
                .write(&mut self.store, id, vip_id, hop, &self.tunnels);
        }
    }

    fn create(&mut self, plan: &VipPlan, ids: Ids, owners: &[u32]) -> DataplaneResult<Applied> {
        let reserved = match self.reserve(&plan.vip) {
            Ok(reserved) => reserved,
            Err(full) => {
                self.forget(&ids);
                return Err(full);
            }
        };
        self.write_fresh(&ids, reserved.vip);
        let slots_written = self.fill_table(reserved.base, owners);
        self.settle_servers(reserved.vip, &plan.vip.steering, &ids.members);
        if let Err(error) = self.publish(&plan.vip, &reserved) {
            self.drop_servers(reserved.vip);
            self.unreserve(&reserved, plan.vip.slots);
            for &id in ids.members.values() {
                self.backends.retire(&self.store, id, None);
            }
            self.backends.unslot(&plan.vip.key);
            return Err(error);
        }
        let entry = VipEntry {
            id: reserved.vip,
            settings: plan.vip.clone(),
            base: reserved.base,
            windows: VipWindows::default(),
            settling: Bits::default(),
            members: ids.members,
        };
        self.vips.insert(plan.vip.key, entry);
        self.settle_flags(Network::of(&plan.vip.key));
        Ok(Applied {
            slots_written,
            at_risk: 0,
        })
    }

    fn change(&mut self, plan: &VipPlan, mut vip: VipEntry, ids: Ids, owners: &[u32]) -> Applied {
        self.write_fresh(&ids, vip.id);
        let word = VipWord::new(vip.base, vip_flags(&plan.vip));
        // A backend in mode nat must not be met on the way of the other modes.
        if plan.vip.mode == ForwardMode::Nat {
            put(&self.store, Table::Vips, vip_word(vip.id.into()), word.0);
        }
        for &(old, new) in &ids.replaced {
            self.carry_traffic(old, new);
            self.backends.retire(&self.store, old, Some(new));
        }
        self.raise_states(plan, &ids);
        let gone: Vec<u32> = vip
            .members
            .iter()
            .filter(|(address, _)| !ids.members.contains_key(address))
            .map(|(_, &id)| id)
            .collect();
        for &id in &gone {
            if let Some(entry) = self.backends.get_mut(id) {
                entry.state = 0;
            }
        }

        let change = Retable {
            owners,
            opens_windows: plan.vip.mode != ForwardMode::Nat
                && plan.vip.key.protocol != Protocol::Udp,
            epoch: epoch_at(self.store.now()),
        };
        let slots_written = Self::retable(&self.store, &mut self.backends, &mut vip, &change);

        self.settle_servers(vip.id, &plan.vip.steering, &ids.members);
        let quic = plan.vip.steering.quic.packed();
        put(&self.store, Table::Vips, vip_quic(vip.id.into()), quic);
        put(&self.store, Table::Vips, vip_word(vip.id.into()), word.0);
        self.lower_states(&ids);
        for id in gone {
            self.backends.retire(&self.store, id, None);
        }
        self.backends.mirror_states(&self.store);

        vip.settings = plan.vip.clone();
        vip.members = ids.members;
        let at_risk = vip.windows.at_risk();
        self.vips.insert(plan.vip.key, vip);
        self.settle_flags(Network::of(&plan.vip.key));
        Applied {
            slots_written,
            at_risk,
        }
    }

    /// In the map, what a member may do is added now and what it may no longer do is
    /// taken away when no slot gives it flows: see [`Self::lower_states`].
    fn raise_states(&mut self, plan: &VipPlan, ids: &Ids) {
        for member in &plan.members {
            let Some(&id) = ids.members.get(&member.address) else {
                continue;
            };
            let new = flags(member.takes_new, member.usable);
            let Some(entry) = self.backends.get_mut(id) else {
                continue;
            };
            let both = entry.state | new;
            self.backends.set_state(&self.store, id, both);
            if let Some(entry) = self.backends.get_mut(id) {
                entry.state = new;
            }
        }
    }

    fn lower_states(&mut self, ids: &Ids) {
        for &id in ids.members.values() {
            if let Some(state) = self.backends.get(id).map(|entry| entry.state) {
                self.backends.set_state(&self.store, id, state);
            }
        }
    }

    /// Lets the traffic of an instance go on from the figures of its old id.
    pub(super) fn carry_traffic(&mut self, old: u32, new: u32) {
        let sum = self.total_traffic(old);
        if let Some(entry) = self.backends.get_mut(new) {
            entry.carried = sum;
        }
    }

    /// What was sent to the instance of `id` since it became a backend.
    pub(super) fn total_traffic(&self, id: u32) -> Traffic {
        let now = self.store.traffic(id);
        let carried = self.backends.get(id).map(|entry| entry.carried);
        let carried = carried.unwrap_or_default();
        Traffic {
            packets: now.packets.wrapping_add(carried.packets),
            bytes: now.bytes.wrapping_add(carried.bytes),
            reply_packets: now.reply_packets.wrapping_add(carried.reply_packets),
            reply_bytes: now.reply_bytes.wrapping_add(carried.reply_bytes),
        }
    }
}

fn new_entry(plan: &VipPlan, member: &Member) -> Entry {
    Entry {
        vip: plan.vip.key,
        address: member.address,
        mode: plan.vip.mode,
        state: flags(member.takes_new, member.usable),
        current: 0,
        previous: 0,
        reached: false,
        carried: Traffic::default(),
        fate: Fate::Live,
    }
}

/// The backend id of each slot's owner.
fn owners(plan: &VipPlan, ids: &BTreeMap<SocketAddr, u32>) -> Vec<u32> {
    let by_member: Vec<u32> = plan
        .members
        .iter()
        .map(|member| ids.get(&member.address).copied().unwrap_or(NO_BACKEND))
        .collect();
    let owner = |&index: &u32| by_member.get(index as usize).copied();
    plan.table
        .iter()
        .map(|index| owner(index).unwrap_or(NO_BACKEND))
        .collect()
}
