//! Which VIPs are in force.

use super::{Origin, is_vip};
use crate::{
    entry::{Flaw, RejectReason},
    model::{ServiceName, Vip, VipKey},
};
use std::{
    collections::{BTreeMap, BTreeSet},
    net::IpAddr,
};

/// A valid VIP entry that wants to come into force.
#[derive(Debug)]
pub(super) struct Claim {
    pub(super) origin: Origin,
    pub(super) created: i64,
    pub(super) vip: Vip,
}

impl Claim {
    fn rank(&self) -> (Origin, i64, &ServiceName) {
        (self.origin, self.created, &self.vip.name)
    }
}

/// What settling changed.
#[derive(Debug)]
pub(super) struct Change {
    pub(super) any: bool,
    /// Addresses that became one of a VIP or no longer are.
    pub(super) addresses: Vec<IpAddr>,
}

#[derive(Debug, Default)]
pub(super) struct Vips {
    in_force: BTreeMap<ServiceName, Vip>,
    refused: BTreeMap<ServiceName, Flaw>,
    /// Addresses of those in force, each with the name of one of them.
    addresses: BTreeMap<IpAddr, ServiceName>,
}

impl Vips {
    pub(super) fn in_force(&self) -> &BTreeMap<ServiceName, Vip> {
        &self.in_force
    }

    pub(super) fn refused(&self) -> impl Iterator<Item = (&ServiceName, &Flaw)> {
        self.refused.iter()
    }

    /// Why no instance can be at `ip`, if it is a VIP's address.
    pub(super) fn conflict(&self, ip: IpAddr) -> Option<Flaw> {
        let vip = self.in_force.get(self.addresses.get(&ip)?)?;
        Some(is_vip(ip, vip))
    }

    /// Why `vip` cannot come into force, if another one has its address, protocol and port.
    pub(super) fn duplicate(&self, vip: &Vip) -> Option<Flaw> {
        let mut others = self
            .in_force
            .values()
            .filter(|other| other.name != vip.name);
        let other = others.find(|other| other.key == vip.key)?;
        Some(duplicate(&vip.key, &other.name))
    }

    /// Decides between all claims, of which there is one for a name: of those
    /// that claim the same address, protocol and port, the configuration
    /// file's wins, then the one that was created first. One that loses with
    /// a new version keeps the version that is in force.
    pub(super) fn settle(&mut self, mut claims: Vec<Claim>) -> Change {
        claims.sort_by(|a, b| a.rank().cmp(&b.rank()));
        let mut taken: BTreeMap<VipKey, &ServiceName> = BTreeMap::new();
        let mut in_force = BTreeMap::new();
        self.refused.clear();
        for Claim { vip, .. } in &claims {
            let mut vip = vip;
            if let Some(owner) = taken.get(&vip.key) {
                self.refused
                    .insert(vip.name.clone(), duplicate(&vip.key, owner));
                match self.in_force.get(&vip.name) {
                    Some(old) if !taken.contains_key(&old.key) => vip = old,
                    _ => continue,
                }
            }
            taken.insert(vip.key, &vip.name);
            in_force.insert(vip.name.clone(), vip.clone());
        }
        let any = in_force != self.in_force;
        self.in_force = in_force;
        Change {
            any,
            addresses: self.settle_addresses(),
        }
    }

    fn settle_addresses(&mut self) -> Vec<IpAddr> {
        let named = self
            .in_force
            .values()
            .map(|vip| (vip.key.address, vip.name.clone()));
        let old = std::mem::replace(&mut self.addresses, named.collect());
        let before: BTreeSet<IpAddr> = old.into_keys().collect();
        let now: BTreeSet<IpAddr> = self.addresses.keys().copied().collect();
        before.symmetric_difference(&now).copied().collect()
    }
}

fn duplicate(key: &VipKey, owner: &ServiceName) -> Flaw {
    RejectReason::Duplicate.because(format!(
        "{key} is VIP {owner}'s already: choose another address, protocol or port, or remove {owner}"
    ))
}
