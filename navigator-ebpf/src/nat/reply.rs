//! From the backend to the client.

use super::{
    entry,
    packet::Packet,
    rewrite::{Rewrite, rewrite},
    stray, told,
};
use crate::{
    clock, count,
    forward::ethernet,
    maps::{NAT_REVERSE, load},
    packet::Frame,
    select::{self, Chosen},
    vlan,
};
use aya_ebpf::{bindings::xdp_md, programs::XdpContext};
use navigator_common::{
    addr::Addr,
    backend::BackendWord,
    nat::{NatPath, NatReverse, NatRewrite, NatState, NatTuple},
    reason::Reason,
};

/// Brings a reply to its client. `flags` are those of the address that it came to.
#[unsafe(no_mangle)]
pub(super) extern "C" fn navigator_nat_reply(
    ctx: *mut xdp_md,
    hash: u64,
    word: u64,
    length: u64,
    flags: u64,
) -> u64 {
    let ctx = XdpContext::new(ctx);
    let packet = Packet::new(hash, word, length);
    told(reply(&Frame::new(&ctx), &packet, flags as u8).map(Some))
}

/// What stands in a flow's entry.
pub(super) struct Known {
    entry: *mut NatReverse,
    pub(super) source: Addr,
    pub(super) destination: Addr,
    pub(super) ports: u64,
    state: NatState,
    pub(super) path: NatPath,
    pub(super) rewrite: NatRewrite,
}

#[inline(always)]
fn reply(frame: &Frame<'_>, packet: &Packet, flags: u8) -> Result<u32, Reason> {
    let headers = packet.headers(frame)?;
    let known = find(packet.hash, &headers.tuple).ok_or(stray(flags))?;
    let backend = select::by_id((known.ports >> 32) as u32).ok_or(Reason::DropCorrupt)?;
    let client = Chosen {
        word: BackendWord(known.path.hop()),
        ..backend
    };
    if client.word.mac_word() == 0 {
        return Err(Reason::DropNoNeighbour);
    }
    let seen = packet.seen(frame, &headers, known.state.seen());
    // SAFETY: the state of an entry, a live map value.
    unsafe {
        entry::renew(
            &raw mut (*known.entry).state,
            known.state,
            seen,
            clock::now(),
        )
    };
    let exit = ethernet::exit(&client)?;
    let to = Rewrite {
        source: known.source,
        destination: known.destination,
        ports: known.ports as u32,
        change: known.rewrite,
    };
    rewrite(frame, packet, &headers, &to)?;
    // SAFETY: the view has Ethernet and IP header.
    let action = unsafe { exit.address(headers.ip, &client) };
    vlan::leave(frame.context(), client.word.egress())?;
    count::replied(client.id, packet.length);
    Ok(action)
}

#[inline(always)]
pub(super) fn find(hash: u64, tuple: &NatTuple) -> Option<Known> {
    let entry = NAT_REVERSE.get_ptr_mut(hash)?;
    // SAFETY: a live map value; each word is read atomically, and once.
    let place = unsafe { &*entry };
    let addr = |addr: &Addr| Addr {
        hi: load(&addr.hi),
        lo: load(&addr.lo),
    };
    let known = Known {
        entry,
        source: addr(&place.source),
        destination: addr(&place.destination),
        ports: load(&place.ports),
        state: NatState(load(&place.state)),
        path: NatPath(load(&place.path)),
        rewrite: NatRewrite(load(&place.rewrite)),
    };
    entry::is_of(&place.tuple, tuple, &place.rewrite, hash).then_some(known)
}
