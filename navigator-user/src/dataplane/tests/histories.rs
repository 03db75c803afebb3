//! Random histories. After every step the tables must say what was asked for;
//! at every single store on the way they must say what they said before or
//! what they say after; a run that is under way meanwhile must not meet half
//! a record or a foreign one; and a daemon that is killed there must find its
//! way back.

use super::{
    reader::{Face, Outcome, Run},
    world::{HOSTS, Step, VIPS, flags, history, hop, host, key, plan, port, slots},
};
use crate::dataplane::{
    Dataplane, NextHop, VipPlan,
    memory::{Event, MemoryDataplane, MemoryStore},
    store::{Sizes, Store, Table},
};
use navigator_common::{
    addr::Addr,
    backend::{BackendInfo, BackendWord, PathWord},
    flow::{FlowWord, WAYS},
    mac,
    quic::QuicKey,
    slot::{Slot, epoch_age, epoch_at},
};
use navigator_core::{
    model::{ForwardMode, ServerId, VipKey},
    plan::members::Member,
};
use proptest::prelude::*;
use std::{
    collections::{BTreeMap, HashMap},
    net::{IpAddr, SocketAddr},
};

/// Large enough never to be full: what is freed is freed by the history's own sweeps.
const SIZES: Sizes = Sizes {
    slots: 2000,
    backends: 1000,
    flow_sets: 4,
    nat_flows: 1,
};

/// A flow that the program remembers.
#[derive(Clone, Copy)]
struct Remembered {
    entry: usize,
    vip: VipKey,
    instance: SocketAddr,
    word: FlowWord,
}

struct History {
    plane: MemoryDataplane,
    store: MemoryStore,
    plans: BTreeMap<VipKey, VipPlan>,
    hops: HashMap<IpAddr, NextHop>,
    /// By tag.
    flows: HashMap<u32, Remembered>,
    /// Flows whose run has chosen a backend and not stored it yet.
    late: Vec<Remembered>,
    /// Runs that are under way.
    runs: Vec<Run>,
    random: u64,
}

proptest! {
    #![proptest_config(ProptestConfig { cases: 32, ..ProptestConfig::default() })]

    #[test]
    fn any_history_can_be_cut_anywhere(steps in history(), seed: u64) {
        let mut history = History::new(seed);
        for step in &steps {
            history.take(step);
        }
        history.end();
    }
}

impl History {
    fn new(seed: u64) -> Self {
        let store = MemoryStore::new(SIZES);
        Self {
            plane: MemoryDataplane::adopt_from(store.clone()),
            store,
            plans: BTreeMap::new(),
            hops: HashMap::new(),
            flows: HashMap::new(),
            late: Vec::new(),
            runs: Vec::new(),
            random: seed | 1,
        }
    }

    /// Xorshift: the choices of this history, the same each time it is replayed.
    fn random(&mut self, below: usize) -> usize {
        self.random ^= self.random << 13;
        self.random ^= self.random >> 7;
        self.random ^= self.random << 17;
        (self.random % below as u64) as usize
    }

    fn take(&mut self, step: &Step) {
        match step {
            Step::Apply { .. } => {
                let plan = plan(step).unwrap();
                self.checked(|plane| _ = plane.apply(&plan).unwrap());
                self.plans.insert(plan.vip.key, plan);
            }
            Step::Remove(vip) => {
                self.checked(|plane| plane.remove(&key(*vip)).unwrap());
                self.plans.remove(&key(*vip));
            }
            Step::State(vip, member, role) => {
                let (vip, (takes_new, usable)) = (key(*vip), flags(*role));
                let address = SocketAddr::new(host(*member), port(&vip));
                self.checked(|plane| plane.set_state(&vip, address, takes_new, usable));
            }
            Step::Hop(index, variant) => {
                let hop = variant.map(|variant| hop(*index, variant));
                self.checked(|plane| plane.set_next_hop(host(*index), hop).unwrap());
                match hop {
                    Some(hop) => self.hops.insert(host(*index), hop),
                    None => self.hops.remove(&host(*index)),
                };
            }
            Step::Sweep => {
                self.store_late_flows();
                self.sweep();
                self.check_ages();
            }
            Step::Time(units) => self.store.pass_time(*units),
            Step::Flow {
                vip,
                slot,
                set,
                previous,
                late,
            } => self.choose_flow(key(*vip), *slot, *set, *previous, *late),
            Step::Restart => self.restart(),
        }
        self.check_state();
    }

    fn end(mut self) {
        self.store_late_flows();
        for key in self.plans.keys() {
            self.plane.remove(key).unwrap();
        }
        check_empty(&mut self.plane, &self.store);
    }

    /// Runs a change, then looks at every moment of it.
    fn checked(&mut self, change: impl FnOnce(&mut MemoryDataplane)) {
        let before = self.store.copy();
        self.store.journal();
        change(&mut self.plane);
        let events = self.store.journal();
        self.check_moments(&before, &events);
    }

    fn check_moments(&mut self, image: &MemoryStore, events: &[Event]) {
        let (old, new) = (faces(image), faces(&self.store));
        let killed = self.random(events.len().max(1) * 2);
        for (moment, event) in events.iter().enumerate() {
            self.let_runs_run(image);
            match *event {
                Event::Store(table, word, value) => image.store(table, word, value),
                Event::Server(key, id) => image.set_server(key, id).unwrap(),
                Event::Prefix(addr, bits, word) => image.set_prefix(addr, bits, word).unwrap(),
                // A grace period waits for the runs that are under way.
                Event::Grace => {
                    for run in self.runs.drain(..) {
                        run.finish(image).check(&run.key);
                    }
                }
            }
            for ((now, old), new) in faces(image).iter().zip(&old).zip(&new) {
                assert!(
                    now == old || now == new,
                    "{now:?} between {old:?} and {new:?} after {event:?}"
                );
            }
            if moment == killed {
                self.check_rebirth(image);
            }
        }
    }

    fn let_runs_run(&mut self, image: &MemoryStore) {
        if self.runs.len() < 8 {
            let (vip, slot) = (self.random(VIPS), self.random(11));
            self.runs.push(Run::new(key(vip), slot as u32));
        }
        let index = self.random(self.runs.len());
        if let Some(outcome) = self.runs[index].advance(image) {
            let run = self.runs.swap_remove(index);
            outcome.check(&run.key);
        }
    }

    /// Sweeps while runs renew the flows that they found just before the sweep came by them.
    fn sweep(&mut self) {
        let words: Vec<FlowWord> = (0..SIZES.flow_sets as usize * WAYS)
            .map(|entry| FlowWord(self.store.load(Table::Flows, entry)))
            .collect();
        let served: Vec<bool> = words
            .iter()
            .map(|word| {
                self.store
                    .load(Table::Backends, word.backend() as usize * 8)
            })
            .map(|word| BackendWord(word).is_usable())
            .collect();
        self.checked(Dataplane::sweep);
        for (entry, (word, served)) in words.into_iter().zip(served).enumerate() {
            if served && self.store.load(Table::Flows, entry) != word.0 && self.random(2) == 0 {
                self.store.store(Table::Flows, entry, word.0);
            }
        }
    }

    /// A daemon that finds these words makes all plans true again and leaves nothing behind.
    fn check_rebirth(&self, image: &MemoryStore) {
        let store = image.copy();
        for flow in &self.late {
            store.store(Table::Flows, flow.entry, flow.word.0);
        }
        let mut plane = MemoryDataplane::adopt_from(store.clone());
        for host in (0..HOSTS).map(host) {
            plane
                .set_next_hop(host, self.hops.get(&host).copied())
                .unwrap();
        }
        for adopted in plane.adopted() {
            if !self.plans.contains_key(&adopted.vip.key) {
                plane.remove(&adopted.vip.key).unwrap();
            }
        }
        for plan in self.plans.values() {
            plane.apply(plan).unwrap();
            check_plan(&store, plan, &self.hops);
        }
        for key in self.plans.keys() {
            plane.remove(key).unwrap();
        }
        check_empty(&mut plane, &store);
    }

    /// The program is about to remember a flow of a slot.
    fn choose_flow(&mut self, vip: VipKey, slot: u32, set: u32, previous: bool, late: bool) {
        let Some(slots) = self.plans.get(&vip).map(|plan| plan.vip.slots) else {
            return;
        };
        let Some((_, base)) = Run::new(vip, 0).table(&self.store) else {
            return;
        };
        let slot = Slot(
            self.store
                .load(Table::Slots, (base + slot % slots) as usize),
        );
        let id = if previous {
            slot.previous()
        } else {
            slot.current()
        };
        if id == 0 {
            return;
        }
        let flow = Remembered {
            entry: set as usize * WAYS + self.random(WAYS),
            vip,
            instance: instance(&self.store, id).1,
            word: FlowWord::new(0, id, true, 7),
        };
        self.late.push(flow);
        if !late {
            self.store_late_flows();
        }
    }

    fn store_late_flows(&mut self) {
        for flow in std::mem::take(&mut self.late) {
            let tag = self.random(1 << 31) as u32;
            let word = FlowWord::new(tag, flow.word.backend(), true, flow.word.time());
            self.store.store(Table::Flows, flow.entry, word.0);
            self.flows.insert(tag, flow);
        }
    }

    fn restart(&mut self) {
        self.store_late_flows();
        let before = self.store.copy();
        self.store.journal();
        self.plane = MemoryDataplane::adopt_from(self.store.clone());
        let adopted: Vec<VipKey> = self.plane.adopted().iter().map(|a| a.vip.key).collect();
        assert_eq!(adopted, self.plans.keys().copied().collect::<Vec<_>>());
        for (&host, &hop) in &self.hops {
            self.plane.set_next_hop(host, Some(hop)).unwrap();
        }
        for plan in self.plans.values() {
            assert_eq!(self.plane.apply(plan).unwrap().slots_written, 0);
        }
        let events = self.store.journal();
        let slots = |event: &&Event| matches!(event, Event::Store(Table::Slots, ..));
        assert_eq!(events.iter().find(slots), None);
        self.check_moments(&before, &events);
    }

    /// What holds between any two steps.
    fn check_state(&self) {
        let figures = self.plane.figures();
        assert_eq!(figures.vips.len(), self.plans.len());
        let mut vip_ids = HashMap::new();
        for (vip, plan) in figures.vips.iter().zip(self.plans.values()) {
            check_plan(&self.store, plan, &self.hops);
            let (id, base) = Run::new(vip.key, 0).table(&self.store).unwrap();
            vip_ids.insert(id, vip.key);
            let table: Vec<Slot> = (base..base + plan.vip.slots)
                .map(|slot| Slot(self.store.load(Table::Slots, slot as usize)))
                .collect();
            let count = |is: fn(&&Slot) -> bool| table.iter().filter(is).count() as u32;
            assert_eq!(vip.at_risk, count(|slot| slot.is_at_risk()));
            let named: u32 = vip.backends.iter().map(|backend| backend.slots).sum();
            assert_eq!(named, count(|slot| slot.current() != 0));
            let before: u32 = vip
                .backends
                .iter()
                .map(|backend| backend.slots_before)
                .sum();
            assert_eq!(before, count(|slot| slot.previous() != 0));
            for id in table
                .iter()
                .flat_map(|slot| [slot.current(), slot.previous()])
            {
                assert!(
                    id == 0
                        || plan
                            .members
                            .iter()
                            .any(|m| m.address == instance(&self.store, id).1)
                );
            }
        }
        self.check_flows(&vip_ids);
    }

    /// No window is older than 130 minutes and the epoch that it began in.
    fn check_ages(&self) {
        let now = epoch_at(self.store.now());
        for word in 0..SIZES.slots as usize {
            let slot = Slot(self.store.load(Table::Slots, word));
            let in_use = self.plans.keys().any(|key| {
                let table = Run::new(*key, 0).table(&self.store);
                table.is_some_and(|(_, base)| {
                    let slots = self.plans[key].vip.slots;
                    (base..base + slots).contains(&(word as u32))
                })
            });
            let age = epoch_age(slot.epoch(), now);
            assert!(
                !in_use || !slot.is_at_risk() || age <= 909,
                "slot {word}: a window of {age} epochs"
            );
        }
    }

    /// A remembered flow leads to the instance that it was remembered for, or nowhere.
    fn check_flows(&self, vip_ids: &HashMap<u16, VipKey>) {
        for entry in 0..SIZES.flow_sets as usize * WAYS {
            let flow = FlowWord(self.store.load(Table::Flows, entry));
            if flow == FlowWord::FREE {
                continue;
            }
            let id = flow.backend();
            let word = BackendWord(self.store.load(Table::Backends, id as usize * 8));
            if !word.is_usable() {
                continue;
            }
            let flow = &self.flows[&flow.tag()];
            let (vip, address) = instance(&self.store, id);
            assert_eq!(address, flow.instance);
            let vip = vip_ids.get(&vip);
            assert!(
                vip.is_none_or(|vip| *vip == flow.vip),
                "{vip:?} for a flow of {}",
                flow.vip
            );
        }
    }
}

/// VIP id and address of a backend's record.
fn instance(store: &MemoryStore, id: u32) -> (u16, SocketAddr) {
    let load = |offset| store.load(Table::Backends, id as usize * 8 + offset);
    let info = BackendInfo::unpack(load(1));
    let address = Addr {
        hi: load(2),
        lo: load(3),
    };
    (info.vip, SocketAddr::new(address.into(), info.port))
}

/// Where every slot of every VIP leads.
fn faces(store: &MemoryStore) -> Vec<Face> {
    let slots = (0..VIPS).flat_map(|vip| (0..slots(vip)).map(move |slot| (vip, slot)));
    slots
        .flat_map(|(vip, slot)| Run::all(key(vip), slot))
        .map(|run| run.finish(store).face())
        .collect()
}

/// Every server id names the instance that the plan gives it to, if that has a backend id.
fn check_servers(store: &MemoryStore, plan: &VipPlan) {
    let (id, _) = Run::new(plan.vip.key, 0).table(store).unwrap();
    let steering = &plan.vip.steering;
    let of_vip = |key: &QuicKey| key.vip() == u32::from(id);
    let servers = store.servers().into_iter().filter(|(key, _)| of_vip(key));
    let servers: BTreeMap<u64, SocketAddr> = servers
        .map(|(key, id)| (key.lo, instance(store, id).1))
        .collect();
    for (server, address) in &steering.server_ids {
        let usable = |member: &Member| member.address == *address && member.usable;
        let wanted = !steering.quic.is_empty() && plan.members.iter().any(usable);
        let found = servers.get(&u64::from(server.bytes()[0]));
        assert!(!wanted || found == Some(address), "{server}: {found:?}");
    }
    for (server, found) in servers {
        let claims = |(id, address): &(ServerId, SocketAddr)| {
            u64::from(id.bytes()[0]) == server && address == &found
        };
        assert!(steering.server_ids.iter().any(claims), "{server}: {found}");
    }
}

/// Every slot leads where the plan says.
fn check_plan(store: &MemoryStore, plan: &VipPlan, hops: &HashMap<IpAddr, NextHop>) {
    check_servers(store, plan);
    let runs = |slot| Run::all(plan.vip.key, slot as u32);
    let slots = plan.table.iter().enumerate();
    let runs = slots.flat_map(|(slot, owner)| runs(slot).into_iter().map(move |run| (run, *owner)));
    for (run, owner) in runs {
        let outcome = run.finish(store);
        outcome.check(&plan.vip.key);
        let Some(member) = plan.members.get(owner as usize) else {
            assert_eq!(outcome, Outcome::NoBackend);
            continue;
        };
        match (outcome, hops.get(&member.address.ip())) {
            (Outcome::NoNeighbour(_), None) => {}
            (Outcome::Backend { record, .. }, Some(hop)) => {
                assert_eq!(IpAddr::from(record.address), member.address.ip());
                assert_eq!(BackendWord(record.word).mac(), hop.mac);
                assert_eq!(BackendWord(record.word).is_on_link(), hop.on_link);
                assert_eq!(PathWord(record.path).mtu(), u32::from(hop.mtu));
                let egress = BackendWord(record.word).egress();
                let [a, b, c, d] = hop.ifindex.to_be_bytes();
                assert_eq!(
                    mac::from_word(store.load(Table::Egress, egress as usize)),
                    [2, 0, a, b, c, d]
                );
                assert_eq!(store.device(egress as u8), Some(hop.ifindex));
                if plan.vip.mode == ForwardMode::Ipip {
                    assert_eq!(IpAddr::from(record.source), hop.source);
                }
            }
            (outcome, hop) => panic!("{}: {outcome:?} with next hop {hop:?}", plan.vip.key),
        }
    }
}

/// All VIPs are gone: after some sweeps nothing is in use and no record is left.
fn check_empty(plane: &mut MemoryDataplane, store: &MemoryStore) {
    for _ in 0..4 {
        plane.sweep();
    }
    for (table, used, _) in plane.figures().tables {
        assert!(
            used == 0 || table == "egress",
            "{used} entries of {table} are still in use"
        );
    }
    assert_eq!(
        (store.servers(), store.prefixes()),
        (Vec::new(), Vec::new())
    );
    for table in [Table::VipAddrs, Table::Vips, Table::Backends] {
        let words = table.entries(&SIZES) as usize * table.entry_words();
        assert!(
            (0..words).all(|word| store.load(table, word) == 0),
            "{table:?} is not empty"
        );
    }
    for entry in 0..SIZES.flow_sets as usize * WAYS {
        assert_eq!(store.load(Table::Flows, entry), FlowWord::FREE.0);
    }
}
