//! The ports of packets whose fragments are under way; see
//! `navigator_common::fragment`. An entry is one word: two CPUs that write the
//! same one at once lose one of the two, and nothing else.

use crate::{
    clock::now,
    maps::{FRAGMENTS, load},
};
use navigator_common::{
    fragment::{FragmentSet, FragmentWord, LIFETIME, WAYS},
    maps::FRAGMENT_SETS,
};

#[inline(always)]
fn set(hash: u64) -> Option<*mut FragmentSet> {
    FRAGMENTS.get_ptr_mut(hash as u32 & (FRAGMENT_SETS - 1))
}

#[inline(always)]
fn entry(set: *mut FragmentSet, way: usize) -> *mut u64 {
    // SAFETY: `way` is below `WAYS`, so the entry lies in the set, a live map value.
    unsafe { &raw mut (*set).ways[way] }
}

/// Remembers the ports of the packet with this hash, in place of what is known of it, or of what
/// is free, forgotten, or came first.
#[inline(always)]
pub(super) fn remember(hash: u64, ports: u32, udp: bool) {
    navigator_remember_fragment(hash, ports.into(), udp.into());
}

/// See [`remember`]. The verifier checks this by itself. Returns 0.
#[unsafe(no_mangle)]
extern "C" fn navigator_remember_fragment(hash: u64, ports: u64, udp: u64) -> u64 {
    let Some(set) = set(hash) else { return 0 };
    let now = now();
    // Of equally old ones any: in a flood the others stay.
    let (mut place, mut worst) = ((hash >> 20) as usize, 0);
    for way in 0..WAYS {
        // SAFETY: an aligned word of a live map value.
        let word = FragmentWord(load(unsafe { &*entry(set, way) }));
        // Above every age: what is known of this very packet, then free entries.
        let rank = if word.is_of(hash) {
            u32::MAX
        } else if word.ports() == 0 {
            u32::MAX - 1
        } else {
            word.age(now)
        };
        if rank > worst {
            (place, worst) = (way, rank);
        }
    }
    let word = FragmentWord::new(hash, ports as u32, udp != 0, now);
    // SAFETY: as above; a volatile store of an aligned word is one store.
    unsafe { core::ptr::write_volatile(entry(set, place & (WAYS - 1)), word.0) };
    0
}

/// What is known of the packet with this hash.
#[inline(always)]
pub(super) fn recall(hash: u64) -> Option<FragmentWord> {
    let word = FragmentWord(navigator_recall_fragment(hash));
    (word.ports() != 0).then_some(word)
}

/// The word of the packet with this hash, or 0. The verifier checks this by itself.
#[unsafe(no_mangle)]
extern "C" fn navigator_recall_fragment(hash: u64) -> u64 {
    let Some(set) = set(hash) else { return 0 };
    let now = now();
    for way in 0..WAYS {
        // SAFETY: an aligned word of a live map value.
        let word = FragmentWord(load(unsafe { &*entry(set, way) }));
        if word.is_of(hash) && word.age(now) <= LIFETIME {
            return word.0;
        }
    }
    0
}
