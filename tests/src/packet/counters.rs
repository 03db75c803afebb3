//! Every counter that the program has, also those that nobody should count.

use navigator_common::{
    addr::Addr,
    backend::BackendInfo,
    reason::{Event, Reason},
    vip::PortWord,
};
use navigator_core::model::{Ports, Protocol, VipKey};
use navigator_user::dataplane::{
    kernel::{KernelStore, PerCpu},
    store::{Store, Table},
};
use std::{
    collections::BTreeMap,
    net::{IpAddr, SocketAddr},
};

/// All counters at one moment.
pub(super) struct Counters {
    reasons: PerCpu<1>,
    traffic: PerCpu<4>,
}

impl Counters {
    pub(super) fn read(store: &KernelStore) -> Self {
        Self {
            reasons: store.reason_counters(),
            traffic: store.backend_counters(),
        }
    }

    /// The counters that changed after `before`, by name, and by how much.
    pub(super) fn since(&self, before: &Self, store: &KernelStore) -> BTreeMap<String, u64> {
        let reasons = self.reasons.changes(&before.reasons);
        let reasons = reasons.map(|(index, [then], [now])| (reason(index), now.wrapping_sub(then)));
        let traffic = self.traffic.changes(&before.traffic);
        let traffic = traffic.flat_map(|(id, then, now)| {
            let name = backend(store, id);
            let fields = ["packets", "bytes", "replies", "reply bytes"];
            let changes = then.into_iter().zip(now);
            let changes = changes.map(|(then, now)| now.wrapping_sub(then));
            fields
                .into_iter()
                .zip(changes)
                .map(move |(field, change)| (format!("{name} {field}"), change))
        });
        reasons
            .chain(traffic)
            .filter(|(_, change)| *change != 0)
            .collect()
    }
}

fn reason(index: usize) -> String {
    let reasons = Reason::ALL.iter().map(|r| (r.index(), r.name()));
    let events = Event::ALL.iter().map(|e| (e.index(), e.name()));
    let mut all = reasons.chain(events);
    let known = all.find(|(known, _)| *known as usize == index);
    known.map_or_else(
        || format!("unnamed counter {index}"),
        |(_, name)| name.to_owned(),
    )
}

/// VIP and address of a backend id, as the program's own tables have them.
fn backend(store: &KernelStore, id: usize) -> String {
    let word = |table, entry: usize, word| store.load(table, entry * 8 + word);
    let address = |table, entry| {
        IpAddr::from(Addr {
            hi: word(table, entry, 2),
            lo: word(table, entry, 3),
        })
    };
    let info = BackendInfo::unpack(word(Table::Backends, id, 1));
    let vip = usize::from(info.vip);
    let port = PortWord(word(Table::Vips, vip, 4));
    let (first, last) = (port.port(), port.last().max(port.port()));
    let (Some(protocol), Some(ports), true) = (
        Protocol::from_number(port.protocol()),
        Ports::range(first, last),
        port.vip() != 0,
    ) else {
        return format!("backend id {id}, which no VIP has,");
    };
    let address_of_vip = address(Table::Vips, vip);
    let whole = VipKey::whole(address_of_vip);
    let vip = VipKey {
        address: address_of_vip,
        prefix: (word(Table::Vips, vip, 5) as u8).wrapping_sub(128 - whole),
        protocol,
        ports,
    };
    let backend = SocketAddr::new(address(Table::Backends, id), info.port);
    format!("{vip} {backend}")
}
