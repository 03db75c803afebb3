//! Is it for a VIP, and which: address first, then protocol and port.

use crate::{
    maps::{PORTS, VIP_ADDRS, VIPS, load},
    parse::{Flow, Kind, NoFlow},
};
use navigator_common::{
    addr::Addr,
    maps::ADDR_BUCKETS,
    reason::Reason,
    vip::{AddrBucket, AddrWord, PortWord, Vip, addr_buckets},
};

/// What Navigator does with packets for `address`, if it is a VIP's.
#[inline(always)]
pub(crate) fn find_address(address: Addr) -> Option<AddrWord> {
    let (first, second) = addr_buckets(address, ADDR_BUCKETS);
    let bucket = VIP_ADDRS.get(first)?;
    if let Some(word) = in_bucket(bucket, address) {
        return Some(word);
    }
    if load(&bucket.flags) & AddrBucket::OVERFLOWED == 0 {
        return None;
    }
    in_bucket(VIP_ADDRS.get(second)?, address)
}

#[inline(always)]
fn in_bucket(bucket: &AddrBucket, address: Addr) -> Option<AddrWord> {
    for ((lo, hi), value) in bucket.lo.iter().zip(&bucket.hi).zip(&bucket.value) {
        if load(lo) == address.lo && load(hi) == address.hi {
            let word = AddrWord(load(value));
            return (word != AddrWord::default()).then_some(word);
        }
    }
    None
}

/// The VIP that `flow` is for.
#[inline(always)]
pub(crate) fn find(address: AddrWord, flow: &Flow) -> Result<&'static Vip, Reason> {
    let index = address.port_index(flow.port(), flow.protocol);
    let port = PortWord(load(PORTS.get(index).ok_or(Reason::DropCorrupt)?));
    if !port.is_for(flow.port(), flow.protocol) {
        return Err(match flow.kind {
            // The host may have sent from the VIP's address as well.
            Kind::Quoted => Reason::PassIcmp,
            _ => unserved(NoFlow::OtherProtocol, address),
        });
    }
    VIPS.get(port.vip()).ok_or(Reason::DropCorrupt)
}

/// The reason for a packet that is for a VIP's address and for none of its VIPs.
#[inline(always)]
pub(crate) fn unserved(problem: NoFlow, address: AddrWord) -> Reason {
    match problem {
        NoFlow::Reason(reason) => reason,
        NoFlow::Icmp(_) => Reason::PassIcmp,
        NoFlow::OtherProtocol if address.passes_unserved() => Reason::PassUnserved,
        NoFlow::OtherProtocol => Reason::DropUnserved,
    }
}
