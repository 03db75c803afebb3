//! What can be read off the tables.

use super::{
    BackendFigures, Figures, VipFigures,
    plane::{Plane, VipEntry},
    store::{Store, Table, backend_word, flow_entry},
};
use navigator_common::{
    backend::BackendWord,
    flow::{self, FlowWord, WAYS},
    fragment::{self, FragmentWord},
    maps::{ADDR_BUCKETS, EGRESS_ENTRIES, FRAGMENT_SETS, PREFIX_ENTRIES, QUIC_ENTRIES},
    reason::{Event, Reason},
    vip::BUCKET_WAYS,
};

/// Flow sets that are looked at to tell how full the cache is; more are estimated from these.
const SAMPLE: u32 = 4096;

/// Packets that the memory of fragments has room for.
const FRAGMENTS: u32 = FRAGMENT_SETS * fragment::WAYS as u32;

/// How full the flow cache is, counted in a small one, estimated from [`SAMPLE`] sets, evenly
/// spread, in a larger one.
pub(super) struct Fill {
    /// Flows that are remembered.
    pub(super) flows: u64,
    /// Sets that take no new flow, because all their flows are established.
    pub(super) full_sets: u64,
}

impl<S: Store> Plane<S> {
    pub(super) fn read_figures(&self) -> Figures {
        let vips = self.vips.values().map(|vip| self.vip_figures(vip));
        let reasons = Reason::ALL.iter().map(|r| (r.name(), r.index()));
        let events = Event::ALL.iter().map(|e| (e.name(), e.index()));
        Figures {
            vips: vips.collect(),
            counters: reasons
                .chain(events)
                .map(|(name, index)| (name, self.store.counter(index)))
                .collect(),
            tables: self.table_figures(),
            windows: self.window_figures(),
            problems: Vec::new(),
        }
    }

    fn vip_figures(&self, vip: &VipEntry) -> VipFigures {
        let backends = vip.members.iter().filter_map(|(&address, &id)| {
            let entry = self.backends.get(id)?;
            let traffic = self.total_traffic(id);
            let word = BackendWord(self.store.load(Table::Backends, backend_word(id)));
            Some(BackendFigures {
                address,
                slots: entry.current,
                slots_before: entry.previous,
                packets: traffic.packets,
                bytes: traffic.bytes,
                reply_packets: traffic.reply_packets,
                reply_bytes: traffic.reply_bytes,
                reachable: word.mac_word() != 0,
            })
        });
        VipFigures {
            key: vip.settings.key,
            slots: vip.settings.slots,
            at_risk: vip.windows.at_risk(),
            tracked: vip.windows.tracked(),
            backends: backends.collect(),
        }
    }

    fn table_figures(&self) -> Vec<(&'static str, u64, u64)> {
        let (backends, backend_capacity) = self.backends.usage();
        let addresses = u64::from(ADDR_BUCKETS) * BUCKET_WAYS as u64;
        let flow_capacity = u64::from(self.store.sizes().flow_sets) * WAYS as u64;
        let arena = |arena: &super::arena::Arena| (arena.used().into(), arena.capacity().into());
        let (slots, slot_capacity) = arena(&self.slots);
        let (ports, port_capacity) = arena(&self.ports);
        let (vips, vip_capacity) = arena(&self.vip_ids);
        let nat = self.store.nat_figures();
        let mut tables = vec![
            ("slots", slots, slot_capacity),
            ("backends", backends.into(), backend_capacity.into()),
            ("vips", vips, vip_capacity),
            ("vip_addresses", self.addresses.singles() as u64, addresses),
            (
                "vip_prefixes",
                self.addresses.prefixes() as u64,
                PREFIX_ENTRIES.into(),
            ),
            (
                "quic_servers",
                self.servers.len() as u64,
                QUIC_ENTRIES.into(),
            ),
            ("ports", ports, port_capacity),
            ("egress", self.egress.len() as u64, EGRESS_ENTRIES.into()),
            ("flows", self.fill().flows, flow_capacity),
            ("fragments", self.remembered_fragments(), FRAGMENTS.into()),
        ];
        if !self.nat.sources.is_empty() {
            let flows = self.store.sizes().nat_flows;
            tables.push(("nat_flows", nat.flows, flows.into()));
            tables.push(("nat_ports", nat.ports, self.nat.port_count().into()));
        }
        tables
    }

    /// Packets whose later fragments may still come.
    fn remembered_fragments(&self) -> u64 {
        let now = self.store.now();
        let words = (0..FRAGMENTS as usize).map(|word| self.store.load(Table::Fragments, word));
        words
            .filter(|word| FragmentWord(*word).is_alive(now))
            .count() as u64
    }

    pub(super) fn fill(&self) -> Fill {
        let sets = self.store.sizes().flow_sets;
        let step = (sets / SAMPLE).max(1);
        let now = flow::time(self.store.now());
        let (mut flows, mut full_sets) = (0, 0);
        for set in (0..sets).step_by(step as usize) {
            let mut established = 0;
            for at in (0..WAYS).map(|way| flow_entry(set, way)) {
                let word = FlowWord(self.store.load(Table::Flows, at));
                let live = word != FlowWord::FREE && !word.is_expired(now, self.windows.lifetime());
                flows += u64::from(live);
                established += usize::from(live && word.is_established());
            }
            full_sets += u64::from(established == WAYS);
        }
        let scale = u64::from(step);
        Fill {
            flows: flows * scale,
            full_sets: full_sets * scale,
        }
    }
}
