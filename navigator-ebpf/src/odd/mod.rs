//! Packets whose ports do not stand behind a plain IP header: fragments, IPv4
//! packets with options, IPv6 packets with extension headers. What they tell is
//! brought into the form of an ordinary packet; from there on they go the
//! ordinary way.
//!
//! It is a subprogram, so that the main program stays as small as it is
//! without it. `docs/decisions/010-fragments.md` has the rules.

mod memory;
mod options;
mod v4;
mod v6;
mod walk;

pub(crate) use options::sum as options;
pub(crate) use walk::transport_offset;

use crate::{
    icmp::Message,
    packet::Frame,
    parse::{
        ETH_IPV4, ETH_LEN, Kind, NoFlow, TCP, TCP_LEN, Transport, UDP, UDP_LEN, malformed, tcp, udp,
    },
    refuse,
};
use aya_ebpf::{bindings::xdp_md, programs::XdpContext};
use navigator_common::reason::Reason;

/// Why it tells nothing.
#[derive(Clone, Copy)]
#[repr(u8)]
enum Flaw {
    /// None: it does.
    No,
    OtherProtocol,
    Icmp,
    Malformed,
    PortZero,
    UnknownFragment,
    BadFragment,
    BadExtension,
}

/// Where in the subprogram's result, a [`Transport`], the [`Flaw`] stands.
const FLAW: u32 = 48;

/// The ICMP message that starts `at` bytes behind the start of the IP packet.
#[inline(always)]
fn message(protocol: u8, at: usize) -> Transport {
    Transport::new(protocol, at as u32, Kind::Segment)
}

/// What the packet of `length` bytes in `frame` tells, which is for a VIP address and either a
/// fragment or one with options or extension headers. `icmp` is the protocol number of the
/// family's ICMP.
#[inline(always)]
pub(crate) fn look(frame: &Frame<'_>, icmp: u8, length: usize) -> Result<Transport, NoFlow> {
    let word = navigator_odd(frame.context());
    let flaw = (word >> FLAW) as u8;
    if flaw == Flaw::No as u8 {
        let transport = Transport(word);
        if transport.protocol() == icmp {
            let offset = ETH_LEN + (word & 0x3ff) as usize;
            return Err(NoFlow::Icmp(Message { offset, length }));
        }
        return Ok(transport);
    }
    Err(if flaw == Flaw::OtherProtocol as u8 {
        NoFlow::OtherProtocol
    } else if flaw == Flaw::Icmp as u8 {
        NoFlow::Reason(Reason::PassIcmp)
    } else if flaw == Flaw::PortZero as u8 {
        NoFlow::Reason(Reason::DropPortZero)
    } else if flaw == Flaw::UnknownFragment as u8 {
        NoFlow::Reason(Reason::DropFragment)
    } else if flaw == Flaw::BadFragment as u8 {
        NoFlow::Reason(Reason::DropBadFragment)
    } else if flaw == Flaw::BadExtension as u8 {
        NoFlow::Reason(Reason::DropExtension)
    } else {
        malformed()
    })
}

/// See [`look`]. The verifier checks this by itself.
#[unsafe(no_mangle)]
extern "C" fn navigator_odd(ctx: *mut xdp_md) -> u64 {
    let ctx = XdpContext::new(ctx);
    let frame = Frame::new(&ctx);
    let Some(ethernet) = frame.view(0, ETH_LEN) else {
        return (Flaw::Malformed as u64) << FLAW;
    };
    // SAFETY: the type is the last of the 14 bytes.
    let outcome = if unsafe { ethernet.read::<u16, 12>() } == ETH_IPV4 {
        v4::look(&frame)
    } else {
        v6::look(&frame)
    };
    match outcome {
        Ok(transport) => transport.0,
        Err(flaw) => (flaw as u64) << FLAW,
    }
}

/// Where a fragment's bytes lie in the packet that it is a part of.
#[derive(Clone, Copy)]
struct Place {
    /// Bytes before it.
    offset: usize,
    /// Others follow it.
    more: bool,
}

impl Place {
    /// Of a field as IPv4 spells it, in units of eight bytes, and whether more follow.
    #[inline(always)]
    fn new(units: u16, more: bool) -> Self {
        Self {
            offset: usize::from(units) * 8,
            more,
        }
    }

    /// Whether a fragment of `length` bytes can lie there, behind headers of `headers` bytes.
    #[inline(always)]
    fn holds(self, length: usize, headers: usize) -> bool {
        const LONGEST: usize = u16::MAX as usize;
        length != 0
            && (!self.more || length.is_multiple_of(8))
            && headers + self.offset + length <= LONGEST
    }
}

/// What the transport header at `at` of an IP packet of `length` bytes tells: of all of it, or of
/// its first fragment.
#[inline(always)]
fn transport(
    frame: &Frame<'_>,
    protocol: u8,
    at: usize,
    length: usize,
    is_first: bool,
) -> Result<Transport, Flaw> {
    let short = if is_first {
        Flaw::BadFragment
    } else {
        Flaw::Malformed
    };
    let needed = if protocol == TCP { TCP_LEN } else { UDP_LEN };
    if length < at + needed {
        return Err(short);
    }
    let room = length - at;
    let transport = if protocol == TCP {
        let header = frame.view(ETH_LEN + at, TCP_LEN).ok_or(Flaw::Malformed)?;
        tcp(header, room).map_err(|_| short)?
    } else {
        let header = frame.view(ETH_LEN + at, UDP_LEN).ok_or(Flaw::Malformed)?;
        // A datagram's length is that of all fragments together.
        let room = if is_first { u16::MAX as usize } else { room };
        udp(header, room).map_err(|_| Flaw::Malformed)?
    };
    if refuse::ports(transport.ports()).is_err() {
        return Err(Flaw::PortZero);
    }
    Ok(transport)
}

/// The flow of a later fragment, by what the first one said.
#[inline(always)]
fn later(hash: u64, covers_headers: bool) -> Result<Transport, Flaw> {
    let word = memory::recall(hash).ok_or(Flaw::UnknownFragment)?;
    let protocol = if word.is_udp() { UDP } else { TCP };
    // It would overwrite the header that was judged (RFC 3128).
    if protocol == TCP && covers_headers {
        return Err(Flaw::BadFragment);
    }
    Ok(Transport::new(protocol, word.ports(), Kind::Later))
}
