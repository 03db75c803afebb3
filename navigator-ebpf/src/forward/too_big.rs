//! A packet that does not fit the way to its backend is answered with the
//! length that would: decision 008.
//!
//! The answer is made of the packet: its tail is cut off behind what is
//! quoted, and an IP and an ICMP header are put before that. The limit is one
//! comparison on the way of every packet; the rest is a subprogram.

use crate::{
    limit,
    maps::load,
    packet::{Frame, View},
    parse::{ETH_IPV4, ETH_IPV6, ETH_LEN, Flow, IPV4_LEN, IPV6_LEN, Kind},
    select::Chosen,
};
use aya_ebpf::{bindings::xdp_md, programs::XdpContext};
use navigator_common::{
    addr::Addr,
    backend::PathWord,
    checksum::{IPV4_FIRST_WORD, fold},
    limit::Answer,
    mac,
    reason::Reason,
};
use network_types::ip::IpProto;

/// Length of an ICMP or ICMPv6 error without what it quotes.
const ICMP_LEN: usize = 8;
/// Bytes of the packet that an answer quotes, from its IP header on: more than the longest
/// IPv4 and TCP headers.
const QUOTE_V4: usize = 128;
const QUOTE_V6: usize = 256;
/// Every IPv6 link takes this much, and no host sends less for having been told to.
const LEAST_V6: u32 = 1280;
/// TTL or hop limit of answers.
const TTL: u8 = 64;
/// Destination unreachable, fragmentation needed; its checksum still zero.
const NEEDS_FRAGMENTS: u32 = u32::from_ne_bytes([3, 4, 0, 0]);
/// Packet too big; its checksum still zero.
const TOO_BIG: u32 = u32::from_ne_bytes([2, 0, 0, 0]);
const DONT_FRAGMENT: u16 = 0x4000u16.to_be();
const ICMPV6: u8 = IpProto::Ipv6Icmp as u8;

/// Refuses a packet that does not fit. The frame is the answer then, if the reason says so.
#[inline(always)]
pub(crate) fn check(frame: &Frame<'_>, flow: &Flow, chosen: &Chosen) -> Result<(), Reason> {
    let path = PathWord(load(&chosen.backend.path));
    if path.takes(flow.length) {
        return Ok(());
    }
    // Neither errors nor later fragments are answered (RFC 1122, 3.2.2).
    let answered = (flow.transport.is(Kind::Opens) || flow.transport.is(Kind::Segment))
        && navigator_too_big(frame.context(), path.longest() as u32, flow.length as u32) != 0;
    Err(if answered {
        Reason::ReplyTooBig
    } else {
        Reason::DropTooBig
    })
}

/// Turns a frame, whose IP packet has `length` bytes, into an answer that asks for at most
/// `longest`; 0 if it cannot be or must not be.
#[unsafe(no_mangle)]
extern "C" fn navigator_too_big(ctx: *mut xdp_md, longest: u32, length: u32) -> u64 {
    let ctx = XdpContext::new(ctx);
    answer(Frame::new(&ctx), longest, length).is_some().into()
}

#[inline(always)]
fn answer(frame: Frame<'_>, longest: u32, length: u32) -> Option<()> {
    let ethernet = frame.view(0, ETH_LEN)?;
    // SAFETY: the view has 14 bytes.
    if unsafe { ethernet.read::<u16, 12>() } == ETH_IPV4 {
        answer_v4(frame, longest)
    } else {
        let longest = longest.max(LEAST_V6);
        if length <= longest {
            return None;
        }
        answer_v6(frame, longest)
    }
}

#[inline(always)]
fn answer_v4(frame: Frame<'_>, longest: u32) -> Option<()> {
    const LENGTH: usize = IPV4_LEN + ICMP_LEN + QUOTE_V4;
    let packet = frame.view(0, ETH_LEN + QUOTE_V4)?;
    // SAFETY: all of these lie in the Ethernet and IPv4 header.
    let (macs, client, vip) = unsafe {
        (
            swapped_macs(packet),
            packet.read::<u32, 26>(),
            packet.read::<u32, 30>(),
        )
    };
    let frame = turned::<QUOTE_V4, { IPV4_LEN + ICMP_LEN }>(frame)?;
    let reply = frame.view(0, ETH_LEN + LENGTH)?;
    let length = (LENGTH as u16).to_be();
    let life = u16::from_ne_bytes([TTL, IpProto::Icmp as u8]);
    let told = (longest & 0xffff).to_be();
    let addresses = words(client) + words(vip);
    // SAFETY: every access lies in the bytes of the view.
    unsafe {
        reply.write::<u64, 0>(macs.0);
        reply.write::<u32, 8>(macs.1);
        reply.write::<u16, 12>(ETH_IPV4);
        reply.write::<u16, 14>(IPV4_FIRST_WORD);
        reply.write::<u16, 16>(length);
        reply.write::<u16, 18>(0);
        reply.write::<u16, 20>(DONT_FRAGMENT);
        reply.write::<u16, 22>(life);
        let sum = u32::from(IPV4_FIRST_WORD)
            + u32::from(length)
            + u32::from(DONT_FRAGMENT)
            + u32::from(life)
            + addresses;
        reply.write::<u16, 24>(!fold(sum));
        reply.write::<u32, 26>(vip);
        reply.write::<u32, 30>(client);
        reply.write::<u32, 34>(NEEDS_FRAGMENTS);
        reply.write::<u32, 38>(told);
        let quoted = reply.sum::<{ ETH_LEN + IPV4_LEN + ICMP_LEN }, QUOTE_V4>();
        let sum = words(NEEDS_FRAGMENTS) + words(told) + u32::from(quoted);
        reply.write::<u16, 36>(!fold(sum));
    }
    Some(())
}

#[inline(always)]
fn answer_v6(frame: Frame<'_>, longest: u32) -> Option<()> {
    const PAYLOAD: usize = ICMP_LEN + QUOTE_V6;
    let packet = frame.view(0, ETH_LEN + QUOTE_V6)?;
    // SAFETY: all of these lie in the Ethernet and IPv6 header.
    let (macs, client, vip) = unsafe {
        (
            swapped_macs(packet),
            Addr {
                hi: packet.read::<u64, 22>(),
                lo: packet.read::<u64, 30>(),
            },
            Addr {
                hi: packet.read::<u64, 38>(),
                lo: packet.read::<u64, 46>(),
            },
        )
    };
    let frame = turned::<QUOTE_V6, { IPV6_LEN + ICMP_LEN }>(frame)?;
    let reply = frame.view(0, ETH_LEN + IPV6_LEN + PAYLOAD)?;
    let told = longest.to_be();
    // Of the pseudo-header: both addresses, the length, the protocol.
    let addresses = [client.hi, client.lo, vip.hi, vip.lo];
    let addresses = addresses.map(|half| words(half as u32) + words((half >> 32) as u32));
    let pseudo = addresses[0]
        + addresses[1]
        + addresses[2]
        + addresses[3]
        + u32::from((PAYLOAD as u16).to_be())
        + u32::from(u16::from(ICMPV6).to_be());
    // SAFETY: every access lies in the bytes of the view.
    unsafe {
        reply.write::<u64, 0>(macs.0);
        reply.write::<u32, 8>(macs.1);
        reply.write::<u16, 12>(ETH_IPV6);
        reply.write::<u32, 14>((6u32 << 28).to_be());
        reply.write::<u16, 18>((PAYLOAD as u16).to_be());
        reply.write::<u16, 20>(u16::from_ne_bytes([ICMPV6, TTL]));
        reply.write::<u64, 22>(vip.hi);
        reply.write::<u64, 30>(vip.lo);
        reply.write::<u64, 38>(client.hi);
        reply.write::<u64, 46>(client.lo);
        reply.write::<u32, 54>(TOO_BIG);
        reply.write::<u32, 58>(told);
        let quoted = reply.sum::<{ ETH_LEN + IPV6_LEN + ICMP_LEN }, QUOTE_V6>();
        let sum = pseudo + words(TOO_BIG) + words(told) + u32::from(quoted);
        reply.write::<u16, 56>(!fold(sum));
    }
    Some(())
}

/// Cuts off what is behind the first `QUOTE` bytes of the IP packet and makes room for
/// `HEADERS` bytes before it, if the limit allows one more answer.
#[inline(always)]
fn turned<const QUOTE: usize, const HEADERS: usize>(frame: Frame<'_>) -> Option<Frame<'_>> {
    if !limit::admits(Answer::Error) {
        return None;
    }
    let rest = frame.length() - (ETH_LEN + QUOTE);
    frame.cut(rest)?.grow(HEADERS as i32)
}

/// The sum of a word's two halves.
#[inline(always)]
const fn words(word: u32) -> u32 {
    (word & 0xffff) + (word >> 16)
}

/// The first twelve bytes of a frame that goes back to where the one of `ethernet` came from.
///
/// # Safety
///
/// `ethernet` is a view of at least 12 bytes.
#[inline(always)]
unsafe fn swapped_macs(ethernet: View) -> (u64, u32) {
    // SAFETY: as the caller promised.
    let (first, second) = unsafe { (ethernet.read::<u64, 0>(), ethernet.read::<u32, 8>()) };
    let (destination, source) = (first & mac::MASK, first >> 48 | u64::from(second) << 16);
    (source | destination << 48, (destination >> 16) as u32)
}
