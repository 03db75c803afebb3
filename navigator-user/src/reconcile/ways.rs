//! What is known of the ways to the hosts of backends.

use crate::dataplane::neighbours::HopChange;
use navigator_core::model::ForwardMode;
use std::{
    collections::{BTreeMap, BTreeSet},
    net::IpAddr,
};

/// The ways to hosts, as far as they are in somebody's way.
#[derive(Default)]
pub(super) struct Ways {
    /// Hosts that no packet can be sent to, and why.
    lost: BTreeMap<IpAddr, String>,
    /// Hosts behind a router.
    routed: BTreeSet<IpAddr>,
}

impl Ways {
    /// Notes a change; true if it makes a difference to a VIP.
    pub(super) fn note(&mut self, change: &HopChange) -> bool {
        let host = change.host;
        let routed = change.hop.is_some_and(|hop| !hop.on_link);
        let lost = change.hop.is_none().then(|| change.why.clone());
        let other_way = routed != self.routed.contains(&host);
        if routed {
            self.routed.insert(host);
        } else {
            self.routed.remove(&host);
        }
        let before = match &lost {
            Some(why) => self.lost.insert(host, why.clone()),
            None => self.lost.remove(&host),
        };
        if before != lost {
            match &lost {
                Some(why) => tracing::warn!(%host, "unreachable: {why}"),
                None => tracing::info!(%host, "reachable again"),
            }
        }
        before != lost || other_way
    }

    /// Forgets all other hosts.
    pub(super) fn keep_only(&mut self, hosts: &BTreeSet<IpAddr>) {
        self.lost.retain(|host, _| hosts.contains(host));
        self.routed.retain(|host| hosts.contains(host));
    }

    /// The hosts that no packet can be sent to, and why.
    pub(super) const fn lost(&self) -> &BTreeMap<IpAddr, String> {
        &self.lost
    }

    /// Why a host cannot be reached in a mode, if that is known.
    pub(super) fn obstacle(&self, mode: ForwardMode, host: IpAddr) -> Option<String> {
        if let Some(why) = self.lost.get(&host) {
            return Some(why.clone());
        }
        let behind = mode == ForwardMode::L2 && self.routed.contains(&host);
        behind.then(|| {
            format!("{host} is behind a router, which mode l2 cannot cross (ipip and gue can)")
        })
    }
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used, reason = "a test's own input")]
    use super::*;
    use crate::dataplane::NextHop;

    fn change(hop: Option<bool>, why: &str) -> HopChange {
        HopChange {
            host: "10.0.0.2".parse().unwrap(),
            hop: hop.map(|on_link| NextHop {
                mac: [2, 0, 0, 0, 0, 2],
                ifindex: 7,
                source: "10.0.0.250".parse().unwrap(),
                on_link,
                mtu: 1500,
            }),
            why: why.to_owned(),
        }
    }

    #[test]
    fn only_what_stands_in_the_way_makes_a_difference() {
        let mut ways = Ways::default();
        let host = "10.0.0.2".parse().unwrap();
        let obstacles = |ways: &Ways| {
            [ForwardMode::L2, ForwardMode::Ipip].map(|mode| ways.obstacle(mode, host).is_some())
        };
        for (hop, why, differs, expected) in [
            (Some(true), "", false, [false, false]),
            (None, "silent", true, [true, true]),
            (None, "silent", false, [true, true]),
            (None, "no route", true, [true, true]),
            (Some(false), "", true, [true, false]),
            (Some(false), "", false, [true, false]),
            (Some(true), "", true, [false, false]),
        ] {
            assert_eq!(ways.note(&change(hop, why)), differs, "{hop:?} {why}");
            assert_eq!(obstacles(&ways), expected, "{hop:?} {why}");
        }
        ways.note(&change(None, "silent"));
        ways.keep_only(&BTreeSet::new());
        assert_eq!(obstacles(&ways), [false, false]);
    }
}
