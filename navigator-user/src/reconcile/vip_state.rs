//! One VIP as the loop knows it: who took part and since when who drains, the
//! table that was built, what was applied.

use super::{health_book::HealthBook, ways::Ways};
use crate::dataplane::{AdoptedVip, NOBODY, Steering, VipPlan, VipSettings};
use navigator_core::{
    catalog::Catalog,
    model::{DEFAULT_WEIGHT, Instance, InstanceKey, Order, ServerId, Vip},
    plan::members::{Candidate, Member, State, members},
};
use std::{
    collections::{BTreeMap, HashMap},
    net::{IpAddr, SocketAddr},
    sync::Arc,
    time::Duration,
};

/// Instances that take new flows, with their weights, in the order of their addresses.
pub(super) type Weighted = Vec<(SocketAddr, u16)>;

/// A slot table and what it was built for.
#[derive(Clone)]
pub(super) struct Table {
    pub(super) weighted: Weighted,
    /// For each slot an index into `weighted`, or [`NOBODY`].
    pub(super) owners: Arc<[u32]>,
}

/// An instance that takes part or took part.
struct Participant {
    last_weight: u16,
    draining_since: Option<Duration>,
    /// What it wrote into its QUIC connection ids when it was last registered.
    server_ids: Vec<ServerId>,
}

pub(super) struct VipState {
    pub(super) vip: Vip,
    participants: BTreeMap<SocketAddr, Participant>,
    members: Vec<Member>,
    table: Option<Table>,
    planning: Option<Weighted>,
    applied: Option<VipPlan>,
    /// When it opens at the latest; `None` once it did.
    opens_by: Option<Duration>,
    /// The earlier daemon had somebody to serve it; counts until it is applied anew.
    adopted_serving: bool,
    /// When a plan that failed is tried again.
    retry_at: Option<Duration>,
    problem: String,
    /// A number of slots that was asked for and cannot be had.
    slots_refused: Option<u32>,
}

/// How long a plan that could not be applied waits.
const RETRY: Duration = Duration::from_secs(5);

/// An address with its new `takes_new` and `usable`.
pub(super) type StateChange = (SocketAddr, bool, bool);

impl VipState {
    /// A VIP that nobody planned yet. One that was adopted forwards already: it opens at once,
    /// and what its maps hold are its participants.
    pub(super) fn new(vip: Vip, adopted: Option<AdoptedVip>, opens_by: Duration) -> Self {
        let opens_by = adopted.is_none().then_some(opens_by);
        let fixed_slots = adopted.as_ref().map(|adopted| adopted.vip.slots);
        let adopted_serving = adopted
            .iter()
            .flat_map(|vip| &vip.backends)
            .any(|backend| backend.takes_new);
        let server_ids: Vec<(ServerId, SocketAddr)> = adopted
            .iter()
            .flat_map(|adopted| adopted.vip.steering.server_ids.iter().copied())
            .collect();
        let participant = |address: SocketAddr| Participant {
            last_weight: DEFAULT_WEIGHT,
            draining_since: None,
            server_ids: server_ids
                .iter()
                .filter(|(_, owner)| *owner == address)
                .map(|(id, _)| *id)
                .collect(),
        };
        let participants = adopted
            .into_iter()
            .flat_map(|adopted| adopted.backends)
            .filter(|backend| backend.usable)
            .map(|backend| (backend.address, participant(backend.address)))
            .collect();
        let mut state = Self {
            vip,
            participants,
            members: Vec::new(),
            table: None,
            planning: None,
            applied: None,
            opens_by,
            adopted_serving,
            retry_at: None,
            problem: String::new(),
            slots_refused: None,
        };
        if let Some(slots) = fixed_slots {
            state.keep_slots(slots);
        }
        state
    }

    /// Takes over a new version of the VIP; true if something changed.
    pub(super) fn change(&mut self, vip: Vip) -> bool {
        let old = std::mem::replace(&mut self.vip, vip);
        let refused = self.slots_refused.take();
        self.keep_slots(old.slots);
        self.vip != old || self.slots_refused != refused
    }

    /// The table of a VIP that is in the maps keeps its size, whatever is asked for.
    fn keep_slots(&mut self, slots: u32) {
        let asked = std::mem::replace(&mut self.vip.slots, slots);
        self.slots_refused = (asked != slots).then_some(asked);
    }

    /// Looks at every instance anew; returns the members whose flags changed.
    pub(super) fn refresh(
        &mut self,
        catalog: &Catalog,
        health: &HealthBook,
        ways: &Ways,
        now: Duration,
    ) -> Vec<StateChange> {
        let candidates = self.candidates(catalog, health, ways, now);
        let members = members(&self.vip, &candidates, now);
        if let Some(deadline) = self.opens_by {
            let waiting = members.iter().any(|member| member.state == State::Unknown);
            if !waiting || now >= deadline {
                self.opens_by = None;
            }
        }
        let old: HashMap<_, _> = self
            .members
            .iter()
            .map(|m| (m.address, (m.takes_new, m.usable)))
            .collect();
        let changed = members
            .iter()
            .filter(|m| {
                old.get(&m.address)
                    .is_some_and(|flags| *flags != (m.takes_new, m.usable))
            })
            .map(|m| (m.address, m.takes_new, m.usable))
            .collect();
        self.members = members;
        self.forget_departed(&candidates);
        changed
    }

    fn candidates(
        &mut self,
        catalog: &Catalog,
        health: &HealthBook,
        ways: &Ways,
        now: Duration,
    ) -> Vec<Candidate> {
        let registered = catalog.services().get(&self.vip.service);
        for (address, instance) in registered.into_iter().flatten() {
            let participant = self.participants.entry(*address).or_insert(Participant {
                last_weight: 0,
                draining_since: None,
                server_ids: Vec::new(),
            });
            participant.last_weight = instance.weight;
            participant.server_ids = instance.server_ids();
        }
        let (service, mode) = (self.vip.service.clone(), self.vip.mode);
        let candidate = |(address, participant): (&SocketAddr, &mut Participant)| {
            let instance = registered.and_then(|instances| instances.get(address));
            let key = InstanceKey {
                service: service.clone(),
                address: *address,
            };
            let order = catalog.order(&key);
            participant.note_drain(drains(instance, &order), now);
            let record = health.of(&key);
            Candidate {
                registered: instance.cloned(),
                address: *address,
                last_weight: participant.last_weight,
                health: record.health,
                health_why: record.detail,
                unreachable: ways.obstacle(mode, address.ip()),
                order,
                draining_since: participant.draining_since,
            }
        };
        self.participants.iter_mut().map(candidate).collect()
    }

    /// Who is not registered any more and holds no flows takes no part any more.
    fn forget_departed(&mut self, candidates: &[Candidate]) {
        for candidate in candidates
            .iter()
            .filter(|candidate| candidate.registered.is_none())
        {
            let holds_flows =
                |member: &Member| member.address == candidate.address && member.usable;
            if !self.members.iter().any(holds_flows) {
                self.participants.remove(&candidate.address);
                self.members
                    .retain(|member| member.address != candidate.address);
            }
        }
    }

    /// Whether it may be planned: its first verdicts are in, or were waited for long enough.
    pub(super) fn is_open(&self) -> bool {
        self.opens_by.is_none()
    }

    /// Whether passing time alone may change it.
    pub(super) fn has_deadline(&self) -> bool {
        !self.is_open()
            || self.retry_at.is_some()
            || self
                .participants
                .values()
                .any(|p| p.draining_since.is_some())
    }

    /// Whether it is in the maps and somebody takes new flows.
    pub(super) fn serves(&self) -> bool {
        self.applied.as_ref().map_or(self.adopted_serving, |plan| {
            plan.members.iter().any(|member| member.takes_new)
        })
    }

    /// Who must own the slots.
    pub(super) fn wanted(&self) -> Weighted {
        self.members
            .iter()
            .filter(|m| m.takes_new)
            .map(|m| (m.address, m.weight))
            .collect()
    }

    pub(super) fn table_fits(&self, wanted: &Weighted) -> bool {
        self.table
            .as_ref()
            .is_some_and(|table| table.weighted == *wanted)
    }

    /// Notes that a table is being built; false if one is already: the next is begun when that is done.
    pub(super) fn begin_planning(&mut self, wanted: &Weighted) -> bool {
        let idle = self.planning.is_none();
        if idle {
            self.planning = Some(wanted.clone());
        }
        idle
    }

    /// Takes a table that was built, if it is the one that was begun: it may have been begun for
    /// a VIP of the same address that was removed meanwhile.
    pub(super) fn end_planning(&mut self, table: Table) {
        let begun = self.planning.as_ref() == Some(&table.weighted);
        if begun && table.owners.len() == self.vip.slots as usize {
            self.planning = None;
            self.table = Some(table);
        }
    }

    /// What must be applied at `now`, unless just that is applied already or failed a moment ago.
    pub(super) fn unapplied(&self, now: Duration) -> Option<VipPlan> {
        if self.retry_at.is_some_and(|at| now < at) {
            return None;
        }
        let plan = self.to_apply()?;
        let same = self
            .applied
            .as_ref()
            .is_some_and(|applied| writes_the_same(applied, &plan));
        (!same).then_some(plan)
    }

    fn to_apply(&self) -> Option<VipPlan> {
        let table = self.table.as_ref()?;
        let index: HashMap<_, _> = self
            .members
            .iter()
            .zip(0u32..)
            .map(|(m, i)| (m.address, i))
            .collect();
        let owner =
            |(address, _): &(SocketAddr, u16)| index.get(address).copied().unwrap_or(NOBODY);
        let owners: Vec<u32> = table.weighted.iter().map(owner).collect();
        let slot = |slot: &u32| owners.get(*slot as usize).copied().unwrap_or(NOBODY);
        Some(VipPlan {
            vip: VipSettings {
                key: self.vip.key,
                slots: self.vip.slots,
                mode: self.vip.mode,
                udp: self.vip.udp,
                unserved: self.vip.unserved,
                steering: Steering {
                    affinity: self.vip.affinity,
                    quic: self.vip.quic,
                    server_ids: self.server_ids().0,
                },
            },
            members: self.members.clone(),
            table: table.owners.iter().map(slot).collect(),
        })
    }

    /// The server ids of usable instances, where QUIC asks for some; and what is wrong with them.
    fn server_ids(&self) -> (Vec<(ServerId, SocketAddr)>, Vec<String>) {
        let mut owners = BTreeMap::new();
        let mut problems = Vec::new();
        for member in self.members.iter().filter(|member| member.usable) {
            let own = self.participants.get(&member.address);
            let ids = own
                .into_iter()
                .flat_map(|own| own.server_ids.iter().copied());
            for id in ids.filter(|id| self.vip.quic.has_length(id.length())) {
                let owner = *owners.entry(id).or_insert(member.address);
                if owner != member.address {
                    problems.push(format!(
                        "instances {owner} and {} both have QUIC server id {id}: only the first gets \
                         packets by it; give each instance its own",
                        member.address
                    ));
                }
            }
        }
        (owners.into_iter().collect(), problems)
    }

    pub(super) fn applied(&mut self, plan: VipPlan) {
        self.problem.clear();
        self.retry_at = None;
        self.applied = Some(plan);
    }

    /// Notes why a plan could not be applied; true if that is news.
    pub(super) fn failed(&mut self, problem: String, now: Duration) -> bool {
        self.retry_at = Some(now + RETRY);
        let news = self.problem != problem;
        self.problem = problem;
        news
    }

    /// Whether what is in the maps is what was last planned for it.
    pub(super) fn is_settled(&self) -> bool {
        self.is_open() && self.is_applied() && self.planning.is_none()
    }

    pub(super) fn is_applied(&self) -> bool {
        self.applied.is_some()
    }

    /// What is wrong with it, for people; empty if nothing is.
    pub(super) fn problem(&self) -> String {
        let refused = self.slots_refused.map(|asked| {
            format!(
                "slots stay {} ({asked} are asked for): the number is fixed for a VIP's life; \
                 remove the VIP and add it again if its connections may break",
                self.vip.slots
            )
        });
        let failed = (!self.problem.is_empty()).then(|| self.problem.clone());
        let (_, of_servers) = self.server_ids();
        let all: Vec<_> = failed
            .into_iter()
            .chain(refused)
            .chain(of_servers)
            .collect();
        all.join("; ")
    }

    pub(super) fn members(&self) -> &[Member] {
        &self.members
    }

    /// The hosts that must be reachable, and those of which it must be known when they are again.
    pub(super) fn hosts(&self) -> impl Iterator<Item = IpAddr> {
        self.members
            .iter()
            .filter(|m| m.usable || m.takes_new || m.state == State::Unreachable)
            .map(|m| m.address.ip())
    }

    /// Whether an instance on this host is a member.
    pub(super) fn has_host(&self, host: IpAddr) -> bool {
        self.members.iter().any(|m| m.address.ip() == host)
    }
}

/// Whether two plans lead to the same words in the maps: reasons and weights do not show there.
fn writes_the_same(a: &VipPlan, b: &VipPlan) -> bool {
    let flags = |plan: &VipPlan| -> Vec<_> {
        plan.members
            .iter()
            .map(|member| (member.address, member.takes_new, member.usable))
            .collect()
    };
    a.vip == b.vip && a.table == b.table && flags(a) == flags(b)
}

impl Participant {
    fn note_drain(&mut self, drains: bool, now: Duration) {
        self.draining_since = match (drains, self.draining_since) {
            (false, _) => None,
            (true, since) => since.or(Some(now)),
        };
    }
}

/// Whether an instance gets no new flows because somebody wanted it so.
fn drains(instance: Option<&Instance>, order: &Order) -> bool {
    instance.is_none_or(|instance| order.drain || order.weight.unwrap_or(instance.weight) == 0)
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used, reason = "a test may stop where it stands")]
    use super::*;
    use navigator_core::entry::parse_vip;

    #[test]
    fn a_table_that_was_built_for_a_removed_vip_is_not_taken() {
        let json = br#"{"address":"192.0.2.1","port":80,"service":"web","slots":1009}"#;
        let vip = parse_vip("/navigator/vips/web", json).unwrap();
        let mut state = VipState::new(vip, None, Duration::ZERO);
        let wanted: Weighted = vec![(([10, 0, 0, 1], 80).into(), 100)];
        let built = |slots: usize, weighted: &Weighted| Table {
            weighted: weighted.clone(),
            owners: vec![0; slots].into(),
        };
        state.end_planning(built(1009, &wanted));
        assert!(!state.table_fits(&wanted), "none was begun");
        assert!(state.begin_planning(&wanted));
        state.end_planning(built(2003, &wanted));
        state.end_planning(built(1009, &Vec::new()));
        assert!(!state.table_fits(&wanted) && !state.begin_planning(&wanted));
        state.end_planning(built(1009, &wanted));
        assert!(state.table_fits(&wanted) && state.begin_planning(&wanted));
    }
}
