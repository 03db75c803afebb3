//! Cases that a reader should know one by one.

use super::{
    reader::Run,
    world::{Role, hop, host, key, member, port},
};
use crate::dataplane::{
    Dataplane, DataplaneError, NOBODY, Steering, VipPlan, VipSettings,
    memory::{MemoryDataplane, MemoryStore},
    store::{Sizes, Store, Table},
};
use navigator_common::{flow::FlowWord, reason::Traffic, slot::Slot};
use navigator_core::model::{ForwardMode, Protocol, UdpPolicy, UnservedPolicy, VipKey};
use std::net::SocketAddr;

const SIZES: Sizes = Sizes {
    slots: 100,
    backends: 8,
    flow_sets: 16,
    nat_flows: 1,
};

const A: usize = 0;
const B: usize = 1;

pub(super) fn plan_for(vip: VipKey, roles: &[(usize, Role)], table: &[u32]) -> VipPlan {
    let address = |index| SocketAddr::new(host(index), port(&vip));
    VipPlan {
        vip: VipSettings {
            key: vip,
            slots: table.len() as u32,
            mode: ForwardMode::L2,
            udp: UdpPolicy::Rehash,
            unserved: UnservedPolicy::Drop,
            steering: Steering::default(),
        },
        members: roles
            .iter()
            .map(|&(index, role)| member(address(index), role))
            .collect(),
        table: table.to_vec(),
    }
}

fn web(roles: &[(usize, Role)], table: &[u32]) -> VipPlan {
    plan_for(key(0), roles, table)
}

fn slots(store: &MemoryStore, count: usize) -> Vec<Slot> {
    (0..count)
        .map(|word| Slot(store.load(Table::Slots, word)))
        .collect()
}

fn plane() -> (MemoryDataplane, MemoryStore) {
    let store = MemoryStore::new(SIZES);
    (MemoryDataplane::adopt_from(store.clone()), store)
}

#[test]
fn a_drained_backend_keeps_its_old_flows_and_gets_no_new_ones() {
    let (mut plane, store) = plane();
    plane
        .apply(&web(&[(A, Role::Active), (B, Role::Active)], &[0, 1, 0]))
        .unwrap();
    let done = plane
        .apply(&web(&[(A, Role::Draining), (B, Role::Active)], &[1, 1, 1]))
        .unwrap();
    assert_eq!((done.slots_written, done.at_risk), (2, 2));
    let table = slots(&store, 3);
    assert_eq!((table[0].current(), table[0].previous()), (2, 1));
    assert!(table[0].is_at_risk() && table[2].is_at_risk());
    assert_eq!(table[1], Slot::steady(2));
    assert_eq!(table[0].epoch(), table[2].epoch());
}

#[test]
fn a_dead_backend_leaves_no_window() {
    let (mut plane, store) = plane();
    plane
        .apply(&web(&[(A, Role::Active), (B, Role::Active)], &[0, 1]))
        .unwrap();
    let done = plane
        .apply(&web(&[(A, Role::Dead), (B, Role::Active)], &[1, 1]))
        .unwrap();
    assert_eq!((done.slots_written, done.at_risk), (1, 0));
    assert_eq!(slots(&store, 2), [Slot::steady(2), Slot::steady(2)]);
}

#[test]
fn udp_follows_the_table_without_windows() {
    let (mut plane, store) = plane();
    let dns = |roles: &[_], table: &[_]| plan_for(key(2), roles, table);
    plane
        .apply(&dns(&[(A, Role::Active), (B, Role::Active)], &[0, 1]))
        .unwrap();
    plane
        .apply(&dns(&[(A, Role::Draining), (B, Role::Active)], &[1, 1]))
        .unwrap();
    assert_eq!(slots(&store, 2), [Slot::steady(2), Slot::steady(2)]);
}

#[test]
fn the_same_plan_again_writes_nothing() {
    let (mut plane, store) = plane();
    let plan = web(&[(A, Role::Draining), (B, Role::Active)], &[1, 1, NOBODY]);
    plane.apply(&web(&[(A, Role::Active)], &[0, 0, 0])).unwrap();
    plane.apply(&plan).unwrap();
    store.journal();
    assert_eq!(plane.apply(&plan).unwrap().slots_written, 0);
    assert_eq!(store.journal(), []);
}

#[test]
fn slots_are_fixed_for_life_and_the_old_table_stays() {
    let (mut plane, store) = plane();
    plane.apply(&web(&[(A, Role::Active)], &[0, 0, 0])).unwrap();
    store.journal();
    let refused = plane.apply(&web(&[(A, Role::Active)], &[0, 0, 0, 0, 0]));
    assert!(
        matches!(refused, Err(DataplaneError::Fixed { .. })),
        "{refused:?}"
    );
    assert_eq!(store.journal(), []);
}

#[test]
fn contradicting_plans_are_refused() {
    let (mut plane, _) = plane();
    let mut short = web(&[(A, Role::Active)], &[0, 0]);
    short.vip.slots = 3;
    let stranger = web(&[(A, Role::Active)], &[0, 1]);
    let idle = web(&[(A, Role::Draining)], &[0, 0]);
    let twice = web(&[(A, Role::Active), (A, Role::Active)], &[0, 0]);
    let mut anycast = web(&[(A, Role::Active)], &[0]);
    anycast.vip.key = VipKey::new("2001:db8::".parse().unwrap(), Protocol::Tcp, 80);
    for plan in [short, stranger, idle, twice, anycast] {
        let refused = plane.apply(&plan);
        assert!(
            matches!(refused, Err(DataplaneError::Plan { .. })),
            "{plan:?}: {refused:?}"
        );
    }
    assert!(plane.figures().vips.is_empty());
}

#[test]
fn a_full_table_refuses_one_vip_and_says_what_to_do() {
    let (mut plane, store) = plane();
    plane.apply(&web(&[(A, Role::Active)], &[0; 60])).unwrap();
    store.journal();
    let error = plane
        .apply(&plan_for(key(1), &[(A, Role::Active)], &[0; 60]))
        .unwrap_err();
    assert!(error.to_string().contains("limits.slots"), "{error}");
    let writes = store.journal();
    assert_eq!(writes, []);
    let figures = plane.figures();
    assert_eq!(figures.tables[0], ("slots", 60, 100));
    assert_eq!(figures.tables[1], ("backends", 1, 7));
}

#[test]
fn what_is_on_its_way_out_makes_room_when_room_is_needed() {
    let (mut plane, _) = plane();
    for round in 0..20 {
        let plan = plan_for(
            key(round % 3),
            &[(A, Role::Active), (B, Role::Active)],
            &[0; 60],
        );
        plane.apply(&plan).unwrap();
        plane.remove(&plan.vip.key).unwrap();
    }
}

#[test]
fn a_backend_id_waits_for_its_flows() {
    let (mut plane, store) = plane();
    plane
        .apply(&web(&[(A, Role::Active), (B, Role::Active)], &[0, 1]))
        .unwrap();
    store.store(Table::Flows, 11, FlowWord::new(77, 1, true, 0).0);
    plane.apply(&web(&[(B, Role::Active)], &[0, 0])).unwrap();
    plane.sweep();
    assert_eq!(
        store.load(Table::Flows, 11),
        0,
        "the flow of a backend that is gone is forgotten"
    );
    assert_eq!(plane.figures().tables[1], ("backends", 2, 7));
    plane.sweep();
    assert_eq!(plane.figures().tables[1], ("backends", 2, 7));
    plane.sweep();
    assert_eq!(plane.figures().tables[1], ("backends", 1, 7));
}

#[test]
fn a_tunnel_with_another_source_keeps_slots_flows_and_figures() {
    let (mut plane, store) = plane();
    let tunnelled = |roles: &[_], table: &[_]| {
        let mut plan = web(roles, table);
        plan.vip.mode = ForwardMode::Ipip;
        plan
    };
    plane.set_next_hop(host(A), Some(hop(A, 0))).unwrap();
    plane
        .apply(&tunnelled(&[(A, Role::Active)], &[0, 0]))
        .unwrap();
    store.add_traffic(
        1,
        Traffic {
            packets: 5,
            bytes: 300,
            ..Traffic::default()
        },
    );
    store.store(Table::Flows, 11, FlowWord::new(77, 1, true, 9).0);

    plane.set_next_hop(host(A), Some(hop(A, 1))).unwrap();
    assert_eq!(slots(&store, 2), [Slot::steady(2), Slot::steady(2)]);
    plane.sweep();
    assert_eq!(
        FlowWord(store.load(Table::Flows, 11)),
        FlowWord::new(77, 2, true, 9)
    );
    let backend = &plane.figures().vips[0].backends[0];
    assert_eq!((backend.slots, backend.packets, backend.bytes), (2, 5, 300));
}

#[test]
fn an_id_whose_heir_is_gone_serves_nobody() {
    let (mut plane, store) = plane();
    let first = web(&[(A, Role::Active)], &[0, 0]);
    let mut other_mode = first.clone();
    other_mode.vip.mode = ForwardMode::Ipip;
    plane.apply(&first).unwrap();
    plane.apply(&other_mode).unwrap();
    let state = |id| {
        navigator_common::backend::BackendWord(
            store.load(Table::Backends, crate::dataplane::store::backend_word(id)),
        )
        .state()
    };
    assert_eq!(state(1), state(2), "remembered flows still name the old id");
    assert_ne!(state(1), 0);
    plane.remove(&first.vip.key).unwrap();
    assert_eq!((state(1), state(2)), (0, 0));
    let again = MemoryDataplane::adopt_from(store.clone());
    assert_eq!(again.adopted(), []);
}

#[test]
fn a_tunnel_whose_hop_comes_late_keeps_its_id() {
    let (mut plane, store) = plane();
    let mut plan = web(&[(A, Role::Active)], &[0, 0]);
    plan.vip.mode = ForwardMode::Ipip;
    plane.apply(&plan).unwrap();
    assert!(!plane.figures().vips[0].backends[0].reachable);
    plane.set_next_hop(host(A), Some(hop(A, 0))).unwrap();
    assert!(plane.figures().vips[0].backends[0].reachable);
    assert_eq!(slots(&store, 2), [Slot::steady(1), Slot::steady(1)]);
}

#[test]
fn pass_wins_among_the_vips_of_an_address() {
    let (mut plane, store) = plane();
    let flag = |store: &MemoryStore| {
        let words = 0..Table::VipAddrs.entries(&SIZES) as usize * 16;
        let values = words
            .filter(|word| word % 16 >= 11)
            .map(|word| store.load(Table::VipAddrs, word));
        values.fold(0, |all, value| all | value >> 40 & 0xff)
    };
    let mut passing = plan_for(key(1), &[], &[NOBODY]);
    passing.vip.unserved = UnservedPolicy::Pass;
    plane.apply(&web(&[], &[NOBODY])).unwrap();
    assert_eq!(flag(&store), 0);
    plane.apply(&passing).unwrap();
    assert_eq!(flag(&store), 1);
    plane.remove(&passing.vip.key).unwrap();
    assert_eq!(flag(&store), 0);
}

#[test]
fn damaged_words_are_taken_out_and_the_rest_is_kept() {
    let (mut plane, store) = plane();
    plane.apply(&web(&[(A, Role::Active)], &[0, 0])).unwrap();
    plane
        .apply(&plan_for(key(3), &[(B, Role::Active)], &[0, 0]))
        .unwrap();
    // The first VIP's slots name a backend of the second, and its entry claims too many slots.
    store.store(Table::Slots, 1, Slot::steady(2).0);
    store.store(Table::Vips, 2 * 8 + 1, u64::MAX);
    drop(plane);
    let plane = MemoryDataplane::adopt_from(store.clone());
    let adopted = plane.adopted();
    assert_eq!(adopted.len(), 1);
    assert_eq!(adopted[0].vip.key, key(0));
    assert_eq!(adopted[0].backends[0].slots, 1);
    assert_eq!(Slot(store.load(Table::Slots, 1)), Slot::EMPTY);
}

/// What is taken out is not used again under a run that still goes by it.
#[test]
fn a_run_that_was_overtaken_does_not_end_at_another_vip() {
    let [here, there] = [key(0), key(3)];
    for steps in 0..9 {
        let (mut plane, store) = plane();
        plane.set_next_hop(host(A), Some(hop(A, 0))).unwrap();
        plane.set_next_hop(host(B), Some(hop(B, 0))).unwrap();
        plane
            .apply(&plan_for(here, &[(A, Role::Active)], &[0]))
            .unwrap();
        let mut run = Run::new(here, 0);
        let early = (0..steps).find_map(|_| run.advance(&store));
        plane.remove(&here).unwrap();
        plane
            .apply(&plan_for(there, &[(B, Role::Active)], &[0]))
            .unwrap();
        early.unwrap_or_else(|| run.finish(&store)).check(&here);
    }
}

#[test]
fn a_run_that_knows_the_old_port_table_finds_nothing_foreign_there() {
    let (here, there) = (key(0), key(3));
    for steps in 0..9 {
        let (mut plane, store) = plane();
        plane
            .apply(&plan_for(here, &[(A, Role::Active)], &[0]))
            .unwrap();
        let mut run = Run::new(here, 0);
        let early = (0..steps).find_map(|_| run.advance(&store));
        // A second port needs a larger table; then another address takes one of the old size.
        plane
            .apply(&plan_for(key(1), &[(A, Role::Active)], &[0]))
            .unwrap();
        plane
            .apply(&plan_for(there, &[(B, Role::Active)], &[0]))
            .unwrap();
        early.unwrap_or_else(|| run.finish(&store)).check(&here);
    }
}
