//! Reading an entry that may go away meanwhile, and the two words of it that change.

use crate::{
    atomic::exchange,
    maps::{NAT_REVERSE, load},
};
use navigator_common::nat::{NatPath, NatRewrite, NatState, NatTuple};

/// Whether an entry with this tuple and end mark is the flow's. Both are read last: if they are
/// the flow's then so is what was read before.
#[inline(always)]
pub(super) fn is_of(entry: &NatTuple, tuple: &NatTuple, rewrite: &u64, hash: u64) -> bool {
    load(&entry.ports) == tuple.ports
        && load(&entry.source.lo) == tuple.source.lo
        && load(&entry.source.hi) == tuple.source.hi
        && load(&entry.destination.lo) == tuple.destination.lo
        && load(&entry.destination.hi) == tuple.destination.hi
        && NatRewrite(load(rewrite)).ends(hash)
}

/// Notes what was seen of a side, if that is news; whether its time was renewed.
///
/// # Safety
///
/// `place` is the state of an entry, a live map value.
#[inline(always)]
pub(super) unsafe fn renew(place: *mut u64, state: NatState, seen: u8, now: u32) -> bool {
    let Some(new) = state.renewed(seen, now) else {
        return false;
    };
    // SAFETY: as the caller promised. A lost race means that another CPU noted something, or
    // that the entry is another flow's by now: the word carries bits of the flow's hash.
    unsafe { exchange(place, state.0, new.0) };
    new.time() != state.time()
}

/// Lets replies go by another way.
#[inline(always)]
pub(super) fn lead_back(reverse: u64, path: NatPath) {
    let Some(entry) = NAT_REVERSE.get_ptr_mut(reverse) else {
        return;
    };
    // SAFETY: a live map value; only words of it that change atomically are touched, and the
    // exchange takes place only if the path is the one that was read beside the flow's end mark.
    unsafe {
        let old = load(&(*entry).path);
        let new = path.of(reverse).0;
        if old != new && NatRewrite(load(&(*entry).rewrite)).ends(reverse) {
            exchange(&raw mut (*entry).path, old, new);
        }
    }
}
