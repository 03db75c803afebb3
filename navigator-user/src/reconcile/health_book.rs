//! What the checks last said of each instance.

use crate::{dataplane::AdoptedBackend, probes::ProbeReport};
use navigator_core::{
    health::Health,
    model::{InstanceKey, ServiceName},
};
use std::collections::{BTreeMap, BTreeSet};

/// What is known of one instance's health.
#[derive(Clone, PartialEq, Eq, Debug, Default)]
pub(super) struct Record {
    pub(super) health: Health,
    /// What the last check found, in words.
    pub(super) detail: String,
}

/// The records of all instances.
#[derive(Default)]
pub(super) struct HealthBook {
    records: BTreeMap<InstanceKey, Record>,
}

impl HealthBook {
    /// The record of one instance; [`Health::Unknown`] if there is none.
    pub(super) fn of(&self, key: &InstanceKey) -> Record {
        self.records.get(key).cloned().unwrap_or_default()
    }

    /// Takes over what the maps of an earlier daemon imply, until a check says otherwise.
    pub(super) fn adopt(&mut self, service: &ServiceName, backends: &[AdoptedBackend]) {
        for backend in backends {
            let key = InstanceKey {
                service: service.clone(),
                address: backend.address,
            };
            let health = if backend.takes_new {
                Health::Healthy
            } else {
                Health::Unhealthy
            };
            let detail = "not checked since the daemon started".to_owned();
            self.records.entry(key).or_insert(Record { health, detail });
        }
    }

    /// Notes a report; true if the verdict changed.
    pub(super) fn note(&mut self, report: ProbeReport) -> bool {
        if report.changed {
            let (key, health, detail) = (&report.key, report.health, &report.detail);
            match health {
                Health::Unhealthy => tracing::warn!(instance = %key, "unhealthy: {detail}"),
                _ => tracing::info!(instance = %key, "healthy: {detail}"),
            }
        }
        let record = self.records.entry(report.key).or_default();
        let changed = record.health != report.health;
        *record = Record {
            health: report.health,
            detail: report.detail,
        };
        changed
    }

    /// Forgets all other instances.
    pub(super) fn keep_only<'a>(&mut self, keys: impl Iterator<Item = &'a InstanceKey>) {
        let keys: BTreeSet<_> = keys.collect();
        self.records.retain(|key, _| keys.contains(key));
    }
}
