//! The memory of flows in tracked slots: sets of eight entries in a cache line, shared
//! by all CPUs, without a lock: see `navigator_common::flow`.

use crate::{
    atomic::exchange,
    clock,
    cold::cold,
    count, globals,
    maps::{FLOWS, load},
    parse::{Flow, Kind},
    select::{self, Chosen},
    trace::Observer,
};
use navigator_common::{
    backend::BackendInfo,
    flow::{FlowSet, FlowWord, WAYS, own_way, tag, time},
    reason::{Event, Reason},
    slot::{NO_BACKEND, Slot},
    vip::{PortWord, Vip, VipWord},
};

/// The backend of a packet of `flow` in a slot whose flows may be remembered, by `hash`. `flags`
/// are the VIP's: under affinity a client is remembered, and what it opens does not move it.
#[inline(always)]
pub(crate) fn recall(
    flow: &Flow,
    hash: u64,
    slot: Slot,
    vip: &Vip,
    flags: u16,
    observer: &impl Observer,
) -> Result<Chosen, Reason> {
    let now = time(clock::now());
    let opens = flow.transport.is(Kind::Opens);
    let quoted = flow.transport.is(Kind::Quoted);
    let asks_anew = opens && flags & VipWord::AFFINITY == 0;
    let tag = tag(hash);
    let set = FLOWS
        .get_ptr_mut(hash as u32 & globals::flow_set_mask())
        .ok_or_else(|| cold(Reason::DropCorrupt))?;

    let known = find(set, tag);
    if let Some((place, word)) = known
        && let Some(chosen) = remembered(word, vip, asks_anew)
    {
        if !quoted {
            refresh(place, word, opens, now);
        }
        count::event(Event::FlowHit);
        observer.event(Event::FlowHit);
        return Ok(chosen);
    }

    let target = if opens {
        select::current(slot)?
    } else {
        owner_of_older(slot)?
    };
    if quoted {
        return Ok(target);
    }
    let new = FlowWord::new(tag, target.id, false, now);
    let place = match known {
        Some(known) => Some(known),
        None if slot.is_at_risk() || flags & VipWord::TRACK_ALL != 0 => victim(set, tag, now),
        None => return Ok(target),
    };
    let outcome = remember(place, new);
    count::event(outcome);
    observer.event(outcome);
    if opens && outcome != Event::FlowRemembered {
        return Ok(takes_over(slot).unwrap_or(target));
    }
    Ok(target)
}

/// The backend of a remembered flow, if it may still have this packet. One of another VIP is
/// another flow's, which happens to have the same set and tag.
#[inline(always)]
fn remembered(word: FlowWord, vip: &Vip, opens: bool) -> Option<Chosen> {
    let chosen = select::by_id(word.backend())?;
    let serves = if opens {
        chosen.word.takes_new()
    } else {
        chosen.word.is_usable()
    };
    let of = BackendInfo::unpack(chosen.backend.info).vip;
    (serves && u32::from(of) == PortWord(vip.port).vip()).then_some(chosen)
}

/// The backend of a flow that is older than the window and not remembered.
#[inline(always)]
fn owner_of_older(slot: Slot) -> Result<Chosen, Reason> {
    if slot.is_at_risk()
        && slot.previous() != NO_BACKEND
        && let Some(previous) = select::by_id(slot.previous())
        && previous.word.is_usable()
    {
        return Ok(previous);
    }
    select::current(slot)
}

/// The backend of a new flow that cannot be remembered: later segments will go to
/// `previous`, so the first one goes there as well, if that takes it.
#[inline(always)]
fn takes_over(slot: Slot) -> Option<Chosen> {
    if !slot.is_at_risk() || slot.previous() == NO_BACKEND {
        return None;
    }
    select::by_id(slot.previous()).filter(|previous| previous.word.takes_new())
}

/// The entry of a flow, and what it says.
#[inline(always)]
fn find(set: *mut FlowSet, tag: u32) -> Option<(*mut u64, FlowWord)> {
    let own = entry(set, own_way(tag));
    if own.1.tag() == tag {
        return Some(own);
    }
    for way in 0..WAYS {
        let other = entry(set, way);
        if other.1.tag() == tag {
            return Some(other);
        }
    }
    None
}

/// Notes that a remembered flow was seen, if that says something new. The word is replaced only
/// if it still is the one that was read: another CPU may have given the entry to another flow.
#[inline(always)]
fn refresh(place: *mut u64, word: FlowWord, opens: bool, now: u32) {
    let established = word.is_established() || !opens;
    if established != word.is_established() || word.age(now) != 0 {
        let seen = FlowWord::new(word.tag(), word.backend(), established, now);
        // SAFETY: an aligned word of a live set.
        unsafe { exchange(place, word.0, seen.0) };
    }
}

/// Puts a flow into an entry, if that still says what was read there.
#[inline(always)]
fn remember(place: Option<(*mut u64, FlowWord)>, new: FlowWord) -> Event {
    match place {
        None => Event::FlowSetFull,
        // SAFETY: an aligned word of a live set.
        Some((place, old)) if unsafe { exchange(place, old.0, new.0) } => Event::FlowRemembered,
        Some(_) => Event::FlowLostRace,
    }
}

/// The entry that a new flow may take: its own if that is free, else a free one, else one that
/// outlived its time, else the embryonic one that was silent for longest.
#[inline(always)]
fn victim(set: *mut FlowSet, tag: u32, now: u32) -> Option<(*mut u64, FlowWord)> {
    let own = entry(set, own_way(tag));
    if own.1 == FlowWord::FREE {
        return Some(own);
    }
    let mut best = None;
    let mut best_rank = 0;
    for way in 0..WAYS {
        let (place, word) = entry(set, way);
        let rank = rank(word, now);
        if rank > best_rank {
            best = Some((place, word));
            best_rank = rank;
        }
    }
    best
}

/// How gladly an entry is given up; 0 for never.
#[inline(always)]
fn rank(word: FlowWord, now: u32) -> u64 {
    if word == FlowWord::FREE {
        u64::MAX
    } else if word.is_expired(now, globals::flow_lifetime()) {
        u64::MAX - 1
    } else if word.is_established() {
        0
    } else {
        1 + u64::from(word.age(now))
    }
}

/// An entry of the set, and what stands there.
#[inline(always)]
fn entry(set: *mut FlowSet, way: usize) -> (*mut u64, FlowWord) {
    // SAFETY: `way` is below `WAYS`, so the entry lies in the set, a live map value.
    unsafe {
        let place = &raw mut (*set).ways[way % WAYS];
        (place, FlowWord(load(&*place)))
    }
}
