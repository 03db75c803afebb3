//! Windows that close, and slots that come to rest again.

use super::world::{Role, host, key, member, port};
use crate::dataplane::{
    Dataplane, NOBODY, Steering, VipPlan, VipSettings, WindowFigures,
    memory::{MemoryDataplane, MemoryStore},
    store::{Sizes, Store, Table, flow_entry},
};
use navigator_common::{
    flow::{FlowWord, TIME_UNIT, WAYS, tag, time},
    slot::{EPOCH_UNITS, Slot},
};
use navigator_core::model::{ForwardMode, UdpPolicy, UnservedPolicy, VipKey};
use std::{collections::BTreeSet, net::SocketAddr};

const SIZES: Sizes = Sizes {
    slots: 100,
    backends: 16,
    flow_sets: 16,
    nat_flows: 1,
};
/// Units of time in the default window, 130 minutes, as long as it may stay open.
const WINDOW: u32 = 7265 + 2 * EPOCH_UNITS;
const SLOTS: u32 = 4;

const A: usize = 0;
const B: usize = 1;
const C: usize = 2;

struct World {
    plane: MemoryDataplane,
    store: MemoryStore,
}

impl World {
    /// Nothing yet.
    fn new() -> Self {
        let store = MemoryStore::new(SIZES);
        let plane = MemoryDataplane::adopt_from(store.clone());
        Self { plane, store }
    }

    /// All four slots were A's; then B got the first two.
    fn handed_over() -> Self {
        let mut world = Self::new();
        world.apply([A, A, A, A]);
        world.apply([B, B, A, A]);
        world
    }

    /// Gives the slots to these; everybody stays usable. Ids are 1 for A, 2 for B, 3 for C.
    fn apply(&mut self, owners: [usize; SLOTS as usize]) {
        self.plane.apply(&plan(key(0), owners)).unwrap();
    }

    fn slots(&self) -> Vec<Slot> {
        (0..SLOTS as usize)
            .map(|word| Slot(self.store.load(Table::Slots, word)))
            .collect()
    }

    fn open(&self) -> Vec<bool> {
        self.slots().into_iter().map(Slot::is_at_risk).collect()
    }

    fn tracked(&self) -> Vec<bool> {
        self.slots().into_iter().map(Slot::is_tracked).collect()
    }

    /// The program remembers a flow of `slot`, established, in set `set`.
    fn remember(&self, set: u32, way: usize, slot: u32, id: u32) {
        let hash = ((u64::from(slot) << 32).div_ceil(SLOTS.into()) + 1) << 32 | u64::from(set);
        let at = flow_entry(set, way);
        let word = FlowWord::new(tag(hash), id, true, time(self.store.now()));
        self.store.store(Table::Flows, at, word.0);
    }

    fn remembers(&self, set: u32, way: usize) -> bool {
        self.store.load(Table::Flows, flow_entry(set, way)) != FlowWord::FREE.0
    }

    fn sweeps(&mut self, count: usize) {
        (0..count).for_each(|_| self.plane.sweep());
    }

    fn restart(&mut self) {
        self.plane = MemoryDataplane::adopt_from(self.store.clone());
    }

    fn figures(&self) -> WindowFigures {
        self.plane.figures().windows
    }
}

fn plan(vip: VipKey, owners: [usize; SLOTS as usize]) -> VipPlan {
    let address = |index| SocketAddr::new(host(index), port(&vip));
    VipPlan {
        vip: VipSettings {
            key: vip,
            slots: SLOTS,
            mode: ForwardMode::L2,
            udp: UdpPolicy::Sticky,
            unserved: UnservedPolicy::Drop,
            steering: Steering::default(),
        },
        members: [A, B, C]
            .map(|index| member(address(index), Role::Active))
            .into(),
        table: owners
            .map(|owner| u32::try_from(owner).unwrap_or(NOBODY))
            .into(),
    }
}

#[test]
fn a_window_closes_after_its_time_and_the_slot_rests() {
    let mut world = World::handed_over();
    world.store.pass_time(WINDOW - 3 * EPOCH_UNITS);
    world.sweeps(2);
    assert_eq!(world.open(), [true, true, false, false]);
    assert!(world.figures().oldest_seconds > 7700);
    world.store.pass_time(3 * EPOCH_UNITS);
    world.sweeps(1);
    assert_eq!(world.slots()[..2], [Slot::steady(2); 2]);
    let figures = world.figures();
    assert_eq!((figures.closed, figures.closed_early), (2, 0));
    assert_eq!((figures.settled, figures.oldest_seconds), (2, 0));
}

#[test]
fn a_flow_that_leads_elsewhere_keeps_its_slot_tracked_until_it_is_forgotten() {
    let mut world = World::handed_over();
    world.store.pass_time(WINDOW);
    world.remember(1, 0, 0, 1);
    world.sweeps(1);
    assert_eq!(world.open(), [false; 4]);
    assert_eq!(world.tracked(), [true, false, false, false]);
    assert!(world.remembers(1, 0));
    world.store.pass_time(WINDOW + 3 * TIME_UNIT);
    world.sweeps(31);
    assert_eq!(world.tracked(), [false; 4]);
    assert!(!world.remembers(1, 0), "expired, and of no use");
}

#[test]
fn flows_that_lead_where_their_slot_leads_are_forgotten_unless_it_is_at_risk() {
    let mut world = World::handed_over();
    world.remember(1, 0, 0, 2); // at risk
    world.remember(2, 0, 2, 1); // at rest, its owner's
    world.apply([B, A, A, A]); // the second slot's window closes: its owner came back
    world.remember(3, 0, 1, 1); // its owner's
    world.remember(4, 0, 1, 2); // of the owner in between
    world.sweeps(1);
    let left = [1, 2, 3, 4].map(|set| world.remembers(set, 0));
    assert_eq!(left, [true, false, false, true]);
    assert_eq!(world.tracked(), [true, true, false, false]);
}

#[test]
fn a_slot_that_changes_during_a_pass_is_no_candidate() {
    let mut world = World::handed_over();
    world.store.pass_time(WINDOW);
    world.plane.close_windows();
    world.plane.go_on_with_pass(8, &BTreeSet::new());
    assert_eq!(world.tracked(), [true, true, false, false]);
    // From B to C and back: in between, a flow of C was remembered where the pass has been.
    world.apply([C, B, A, A]);
    world.remember(1, 0, 0, 3);
    world.apply([B, B, A, A]);
    assert_eq!(world.open(), [false; 4]);
    world.plane.go_on_with_pass(8, &BTreeSet::new());
    assert_eq!(world.tracked(), [true, false, false, false]);
    world.sweeps(31);
    assert_eq!(world.tracked(), [true, false, false, false]);
    assert!(world.remembers(1, 0));
}

#[test]
fn a_second_change_does_not_begin_a_window_anew() {
    let mut world = World::handed_over();
    world.store.pass_time(WINDOW / 2);
    world.apply([C, B, C, A]);
    world.store.pass_time(WINDOW / 2 + EPOCH_UNITS);
    world.sweeps(1);
    assert_eq!(world.open(), [false, false, true, false]);
}

#[test]
fn a_full_cache_closes_the_oldest_windows_and_counts_them() {
    let mut world = World::handed_over();
    world.store.pass_time(600);
    world.apply([B, B, C, A]);
    world.store.pass_time(100);
    world.apply([B, B, C, C]);
    // A quarter of the sets is full of established flows that matter.
    for entry in 0..4 * WAYS {
        world.remember((entry / WAYS) as u32, entry % WAYS, 0, 1);
    }
    world.sweeps(1);
    assert_eq!(world.open(), [false, false, true, true]);
    assert_eq!(world.figures().closed_early, 2);
    // What that frees is awaited, then the next ones go; the youngest is kept for a minute.
    world.sweeps(1);
    assert_eq!(world.open(), [false, false, false, true]);
    world.sweeps(3);
    assert_eq!(world.open(), [false, false, false, true]);
    assert_eq!(world.figures().closed_early, 3);
    assert!((0..4 * WAYS).all(|entry| world.remembers((entry / WAYS) as u32, entry % WAYS)));
    assert_eq!(world.tracked(), [true, false, false, true]);
}

#[test]
fn a_cache_with_room_closes_nothing_early() {
    let mut world = World::handed_over();
    world.store.pass_time(600);
    for entry in 0..3 * WAYS {
        world.remember((entry / WAYS) as u32, entry % WAYS, 0, 1);
    }
    world.sweeps(3);
    assert_eq!(world.open(), [true, true, false, false]);
    assert_eq!(world.figures().closed_early, 0);
}

#[test]
fn the_age_of_a_window_outlives_the_daemon() {
    let mut world = World::handed_over();
    world.store.pass_time(WINDOW / 2);
    world.restart();
    world.apply([B, B, A, A]);
    world.store.pass_time(WINDOW / 2 - 3 * EPOCH_UNITS);
    world.sweeps(1);
    assert_eq!(world.open(), [true, true, false, false]);
    world.store.pass_time(4 * EPOCH_UNITS);
    world.restart();
    world.sweeps(1);
    assert_eq!(world.open(), [false; 4]);
}

/// Left by a program whose epochs only counted, or by a daemon that was away for longer than an
/// epoch can tell.
#[test]
fn a_window_of_unknown_age_starts_again() {
    for damage in [
        |store: &MemoryStore| store.store(Table::Meta, 7, 0),
        |store: &MemoryStore| store.pass_time(u32::from(Slot::EPOCHS / 5 * 4) * EPOCH_UNITS),
    ] {
        let mut world = World::handed_over();
        world.store.pass_time(WINDOW + EPOCH_UNITS);
        damage(&world.store);
        world.restart();
        world.sweeps(1);
        assert_eq!(world.open(), [true, true, false, false]);
        world.store.pass_time(WINDOW + EPOCH_UNITS);
        world.sweeps(1);
        assert_eq!(world.open(), [false; 4]);
    }
}

#[test]
fn flows_of_a_sticky_vip_are_kept() {
    let mut world = World::new();
    world.plane.apply(&plan(key(2), [A; 4])).unwrap();
    world.remember(1, 0, 0, 1);
    world.plane.apply(&plan(key(2), [B; 4])).unwrap();
    world.remember(1, 1, 0, 2);
    world.apply([A; 4]);
    world.apply([B; 4]);
    world.store.pass_time(WINDOW / 2);
    world.apply([A; 4]);
    world.sweeps(1);
    assert!(world.remembers(1, 0) && world.remembers(1, 1));
    assert_eq!(world.open(), [false; 4]);
}
