//! The backend's side of the tunnel modes: takes the outer IP header off
//! packets whose inner destination is one of the host's VIPs, and leaves
//! everything else as it came.
//!
//! What is a tunnel packet here: IPv4 with protocol 4 or 41, IPv6 whose first
//! next header is 4 or 41, either with UDP to the GUE port, untagged. The
//! balancer sends no other ones; an IPv6 packet with extension headers before
//! the tunnel is left to the host.
//!
//! Of GUE the balancer sends variant 0 without options (decision 006). What
//! has a control message, options or another variant goes to the host, which
//! may have a device that understands it, and is counted as foreign. The UDP
//! checksum is not looked at: the inner packet has its own.
//!
//! A fragment of a tunnel packet cannot be unwrapped before it is whole. It
//! goes to the host untouched, which reassembles it for a tunnel device of its
//! own if there is one, and is counted as foreign so that it can be seen.
//!
//! The outer checksum is not verified: the inner headers carry their own.
//! Outer ECN marks are not carried inwards, because the balancer sends its
//! outer headers as not ECN-capable.

use crate::globals;
use aya_ebpf::{
    bindings::xdp_action,
    btf_maps::{HashMap, PerCpuArray},
    helpers::{bpf_xdp_adjust_head, bpf_xdp_get_buff_len},
    macros::{btf_map, xdp},
    programs::XdpContext,
};
use navigator_common::{
    addr::Addr,
    gue,
    maps::{DECAP_VIP_ENTRIES, DecapOutcome},
};

/// Inner destinations to unwrap for; the values have no meaning.
#[btf_map]
static DECAP_VIPS: HashMap<Addr, u64, { DECAP_VIP_ENTRIES as usize }> = HashMap::new();

/// Packets by [`DecapOutcome`].
#[btf_map]
static DECAP_COUNTERS: PerCpuArray<u64, { DecapOutcome::ALL.len() }> = PerCpuArray::new();

const ETHERNET: usize = 14;
const IPV4: usize = 20;
const IPV6: usize = 40;

const ETHERTYPE_IPV4: u16 = 0x0800_u16.to_be();
const ETHERTYPE_IPV6: u16 = 0x86dd_u16.to_be();

const IN_IPV4: u8 = 4;
const IN_IPV6: u8 = 41;
const UDP: u8 = 17;
const FRAGMENT: u8 = 44;

const UDP_HEADER: usize = 8;
const GUE_HEADERS: usize = gue::HEADERS as usize;

/// More fragments, or an offset.
const FRAGMENT_BITS: u16 = 0x3fff_u16.to_be();
const OFFSET_BITS: u16 = 0x1fff_u16.to_be();

/// Unwraps tunnel packets for this host's VIPs.
#[xdp(frags)]
pub(crate) fn navigator_decap(ctx: XdpContext) -> u32 {
    let outcome = match unwrap(&ctx) {
        Ok(()) => DecapOutcome::Unwrapped,
        Err(outcome) => outcome,
    };
    if let Some(counter) = DECAP_COUNTERS.get_ptr_mut(outcome as u32) {
        // SAFETY: the pointer is to this CPU's own element, which the map look-up checked.
        unsafe { *counter += 1 };
    }
    match outcome {
        DecapOutcome::Malformed => xdp_action::XDP_DROP,
        _ => xdp_action::XDP_PASS,
    }
}

/// What is inside an outer header.
struct Tunnel {
    /// Offset of the inner header in the frame.
    inner: usize,
    /// Length of what the outer header carries.
    payload: usize,
    /// The inner header is an IPv6 one.
    v6: bool,
}

#[inline(always)]
fn unwrap(ctx: &XdpContext) -> Result<(), DecapOutcome> {
    let tunnel = match load::<u16>(ctx, 12).ok_or(DecapOutcome::Passed)? {
        ETHERTYPE_IPV4 => outer_v4(ctx)?,
        ETHERTYPE_IPV6 => outer_v6(ctx)?,
        _ => return Err(DecapOutcome::Passed),
    };
    let destination = if tunnel.v6 {
        inner_v6(ctx, &tunnel)?
    } else {
        inner_v4(ctx, &tunnel)?
    };
    // SAFETY: the value is not read, so it does not matter whether the entry is replaced meanwhile.
    if unsafe { DECAP_VIPS.get(destination) }.is_none() {
        return Err(DecapOutcome::Foreign);
    }
    strip(ctx, tunnel.inner - ETHERNET, tunnel.v6)
}

#[inline(always)]
fn outer_v4(ctx: &XdpContext) -> Result<Tunnel, DecapOutcome> {
    let [first, _, length_hi, length_lo] = bytes(load(ctx, ETHERNET), DecapOutcome::Passed)?;
    let [_, protocol, _, _] = bytes(load(ctx, ETHERNET + 8), DecapOutcome::Passed)?;
    let fragment: u16 = load(ctx, ETHERNET + 6).ok_or(DecapOutcome::Passed)?;
    let header = (first as usize & 0xf) * 4;
    let carried = match protocol {
        // Only the first fragment tells the port; the host gets them all.
        UDP if fragment & OFFSET_BITS != 0 => return Err(DecapOutcome::Passed),
        UDP => gue_port(ctx, ETHERNET + header)?,
        protocol => Carried::Ip {
            v6: inner_family(protocol, DecapOutcome::Passed)?,
        },
    };
    if first >> 4 != 4 {
        return Err(DecapOutcome::Malformed);
    }
    if fragment & FRAGMENT_BITS != 0 {
        return Err(DecapOutcome::Foreign);
    }
    let total = u16::from_be_bytes([length_hi, length_lo]) as usize;
    if header < IPV4 || total < header || ETHERNET + total > frame_length(ctx) {
        return Err(DecapOutcome::Malformed);
    }
    carried.tunnel(ctx, ETHERNET + header, total - header)
}

#[inline(always)]
fn outer_v6(ctx: &XdpContext) -> Result<Tunnel, DecapOutcome> {
    let [first, ..] = bytes(load(ctx, ETHERNET), DecapOutcome::Passed)?;
    let [length_hi, length_lo, next, _] = bytes(load(ctx, ETHERNET + 4), DecapOutcome::Passed)?;
    let carried = match next {
        FRAGMENT => {
            let [carried, ..] = bytes(load(ctx, ETHERNET + IPV6), DecapOutcome::Passed)?;
            inner_family(carried, DecapOutcome::Passed)?;
            return Err(DecapOutcome::Foreign);
        }
        UDP => gue_port(ctx, ETHERNET + IPV6)?,
        next => Carried::Ip {
            v6: inner_family(next, DecapOutcome::Passed)?,
        },
    };
    let payload = u16::from_be_bytes([length_hi, length_lo]) as usize;
    if first >> 4 != 6 || ETHERNET + IPV6 + payload > frame_length(ctx) {
        return Err(DecapOutcome::Malformed);
    }
    carried.tunnel(ctx, ETHERNET + IPV6, payload)
}

/// What an outer IP header carries.
enum Carried {
    /// The inner packet.
    Ip { v6: bool },
    /// UDP to the GUE port.
    Gue,
}

impl Carried {
    /// The inner packet of what is at `offset` and has `length` bytes.
    #[inline(always)]
    fn tunnel(
        self,
        ctx: &XdpContext,
        offset: usize,
        length: usize,
    ) -> Result<Tunnel, DecapOutcome> {
        match self {
            Self::Ip { v6 } => Ok(Tunnel {
                inner: offset,
                payload: length,
                v6,
            }),
            Self::Gue => inside_gue(ctx, offset, length),
        }
    }
}

/// Whether the UDP header at `offset` names the GUE port; everybody else's is passed.
#[inline(always)]
fn gue_port(ctx: &XdpContext, offset: usize) -> Result<Carried, DecapOutcome> {
    let port: u16 = load(ctx, offset + 2).ok_or(DecapOutcome::Passed)?;
    if port == globals::gue_port().to_be() {
        Ok(Carried::Gue)
    } else {
        Err(DecapOutcome::Passed)
    }
}

/// The inner packet behind the UDP and GUE headers at `offset`, of an IP packet that has
/// `length` bytes from there on.
#[inline(always)]
fn inside_gue(ctx: &XdpContext, offset: usize, length: usize) -> Result<Tunnel, DecapOutcome> {
    let datagram: u16 = load(ctx, offset + 4).ok_or(DecapOutcome::Malformed)?;
    let datagram = u16::from_be(datagram) as usize;
    if datagram < GUE_HEADERS || datagram > length {
        return Err(DecapOutcome::Malformed);
    }
    let header = load(ctx, offset + UDP_HEADER);
    let [variant, protocol, flags_hi, flags_lo] = bytes(header, DecapOutcome::Malformed)?;
    if variant | flags_hi | flags_lo != 0 {
        return Err(DecapOutcome::Foreign);
    }
    Ok(Tunnel {
        inner: offset + GUE_HEADERS,
        payload: datagram - GUE_HEADERS,
        v6: inner_family(protocol, DecapOutcome::Foreign)?,
    })
}

/// The inner destination of a sound IPv4 packet. Bytes after its end are
/// allowed, as they are after the end of any packet.
#[inline(always)]
fn inner_v4(ctx: &XdpContext, tunnel: &Tunnel) -> Result<Addr, DecapOutcome> {
    let [first, _, length_hi, length_lo] = bytes(load(ctx, tunnel.inner), DecapOutcome::Malformed)?;
    let destination = load(ctx, tunnel.inner + 16).ok_or(DecapOutcome::Malformed)?;
    let header = (first as usize & 0xf) * 4;
    let total = u16::from_be_bytes([length_hi, length_lo]) as usize;
    if first >> 4 != 4 || header < IPV4 || total < header || total > tunnel.payload {
        return Err(DecapOutcome::Malformed);
    }
    Ok(Addr::from_v4_raw(destination))
}

/// The inner destination of a sound IPv6 packet.
#[inline(always)]
fn inner_v6(ctx: &XdpContext, tunnel: &Tunnel) -> Result<Addr, DecapOutcome> {
    let [first, ..] = bytes(load(ctx, tunnel.inner), DecapOutcome::Malformed)?;
    let length: u16 = load(ctx, tunnel.inner + 4).ok_or(DecapOutcome::Malformed)?;
    let hi = load(ctx, tunnel.inner + 24).ok_or(DecapOutcome::Malformed)?;
    let lo = load(ctx, tunnel.inner + 32).ok_or(DecapOutcome::Malformed)?;
    let total = IPV6 + u16::from_be(length) as usize;
    if first >> 4 != 6 || total > tunnel.payload {
        return Err(DecapOutcome::Malformed);
    }
    Ok(Addr { hi, lo })
}

/// Whether the protocol number stands for IPv6 inside, or IPv4; else what becomes of the packet.
#[inline(always)]
fn inner_family(protocol: u8, other: DecapOutcome) -> Result<bool, DecapOutcome> {
    match protocol {
        IN_IPV4 => Ok(false),
        IN_IPV6 => Ok(true),
        _ => Err(other),
    }
}

/// Takes `outer` bytes out between the Ethernet header and the inner one.
/// The MAC addresses stay.
#[inline(always)]
fn strip(ctx: &XdpContext, outer: usize, v6: bool) -> Result<(), DecapOutcome> {
    let macs: (u64, u32) = (
        load(ctx, 0).ok_or(DecapOutcome::Malformed)?,
        load(ctx, 8).ok_or(DecapOutcome::Malformed)?,
    );
    // SAFETY: the context is the one that the kernel gave; the helper checks the length.
    if unsafe { bpf_xdp_adjust_head(ctx.ctx, outer as i32) } != 0 {
        return Err(DecapOutcome::Malformed);
    }
    let start = ctx.data();
    if start + ETHERNET > ctx.data_end() {
        return Err(DecapOutcome::Malformed);
    }
    let ethertype = if v6 { ETHERTYPE_IPV6 } else { ETHERTYPE_IPV4 };
    // SAFETY: 14 bytes from `start` lie inside the frame, as checked above.
    unsafe {
        *(start as *mut u64) = macs.0;
        *((start + 8) as *mut u32) = macs.1;
        *((start + 12) as *mut u16) = ethertype;
    }
    Ok(())
}

/// The word at `offset` as the frame holds it, if it lies in the frame's first
/// buffer. One load of the full width: the target allows unaligned ones.
#[inline(always)]
fn load<T: Copy>(ctx: &XdpContext, offset: usize) -> Option<T> {
    let at = ctx.data() + offset;
    if at + size_of::<T>() > ctx.data_end() {
        return None;
    }
    // SAFETY: the whole word lies inside the frame, as checked above; every
    // bit pattern is valid for the integers that this is used with.
    Some(unsafe { *(at as *const T) })
}

/// The bytes of a loaded word in the order of the frame, or `missing`.
#[inline(always)]
fn bytes(word: Option<u32>, missing: DecapOutcome) -> Result<[u8; 4], DecapOutcome> {
    word.map(u32::to_ne_bytes).ok_or(missing)
}

/// Length of the frame over all its buffers.
#[inline(always)]
fn frame_length(ctx: &XdpContext) -> usize {
    // SAFETY: the context is the one that the kernel gave.
    unsafe { bpf_xdp_get_buff_len(ctx.ctx) as usize }
}
