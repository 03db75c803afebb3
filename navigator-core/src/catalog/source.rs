//! The entries of one origin, each in its last valid version.

use super::RawEntry;
use crate::{
    entry::{
        Flaw, RejectReason, Rejection, Rules, check_prefix, parse_instance, parse_order, parse_vip,
    },
    model::{Instance, InstanceKey, Order, Vip, keys},
};
use std::collections::{BTreeMap, BTreeSet};

/// A valid entry.
#[derive(Clone, PartialEq, Eq, Debug)]
pub(super) enum Item {
    Instance(Instance),
    Vip(Vip),
    Order(InstanceKey, Order),
}

/// What must be settled again when an entry has changed.
#[derive(Debug)]
pub(super) enum Subject {
    Instance(InstanceKey),
    Order(InstanceKey),
    Vip,
}

impl Item {
    pub(super) fn parse(
        key: &str,
        value: &[u8],
        leased: bool,
        rules: &Rules,
    ) -> Result<Self, Rejection> {
        if key.starts_with(keys::SERVICES) {
            parse_instance(key, value, leased, rules).map(Self::Instance)
        } else if key.starts_with(keys::VIPS) {
            let vip = parse_vip(key, value)?;
            check_prefix(&vip, rules).map(|()| Self::Vip(vip))
        } else if key.starts_with(keys::ORDERS) {
            parse_order(key, value).map(|(instance, order)| Self::Order(instance, order))
        } else {
            let detail = format!(
                "the key names no instance, VIP or order: it starts with {}, {} or {}",
                keys::SERVICES,
                keys::VIPS,
                keys::ORDERS
            );
            Err(RejectReason::KeyMismatch.because(detail).of(key))
        }
    }

    fn subject(&self) -> Subject {
        match self {
            Self::Instance(instance) => Subject::Instance(instance.key.clone()),
            Self::Order(key, _) => Subject::Order(key.clone()),
            Self::Vip(_) => Subject::Vip,
        }
    }
}

#[derive(Debug, Default)]
pub(super) struct Source {
    /// By key: creation revision and last valid version.
    valid: BTreeMap<String, (i64, Item)>,
    /// By key: what is wrong with the newest version.
    flaws: BTreeMap<String, Flaw>,
}

impl Source {
    /// Takes an entry; what must be settled again.
    pub(super) fn put(&mut self, entry: RawEntry, rules: &Rules) -> Vec<Subject> {
        let RawEntry {
            key,
            value,
            created,
            leased,
        } = entry;
        match Item::parse(&key, &value, leased, rules) {
            Err(Rejection {
                key,
                reason,
                detail,
            }) => {
                self.flaws.insert(key, Flaw { reason, detail });
                Vec::new()
            }
            Ok(item) => {
                self.flaws.remove(&key);
                if self.get(&key) == Some((created, &item)) {
                    return Vec::new();
                }
                let subject = item.subject();
                self.valid.insert(key, (created, item));
                vec![subject]
            }
        }
    }

    /// Forgets an entry; what must be settled again.
    pub(super) fn remove(&mut self, key: &str) -> Vec<Subject> {
        self.flaws.remove(key);
        let old = self.valid.remove(key);
        old.iter().map(|(_, item)| item.subject()).collect()
    }

    /// Takes entries and forgets all others. What went comes first in the
    /// answer, so that it makes room for what came.
    pub(super) fn replace(&mut self, entries: Vec<RawEntry>, rules: &Rules) -> Vec<Subject> {
        let stay: BTreeSet<&str> = entries.iter().map(|entry| entry.key.as_str()).collect();
        let keys = self.valid.keys().chain(self.flaws.keys());
        let gone: BTreeSet<String> = keys
            .filter(|key| !stay.contains(key.as_str()))
            .cloned()
            .collect();
        let mut changed: Vec<Subject> = gone.iter().flat_map(|key| self.remove(key)).collect();
        for entry in entries {
            changed.extend(self.put(entry, rules));
        }
        changed
    }

    /// Notes that the newest version of an entry is refused.
    pub(super) fn refuse(&mut self, key: String, flaw: Flaw) {
        self.flaws.insert(key, flaw);
    }

    /// Creation revision and last valid version.
    pub(super) fn get(&self, key: &str) -> Option<(i64, &Item)> {
        self.valid.get(key).map(|(created, item)| (*created, item))
    }

    /// Whether there is an entry of this key, valid or not.
    pub(super) fn contains(&self, key: &str) -> bool {
        self.valid.contains_key(key) || self.flaws.contains_key(key)
    }

    pub(super) fn items(&self) -> impl Iterator<Item = (&str, &Item)> {
        self.valid
            .iter()
            .map(|(key, (_, item))| (key.as_str(), item))
    }

    /// Key, creation revision and last valid version of every VIP.
    pub(super) fn vips(&self) -> impl Iterator<Item = (&str, i64, &Vip)> {
        let from = self.valid.range(keys::VIPS.to_owned()..);
        let vips = from.take_while(|(key, _)| key.starts_with(keys::VIPS));
        vips.filter_map(|(key, (created, item))| match item {
            Item::Vip(vip) => Some((key.as_str(), *created, vip)),
            _ => None,
        })
    }

    pub(super) fn flaws(&self) -> impl Iterator<Item = (&str, &Flaw)> {
        self.flaws.iter().map(|(key, flaw)| (key.as_str(), flaw))
    }
}
