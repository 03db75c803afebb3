//! Full NAT: what leaves for a backend has a source address of ours, what
//! comes back is brought to the client. How a flow is kept in two maps, and
//! how an entry is read that may go away meanwhile: `navigator_common::nat`.
//!
//! All of this runs in subprograms that the verifier checks by themselves, so
//! that the way of all other packets neither grows nor spills for it. They are
//! told a packet in words ([`Packet`]) and tell what became of it in one
//! ([`told`]).

mod entry;
mod forward;
mod open;
mod packet;
mod quoted;
mod reply;
mod rewrite;

use crate::{
    parse::{Flow, Kind},
    select::slot_of,
};
use aya_ebpf::programs::XdpContext;
use navigator_common::{
    reason::{Reason, Verdict},
    vip::{AddrWord, Vip, VipWord},
};
use packet::Packet;

/// Brings a packet for a VIP in mode `nat` to its backend. `None` if the VIP is just being moved
/// from another mode or to one, and the flow is none of NAT's.
#[inline(always)]
pub(crate) fn to_backend(
    ctx: &XdpContext,
    flow: &Flow,
    vip: &Vip,
    table: VipWord,
) -> Result<Option<u32>, Reason> {
    let (packet, length) = Packet::words(flow);
    if flow.transport.is(Kind::Quoted) {
        return understood(quoted::navigator_nat_quoted(
            ctx.ctx, flow.hash, packet, length, 0,
        ));
    }
    let send = |again| forward::navigator_nat_forward(ctx.ctx, flow.hash, packet, length, again);
    // One call after the other: stacks of nested ones would add up to more than there is.
    let outcome = send(FIRST);
    if outcome & !ARGUMENT != WANTS_FLOW {
        return understood(outcome);
    }
    let slot = slot_of(flow.hash, vip, table);
    let opened =
        open::navigator_nat_open(ctx.ctx, flow.hash, packet, slot.into(), outcome & ARGUMENT);
    match understood(opened)? {
        Some(_) => understood(send(AGAIN)),
        None => Ok(None),
    }
}

/// Brings a reply, a packet to an address that NAT flows start from, to its client.
#[inline(always)]
pub(crate) fn to_client(ctx: &XdpContext, flow: &Flow, address: AddrWord) -> Result<u32, Reason> {
    let (packet, length) = Packet::words(flow);
    let flags = u64::from(address.flags());
    let done = understood(if flow.transport.is(Kind::Quoted) {
        let flags = flags | quoted::FROM_BACKEND;
        quoted::navigator_nat_quoted(ctx.ctx, flow.hash, packet, length, flags)
    } else {
        reply::navigator_nat_reply(ctx.ctx, flow.hash, packet, length, flags)
    })?;
    done.ok_or(Reason::DropCorrupt)
}

/// What becomes of a packet to an address that NAT flows start from and that is of no flow.
#[inline(always)]
pub(crate) fn stray(address_flags: u8) -> Reason {
    if address_flags & AddrWord::PASS_UNSERVED != 0 {
        Reason::PassNatHost
    } else {
        Reason::DropNatStray
    }
}

/// A reason to drop a packet counts for nothing if the host itself uses the address that NAT
/// flows start from: then the packet is the host's.
#[inline(always)]
pub(crate) fn or_hosts(reason: Reason, address: AddrWord) -> Reason {
    if address.is_snat() && address.passes_unserved() && reason.verdict() == Verdict::Drop {
        Reason::PassNatHost
    } else {
        reason
    }
}

/// Above an XDP action: there is none, the packet is none of NAT's.
const ELSEWHERE: u64 = 1 << 32;
/// Above a reason's index.
const REFUSED: u64 = 2 << 32;

/// Above the flags for [`open`]: the flow must be made first.
const WANTS_FLOW: u64 = 3 << 32;
/// What stands below these.
const ARGUMENT: u64 = 0xffff_ffff;

/// The packet was not seen yet.
const FIRST: u64 = 0;
/// Its flow was made a moment ago.
const AGAIN: u64 = 1;

/// What became of a packet, in one word.
#[inline(always)]
fn told(outcome: Result<Option<u32>, Reason>) -> u64 {
    match outcome {
        Ok(Some(action)) => action.into(),
        Ok(None) => ELSEWHERE,
        Err(reason) => REFUSED | u64::from(reason.index()),
    }
}

#[inline(always)]
fn understood(word: u64) -> Result<Option<u32>, Reason> {
    match word & !ARGUMENT {
        0 => Ok(Some(word as u32)),
        ELSEWHERE => Ok(None),
        _ => Err(Reason::from_index(word as u32).unwrap_or(Reason::DropCorrupt)),
    }
}
