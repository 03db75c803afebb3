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
    pub(super) addresses: Vec<Network>,
}

/// The first address of a network, and how many leading bits count.
pub(super) type Network = (IpAddr, u8);

#[derive(Debug, Default)]
pub(super) struct Vips {
    in_force: BTreeMap<ServiceName, Vip>,
    refused: BTreeMap<ServiceName, Flaw>,
    /// Addresses of those in force, each with the name of one of them.
    addresses: BTreeMap<Network, ServiceName>,
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
        let whole = self.addresses.get(&(ip, VipKey::whole(ip)));
        let vip = match whole {
            Some(name) => self.in_force.get(name)?,
            None => self.prefixes().find(|vip| vip.key.covers(ip))?,
        };
        Some(is_vip(ip, vip))
    }

    fn prefixes(&self) -> impl Iterator<Item = &Vip> {
        self.in_force.values().filter(|vip| vip.key.is_prefix())
    }

    /// Why `vip` cannot come into force, if another one has its address, protocol and port.
    pub(super) fn duplicate(&self, vip: &Vip) -> Option<Flaw> {
        let mut others = self
            .in_force
            .values()
            .filter(|other| other.name != vip.name);
        let other = others.find(|other| other.key.rivals(&vip.key))?;
        Some(duplicate(&vip.key, other))
    }

    /// Decides between all claims, of which there is one for a name: of those
    /// that claim the same address, protocol and port, the configuration
    /// file's wins, then the one that was created first. One that loses with
    /// a new version keeps the version that is in force.
    pub(super) fn settle(&mut self, mut claims: Vec<Claim>) -> Change {
        claims.sort_by(|a, b| a.rank().cmp(&b.rank()));
        let mut taken = Taken::default();
        let mut in_force = BTreeMap::new();
        self.refused.clear();
        for Claim { vip, .. } in &claims {
            let mut vip = vip;
            if let Some(owner) = taken.by(&vip.key) {
                self.refused
                    .insert(vip.name.clone(), duplicate(&vip.key, owner));
                match self.in_force.get(&vip.name) {
                    Some(old) if taken.by(&old.key).is_none() => vip = old,
                    _ => continue,
                }
            }
            taken.take(vip);
            in_force.insert(vip.name.clone(), vip.clone());
        }
        let any = in_force != self.in_force;
        self.in_force = in_force;
        Change {
            any,
            addresses: self.settle_addresses(),
        }
    }

    /// Networks that are new or gone; only those of one address are cheap to look up.
    fn settle_addresses(&mut self) -> Vec<Network> {
        let network = |vip: &Vip| (vip.key.address, vip.key.prefix);
        let named = self
            .in_force
            .values()
            .map(|vip| (network(vip), vip.name.clone()));
        let old = std::mem::replace(&mut self.addresses, named.collect());
        let before: BTreeSet<Network> = old.into_keys().collect();
        let now: BTreeSet<Network> = self.addresses.keys().copied().collect();
        before.symmetric_difference(&now).copied().collect()
    }
}

/// The VIPs that hold their keys already, by network.
#[derive(Default)]
struct Taken<'a>(BTreeMap<Network, Vec<&'a Vip>>);

impl<'a> Taken<'a> {
    /// Who holds `key`, or something that is no less specific and meets it.
    fn by(&self, key: &VipKey) -> Option<&'a Vip> {
        let there = self.0.get(&(key.address, key.prefix))?;
        there.iter().copied().find(|vip| vip.key.rivals(key))
    }

    fn take(&mut self, vip: &'a Vip) {
        let network = (vip.key.address, vip.key.prefix);
        self.0.entry(network).or_default().push(vip);
    }
}

fn duplicate(key: &VipKey, owner: &Vip) -> Flaw {
    let name = &owner.name;
    let detail = if *key == owner.key {
        format!(
            "{key} is VIP {name}'s already: choose another address, protocol or port, or remove {name}"
        )
    } else {
        format!(
            "{key} and VIP {name}'s {} overlap and neither is narrower: change the ports or the \
             protocol of one, or remove {name}",
            owner.key
        )
    };
    RejectReason::Duplicate.because(detail)
}
