//! Raw registry and configuration entries, made sense of.
//!
//! The catalog takes entries as they come, from the configuration file and
//! from the registry, and holds what is in force: services, VIPs and orders.
//! What it refuses it lists with reasons. What depends on other entries is
//! judged here, and judged again when those change: an instance at the
//! address of a VIP, two VIPs with one address, too many instances, a
//! registry entry that the configuration file lists too.
//!
//! A bad new version of an entry leaves the last valid one in force, marked stale.

mod services;
mod settle;
mod source;
mod vips;

use crate::{
    entry::{Flaw, RejectReason, Rejection, Rules},
    model::{Instance, InstanceKey, Order, ServiceName, Vip, keys},
};
use services::Services;
use source::{Item, Source};
use std::{
    collections::{BTreeMap, BTreeSet},
    net::{IpAddr, SocketAddr},
};
use vips::Vips;

pub use services::{MAX_INSTANCES, MAX_INSTANCES_OF_SERVICE};

/// Where an entry comes from. The first one wins.
#[derive(Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Debug)]
pub enum Origin {
    /// The configuration file.
    Config,
    /// The registry.
    Registry,
}

/// An entry of the registry as it was read.
#[derive(Clone, PartialEq, Eq, Debug)]
pub struct RawEntry {
    /// Its key.
    pub key: String,
    /// Its value, not looked at.
    pub value: Vec<u8>,
    /// Revision at which the key was created.
    pub created: i64,
    /// It goes when a lease ends.
    pub leased: bool,
}

/// What a change of entries changed of that which is in force.
#[derive(Clone, PartialEq, Eq, Debug, Default)]
pub struct Touched {
    /// Services whose instances or orders are no longer the same.
    pub services: BTreeSet<ServiceName>,
    /// VIPs are no longer the same.
    pub vips: bool,
}

impl Touched {
    /// Whether all is as before.
    pub fn is_empty(&self) -> bool {
        *self == Self::default()
    }
}

/// A refused entry.
#[derive(Clone, PartialEq, Eq, Debug)]
pub struct RejectedEntry {
    /// Which one, and why.
    pub rejection: Rejection,
    /// The last valid version of it stays in force.
    pub stale: bool,
}

/// What is in force, and what was refused.
#[derive(Debug)]
pub struct Catalog {
    rules: Rules,
    config: Source,
    registry: Source,
    services: Services,
    vips: Vips,
    orders: BTreeMap<InstanceKey, Order>,
}

impl Catalog {
    /// An empty catalog.
    pub fn new(rules: Rules) -> Self {
        Self {
            rules,
            config: Source::default(),
            registry: Source::default(),
            services: Services::default(),
            vips: Vips::default(),
            orders: BTreeMap::new(),
        }
    }

    /// Replaces all entries of the configuration file: keys and values. Of two
    /// with one key the first one counts.
    pub fn set_config(&mut self, entries: Vec<(String, Vec<u8>)>) -> Touched {
        let mut seen = BTreeSet::new();
        let mut twice = Vec::new();
        let mut raw = Vec::with_capacity(entries.len());
        for ((key, value), created) in entries.into_iter().zip(0..) {
            if seen.insert(key.clone()) {
                raw.push(RawEntry {
                    key,
                    value,
                    created,
                    leased: false,
                });
            } else {
                twice.push(key);
            }
        }
        let touched = self.replace(Origin::Config, raw);
        for key in twice {
            self.config.refuse(
                key,
                RejectReason::Duplicate.because("is listed twice; the first one counts"),
            );
        }
        touched
    }

    /// Replaces all entries of the registry: what is not in `entries` is gone.
    pub fn sync(&mut self, mut entries: Vec<RawEntry>) -> Touched {
        entries.sort_by_key(|entry| entry.created);
        self.replace(Origin::Registry, entries)
    }

    /// Takes one new or changed entry of the registry.
    pub fn put(&mut self, entry: RawEntry) -> Touched {
        let changed = self.registry.put(entry, &self.rules);
        self.settle(changed)
    }

    /// Forgets one entry of the registry.
    pub fn delete(&mut self, key: &str) -> Touched {
        let changed = self.registry.remove(key);
        self.settle(changed)
    }

    /// Whether an entry would come into force if it were written to the registry now.
    ///
    /// # Errors
    /// With the reason why not.
    pub fn judge(&self, key: &str, value: &[u8], leased: bool) -> Result<(), Rejection> {
        let item = Item::parse(key, value, leased, &self.rules)?;
        let flaw = match &item {
            _ if self.origin(key) == Some(Origin::Config) => Some(listed_in_config()),
            Item::Instance(instance) => self
                .vips
                .conflict(instance.key.address.ip())
                .or_else(|| self.services.obstacle(&instance.key)),
            Item::Vip(vip) => self.vips.duplicate(vip),
            Item::Order(..) => None,
        };
        flaw.map_or(Ok(()), |flaw| Err(flaw.of(key)))
    }

    /// The instances in force, by service and address.
    pub fn services(&self) -> &BTreeMap<ServiceName, BTreeMap<SocketAddr, Instance>> {
        self.services.admitted()
    }

    /// The VIPs in force, by name.
    pub fn vips(&self) -> &BTreeMap<ServiceName, Vip> {
        self.vips.in_force()
    }

    /// What an operator ordered for an instance; nothing, by default.
    pub fn order(&self, key: &InstanceKey) -> Order {
        self.orders.get(key).cloned().unwrap_or_default()
    }

    /// Where the entry of a key comes from, in force or not; `None` if there is none.
    pub fn origin(&self, key: &str) -> Option<Origin> {
        if self.config.contains(key) {
            Some(Origin::Config)
        } else {
            self.registry.contains(key).then_some(Origin::Registry)
        }
    }

    /// All refused entries: those of the configuration file, then those of
    /// the registry, then valid ones that stand against others.
    pub fn rejections(&self) -> Vec<RejectedEntry> {
        let flaws = |(origin, source): (Origin, &Source)| {
            let rejected = |(key, flaw): (&str, &Flaw)| RejectedEntry {
                rejection: flaw.clone().of(key),
                stale: self.in_force(origin, key),
            };
            source.flaws().map(rejected).collect::<Vec<_>>()
        };
        let flawed = self.sources().into_iter().flat_map(flaws);
        let shadowed = self
            .config
            .items()
            .filter(|(key, _)| self.registry.get(key).is_some())
            .map(|(key, _)| RejectedEntry {
                rejection: listed_in_config().of(key),
                stale: false,
            });
        let instances = self.services.refused().map(|(key, flaw)| RejectedEntry {
            rejection: flaw.of(&keys::instance(key)),
            stale: false,
        });
        let vips = self.vips.refused().map(|(name, flaw)| RejectedEntry {
            rejection: flaw.clone().of(&keys::vip(name)),
            stale: self.vips.in_force().contains_key(name),
        });
        flawed
            .chain(shadowed)
            .chain(instances)
            .chain(vips)
            .collect()
    }

    fn replace(&mut self, origin: Origin, entries: Vec<RawEntry>) -> Touched {
        let source = match origin {
            Origin::Config => &mut self.config,
            Origin::Registry => &mut self.registry,
        };
        let changed = source.replace(entries, &self.rules);
        self.settle(changed)
    }

    /// The valid version of an entry that counts.
    fn winner(&self, key: &str) -> Option<(Origin, i64, &Item)> {
        self.sources().into_iter().find_map(|(origin, source)| {
            let (created, item) = source.get(key)?;
            Some((origin, created, item))
        })
    }

    /// Both sources, the one that wins first.
    fn sources(&self) -> [(Origin, &Source); 2] {
        [
            (Origin::Config, &self.config),
            (Origin::Registry, &self.registry),
        ]
    }

    fn in_force(&self, origin: Origin, key: &str) -> bool {
        match self.winner(key) {
            Some((winner, _, item)) if winner == origin => match item {
                Item::Instance(instance) => self.services.contains(&instance.key),
                Item::Vip(vip) => self.vips.in_force().contains_key(&vip.name),
                Item::Order(..) => true,
            },
            _ => false,
        }
    }
}

fn listed_in_config() -> Flaw {
    RejectReason::Duplicate.because("the configuration file lists it: change it there")
}

fn is_vip(ip: IpAddr, vip: &Vip) -> Flaw {
    RejectReason::IsVip.because(format!(
        "address {ip} is that of VIP {}: an instance must have an address of its own",
        vip.name
    ))
}

#[cfg(test)]
mod tests;
