//! A new flow: a backend, a source address and a port that nobody else has.

use super::{packet::Packet, told};
use crate::{
    clock, count, globals,
    maps::{NAT_FORWARD, NAT_REVERSE, NAT_SCRATCH, SLOTS, load},
    packet::Frame,
    select::{self, Chosen},
};
use aya_ebpf::{
    bindings::{BPF_NOEXIST, xdp_md},
    programs::XdpContext,
};
use navigator_common::{
    backend::{BackendInfo, Mode},
    mac,
    nat::{NatFlow, NatPath, NatState, NatTuple, PORT_TRIES, nat_port, nat_source, raw_ports},
    reason::{Event, Reason},
    slot::Slot,
};

/// Flag: the flow has an entry, whose backend serves it no more.
pub(super) const REPLACES: u64 = 1;

/// The map has an entry with this key.
const EXISTS: i32 = -17;

/// Makes the entries of the flow that a packet opens. They are there afterwards, made here or at
/// the same moment by another CPU.
#[unsafe(no_mangle)]
pub(super) extern "C" fn navigator_nat_open(
    ctx: *mut xdp_md,
    hash: u64,
    word: u64,
    slot: u64,
    flags: u64,
) -> u64 {
    let ctx = XdpContext::new(ctx);
    let frame = Frame::new(&ctx);
    let packet = Packet::new(hash, word, 0);
    told(open(&frame, &packet, slot as u32, flags))
}

#[inline(always)]
fn open(frame: &Frame<'_>, packet: &Packet, slot: u32, flags: u64) -> Result<Option<u32>, Reason> {
    let slot = Slot(load(SLOTS.get(slot).ok_or(Reason::DropCorrupt)?));
    let chosen = select::current(slot);
    if let Ok(chosen) = &chosen
        && info(chosen).mode != Mode::Nat as u8
    {
        return Ok(None);
    }
    if !packet.may_open() {
        return Err(Reason::DropNatUnknown);
    }
    let chosen = chosen?;
    if chosen.word.mac_word() == 0 {
        return Err(Reason::DropNoNeighbour);
    }
    if flags & REPLACES != 0 {
        forget(packet.hash);
    }
    let headers = packet.headers(frame)?;
    // SAFETY: the source address lies in the Ethernet header, which is read on to its end.
    let mac = unsafe { headers.ip.read::<u64, 6>() } & mac::MASK;
    let path = NatPath::new(mac, globals::local_egress(), packet.hash);
    let seen = packet.seen(frame, &headers, 0);
    claim(packet.hash, headers.tuple, &chosen, seen, path).map(|()| Some(0))
}

#[inline(always)]
fn info(chosen: &Chosen) -> BackendInfo {
    BackendInfo::unpack(chosen.backend.info)
}

/// Takes the entries of a flow out that is to be made anew. If another CPU makes it anew at the
/// same moment, that one's reverse entry is left behind and goes when its time is over.
#[inline(always)]
fn forget(hash: u64) {
    if let Some(entry) = NAT_FORWARD.get_ptr_mut(hash) {
        // SAFETY: a live map value, of which one word is read atomically.
        let reverse = load(unsafe { &(*entry).reverse });
        let _ = NAT_FORWARD.remove(hash);
        let _ = NAT_REVERSE.remove(reverse);
    }
}

/// Tries ports until one is free: the reverse entry claims it.
#[expect(
    clippy::needless_borrows_for_generic_args,
    reason = "an entry by value would be copied to the stack, which it does not fit"
)]
#[inline(always)]
fn claim(
    hash: u64,
    client: NatTuple,
    chosen: &Chosen,
    seen: u8,
    path: NatPath,
) -> Result<(), Reason> {
    let now = clock::now();
    let backend = chosen.backend.address;
    let port = info(chosen).port;
    let sources = globals::nat_source_count(backend.is_v4());
    let (first, ports) = globals::nat_ports();
    if sources == 0 || ports == 0 || backend.is_v4() != client.destination.is_v4() {
        return Err(Reason::DropNatPorts);
    }
    let scratch = NAT_SCRATCH.get_ptr_mut(0).ok_or(Reason::DropCorrupt)?;
    // SAFETY: a live map value of this CPU, on which no other run of the program begins before this
    // one has ended.
    let scratch = unsafe { &mut *scratch };
    let source = globals::nat_source(backend.is_v4(), nat_source(hash, sources));
    for attempt in 0..PORT_TRIES {
        let own = nat_port(hash, attempt, first, ports);
        let flow = NatFlow {
            client,
            backend: NatTuple::new(source, backend, raw_ports(own, port), client.protocol()),
            id: chosen.id,
        };
        let reverse = flow.reply().hash(&globals::hash_key());
        scratch.reverse = flow.reverse(reverse, NatState::new(reverse, 0, now), path.of(reverse));
        match NAT_REVERSE.insert(reverse, &scratch.reverse, BPF_NOEXIST.into()) {
            Ok(()) => {
                scratch.forward = flow.forward(hash, reverse, NatState::new(hash, seen, now), path);
                return match NAT_FORWARD.insert(hash, &scratch.forward, BPF_NOEXIST.into()) {
                    Ok(()) => {
                        count::event(Event::NatOpened);
                        Ok(())
                    }
                    Err(why) => {
                        let _ = NAT_REVERSE.remove(reverse);
                        if why == EXISTS {
                            Ok(())
                        } else {
                            Err(Reason::DropNatFull)
                        }
                    }
                };
            }
            Err(EXISTS) => {}
            Err(_) => return Err(Reason::DropNatFull),
        }
    }
    Err(Reason::DropNatPorts)
}
