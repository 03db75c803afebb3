//! ICMP and ICMPv6 to a VIP's address. Echo requests are answered ([`echo`]),
//! an error about a packet of a VIP's flow goes to that flow's backend
//! ([`quote`]), all else is the host's.
//!
//! None of it is on the way of an ordinary packet: it is a subprogram, so that
//! the main program stays as small as it is without it.

mod echo;
mod quote;

use crate::{
    packet::Frame,
    parse::{ETH_IPV4, ETH_LEN, Family, Flow, IPV4_LEN, IPV6_LEN, Kind, Transport},
};
use aya_ebpf::{bindings::xdp_md, programs::XdpContext};
use navigator_common::reason::Reason;
use quote::Quoted;
pub(crate) use quote::transport_offset as ipv6_transport;

/// Where an ICMP message is.
#[derive(Clone, Copy)]
pub(crate) struct Message {
    /// Its place in the frame.
    pub(crate) offset: usize,
    /// Length of the IP packet that it is in.
    pub(crate) length: usize,
}

/// Length of the part that all messages have: type, code, checksum, and four bytes whose
/// meaning depends on the type.
pub(crate) const MESSAGE_HEADER: usize = 8;
const HEADER: usize = MESSAGE_HEADER;

/// No way to a message is longer: Ethernet, IP, and the options or extension headers that are
/// walked through.
const FARTHEST: usize = 2048;

mod v4 {
    pub(super) const UNREACHABLE: u8 = 3;
    pub(super) const SOURCE_QUENCH: u8 = 4;
    pub(super) const ECHO_REQUEST: u8 = 8;
    pub(super) const TIME_EXCEEDED: u8 = 11;
    pub(super) const PARAMETER_PROBLEM: u8 = 12;
}

mod v6 {
    pub(super) const UNREACHABLE: u8 = 1;
    pub(super) const PARAMETER_PROBLEM: u8 = 4;
    pub(super) const ECHO_REQUEST: u8 = 128;
}

/// What becomes of a message: the subprogram's result.
#[derive(Clone, Copy)]
#[repr(u64)]
enum Fate {
    /// It is about a flow, which was written to the caller's place for it.
    Quotes,
    Answered,
    AboveLimit,
    Looped,
    BadQuote,
    Malformed,
    Passed,
}

/// The flow that a message to a VIP's address is about; else why the message needs none.
#[inline(always)]
pub(crate) fn flow(ctx: &XdpContext, family: Family, message: Message) -> Result<Flow, Reason> {
    let mut quoted = Quoted::default();
    let end = ETH_LEN + message.length;
    let fate = navigator_icmp(ctx.ctx, message.offset as u64, end as u64, &raw mut quoted);
    if fate == Fate::Quotes as u64 {
        Ok(Flow {
            transport: Transport::new(quoted.protocol as u8, quoted.ports, Kind::Quoted).of(family),
            hash: quoted.hash,
            length: message.length as u64,
        })
    } else if fate == Fate::Answered as u64 {
        Err(Reason::ReplyEcho)
    } else if fate == Fate::AboveLimit as u64 {
        Err(Reason::DropEchoLimit)
    } else if fate == Fate::Looped as u64 {
        Err(Reason::DropLoop)
    } else if fate == Fate::BadQuote as u64 {
        Err(Reason::DropIcmpQuote)
    } else if fate == Fate::Malformed as u64 {
        Err(Reason::DropMalformed)
    } else {
        Err(Reason::PassIcmp)
    }
}

/// Deals with the message at `offset` of a frame whose IP packet reaches to `end`. The verifier
/// checks this by itself and knows nothing of the arguments.
#[unsafe(no_mangle)]
extern "C" fn navigator_icmp(ctx: *mut xdp_md, offset: u64, end: u64, quoted: *mut Quoted) -> u64 {
    let ctx = XdpContext::new(ctx);
    if quoted.is_null() {
        return Fate::Passed as u64;
    }
    let fate = match judge(&Frame::new(&ctx), offset as usize, end as usize) {
        Ok(flow) => {
            // SAFETY: the caller's place for it, as checked above.
            unsafe { *quoted = flow };
            Fate::Quotes
        }
        Err(fate) => fate,
    };
    fate as u64
}

#[inline(always)]
#[expect(
    clippy::manual_range_contains,
    reason = "of one comparison of a difference, Linux 6.1 does not learn the bounds"
)]
fn judge(frame: &Frame<'_>, offset: usize, end: usize) -> Result<Quoted, Fate> {
    if offset < ETH_LEN + IPV4_LEN || offset >= FARTHEST || end < offset + HEADER {
        return Err(Fate::Malformed);
    }
    if !frame.holds(end) {
        return Err(Fate::Malformed);
    }
    let ethernet = frame.view(0, ETH_LEN).ok_or(Fate::Malformed)?;
    // SAFETY: the view has 14 bytes.
    if unsafe { ethernet.read::<u16, 12>() } == ETH_IPV4 {
        // Before the message at its variable place, which the compiler would take for as good.
        let least = frame
            .view(0, ETH_LEN + IPV4_LEN + HEADER)
            .ok_or(Fate::Malformed)?;
        match kind_and_code(frame, offset)? {
            (v4::ECHO_REQUEST, 0) => Err(echo::reply_v4(least, offset)),
            (
                v4::UNREACHABLE | v4::SOURCE_QUENCH | v4::TIME_EXCEEDED | v4::PARAMETER_PROBLEM,
                _,
            ) => quote::flow_v4(frame, least, offset + HEADER, end),
            _ => Err(Fate::Passed),
        }
    } else {
        let least = frame
            .view(0, ETH_LEN + IPV6_LEN + HEADER)
            .ok_or(Fate::Malformed)?;
        match kind_and_code(frame, offset)? {
            (v6::ECHO_REQUEST, 0) => Err(echo::reply_v6(least, offset)),
            (v6::UNREACHABLE..=v6::PARAMETER_PROBLEM, _) => {
                quote::flow_v6(frame, least, offset + HEADER, end)
            }
            _ => Err(Fate::Passed),
        }
    }
}

#[inline(always)]
fn kind_and_code(frame: &Frame<'_>, offset: usize) -> Result<(u8, u8), Fate> {
    let message = frame.view(offset, HEADER).ok_or(Fate::Malformed)?;
    // SAFETY: the view has 8 bytes.
    Ok(unsafe { (message.read::<u8, 0>(), message.read::<u8, 1>()) })
}
