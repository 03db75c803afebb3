//! A pass: one look at every remembered flow, some sets a sweep.
//!
//! It does three things. It takes flows off backend ids that are on their way
//! out. It forgets flows whose memory has no effect: a flow that leads where
//! its slot leads anyway, and the slot is not at risk. And it finds the slots
//! of which no other flow is left: they are at rest again.
//!
//! Why that is safe while the program runs (docs/decisions/002 says more): a
//! grace period passes before each part of a pass, so that no packet is under
//! way that knows an older version of any slot that this part looks at. A flow
//! of a slot that is known to be closed is never put into the cache, only
//! changed there, to the slot's owner. And a slot whose word is written while
//! a pass is under way is no candidate of it any more.

use super::{
    apply::vip_flags,
    backends::Fate,
    plane::{Plane, VipEntry},
    slots::slot,
    store::{Store, Table, flow_entry},
    sweep::Garbage,
    windows::Bits,
};
use navigator_common::{
    flow::{self, FlowWord, WAYS},
    slot::{NO_BACKEND, slot_index},
    vip::VipWord,
};
use navigator_core::plan::transition::Change;
use std::collections::{BTreeSet, HashMap, HashSet};

/// Sets of the flow cache that one sweep looks at: 4 MiB of it, 1 to 2 ms.
pub(super) const SETS_PER_SWEEP: u32 = 1 << 16;

/// Sweeps from the end of a pass to the next, unless somebody waits for it.
const REST: u32 = 30;

/// A pass that is under way.
#[derive(Default)]
pub(super) struct Pass {
    next_set: u32,
    /// Ids that are on their way out and that no slot names, in order.
    leaving: Vec<u32>,
    /// Those of them that some flow named.
    found: HashSet<u32>,
}

/// Who a backend id is, as far as a pass cares.
#[derive(Clone, Copy, Default)]
struct Who {
    /// Its place among the VIPs.
    vip: Option<u32>,
    /// The id that its instance has now, or it itself.
    heir: u32,
    leaving: bool,
}

/// What is to be done about an entry of the cache.
enum Verdict {
    Keep,
    Forget,
    /// It leads elsewhere than its slot does: the slot of this VIP stays tracked.
    Matters(u32, u32),
    HandOver(u32),
}

impl<S: Store> Plane<S> {
    /// Whether a pass is under way or due.
    pub(super) fn wants_pass(&self) -> bool {
        self.pass.is_some()
            || self.unslotted().next().is_some()
            || self.windows.awaits_pass()
            || self.resting == 0 && self.vips.values().any(|vip| vip.windows.tracked() > 0)
    }

    /// Ids on their way out that no slot names.
    pub(super) fn unslotted(&self) -> impl Iterator<Item = u32> {
        let retired = self.backends.retired().iter().copied();
        retired.filter(|&id| {
            let entry = self.backends.get(id);
            entry.is_some_and(|e| e.current == 0 && e.previous == 0)
        })
    }

    /// Does a part of the pass that is due, `sets` of the flow cache. A grace period was just
    /// waited for, and no slot was written since. `named` are ids that something else than slots
    /// and remembered flows may name.
    pub(super) fn go_on_with_pass(&mut self, sets: u32, named: &BTreeSet<u32>) {
        let mut pass = match self.pass.take() {
            Some(pass) => pass,
            None if self.wants_pass() => self.begin_pass(),
            None => return,
        };
        let all = self.store.sizes().flow_sets;
        let end = all.min(pass.next_set.saturating_add(sets));
        self.look_at(pass.next_set, end, &mut pass);
        pass.next_set = end;
        if end < all {
            self.pass = Some(pass);
        } else {
            self.end_pass(&pass, named);
        }
    }

    fn begin_pass(&mut self) -> Pass {
        self.windows.passes += 1;
        for vip in self.vips.values_mut() {
            vip.settling = if vip.windows.tracked() == 0 {
                Bits::default()
            } else {
                Bits::of(vip.settings.slots, |index| {
                    let slot = slot(&self.store, vip, index);
                    slot.is_tracked() && !slot.is_at_risk()
                })
            };
        }
        Pass {
            leaving: self.unslotted().collect(),
            ..Pass::default()
        }
    }

    fn look_at(&mut self, from: u32, to: u32, pass: &mut Pass) {
        let who = self.who(pass);
        let now = flow::time(self.store.now());
        let vips: Vec<_> = self.vips.values().collect();
        let mut matter = Vec::new();
        for at in (from..to).flat_map(|set| (0..WAYS).map(move |way| flow_entry(set, way))) {
            let word = FlowWord(self.store.load(Table::Flows, at));
            if word == FlowWord::FREE {
                continue;
            }
            let Some(&known) = who.get(word.backend() as usize) else {
                continue;
            };
            match self.judge(word, known, &vips, &who, now) {
                Verdict::Keep => {}
                // A lost race is no loss: somebody else has the entry, or it is found again.
                Verdict::Forget => {
                    _ = self
                        .store
                        .exchange(Table::Flows, at, word.0, FlowWord::FREE.0);
                }
                Verdict::Matters(vip, index) => matter.push((vip, index)),
                Verdict::HandOver(heir) => {
                    pass.found.insert(word.backend());
                    let new = match heir {
                        NO_BACKEND => FlowWord::FREE,
                        heir => word.at(heir),
                    };
                    _ = self.store.exchange(Table::Flows, at, word.0, new.0);
                }
            }
        }
        let mut vips: Vec<_> = self.vips.values_mut().collect();
        for (vip, index) in matter {
            vips[vip as usize].settling.clear(index);
        }
    }

    fn judge(
        &self,
        word: FlowWord,
        known: Who,
        vips: &[&VipEntry],
        who: &[Who],
        now: u32,
    ) -> Verdict {
        if known.leaving {
            return Verdict::HandOver(known.heir);
        }
        let Some(place) = known.vip else {
            return Verdict::Keep;
        };
        let vip = vips[place as usize];
        let flags = vip_flags(&vip.settings);
        if flags & VipWord::TRACK_ALL != 0 {
            return Verdict::Keep;
        }
        let index = slot_index(u64::from(word.tag()) << 32, vip.settings.slots);
        let slot = slot(&self.store, vip, index);
        let owner = who.get(slot.current() as usize);
        let leads_there = owner.is_some_and(|owner| owner.heir == known.heir);
        let expired = word.is_expired(now, self.windows.lifetime());
        if slot.is_at_risk() {
            Verdict::Keep
        } else if leads_there || expired || flags & VipWord::FOLLOW_TABLE != 0 {
            Verdict::Forget
        } else {
            Verdict::Matters(place, index)
        }
    }

    /// Who every backend id is, by id.
    fn who(&self, pass: &Pass) -> Vec<Who> {
        let places: HashMap<_, _> = self.vips.keys().zip(0u32..).collect();
        let mut who = Vec::new();
        for (id, entry) in self.backends.iter() {
            let leaving = pass.leaving.binary_search(&id).is_ok();
            let heir = self.backends.heir(id);
            who.resize(id as usize, Who::default());
            who.push(Who {
                vip: places.get(&entry.vip).copied(),
                heir: heir.unwrap_or(if leaving { NO_BACKEND } else { id }),
                leaving,
            });
        }
        who
    }

    fn end_pass(&mut self, pass: &Pass, named: &BTreeSet<u32>) {
        self.resting = REST;
        for id in &pass.leaving {
            let Some(entry) = self.backends.get_mut(*id) else {
                continue;
            };
            if let Fate::Retired { swept, .. } = &mut entry.fate {
                let clean = *swept && !pass.found.contains(id) && !named.contains(id);
                *swept = true;
                if clean {
                    self.backends.bury(*id);
                    self.limbo.push(Garbage::Backend(*id));
                }
            }
        }
        let (store, backends) = (&self.store, &mut self.backends);
        for vip in self.vips.values_mut() {
            for index in std::mem::take(&mut vip.settling).iter() {
                let change = Change::NothingRemembered;
                let settled = Self::change_slot(store, backends, vip, index, change);
                self.windows.figures.settled += u64::from(settled);
            }
        }
    }
}
