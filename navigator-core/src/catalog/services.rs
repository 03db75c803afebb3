//! Which instances are admitted.

use super::vips::Network;
use crate::{
    entry::{Flaw, RejectReason},
    model::{Instance, InstanceKey, Protocol, ServiceName, VipKey},
};
use std::{
    collections::{BTreeMap, BTreeSet},
    net::SocketAddr,
};

/// The most instances of one service.
pub const MAX_INSTANCES_OF_SERVICE: usize = 4096;
/// The most instances of all services together.
pub const MAX_INSTANCES: usize = 65_536;

/// Why a valid instance is not admitted.
#[derive(Debug)]
enum Refusal {
    Conflict(Flaw),
    /// It waits for room since this creation revision.
    NoRoom(i64),
}

#[derive(Debug, Default)]
pub(super) struct Services {
    admitted: BTreeMap<ServiceName, BTreeMap<SocketAddr, Instance>>,
    total: usize,
    refused: BTreeMap<InstanceKey, Refusal>,
    /// Those that wait for room, the oldest first.
    waiting: BTreeMap<ServiceName, BTreeSet<(i64, SocketAddr)>>,
}

impl Services {
    pub(super) fn admitted(&self) -> &BTreeMap<ServiceName, BTreeMap<SocketAddr, Instance>> {
        &self.admitted
    }

    pub(super) fn contains(&self, key: &InstanceKey) -> bool {
        let instances = self.admitted.get(&key.service);
        instances.is_some_and(|instances| instances.contains_key(&key.address))
    }

    /// Admits an instance in the version that is wanted (with its creation
    /// revision), refuses it, or lets it go; whether what is admitted changed. Those that are
    /// admitted already are never put out for want of room.
    pub(super) fn settle(
        &mut self,
        key: &InstanceKey,
        wanted: Option<(i64, Instance)>,
        conflict: Option<Flaw>,
    ) -> bool {
        self.forget_refusal(key);
        match (wanted, conflict) {
            (None, _) => self.remove(key),
            (Some(_), Some(flaw)) => {
                self.refused.insert(key.clone(), Refusal::Conflict(flaw));
                self.remove(key)
            }
            (Some((created, _)), None) if self.obstacle(key).is_some() => {
                self.refused.insert(key.clone(), Refusal::NoRoom(created));
                let waiting = self.waiting.entry(key.service.clone()).or_default();
                waiting.insert((created, key.address));
                false
            }
            (Some((_, instance)), None) => self.insert(instance),
        }
    }

    /// Why there is no room for an instance, if there is none.
    pub(super) fn obstacle(&self, key: &InstanceKey) -> Option<Flaw> {
        let instances = self.admitted.get(&key.service);
        if instances.is_some_and(|instances| instances.contains_key(&key.address)) {
            return None;
        }
        let over = |what: &str, most: usize| {
            let detail = format!("{what} has {most} instances already, the most there may be");
            Some(RejectReason::OverLimit.because(detail))
        };
        if instances.is_some_and(|instances| instances.len() >= MAX_INSTANCES_OF_SERVICE) {
            over(
                &format!("service {}", key.service),
                MAX_INSTANCES_OF_SERVICE,
            )
        } else if self.total >= MAX_INSTANCES {
            over("the registry", MAX_INSTANCES)
        } else {
            None
        }
    }

    /// The oldest one of those that wait and have room now.
    pub(super) fn next_admissible(&self) -> Option<InstanceKey> {
        if self.total >= MAX_INSTANCES {
            return None;
        }
        let firsts = self.waiting.iter().filter_map(|(service, waiting)| {
            let &(created, address) = waiting.first()?;
            let full =
                self.admitted.get(service).map_or(0, BTreeMap::len) >= MAX_INSTANCES_OF_SERVICE;
            (!full).then_some((created, service, address))
        });
        let (_, service, address) = firsts.min()?;
        Some(InstanceKey {
            service: service.clone(),
            address,
        })
    }

    /// All instances at the addresses of a network, admitted or in conflict.
    pub(super) fn within(&self, (first, prefix): Network) -> Vec<InstanceKey> {
        let network = VipKey {
            prefix,
            ..VipKey::new(first, Protocol::Tcp, 0)
        };
        let from = SocketAddr::new(first, 0);
        let inside = |address: &SocketAddr| network.covers(address.ip());
        let admitted = self.admitted.values().flat_map(|instances| {
            let there = instances.range(from..);
            there.take_while(move |(address, _)| inside(address))
        });
        let refused = self.refused.keys().filter(|key| inside(&key.address));
        admitted
            .map(|(_, instance)| &instance.key)
            .chain(refused)
            .cloned()
            .collect()
    }

    /// Valid instances that are not admitted, and why.
    pub(super) fn refused(&self) -> impl Iterator<Item = (&InstanceKey, Flaw)> {
        self.refused.iter().map(|(key, refusal)| match refusal {
            Refusal::Conflict(flaw) => (key, flaw.clone()),
            Refusal::NoRoom(_) => (key, self.obstacle(key).unwrap_or_else(no_room)),
        })
    }

    fn insert(&mut self, instance: Instance) -> bool {
        let instances = self
            .admitted
            .entry(instance.key.service.clone())
            .or_default();
        if instances.get(&instance.key.address) == Some(&instance) {
            return false;
        }
        if instances.insert(instance.key.address, instance).is_none() {
            self.total += 1;
        }
        true
    }

    fn remove(&mut self, key: &InstanceKey) -> bool {
        let Some(instances) = self.admitted.get_mut(&key.service) else {
            return false;
        };
        let removed = instances.remove(&key.address).is_some();
        if instances.is_empty() {
            self.admitted.remove(&key.service);
        }
        self.total -= usize::from(removed);
        removed
    }

    fn forget_refusal(&mut self, key: &InstanceKey) {
        let Some(Refusal::NoRoom(created)) = self.refused.remove(key) else {
            return;
        };
        if let Some(waiting) = self.waiting.get_mut(&key.service) {
            waiting.remove(&(created, key.address));
            if waiting.is_empty() {
                self.waiting.remove(&key.service);
            }
        }
    }
}

fn no_room() -> Flaw {
    RejectReason::OverLimit.because("waits for room")
}
