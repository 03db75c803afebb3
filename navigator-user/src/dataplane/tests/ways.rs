//! The ways out: VLAN devices, what is known of a path, and what a daemon that comes later
//! makes of them.

use super::world::{Role, hop, host, key, member, port};
use crate::dataplane::{
    Dataplane, NextHop, Steering, VipPlan, VipSettings,
    memory::{MemoryDataplane, MemoryStore},
    store::{Sizes, Store, Table, backend_path, backend_word},
};
use navigator_common::{
    backend::{BackendWord, PathWord},
    egress::EgressWord,
    mac,
};
use navigator_core::model::{ForwardMode, UdpPolicy, UnservedPolicy};
use std::net::SocketAddr;

const SIZES: Sizes = Sizes {
    slots: 100,
    backends: 8,
    flow_sets: 16,
    nat_flows: 1,
};

/// A device, and a VLAN device above it (see [`MemoryStore`]).
const DEVICE: u32 = 7;
const VLAN: u16 = 77;
const VLAN_DEVICE: u32 = VLAN as u32 * 1000 + DEVICE;

fn plan(roles: &[Role]) -> VipPlan {
    let vip = key(0);
    let members = roles.iter().enumerate().map(|(index, role)| {
        let address = SocketAddr::new(host(index), port(&vip));
        member(address, *role)
    });
    VipPlan {
        vip: VipSettings {
            key: vip,
            slots: 1,
            mode: ForwardMode::L2,
            udp: UdpPolicy::Rehash,
            unserved: UnservedPolicy::Drop,
            steering: Steering::default(),
        },
        members: members.collect(),
        table: vec![0],
    }
}

fn by(ifindex: u32, index: usize) -> Option<NextHop> {
    Some(NextHop {
        ifindex,
        ..hop(index, 0)
    })
}

fn word(store: &MemoryStore, id: u32) -> BackendWord {
    BackendWord(store.load(Table::Backends, backend_word(id)))
}

fn egress(store: &MemoryStore, id: u32) -> (Option<u32>, EgressWord) {
    let index = word(store, id).egress();
    let word = EgressWord(store.load(Table::Egress, index as usize));
    (store.device(index as u8), word)
}

#[test]
fn a_vlan_device_is_the_device_below_it_and_a_tag() {
    let store = MemoryStore::new(SIZES);
    let mut plane = MemoryDataplane::adopt_from(store.clone());
    plane.apply(&plan(&[Role::Active; 2])).unwrap();
    plane.set_next_hop(host(0), by(DEVICE, 0)).unwrap();
    plane.set_next_hop(host(1), by(VLAN_DEVICE, 1)).unwrap();
    let (device, untagged) = egress(&store, 1);
    assert_eq!((device, untagged.vlan()), (Some(DEVICE), None));
    let (device, tagged) = egress(&store, 2);
    assert_eq!((device, tagged.vlan()), (Some(DEVICE), Some(VLAN)));
    let own = store.device_mac(VLAN_DEVICE).unwrap();
    assert_eq!(tagged.mac_word(), mac::to_word(own));
    assert_ne!(word(&store, 1).egress(), word(&store, 2).egress());
}

#[test]
fn a_later_daemon_takes_over_tagged_and_untagged_ways() {
    let store = MemoryStore::new(SIZES);
    let mut plane = MemoryDataplane::adopt_from(store.clone());
    plane.apply(&plan(&[Role::Active; 2])).unwrap();
    let hops = [(host(0), by(VLAN_DEVICE, 0)), (host(1), by(DEVICE, 1))];
    for (host, hop) in hops {
        plane.set_next_hop(host, hop).unwrap();
    }
    let before = [1, 2].map(|id| (word(&store, id), egress(&store, id)));
    drop(plane);
    let mut plane = MemoryDataplane::adopt_from(store.clone());
    store.journal();
    for (host, hop) in hops {
        plane.set_next_hop(host, hop).unwrap();
    }
    assert_eq!(store.journal(), []);
    assert_eq!(
        [1, 2].map(|id| (word(&store, id), egress(&store, id))),
        before
    );
}

#[test]
fn the_program_sends_untagged_by_a_vlan_device_that_it_is_attached_to() {
    let store = MemoryStore::new(SIZES);
    let mut plane = MemoryDataplane::adopt_from(store.clone());
    let local = plane.keep_interface(VLAN_DEVICE).unwrap();
    plane.apply(&plan(&[Role::Active])).unwrap();
    plane.set_next_hop(host(0), by(VLAN_DEVICE, 0)).unwrap();
    assert_eq!(word(&store, 1).egress(), u32::from(local));
    let (device, word) = egress(&store, 1);
    assert_eq!((device, word.vlan()), (Some(VLAN_DEVICE), None));
}

#[test]
fn what_is_known_of_a_way_comes_and_goes_with_it_and_not_with_the_state() {
    let store = MemoryStore::new(SIZES);
    let mut plane = MemoryDataplane::adopt_from(store.clone());
    plane.apply(&plan(&[Role::Active])).unwrap();
    let path = || PathWord(store.load(Table::Backends, backend_path(1))).mtu();
    let on_link = || word(&store, 1).is_on_link();
    assert_eq!((path(), on_link()), (0, false));
    let near = NextHop {
        mtu: 1500,
        on_link: true,
        ..hop(0, 0)
    };
    plane.set_next_hop(host(0), Some(near)).unwrap();
    assert_eq!((path(), on_link()), (1500, true));
    let drained = VipPlan {
        table: vec![1],
        ..plan(&[Role::Draining, Role::Active])
    };
    plane.apply(&drained).unwrap();
    assert!(!word(&store, 1).takes_new() && word(&store, 1).is_usable());
    assert_eq!((path(), on_link()), (1500, true));
    let far = NextHop {
        mtu: 1400,
        on_link: false,
        ..near
    };
    plane.set_next_hop(host(0), Some(far)).unwrap();
    assert_eq!((path(), on_link()), (1400, false));
    plane.set_next_hop(host(0), None).unwrap();
    assert_eq!((path(), on_link()), (0, false));
}
