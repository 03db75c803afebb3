//! Source addresses of NAT flows, and ids that NAT flows name.

use super::{
    cases::plan_for,
    world::{Role, host, key},
};
use crate::dataplane::{
    Dataplane, DataplaneError, VipPlan,
    addresses::{self, Way},
    memory::{MemoryDataplane, MemoryStore},
    nat::{Entries, NatSettings},
    store::{Sizes, Store, Table, vip_word},
};
use navigator_common::{
    maps::ADDR_BUCKETS,
    nat::{NatForward, NatReverse},
    vip::{AddrWord, BUCKET_WAYS, VipWord},
};
use navigator_core::model::{ForwardMode, Ports};
use std::{collections::BTreeMap, net::IpAddr};

const SIZES: Sizes = Sizes {
    slots: 64,
    backends: 8,
    flow_sets: 4,
    nat_flows: 64,
};
const A: usize = 0;
const B: usize = 1;

fn settings(sources: &[&str], own: &[&str]) -> NatSettings {
    NatSettings {
        sources: sources.iter().map(|ip| ip.parse().unwrap()).collect(),
        own: own.iter().map(|ip| ip.parse().unwrap()).collect(),
        ..NatSettings::default()
    }
}

fn open(store: &MemoryStore, sources: &[&str], own: &[&str]) -> MemoryDataplane {
    MemoryDataplane::with_nat(store.clone(), settings(sources, own)).unwrap()
}

/// Every published address with its flags, as the program would find it.
fn published(store: &MemoryStore) -> BTreeMap<IpAddr, u8> {
    let buckets = (0..ADDR_BUCKETS).flat_map(|bucket| {
        (0..BUCKET_WAYS).map(move |way| addresses::read(store, Way { bucket, way }))
    });
    let there = buckets.filter(|(addr, _)| addr.lo != 0);
    there
        .map(|(addr, word)| (addr.into(), word.flags()))
        .collect()
}

fn flags(rows: &[(&str, u8)]) -> BTreeMap<IpAddr, u8> {
    rows.iter()
        .map(|(ip, flags)| (ip.parse().unwrap(), *flags))
        .collect()
}

fn nat(roles: &[(usize, Role)], table: &[u32]) -> VipPlan {
    let mut plan = plan_for(key(0), roles, table);
    plan.vip.mode = ForwardMode::Nat;
    plan
}

#[test]
fn sources_are_published_as_such_and_go_with_the_configuration() {
    let store = MemoryStore::new(SIZES);
    let both = AddrWord::SNAT | AddrWord::PASS_UNSERVED;
    open(&store, &["10.0.0.2", "2001:db8::2"], &["2001:db8::2"]);
    let want = flags(&[("10.0.0.2", AddrWord::SNAT), ("2001:db8::2", both)]);
    assert_eq!(published(&store), want);
    // The next daemon takes them over, and takes out what is no longer configured.
    open(&store, &["10.0.0.2", "2001:db8::2"], &["2001:db8::2"]);
    assert_eq!(published(&store), want);
    open(&store, &["10.0.0.2"], &[]);
    assert_eq!(published(&store), flags(&[("10.0.0.2", AddrWord::SNAT)]));
    open(&store, &[], &[]);
    assert_eq!(published(&store), flags(&[]));
}

#[test]
fn a_source_may_be_a_vips_address_too() {
    let store = MemoryStore::new(SIZES);
    let mut plane = open(&store, &["192.0.2.1"], &[]);
    plane.apply(&nat(&[(A, Role::Active)], &[0, 0])).unwrap();
    assert_eq!(published(&store), flags(&[("192.0.2.1", AddrWord::SNAT)]));
    // Adopted with its VIP, and without the source once that is not configured.
    drop(plane);
    let mut plane = open(&store, &["10.0.0.2"], &[]);
    let want = flags(&[("192.0.2.1", 0), ("10.0.0.2", AddrWord::SNAT)]);
    assert_eq!(published(&store), want);
    drop(plane);
    plane = open(&store, &["192.0.2.1"], &[]);
    plane.remove(&key(0)).unwrap();
    plane.sweep();
    assert_eq!(published(&store), flags(&[("192.0.2.1", AddrWord::SNAT)]));
    let adopted = open(&store, &["192.0.2.1"], &[]).adopted();
    assert_eq!(adopted, []);
}

#[test]
fn what_nat_cannot_serve_is_refused_with_the_cure() {
    let store = MemoryStore::new(SIZES);
    let refused = |plane: &mut MemoryDataplane, plan: &VipPlan| match plane.apply(plan) {
        Err(DataplaneError::Plan { why, .. }) => why,
        other => panic!("{other:?}"),
    };
    let mut plane = open(&store, &["2001:db8::2", "192.0.2.1"], &[]);
    let mut plan = nat(&[(A, Role::Active)], &[0, 0]);
    plan.vip.key.ports = Ports::one(8080);
    let why = refused(&mut plane, &plan);
    assert!(
        why.contains("192.0.2.1") && why.contains("nat.ports (1024-32767)"),
        "{why}"
    );
    drop(plane);
    let mut plane = open(&store, &["2001:db8::2"], &[]);
    let why = refused(&mut plane, &nat(&[(A, Role::Active)], &[0, 0]));
    assert!(
        why.contains("IPv4") && why.contains("nat.addresses"),
        "{why}"
    );
}

#[test]
fn a_nat_vip_opens_no_windows_and_is_adopted_as_one() {
    let store = MemoryStore::new(SIZES);
    let mut plane = open(&store, &["10.0.0.2"], &[]);
    plane
        .apply(&nat(&[(A, Role::Active), (B, Role::Active)], &[0, 1]))
        .unwrap();
    let word = VipWord(store.load(Table::Vips, vip_word(1)));
    assert_eq!(word.flags(), VipWord::NAT);
    let done = plane
        .apply(&nat(&[(A, Role::Draining), (B, Role::Active)], &[1, 1]))
        .unwrap();
    assert_eq!((done.slots_written, done.at_risk), (1, 0));
    drop(plane);
    let adopted = open(&store, &["10.0.0.2"], &[]).adopted();
    assert_eq!(adopted[0].vip.mode, ForwardMode::Nat);
}

#[test]
fn an_id_is_free_when_no_nat_flow_names_it() {
    let store = MemoryStore::new(SIZES);
    let mut plane = open(&store, &["10.0.0.2"], &[]);
    plane
        .apply(&nat(&[(A, Role::Active), (B, Role::Active)], &[0, 1]))
        .unwrap();
    let tables = store.nat_tables();
    let forward = |id: u64| NatForward {
        ports: id << 32,
        ..NatForward::default()
    };
    let reverse = |id: u64| NatReverse {
        ports: id << 32,
        ..NatReverse::default()
    };
    for id in [1, 2] {
        tables.forward.put(id, &forward(id)).unwrap();
        tables.reverse.put(id, &reverse(id)).unwrap();
    }
    plane.apply(&nat(&[(B, Role::Active)], &[0, 0])).unwrap();
    let used = |plane: &MemoryDataplane| plane.figures().tables[1].1;
    assert_eq!(used(&plane), 2);
    for _ in 0..3 {
        plane.sweep();
    }
    assert_eq!(used(&plane), 1);
    let there = [1, 2].map(|id| tables.forward.get(id).unwrap().is_some());
    assert_eq!(
        there,
        [false, true],
        "the flows of {} ended, no others",
        host(A)
    );
    let there = [1, 2].map(|id| tables.reverse.get(id).unwrap().is_some());
    assert_eq!(there, [false, true]);
}
