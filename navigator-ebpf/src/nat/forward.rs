//! From the client to the backend.

use super::{
    WANTS_FLOW, entry,
    open::REPLACES,
    packet::{Headers, Packet},
    rewrite::{Rewrite, rewrite},
    told,
};
use crate::{
    clock, count,
    forward::ethernet,
    globals,
    maps::{NAT_FORWARD, load},
    packet::Frame,
    select::{self, Chosen},
    vlan,
};
use aya_ebpf::{bindings::xdp_md, programs::XdpContext};
use navigator_common::{
    addr::Addr,
    nat::{NatForward, NatPath, NatRewrite, NatState, NatTuple},
    reason::Reason,
};

/// Brings a packet to its backend, over the flow's entry. `again` says that this was just made.
#[unsafe(no_mangle)]
pub(super) extern "C" fn navigator_nat_forward(
    ctx: *mut xdp_md,
    hash: u64,
    word: u64,
    length: u64,
    again: u64,
) -> u64 {
    let ctx = XdpContext::new(ctx);
    let packet = Packet::new(hash, word, length);
    match forward(&Frame::new(&ctx), &packet) {
        Ok(Sent::By(action)) => action.into(),
        // Another flow has its place, or it was taken out at the same moment.
        Ok(Sent::WantsFlow { .. }) if again != 0 => told(Err(Reason::DropNatCollision)),
        Ok(Sent::WantsFlow { replaces }) => WANTS_FLOW | if replaces { REPLACES } else { 0 },
        Err(reason) => told(Err(reason)),
    }
}

/// What became of a packet.
enum Sent {
    /// It leaves by this XDP action.
    By(u32),
    /// Its flow must be made first, instead of one that has an entry or not.
    WantsFlow { replaces: bool },
}

/// What stands in a flow's entry.
pub(super) struct Known {
    entry: *mut NatForward,
    pub(super) source: Addr,
    pub(super) ports: u64,
    state: NatState,
    path: NatPath,
    pub(super) rewrite: NatRewrite,
}

#[inline(always)]
fn forward(frame: &Frame<'_>, packet: &Packet) -> Result<Sent, Reason> {
    let headers = packet.headers(frame)?;
    let Some(known) = find(packet.hash, &headers.tuple)? else {
        return Ok(Sent::WantsFlow { replaces: false });
    };
    let chosen = select::by_id((known.ports >> 32) as u32).ok_or(Reason::DropCorrupt)?;
    if serves(&chosen, packet) {
        send(frame, packet, &headers, &known, &chosen).map(Sent::By)
    } else if packet.may_open() {
        Ok(Sent::WantsFlow { replaces: true })
    } else {
        Err(Reason::DropNatGone)
    }
}

/// The flow's entry. Another flow's in its place is an error.
#[inline(always)]
pub(super) fn find(hash: u64, tuple: &NatTuple) -> Result<Option<Known>, Reason> {
    let Some(entry) = NAT_FORWARD.get_ptr_mut(hash) else {
        return Ok(None);
    };
    // SAFETY: a live map value; each word is read atomically, and once.
    let place = unsafe { &*entry };
    let known = Known {
        entry,
        source: Addr {
            hi: load(&place.source.hi),
            lo: load(&place.source.lo),
        },
        ports: load(&place.ports),
        state: NatState(load(&place.state)),
        path: NatPath(load(&place.path)),
        rewrite: NatRewrite(load(&place.rewrite)),
    };
    if entry::is_of(&place.tuple, tuple, &place.rewrite, hash) {
        Ok(Some(known))
    } else {
        Err(Reason::DropNatCollision)
    }
}

/// Whether the backend of a known flow may have this packet.
#[inline(always)]
fn serves(chosen: &Chosen, packet: &Packet) -> bool {
    if packet.opens() {
        chosen.word.takes_new()
    } else {
        chosen.word.is_usable()
    }
}

#[inline(always)]
fn send(
    frame: &Frame<'_>,
    packet: &Packet,
    headers: &Headers,
    known: &Known,
    chosen: &Chosen,
) -> Result<u32, Reason> {
    if chosen.word.mac_word() == 0 {
        return Err(Reason::DropNoNeighbour);
    }
    let now = clock::now();
    // SAFETY: the source address lies in the Ethernet header, which is read on to its end.
    let mac = unsafe { headers.ip.read::<u64, 6>() };
    // What this interface sent itself has no way back.
    if mac & navigator_common::mac::MASK == globals::local_mac() {
        return Err(Reason::DropLoop);
    }
    let path = NatPath::new(mac, globals::local_egress(), packet.hash);
    let seen = packet.seen(frame, headers, known.state.seen());
    // SAFETY: words of an entry, a live map value.
    unsafe {
        let renewed = entry::renew(&raw mut (*known.entry).state, known.state, seen, now);
        if path != known.path {
            crate::atomic::exchange(&raw mut (*known.entry).path, known.path.0, path.0);
        }
        if path != known.path || renewed {
            entry::lead_back(load(&(*known.entry).reverse), path);
        }
    }
    let exit = ethernet::exit(chosen)?;
    let to = Rewrite {
        source: known.source,
        destination: chosen.backend.address,
        ports: known.ports as u32,
        change: known.rewrite,
    };
    rewrite(frame, packet, headers, &to)?;
    // SAFETY: the view has Ethernet and IP header.
    let action = unsafe { exit.address(headers.ip, chosen) };
    vlan::leave(frame.context(), chosen.word.egress())?;
    count::forwarded(chosen.id, packet.length.into());
    Ok(action)
}
