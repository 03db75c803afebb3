//! What the checks last said of each instance.

use crate::{dataplane::AdoptedBackend, probes::ProbeReport};
use navigator_core::{
    health::Health,
    model::{InstanceKey, ServiceName},
};
use std::{
    collections::{BTreeMap, BTreeSet},
    time::{Duration, SystemTime},
};

/// What is known of one instance's health.
#[derive(Clone, PartialEq, Eq, Debug, Default)]
pub(super) struct Record {
    pub(super) health: Health,
    /// Since when, if a check said so.
    pub(super) since: Option<SystemTime>,
    /// What the last check found, in words.
    pub(super) detail: String,
    /// When it ended.
    pub(super) checked_at: Option<SystemTime>,
    /// How long it took.
    pub(super) took: Duration,
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
    /// One that may keep its flows but gets no new ones fails its checks or is draining, which
    /// the maps do not tell: it is unknown, and so loses no flow before its first check.
    pub(super) fn adopt(&mut self, service: &ServiceName, backends: &[AdoptedBackend]) {
        for backend in backends {
            let key = InstanceKey {
                service: service.clone(),
                address: backend.address,
            };
            let health = match (backend.takes_new, backend.usable) {
                (true, _) => Health::Healthy,
                (false, true) => Health::Unknown,
                (false, false) => Health::Unhealthy,
            };
            let detail = "not checked since the daemon started".to_owned();
            // It may serve several VIPs, and its drain may be over in some of them.
            let better = |known: &Record| match known.health {
                Health::Healthy => false,
                Health::Unknown => health == Health::Healthy,
                Health::Unhealthy => true,
            };
            if self.records.get(&key).is_none_or(better) {
                let record = Record {
                    health,
                    detail,
                    ..Record::default()
                };
                self.records.insert(key, record);
            }
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
            since: match record.since {
                Some(since) if !changed => Some(since),
                _ => Some(report.at),
            },
            detail: report.detail,
            checked_at: Some(report.at),
            took: report.took,
        };
        changed
    }

    /// Forgets all other instances.
    pub(super) fn keep_only<'a>(&mut self, keys: impl Iterator<Item = &'a InstanceKey>) {
        let keys: BTreeSet<_> = keys.collect();
        self.records.retain(|key, _| keys.contains(key));
    }
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used, reason = "a test may stop where it stands")]
    use super::*;

    #[test]
    fn what_keeps_its_flows_is_not_called_unhealthy_before_its_first_check() {
        let service: ServiceName = "web".parse().unwrap();
        let backend = |last: u8, takes_new: bool, usable: bool| AdoptedBackend {
            address: ([10, 0, 0, last], 80).into(),
            takes_new,
            usable,
            slots: 0,
        };
        let mut book = HealthBook::default();
        let one_vip = [
            backend(1, true, true),
            backend(2, false, true),
            backend(3, false, false),
            backend(4, false, false),
        ];
        book.adopt(&service, &one_vip);
        let another = [
            backend(1, false, false),
            backend(2, false, false),
            backend(4, false, true),
        ];
        book.adopt(&service, &another);
        let found = [1, 2, 3, 4].map(|last| {
            let key = InstanceKey {
                service: service.clone(),
                address: ([10, 0, 0, last], 80).into(),
            };
            book.of(&key).health
        });
        use Health::{Healthy, Unhealthy, Unknown};
        assert_eq!(found, [Healthy, Unknown, Unhealthy, Unknown]);
    }
}
