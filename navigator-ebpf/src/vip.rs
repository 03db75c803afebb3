//! Is it for a VIP, and which: address first, then protocol and port.

use crate::{
    cold::cold,
    maps::{PORTS, VIP_ADDRS, VIP_PREFIXES, VIPS, load},
    parse::{Flow, Kind, NoFlow},
};
use aya_ebpf::maps::lpm_trie::Key;
use navigator_common::{
    addr::Addr,
    maps::ADDR_BUCKETS,
    reason::Reason,
    vip::{AddrBucket, AddrWord, MAX_RANGES, PortWord, Vip, addr_buckets},
};

/// What Navigator does with packets for `address`, if it is a VIP's.
#[inline(always)]
pub(crate) fn find_address(address: Addr) -> Option<AddrWord> {
    let (first, second) = addr_buckets(address, ADDR_BUCKETS);
    let bucket = VIP_ADDRS.get(first)?;
    if let Some(word) = in_bucket(bucket, address) {
        return Some(word);
    }
    let flags = load(&bucket.flags);
    if flags == 0 {
        return None;
    }
    if flags & AddrBucket::OVERFLOWED != 0
        && let Some(word) = in_bucket(VIP_ADDRS.get(second)?, address)
    {
        return Some(word);
    }
    if flags & AddrBucket::PREFIXES == 0 {
        return None;
    }
    match navigator_find_prefix(address.hi, address.lo) {
        0 => None,
        word => Some(AddrWord(word)),
    }
}

/// The [`AddrWord`] of the longest prefix that has the address; 0 if none has.
#[unsafe(no_mangle)]
#[inline(never)]
extern "C" fn navigator_find_prefix(hi: u64, lo: u64) -> u64 {
    let key = Key::new(128, [hi, lo]);
    VIP_PREFIXES.get(&key).map_or(0, load)
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

/// The VIP that `flow` is for: the one of its port, else that of the narrowest range.
#[inline(always)]
pub(crate) fn find(address: AddrWord, flow: &Flow) -> Result<&'static Vip, Reason> {
    let index = address.port_index(flow.transport.port(), flow.transport.protocol());
    let port = PortWord(load(
        PORTS.get(index).ok_or_else(|| cold(Reason::DropCorrupt))?,
    ));
    if port.is_for(flow.transport.port(), flow.transport.protocol()) {
        return VIPS
            .get(port.vip())
            .ok_or_else(|| cold(Reason::DropCorrupt));
    }
    if address.range_room() != 0 {
        let id = navigator_find_range(
            address.range_base(),
            address.range_room(),
            flow.transport.port().into(),
            flow.transport.protocol().into(),
        );
        if id != 0 {
            return VIPS.get(id).ok_or_else(|| cold(Reason::DropCorrupt));
        }
    }
    Err(if flow.transport.is(Kind::Quoted) {
        // The host may have sent from the VIP's address as well.
        Reason::PassIcmp
    } else {
        unserved(NoFlow::OtherProtocol, address)
    })
}

/// The id of the VIP whose range has the port, the narrowest of `room` range words from
/// `base` on, which stand in that order; 0 if there is none. A subprogram: addresses with
/// ranges are few, and the ordinary path keeps its registers.
#[unsafe(no_mangle)]
#[inline(never)]
extern "C" fn navigator_find_range(base: u32, room: u32, port: u32, protocol: u32) -> u32 {
    for index in 0..MAX_RANGES {
        if index >= room {
            break;
        }
        let Some(word) = PORTS.get(base + index) else {
            break;
        };
        let word = PortWord(load(word));
        if word.has(port as u16, protocol as u8) {
            return word.vip();
        }
    }
    0
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
