//! Random lives of a VIP, seen by its connections: instances come, go, get other weights,
//! drain, fall sick and recover, the VIP moves to another service, windows close, the daemon
//! starts again. Whatever the order, a connection whose backend can serve it never moves.
//!
//! Everything but the packets is the real planner; of the XDP program there is a model here,
//! which remembers as many flows as it likes.

use super::{
    maglev::{self, NOBODY},
    members::{Candidate, Member, members},
    transition::{Change, SlotState, change},
};
use crate::{
    entry::parse_vip,
    health::Health,
    model::{CheckKind, CheckSpec, Instance, InstanceKey, Order, Vip},
};
use proptest::prelude::*;
use std::{collections::BTreeMap, net::SocketAddr, time::Duration};

const SLOTS: usize = 251;
/// The first half is registered under the first service, the others under the second.
const INSTANCES: usize = 8;
/// For how many seconds a window stays open.
const WINDOW: u64 = 7800;

#[derive(Clone, Copy, Debug)]
enum Step {
    Register(usize, bool),
    Weight(usize, u16),
    Drain(usize, bool),
    Health(usize, Health),
    MoveVip,
    /// So many seconds pass.
    Time(u64),
    /// What the flow cache holds is looked through.
    Pass,
    Restart,
    /// New connections.
    Open(u8),
    /// This part of all connections sends a segment.
    Send(u8),
}

fn step() -> impl Strategy<Value = Step> {
    let instance = || 0..INSTANCES;
    prop_oneof![
        3 => (instance(), prop::bool::weighted(0.7)).prop_map(|(i, on)| Step::Register(i, on)),
        2 => (instance(), 0u16..400).prop_map(|(i, weight)| Step::Weight(i, weight)),
        2 => (instance(), any::<bool>()).prop_map(|(i, on)| Step::Drain(i, on)),
        4 => (instance(), 0..4).prop_map(|(i, health)| Step::Health(i, match health {
            0 => Health::Unhealthy,
            1 => Health::Unknown,
            _ => Health::Healthy,
        })),
        1 => Just(Step::MoveVip),
        3 => (1..WINDOW).prop_map(Step::Time),
        3 => Just(Step::Pass),
        1 => Just(Step::Restart),
        6 => (1u8..40).prop_map(Step::Open),
        8 => (1u8..4).prop_map(Step::Send),
    ]
}

/// One instance, whatever service it is registered under.
#[derive(Clone, Copy)]
struct Host {
    registered: bool,
    weight: u16,
    drained: bool,
    health: Health,
}

/// A connection that is alive at its backend.
struct Connection {
    slot: usize,
    home: SocketAddr,
    /// Where the program remembers that it goes.
    memory: Option<SocketAddr>,
    last_seen: u64,
}

struct World {
    vip: Vip,
    hosts: [Host; INSTANCES],
    /// Who takes part or took part, and since when it drains.
    participants: BTreeMap<usize, Option<u64>>,
    members: Vec<Member>,
    slots: Vec<SlotState<SocketAddr>>,
    opened: Vec<u64>,
    connections: Vec<Connection>,
    now: u64,
    random: u64,
}

proptest! {
    #![proptest_config(ProptestConfig { cases: 48, ..ProptestConfig::default() })]

    #[test]
    fn no_connection_whose_backend_can_serve_it_moves(steps in prop::collection::vec(step(), 1..120), seed: u64, reset: bool) {
        let mut world = World::new(seed, reset);
        for step in steps {
            world.take(step);
        }
    }
}

impl World {
    fn new(seed: u64, reset: bool) -> Self {
        let on_down = if reset { "reset" } else { "keep" };
        let json = format!(
            r#"{{"address":"192.0.2.1","port":80,"service":"a","slots":{SLOTS},"drain":"20m","on_down":"{on_down}"}}"#
        );
        let host = Host {
            registered: true,
            weight: 100,
            drained: false,
            health: Health::Healthy,
        };
        let mut world = Self {
            vip: parse_vip("/navigator/vips/web", json.as_bytes()).unwrap(),
            hosts: [host; INSTANCES],
            participants: BTreeMap::new(),
            members: Vec::new(),
            slots: vec![SlotState::default(); SLOTS],
            opened: vec![0; SLOTS],
            connections: Vec::new(),
            now: 0,
            random: seed | 1,
        };
        world.plan();
        world
    }

    fn random(&mut self, below: usize) -> usize {
        self.random ^= self.random << 13;
        self.random ^= self.random >> 7;
        self.random ^= self.random << 17;
        (self.random % below as u64) as usize
    }

    fn take(&mut self, step: Step) {
        match step {
            Step::Register(i, on) => self.hosts[i].registered = on,
            Step::Weight(i, weight) => self.hosts[i].weight = weight,
            Step::Drain(i, on) => self.hosts[i].drained = on,
            Step::Health(i, health) => self.hosts[i].health = health,
            Step::MoveVip => {
                let other = if self.vip.service.as_str() == "a" {
                    "b"
                } else {
                    "a"
                };
                self.vip.service = other.parse().unwrap();
            }
            Step::Time(seconds) => self.let_time_pass(seconds),
            Step::Pass => self.look_through_memory(),
            // Its drains begin again, and it does not know who served nobody.
            Step::Restart => {
                let usable: Vec<_> = self
                    .members
                    .iter()
                    .filter(|m| m.usable)
                    .map(|m| m.address)
                    .collect();
                self.participants
                    .retain(|&i, _| usable.contains(&address(i)));
                self.participants
                    .values_mut()
                    .for_each(|since| *since = None);
            }
            Step::Open(count) => (0..count).for_each(|_| self.open()),
            Step::Send(part) => self.send(part.into()),
        }
        self.plan();
    }

    /// What the reconciler does after every event.
    fn plan(&mut self) {
        let registered: Vec<usize> = (0..INSTANCES).filter(|&i| self.registered(i)).collect();
        for i in registered {
            self.participants.entry(i).or_default();
        }
        let now = self.now;
        let hosts = self.hosts;
        let service = self.vip.service.clone();
        let own: Vec<bool> = (0..INSTANCES).map(|i| self.registered(i)).collect();
        let candidates: Vec<Candidate> = self
            .participants
            .iter_mut()
            .map(|(&i, since)| {
                let host = hosts[i];
                let drains = !own[i] || host.drained || host.weight == 0;
                *since = drains.then(|| since.unwrap_or(now));
                let key = InstanceKey {
                    service: service.clone(),
                    address: address(i),
                };
                Candidate {
                    registered: own[i].then(|| instance(key, host.weight)),
                    address: address(i),
                    last_weight: host.weight,
                    health: host.health,
                    health_why: String::new(),
                    order: Order {
                        drain: host.drained,
                        maintenance: false,
                        weight: None,
                    },
                    draining_since: since.map(Duration::from_secs),
                    unreachable: None,
                }
            })
            .collect();
        self.members = members(&self.vip, &candidates, Duration::from_secs(now));
        let weighted: Vec<_> = self
            .members
            .iter()
            .filter(|m| m.takes_new)
            .map(|m| (m.address, m.weight))
            .collect();
        let table = maglev::build(1, SLOTS as u32, &weighted);
        for (index, owner) in table.into_iter().enumerate() {
            let owner = (owner != NOBODY).then(|| weighted[owner as usize].0);
            let old = self.slots[index];
            let new = change(old, Change::Owner(owner), |b| self.is_usable(b));
            if new.at_risk && !old.at_risk {
                self.opened[index] = now;
            }
            self.slots[index] = new;
        }
        // Nothing is promised any more to whom its backend cannot serve.
        let (usable, gone): (Vec<_>, Vec<_>) = std::mem::take(&mut self.connections)
            .into_iter()
            .partition(|c| self.is_usable(c.home));
        drop(gone);
        self.connections = usable;
    }

    fn registered(&self, i: usize) -> bool {
        let service = if i < INSTANCES / 2 { "a" } else { "b" };
        self.hosts[i].registered && self.vip.service.as_str() == service
    }

    fn member(&self, address: SocketAddr) -> Option<&Member> {
        self.members.iter().find(|member| member.address == address)
    }

    fn is_usable(&self, address: SocketAddr) -> bool {
        self.member(address).is_some_and(|member| member.usable)
    }

    fn let_time_pass(&mut self, seconds: u64) {
        self.now += seconds;
        let now = self.now;
        for (slot, opened) in self.slots.iter_mut().zip(&self.opened) {
            if slot.at_risk && now - opened > WINDOW {
                *slot = change(*slot, Change::WindowOver, |_| true);
            }
        }
        // Nor to whom was silent for longer than a window.
        self.connections.retain(|c| now - c.last_seen <= WINDOW);
    }

    /// Forgets what has no effect, and finds slots of which nothing is left.
    fn look_through_memory(&mut self) {
        for index in 0..SLOTS {
            let slot = self.slots[index];
            if slot.at_risk {
                continue;
            }
            let mut matters = false;
            for connection in self.connections.iter_mut().filter(|c| c.slot == index) {
                connection.memory = connection.memory.filter(|&b| Some(b) != slot.current);
                matters |= connection.memory.is_some();
            }
            if !matters {
                self.slots[index] = change(slot, Change::NothingRemembered, |_| true);
            }
        }
    }

    fn open(&mut self) {
        let slot = self.random(SLOTS);
        let (to, memory) = self.program(slot, None, true);
        let serving = self.members.iter().any(|m| m.takes_new);
        assert_eq!(
            to.is_some(),
            serving,
            "a new connection goes to whoever takes it"
        );
        if let Some(home) = to {
            assert!(self.member(home).is_some_and(|m| m.takes_new));
            let last_seen = self.now;
            self.connections.push(Connection {
                slot,
                home,
                memory,
                last_seen,
            });
        }
    }

    /// Every `part`th connection on average sends a segment, which must arrive where it is at home.
    fn send(&mut self, part: usize) {
        for index in 0..self.connections.len() {
            if self.random(part) > 0 {
                continue;
            }
            let Connection {
                slot, home, memory, ..
            } = self.connections[index];
            let (to, memory) = self.program(slot, memory, false);
            assert_eq!(
                to,
                Some(home),
                "slot {slot}: {:?}, memory {memory:?}",
                self.slots[slot]
            );
            self.connections[index].memory = memory;
            self.connections[index].last_seen = self.now;
        }
    }

    /// What the XDP program does: where a packet goes, and what is remembered then.
    fn program(
        &self,
        slot: usize,
        memory: Option<SocketAddr>,
        opens: bool,
    ) -> (Option<SocketAddr>, Option<SocketAddr>) {
        let slot = self.slots[slot];
        if !slot.tracked {
            return (slot.current, memory);
        }
        let serves = |b: &SocketAddr| {
            self.member(*b)
                .is_some_and(|m| if opens { m.takes_new } else { m.usable })
        };
        if let Some(known) = memory.filter(serves) {
            return (Some(known), memory);
        }
        let previous = slot
            .previous
            .filter(|&b| !opens && slot.at_risk && self.is_usable(b));
        let to = previous.or(slot.current);
        (
            to,
            if slot.at_risk || memory.is_some() {
                to
            } else {
                None
            },
        )
    }
}

fn address(i: usize) -> SocketAddr {
    SocketAddr::from(([10, 0, 0, i as u8 + 1], 80))
}

fn instance(key: InstanceKey, weight: u16) -> Instance {
    Instance {
        key,
        weight,
        check: CheckSpec {
            kind: CheckKind::None,
            port: None,
            interval: None,
            timeout: None,
            rise: None,
            fall: None,
        },
        leased: false,
        labels: BTreeMap::new(),
    }
}
