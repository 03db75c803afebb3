//! The memory of flows in tracked slots: 64-byte sets of four entries, shared
//! by all CPUs, without a lock. How an entry is claimed and published:
//! `navigator_common::flow`.

use crate::{
    cold::cold,
    count, globals,
    maps::{FLOWS, load},
    parse::{Flow, Kind},
    select::{self, Chosen},
    trace::Observer,
};
use aya_ebpf::helpers::generated::bpf_ktime_get_coarse_ns;
use core::intrinsics::{AtomicOrdering, atomic_cxchg};
use navigator_common::{
    flow::{BUSY, FREE, FlowEntry, FlowSet, FlowWord, RENEWAL, WAYS, coarse_time, fingerprint},
    reason::{Event, Reason},
    slot::{NO_BACKEND, Slot},
    vip::VipWord,
};

/// The backend of a packet of `flow` in a slot whose flows may be remembered, by `hash`. `flags`
/// are the VIP's: under affinity a client is remembered, and what it opens does not move it.
#[inline(always)]
pub(crate) fn recall(
    flow: &Flow,
    hash: u64,
    slot: Slot,
    flags: u16,
    observer: &impl Observer,
) -> Result<Chosen, Reason> {
    // SAFETY: the helper takes no argument.
    let now = coarse_time(unsafe { bpf_ktime_get_coarse_ns() });
    let opens = flow.transport.is(Kind::Opens);
    let track_all = flags & VipWord::TRACK_ALL != 0;
    let asks_anew = opens && flags & VipWord::AFFINITY == 0;
    let fingerprint = fingerprint(hash);
    let set = FLOWS
        .get_ptr_mut(hash as u32 & globals::flow_set_mask())
        .ok_or_else(|| cold(Reason::DropCorrupt))?;

    let known = find(set, fingerprint);
    if let Some((entry, word)) = known
        && let Some(chosen) = remembered(word, asks_anew)
    {
        if !flow.transport.is(Kind::Quoted) {
            refresh(entry, word, opens, now);
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
    if flow.transport.is(Kind::Quoted) {
        return Ok(target);
    }
    let new = FlowWord::new(target.id, false, now);
    let outcome = match known {
        Some((entry, old)) => replace(entry, old, new),
        None if slot.is_at_risk() || track_all => remember(set, fingerprint, new, now),
        None => return Ok(target),
    };
    count::event(outcome);
    observer.event(outcome);
    if opens && outcome != Event::FlowRemembered {
        return Ok(takes_over(slot).unwrap_or(target));
    }
    Ok(target)
}

/// The backend of a remembered flow, if it may still have this packet.
#[inline(always)]
fn remembered(word: FlowWord, opens: bool) -> Option<Chosen> {
    let chosen = select::by_id(word.backend())?;
    let serves = if opens {
        chosen.word.takes_new()
    } else {
        chosen.word.is_usable()
    };
    serves.then_some(chosen)
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
fn find(set: *mut FlowSet, fingerprint: u64) -> Option<(*mut FlowEntry, FlowWord)> {
    for way in 0..WAYS {
        let entry = entry(set, way);
        // SAFETY: an entry of the live set.
        let (print, word) = unsafe { (&(*entry).fingerprint, &(*entry).word) };
        if load(print) == fingerprint {
            let word = FlowWord(load(word));
            // Another CPU may have given the entry to another flow in between; then the word is
            // that one's, and perhaps of another VIP.
            return (load(print) == fingerprint).then_some((entry, word));
        }
    }
    None
}

/// Notes that a remembered flow was seen, if that says something new. The word is replaced only
/// if it still is the one that was read: another CPU may have given the entry to another flow.
#[inline(always)]
fn refresh(entry: *mut FlowEntry, word: FlowWord, opens: bool, now: u32) {
    let established = word.is_established() || !opens;
    if established != word.is_established() || word.is_expired(now, RENEWAL) {
        let seen = FlowWord::new(word.backend(), established, now);
        // SAFETY: an aligned word of an entry of a live set.
        unsafe { exchange(&raw mut (*entry).word, word.0, seen.0) };
    }
}

/// Lets a remembered flow lead elsewhere, if its entry still says what was read there.
#[inline(always)]
fn replace(entry: *mut FlowEntry, old: FlowWord, new: FlowWord) -> Event {
    // SAFETY: an aligned word of an entry of a live set.
    if unsafe { exchange(&raw mut (*entry).word, old.0, new.0) } {
        Event::FlowRemembered
    } else {
        Event::FlowLostRace
    }
}

/// Puts a flow into an entry that is free, expired or embryonic.
#[inline(always)]
fn remember(set: *mut FlowSet, fingerprint: u64, word: FlowWord, now: u32) -> Event {
    let Some((victim, old, seen)) = victim(set, now) else {
        return Event::FlowSetFull;
    };
    // SAFETY: an entry of the live set. Who wins the exchange owns the fingerprint until it
    // publishes one; the last exchange cannot fail and orders the stores.
    unsafe {
        let place = &raw mut (*victim).fingerprint;
        if !exchange(place, old, BUSY) {
            return Event::FlowLostRace;
        }
        // The old flow may have become an established one since the entry was chosen.
        if !exchange(&raw mut (*victim).word, seen.0, word.0) {
            exchange(place, BUSY, old);
            return Event::FlowLostRace;
        }
        exchange(place, BUSY, fingerprint);
    }
    Event::FlowRemembered
}

/// The entry that a new flow may take, with its fingerprint and word: a free one, else one that
/// outlived its time, else the embryonic one that was silent for longest.
#[inline(always)]
fn victim(set: *mut FlowSet, now: u32) -> Option<(*mut FlowEntry, u64, FlowWord)> {
    let mut best = None;
    let mut best_rank = 0;
    for way in 0..WAYS {
        let entry = entry(set, way);
        // SAFETY: an entry of the live set.
        let (print, word) =
            unsafe { (load(&(*entry).fingerprint), FlowWord(load(&(*entry).word))) };
        let rank = rank(print, word, now);
        if rank > best_rank {
            best = Some((entry, print, word));
            best_rank = rank;
        }
    }
    best
}

/// How gladly an entry is given up; 0 for never.
#[inline(always)]
fn rank(fingerprint: u64, word: FlowWord, now: u32) -> u64 {
    if fingerprint == FREE {
        u64::MAX
    } else if fingerprint == BUSY {
        0
    } else if word.is_expired(now, globals::flow_lifetime()) {
        u64::MAX - 1
    } else if word.is_established() {
        0
    } else {
        1 + u64::from(word.age(now))
    }
}

#[inline(always)]
fn entry(set: *mut FlowSet, way: usize) -> *mut FlowEntry {
    // SAFETY: `way` is below `WAYS`, so the entry lies in the set, a live map value.
    unsafe { &raw mut (*set).ways[way] }
}

/// Replaces `old` by `new` if it still stands at `place`.
///
/// # Safety
///
/// `place` is an aligned word of a live map value.
#[inline(always)]
unsafe fn exchange(place: *mut u64, old: u64, new: u64) -> bool {
    // SAFETY: as the caller promised. The kernel's exchange is fully ordered, whatever is asked here.
    unsafe {
        atomic_cxchg::<u64, { AtomicOrdering::SeqCst }, { AtomicOrdering::SeqCst }>(place, old, new)
            .1
    }
}
