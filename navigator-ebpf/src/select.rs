//! Which backend a flow goes to.
//!
//! In a slot at rest that is its current backend, whatever the number of
//! flows. Only in a tracked slot, one that a change put at risk, is the
//! flow looked up and remembered; see [`crate::flow`].

use crate::{
    affinity,
    cold::cold,
    flow,
    maps::{BACKENDS, SLOTS, load},
    parse::{Flow, Kind, UDP},
    quic,
    trace::Observer,
};
use aya_ebpf::programs::XdpContext;
use navigator_common::{
    backend::{Backend, BackendWord},
    hash::client_of_vip,
    reason::Reason,
    slot::{NO_BACKEND, Slot, slot_index},
    vip::{Vip, VipWord},
};

/// The backend that a packet goes to. In this order, so that in a `Result` the reason shares its
/// place with `id`, and LLVM does not carry the word in two halves.
#[repr(C)]
pub(crate) struct Chosen {
    pub(crate) id: u32,
    pub(crate) word: BackendWord,
    pub(crate) backend: &'static Backend,
}

/// Picks the backend for a packet of `flow`.
#[inline(always)]
pub(crate) fn backend(
    ctx: &XdpContext,
    flow: &Flow,
    vip: &Vip,
    table: VipWord,
    observer: &impl Observer,
) -> Result<Chosen, Reason> {
    let flags = table.flags();
    let mut hash = flow.hash;
    if flags & (VipWord::QUIC | VipWord::AFFINITY) != 0 {
        if flags & VipWord::QUIC != 0
            && flow.transport.protocol() == UDP
            && flow.transport.is(Kind::Segment)
            && let Some(named) = quic::backend(ctx, vip, observer)
        {
            return Ok(named);
        }
        if flags & VipWord::AFFINITY != 0
            && let Some(client) = affinity::client(ctx, flow.transport.is(Kind::Quoted))
        {
            hash = client_of_vip(client, vip.port);
        }
    }
    let index = slot_of(hash, vip, table);
    let slot = Slot(load(
        SLOTS.get(index).ok_or_else(|| cold(Reason::DropCorrupt))?,
    ));
    observer.slot(index - table.base(), slot);
    // One test of both, without a branch between them.
    let asks_memory = slot.is_tracked() | (flags & VipWord::TRACK_ALL != 0);
    if !asks_memory || flags & VipWord::FOLLOW_TABLE != 0 && flow.transport.protocol() == UDP {
        return current(slot);
    }
    flow::recall(flow, hash, slot, vip, flags, observer)
}

/// The index of the slot that a flow of this hash falls into; `table` is the VIP's word.
#[inline(always)]
pub(crate) fn slot_of(hash: u64, vip: &Vip, table: VipWord) -> u32 {
    table.base() + slot_index(hash, vip.slots as u32)
}

/// The backend that a slot's new flows go to.
#[inline(always)]
pub(crate) fn current(slot: Slot) -> Result<Chosen, Reason> {
    match slot.current() {
        NO_BACKEND => Err(cold(Reason::DropNoBackend)),
        id => by_id(id).ok_or_else(|| cold(Reason::DropCorrupt)),
    }
}

/// The backend with this id.
#[inline(always)]
pub(crate) fn by_id(id: u32) -> Option<Chosen> {
    let backend = BACKENDS.get(id)?;
    Some(Chosen {
        id,
        word: BackendWord(load(&backend.word)),
        backend,
    })
}
