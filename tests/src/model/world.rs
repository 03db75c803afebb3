//! Instances of two services, the VIP that is bound to one of them, and what
//! happens to all of them.

use anyhow::Result;
use navigator_core::{
    entry::{Rules, parse_instance, parse_vip},
    health::Health,
    model::{OnDown, Order, Vip},
    plan::{
        maglev,
        members::{Candidate, Member, members},
    },
};
use navigator_user::dataplane::{NOBODY, Steering, VipPlan, VipSettings};
use rand::{RngExt as _, rngs::StdRng};
use std::{
    collections::BTreeMap,
    net::{IpAddr, Ipv4Addr, SocketAddr},
    time::Duration,
};

/// Hosts there are.
pub const HOSTS: usize = 40;
/// Those that one service has: the first ones; the other has the last ones, some are in both.
const OF_A_SERVICE: usize = 30;
/// Slots of the VIP's table.
pub const SLOTS: u32 = 16_381;
/// The VIP.
pub const VIP: SocketAddr = SocketAddr::new(IpAddr::V4(Ipv4Addr::new(192, 0, 2, 10)), 443);
const SEED: u64 = 1;

/// What is known of one host.
#[derive(Clone, Copy)]
struct Host {
    registered: bool,
    weight: u16,
    drained: bool,
    health: Health,
    generation: u32,
}

/// Everything that a table depends on.
pub struct World {
    vip: Vip,
    hosts: [Host; HOSTS],
    participants: BTreeMap<usize, Option<Duration>>,
    members: Vec<Member>,
    usable: [bool; HOSTS],
    takes_new: [bool; HOSTS],
    now: Duration,
}

/// A change: what it was, for messages.
pub type Change = String;

impl World {
    /// All healthy.
    ///
    /// # Errors
    /// Never: the VIP is a constant.
    pub fn new() -> Result<Self> {
        let json = format!(
            r#"{{"address":"{}","port":{},"service":"old","slots":{SLOTS},"drain":"10m"}}"#,
            VIP.ip(),
            VIP.port()
        );
        let host = Host {
            registered: true,
            weight: 100,
            drained: false,
            health: Health::Healthy,
            generation: 0,
        };
        Ok(Self {
            vip: parse_vip("/navigator/vips/model", json.as_bytes())?,
            hosts: [host; HOSTS],
            participants: BTreeMap::new(),
            members: Vec::new(),
            usable: [false; HOSTS],
            takes_new: [false; HOSTS],
            now: Duration::ZERO,
        })
    }

    /// Lets something happen: of a hundred changes 20 register or deregister, 20 are weights,
    /// 20 drains begun or ended, 30 deaths and recoveries, 6 a change of `on_down`, 4 another service.
    pub fn change(&mut self, random: &mut StdRng) -> Change {
        let index = random.random_range(0..HOSTS);
        let host = &mut self.hosts[index];
        match random.random_range(0..100) {
            0..20 => {
                host.registered = !host.registered || random.random_bool(0.3);
                format!("host {index}: registered = {}", host.registered)
            }
            20..40 => {
                host.weight = random.random_range(0..4) * 50;
                format!("host {index}: weight {}", host.weight)
            }
            40..60 => {
                host.drained = !host.drained && random.random_bool(0.6);
                format!("host {index}: drained = {}", host.drained)
            }
            60..90 => {
                host.health = match random.random_range(0..10) {
                    0..3 => Health::Unhealthy,
                    3 => Health::Unknown,
                    _ => Health::Healthy,
                };
                format!("host {index}: {:?}", host.health)
            }
            90..96 => {
                self.vip.on_down = match self.vip.on_down {
                    OnDown::Keep => OnDown::Reset,
                    OnDown::Reset => OnDown::Keep,
                };
                format!("on_down = {:?}", self.vip.on_down)
            }
            _ => {
                let other = match self.vip.service.as_str() {
                    "old" => "new",
                    _ => "old",
                };
                if let Ok(service) = other.parse() {
                    self.vip.service = service;
                }
                format!("the VIP moves to service {other}")
            }
        }
    }

    /// Lets one host that is healthy fail and come back: two changes in a row. The first of them.
    pub fn flap(&mut self, random: &mut StdRng) -> usize {
        let index = random.random_range(0..HOSTS);
        self.hosts[index].health = Health::Unhealthy;
        index
    }

    /// The second half of a flap.
    pub fn recover(&mut self, index: usize) {
        self.hosts[index].health = Health::Healthy;
    }

    /// Time passes.
    pub fn pass(&mut self, time: Duration) {
        self.now += time;
    }

    /// The daemon starts again: drains begin anew, who was not usable is forgotten.
    pub fn restart(&mut self) {
        let usable = self.usable;
        self.participants.retain(|&index, _| usable[index]);
        self.participants
            .values_mut()
            .for_each(|since| *since = None);
    }

    /// What the reconciler would apply now.
    ///
    /// # Errors
    /// Never: all entries are well-formed.
    pub fn plan(&mut self) -> Result<VipPlan> {
        self.members = self.judge()?;
        let before = std::mem::replace(&mut self.usable, [false; HOSTS]);
        self.takes_new = [false; HOSTS];
        for member in &self.members {
            if let Some(index) = host_of(member.address) {
                self.usable[index] = member.usable;
                self.takes_new[index] = member.takes_new;
            }
        }
        for (index, host) in self.hosts.iter_mut().enumerate() {
            host.generation += u32::from(before[index] && !self.usable[index]);
        }
        let weighted: Vec<_> = self
            .members
            .iter()
            .filter(|member| member.takes_new)
            .map(|member| (member.address, member.weight))
            .collect();
        let place = |owner: u32| {
            let taker = weighted.get(owner as usize)?;
            let mut places = self.members.iter().zip(0u32..);
            places.find_map(|(member, place)| (member.address == taker.0).then_some(place))
        };
        let places: Vec<u32> = (0..weighted.len() as u32)
            .map(|owner| place(owner).unwrap_or(NOBODY))
            .collect();
        let table = maglev::build(SEED, SLOTS, &weighted);
        Ok(VipPlan {
            vip: VipSettings {
                key: self.vip.key,
                slots: SLOTS,
                mode: self.vip.mode,
                udp: self.vip.udp,
                unserved: self.vip.unserved,
                steering: Steering::default(),
            },
            members: self.members.clone(),
            table: table
                .into_iter()
                .map(|owner| places.get(owner as usize).copied().unwrap_or(NOBODY))
                .collect(),
        })
    }

    fn judge(&mut self) -> Result<Vec<Member>> {
        let mut candidates = Vec::new();
        for index in 0..HOSTS {
            let host = self.hosts[index];
            let registered = self.is_registered(index);
            if registered {
                self.participants.entry(index).or_default();
            }
            let Some(since) = self.participants.get_mut(&index) else {
                continue;
            };
            let drains = !registered || host.drained || host.weight == 0;
            *since = drains.then(|| since.unwrap_or(self.now));
            candidates.push(Candidate {
                registered: match registered {
                    true => Some(instance(self.vip.service.as_str(), index, host.weight)?),
                    false => None,
                },
                address: address(index),
                last_weight: host.weight,
                health: host.health,
                health_why: String::new(),
                order: Order {
                    drain: host.drained,
                    maintenance: false,
                    weight: None,
                },
                unreachable: None,
                draining_since: *since,
            });
        }
        Ok(members(&self.vip, &candidates, self.now))
    }

    fn is_registered(&self, index: usize) -> bool {
        let in_service = match self.vip.service.as_str() {
            "old" => index < OF_A_SERVICE,
            _ => index >= HOSTS - OF_A_SERVICE,
        };
        in_service && self.hosts[index].registered
    }

    /// Whether a host can serve the connections that it has.
    pub const fn is_usable(&self, index: usize) -> bool {
        self.usable[index]
    }

    /// Whether a host takes new connections.
    pub const fn takes_new(&self, index: usize) -> bool {
        self.takes_new[index]
    }

    /// Whether any host does.
    pub fn somebody_takes_new(&self) -> bool {
        self.takes_new.contains(&true)
    }

    /// How often a host stopped being usable: who opened a connection before that has lost it.
    pub const fn generation(&self, index: usize) -> u32 {
        self.hosts[index].generation
    }
}

/// Where a host listens.
pub fn address(index: usize) -> SocketAddr {
    SocketAddr::from(([10, 77, 0, index as u8 + 1], VIP.port()))
}

/// The host that listens there.
pub fn host_of(address: SocketAddr) -> Option<usize> {
    (0..HOSTS).find(|&index| self::address(index) == address)
}

fn instance(service: &str, index: usize, weight: u16) -> Result<navigator_core::model::Instance> {
    let address = address(index);
    let key = format!("/services/{service}/{address}");
    let value = format!(
        r#"{{"name":"{service}","address":"{}","port":{},"weight":{weight}}}"#,
        address.ip(),
        address.port()
    );
    Ok(parse_instance(
        &key,
        value.as_bytes(),
        false,
        &Rules::default(),
    )?)
}
