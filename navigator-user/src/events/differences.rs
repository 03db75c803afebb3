//! What happened between two snapshots.

use super::{Event, EventKind};
use crate::{
    api::word,
    snapshot::{InstanceView, ServiceView, Snapshot, VipView},
};
use std::{
    collections::{BTreeMap, BTreeSet},
    net::SocketAddr,
    sync::Arc,
};

/// The events, without numbers and times.
pub(super) fn between(before: &Snapshot, now: &Snapshot) -> Vec<Event> {
    if now.registry.synced && !before.registry.synced {
        return vec![event(EventKind::Synced, "the registry was read")];
    }
    let mut events = Vec::new();
    registry(before, now, &mut events);
    services(&before.services, &now.services, &mut events);
    vips(&before.vips, &now.vips, &mut events);
    rejected(before, now, &mut events);
    events
}

fn event(kind: EventKind, what: impl Into<String>) -> Event {
    Event {
        id: 0,
        time: 0.0,
        kind,
        service: None,
        vip: None,
        address: None,
        what: what.into(),
    }
}

fn registry(before: &Snapshot, now: &Snapshot, events: &mut Vec<Event>) {
    let (before, now) = (&before.registry, &now.registry);
    match (before.connected, now.connected) {
        (true, false) => events.push(event(EventKind::Registry, format!("lost: {}", now.why))),
        (false, true) => events.push(event(EventKind::Registry, "reached again")),
        _ => {}
    }
}

/// What is only in the first, in both, and only in the second map.
type Sides<'a, T> = (Option<&'a T>, Option<&'a T>);

fn sides<'a, K: Ord + Copy, T>(
    before: impl Iterator<Item = (K, &'a T)>,
    now: impl Iterator<Item = (K, &'a T)>,
) -> BTreeMap<K, Sides<'a, T>> {
    let mut sides: BTreeMap<K, Sides<'a, T>> = BTreeMap::new();
    for (key, value) in before {
        sides.entry(key).or_default().0 = Some(value);
    }
    for (key, value) in now {
        sides.entry(key).or_default().1 = Some(value);
    }
    sides
}

fn services(before: &[Arc<ServiceView>], now: &[Arc<ServiceView>], events: &mut Vec<Event>) {
    let named = |service| {
        let service: &Arc<ServiceView> = service;
        (service.name.as_str(), service)
    };
    for (name, pair) in sides(before.iter().map(named), now.iter().map(named)) {
        // Those that nothing happened to are the same object.
        if let (Some(before), Some(now)) = pair
            && Arc::ptr_eq(before, now)
        {
            continue;
        }
        instances(name, pair, events);
    }
}

fn instances(name: &str, pair: Sides<'_, Arc<ServiceView>>, events: &mut Vec<Event>) {
    let pairs = sides(listed(pair.0), listed(pair.1));
    for (address, pair) in pairs {
        let mut push = |kind, what: String| {
            events.push(Event {
                service: Some(name.to_owned()),
                address: Some(address),
                ..event(kind, what)
            });
        };
        match pair {
            (None, Some(new)) => push(
                EventKind::Registered,
                format!("weight {}, {}", new.weight, new.origin),
            ),
            (Some(_), None) => push(EventKind::Deregistered, String::new()),
            (Some(old), Some(new)) => {
                if (old.weight, &old.labels, &old.origin) != (new.weight, &new.labels, &new.origin)
                {
                    push(EventKind::Changed, format!("weight {}", new.weight));
                }
                if old.order != new.order {
                    push(EventKind::Order, word(&new.order));
                }
                if old.health != new.health {
                    let health = word(&new.health);
                    push(EventKind::Health, format!("{health}: {}", new.last_check));
                }
            }
            (None, None) => {}
        }
    }
}

fn listed(service: Option<&Arc<ServiceView>>) -> impl Iterator<Item = (SocketAddr, &InstanceView)> {
    let instances = service.into_iter().flat_map(|service| &service.instances);
    instances.map(|instance| (instance.address, instance))
}

fn vips(before: &[VipView], now: &[VipView], events: &mut Vec<Event>) {
    let named = |vip| {
        let vip: &VipView = vip;
        (vip.name.as_str(), vip)
    };
    for (name, pair) in sides(before.iter().map(named), now.iter().map(named)) {
        let mut push = |kind, what: String| {
            events.push(Event {
                vip: Some(name.to_owned()),
                ..event(kind, what)
            });
        };
        let serves = |vip: &VipView| format!("{} to service {}", vip.key(), vip.service);
        match pair {
            (None, Some(new)) => push(EventKind::VipAdded, serves(new)),
            (Some(old), None) => push(EventKind::VipRemoved, serves(old)),
            (Some(old), Some(new)) => {
                let facts = |vip: &VipView| {
                    let state = (vip.applied, vip.announced, vip.problem.clone());
                    (vip.key(), vip.service.clone(), vip.mode, state)
                };
                if facts(old) != facts(new) {
                    push(EventKind::VipChanged, vip_words(new));
                }
                backends(name, old, new, events);
            }
            (None, None) => {}
        }
    }
}

fn vip_words(vip: &VipView) -> String {
    let applied = if vip.applied {
        "applied"
    } else {
        "not applied"
    };
    let announced = if vip.announced { ", announced" } else { "" };
    let problem = match vip.problem.as_str() {
        "" => String::new(),
        problem => format!(": {problem}"),
    };
    format!(
        "{} to service {}, {applied}{announced}{problem}",
        vip.key(),
        vip.service
    )
}

fn backends(name: &str, old: &VipView, new: &VipView, events: &mut Vec<Event>) {
    let states: BTreeMap<_, _> = old.backends.iter().map(|b| (b.address, b.state)).collect();
    for backend in &new.backends {
        if states.get(&backend.address) == Some(&backend.state) {
            continue;
        }
        let state = word(&backend.state);
        let what = match backend.why.as_str() {
            "" => state,
            why => format!("{state}: {why}"),
        };
        events.push(Event {
            vip: Some(name.to_owned()),
            address: Some(backend.address),
            ..event(EventKind::Backend, what)
        });
    }
}

fn rejected(before: &Snapshot, now: &Snapshot, events: &mut Vec<Event>) {
    if before.rejected == now.rejected {
        return;
    }
    let known: BTreeSet<_> = before
        .rejected
        .iter()
        .map(|entry| (&entry.key, &entry.reason))
        .collect();
    for entry in &now.rejected {
        if !known.contains(&(&entry.key, &entry.reason)) {
            let what = format!("{}: {}: {}", entry.key, entry.reason, entry.detail);
            events.push(event(EventKind::Rejected, what));
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::api::fixture;
    use navigator_core::{health::Health, plan::members::State};

    #[test]
    fn what_happened_is_told_once() {
        let before = fixture::snapshot();
        assert_eq!(between(&before, &before), []);
        let mut now = before.clone();
        let service = Arc::make_mut(&mut now.services[0]);
        service.instances[0].health = Health::Unhealthy;
        service.instances[1].order.maintenance = true;
        service.instances.remove(2);
        now.vips[0].backends[0].state = State::Maintenance;
        now.vips[0].packets += 1;
        now.vips.remove(1);
        now.registry.connected = true;
        let told: Vec<_> = between(&before, &now)
            .into_iter()
            .map(|event| (event.kind, event.what))
            .collect();
        use EventKind::{Backend, Deregistered, Order, Registry, VipRemoved};
        let wanted = [
            (Registry, "reached again"),
            (EventKind::Health, "unhealthy: HTTP 200"),
            (Order, "{\"maintenance\":true}"),
            (Deregistered, ""),
            (VipRemoved, "[2001:db8::1]:443/tcp to service api"),
            (Backend, "maintenance"),
        ];
        assert_eq!(told, wanted.map(|(kind, what)| (kind, what.to_owned())));
    }

    #[test]
    fn the_first_reading_of_the_registry_is_one_event() {
        let mut before = fixture::snapshot();
        before.registry.synced = false;
        before.services.clear();
        let told = between(&before, &fixture::snapshot());
        assert_eq!(told.len(), 1);
        assert_eq!(told[0].kind, EventKind::Synced);
    }
}
