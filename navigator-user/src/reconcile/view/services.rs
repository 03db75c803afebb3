//! Services: those that nothing happened to are taken from the snapshot before.

use super::World;
use crate::snapshot::{InstanceView, ServiceView};
use navigator_core::{
    catalog::Origin,
    model::{Instance, ServiceName, keys},
};
use std::{
    collections::{BTreeMap, BTreeSet},
    net::SocketAddr,
    sync::Arc,
    time::{SystemTime, UNIX_EPOCH},
};

/// The services as they were shown last.
#[derive(Default)]
pub(super) struct Services {
    shown: BTreeMap<ServiceName, Arc<ServiceView>>,
    /// Something may have happened to these since.
    touched: BTreeSet<ServiceName>,
    /// Number of the snapshot in which any of them changed last, came or went.
    index: u64,
}

impl Services {
    /// Something happened to a service or to one of its instances.
    pub(super) fn touch(&mut self, name: &ServiceName) {
        if !self.touched.contains(name) {
            self.touched.insert(name.clone());
        }
    }

    /// All services for the snapshot of this number, and when any of them changed last.
    pub(super) fn render(
        &mut self,
        world: &World<'_>,
        number: u64,
    ) -> (Vec<Arc<ServiceView>>, u64) {
        let services = world.catalog.services();
        let before = self.shown.len();
        self.shown.retain(|name, _| services.contains_key(name));
        let mut changed = before != self.shown.len();
        for (name, instances) in services {
            let old = self.shown.get(name);
            if old.is_some() && !self.touched.contains(name) {
                continue;
            }
            let mut new = render(world, name, instances);
            new.index = match old.filter(|old| old.same_for_clients(&new)) {
                Some(old) => old.index,
                None => number,
            };
            changed |= new.index == number;
            self.shown.insert(name.clone(), Arc::new(new));
        }
        self.touched.clear();
        if changed {
            self.index = number;
        }
        (self.shown.values().cloned().collect(), self.index)
    }
}

fn render(
    world: &World<'_>,
    name: &ServiceName,
    instances: &BTreeMap<SocketAddr, Instance>,
) -> ServiceView {
    ServiceView {
        name: name.to_string(),
        index: 0,
        instances: instances.values().map(|i| instance(world, i)).collect(),
    }
}

fn instance(world: &World<'_>, instance: &Instance) -> InstanceView {
    let record = world.health.of(&instance.key);
    let origin = match world.catalog.origin(&keys::instance(&instance.key)) {
        Some(Origin::Config) => "config",
        _ if instance.leased => "lease",
        _ => "static",
    };
    InstanceView {
        address: instance.key.address,
        weight: instance.weight,
        origin: origin.to_owned(),
        health: record.health,
        health_since: seconds(record.since),
        last_check: record.detail,
        checked_at: seconds(record.checked_at),
        check_seconds: record.took.as_secs_f64(),
        order: world.catalog.order(&instance.key),
        labels: instance.labels.clone(),
    }
}

fn seconds(time: Option<SystemTime>) -> f64 {
    let since = time.and_then(|time| time.duration_since(UNIX_EPOCH).ok());
    since.unwrap_or_default().as_secs_f64()
}
