//! The way through IPv6 extension headers: how far it goes, and where it ends.

use super::{Flaw, Place};
use crate::{
    packet::Frame,
    parse::{ETH_LEN, FRAGMENT, ICMPV6, IPV6_LEN, TCP, TCP_LEN, UDP},
};
use aya_ebpf::{bindings::xdp_md, programs::XdpContext};

/// Extension headers that are walked through, at most.
const HEADERS: usize = 6;
/// Bytes of the IP packet at which the last of them may start, or what follows it, at most.
const FARTHEST: usize = 512;
/// Every extension header's length is a multiple of this.
const UNIT: usize = 8;

const HOP_BY_HOP: u8 = 0;
const ROUTING: u8 = 43;
const DESTINATION: u8 = 60;

/// Where the extension headers of a packet lead to.
pub(super) struct Walk {
    /// The protocol of what follows them, at `at` of the IP packet; in a later fragment the first
    /// header of what is fragmented.
    pub(super) next: u8,
    pub(super) at: usize,
    /// Length of the IP packet, which the frame has.
    pub(super) length: usize,
    /// It is the first fragment of a packet with this identification.
    pub(super) is_first: bool,
    /// It is a later one.
    pub(super) is_later: bool,
    /// That later fragment lies where a TCP header is, if the packet has one.
    pub(super) covers_headers: bool,
    pub(super) id: u32,
}

/// The subprogram's result, in one word.
///
/// | bits | meaning |
/// |---|---|
/// | 0–31 | identification |
/// | 32–39 | protocol of what follows |
/// | 40–49 | where it starts |
/// | 50–52 | first fragment, later fragment, covers headers |
/// | 56–63 | [`Flaw`] |
mod word {
    pub(super) const NEXT: u32 = 32;
    pub(super) const AT: u32 = 40;
    pub(super) const AT_MASK: u64 = 0x3ff;
    pub(super) const FIRST: u64 = 1 << 50;
    pub(super) const LATER: u64 = 1 << 51;
    pub(super) const COVERS_HEADERS: u64 = 1 << 52;
    pub(super) const FLAW: u32 = 56;
}

impl Walk {
    /// Walks through those of the IPv6 packet in `frame`.
    #[inline(always)]
    pub(super) fn through(frame: &Frame<'_>) -> Result<Self, Flaw> {
        let length = length(frame)?;
        let word = navigator_walk(frame.context());
        let flaw = word >> word::FLAW;
        if flaw == Flaw::OtherProtocol as u64 {
            return Err(Flaw::OtherProtocol);
        } else if flaw == Flaw::BadFragment as u64 {
            return Err(Flaw::BadFragment);
        } else if flaw == Flaw::BadExtension as u64 {
            return Err(Flaw::BadExtension);
        } else if flaw != Flaw::No as u64 {
            return Err(Flaw::Malformed);
        }
        Ok(Self {
            next: (word >> word::NEXT) as u8,
            at: (word >> word::AT & word::AT_MASK) as usize,
            length,
            is_first: word & word::FIRST != 0,
            is_later: word & word::LATER != 0,
            covers_headers: word & word::COVERS_HEADERS != 0,
            id: word as u32,
        })
    }
}

/// Where in the frame the TCP or UDP header of an IPv6 packet is that a walk has led to before.
#[inline(always)]
pub(crate) fn transport_offset(frame: &Frame<'_>) -> Option<usize> {
    let word = navigator_walk(frame.context());
    let sound = word >> word::FLAW == Flaw::No as u64;
    sound.then_some(ETH_LEN + (word >> word::AT & word::AT_MASK) as usize)
}

/// Length of the IP packet, if the frame has all of it.
#[inline(always)]
fn length(frame: &Frame<'_>) -> Result<usize, Flaw> {
    let ip = frame.view(0, ETH_LEN + IPV6_LEN).ok_or(Flaw::Malformed)?;
    // SAFETY: it lies in the 54 bytes of Ethernet and IPv6 header.
    let length = IPV6_LEN + usize::from(u16::from_be(unsafe { ip.read::<u16, 18>() }));
    if frame.holds(ETH_LEN + length) {
        Ok(length)
    } else {
        Err(Flaw::Malformed)
    }
}

/// See [`Walk`]. The verifier checks this by itself.
#[unsafe(no_mangle)]
extern "C" fn navigator_walk(ctx: *mut xdp_md) -> u64 {
    let ctx = XdpContext::new(ctx);
    match walk(&Frame::new(&ctx)) {
        Ok(word) => word,
        Err(flaw) => (flaw as u64) << word::FLAW,
    }
}

#[inline(always)]
fn walk(frame: &Frame<'_>) -> Result<u64, Flaw> {
    let ip = frame.view(0, ETH_LEN + IPV6_LEN).ok_or(Flaw::Malformed)?;
    // SAFETY: both lie in the 54 bytes of Ethernet and IPv6 header.
    let (length, mut next) = unsafe { (ip.read::<u16, 18>(), ip.read::<u8, 20>()) };
    let length = IPV6_LEN + usize::from(u16::from_be(length));
    let mut at = IPV6_LEN;
    // What fragment headers say: 0 until one was met, then with one of the flags, or neither.
    let mut fragment = 0;
    let mut met = false;
    for number in 0..=HEADERS {
        if next == TCP || next == UDP || next == ICMPV6 {
            // A first fragment must hold all headers (RFC 7112).
            if length < at {
                return Err(short(fragment));
            }
            return Ok(result(next, at) | fragment);
        }
        if next != HOP_BY_HOP && next != ROUTING && next != DESTINATION && next != FRAGMENT {
            return Err(Flaw::OtherProtocol);
        }
        if next == HOP_BY_HOP && number != 0 || number == HEADERS || at > FARTHEST {
            return Err(Flaw::BadExtension);
        }
        if length < at + UNIT {
            return Err(short(fragment));
        }
        let header = frame.view(ETH_LEN + at, UNIT).ok_or(Flaw::Malformed)?;
        // SAFETY: a view of eight bytes.
        let (following, units) = unsafe { (header.read::<u8, 0>(), header.read::<u8, 1>()) };
        at += UNIT;
        if next == FRAGMENT {
            if met {
                return Err(Flaw::BadFragment);
            }
            met = true;
            // SAFETY: as above.
            let (bits, id) = unsafe { (header.read::<u16, 2>(), header.read::<u32, 4>()) };
            let bits = u16::from_be(bits);
            let place = Place::new(bits >> 3, bits & 1 != 0);
            // The length of the packet that is put together leaves out the fragment header.
            if !place.holds(length - at, at - IPV6_LEN - UNIT) {
                return Err(Flaw::BadFragment);
            }
            if place.offset != 0 {
                return later(following, at, place).map(|word| word | u64::from(id));
            }
            // One that is no fragment of anything is a whole packet (RFC 6946).
            if place.more {
                fragment = word::FIRST | u64::from(id);
            }
        } else {
            // SAFETY: as above.
            let segments_left = unsafe { header.read::<u8, 3>() };
            if next == ROUTING && segments_left != 0 {
                return Err(Flaw::BadExtension);
            }
            at += usize::from(units) * UNIT;
        }
        next = following;
    }
    Err(Flaw::BadExtension)
}

#[inline(always)]
fn result(next: u8, at: usize) -> u64 {
    u64::from(next) << word::NEXT | (at as u64 & word::AT_MASK) << word::AT
}

/// Of a later fragment of a packet whose fragmented part starts with `next`, which need not be
/// the transport header.
#[inline(always)]
fn later(next: u8, at: usize, place: Place) -> Result<u64, Flaw> {
    if next != TCP && next != UDP && next != ICMPV6 && next != ROUTING && next != DESTINATION {
        return Err(Flaw::OtherProtocol);
    }
    let covers = if place.offset < TCP_LEN {
        word::COVERS_HEADERS
    } else {
        0
    };
    Ok(result(next, at) | word::LATER | covers)
}

/// The packet ends before its headers do.
#[inline(always)]
fn short(fragment: u64) -> Flaw {
    if fragment != 0 {
        Flaw::BadFragment
    } else {
        Flaw::Malformed
    }
}
