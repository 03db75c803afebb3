//! `ipip`: the packet is wrapped into an IP header of the backend's family
//! (RFC 2003, RFC 2473). The outer ECN field is zero, RFC 6040's
//! compatibility mode; the outer flow label is the flow's hash (RFC 6438). The
//! outer source may end in bits of that hash: decision 007.

use super::{ethernet, too_big};
use crate::{
    cold::cold,
    packet::Frame,
    parse::{ETH_IPV4, ETH_IPV6, ETH_LEN, Flow, IPV4_LEN, IPV6_LEN},
    select::Chosen,
};
use navigator_common::{
    backend::BackendInfo,
    checksum::{IPV4_FIRST_WORD, TUNNEL_TTL, tunnel_checksum},
    reason::Reason,
};

/// The largest total length of an IPv4 packet, and payload of an IPv6 packet.
const MAX_LENGTH: u64 = u16::MAX as u64;
const DONT_FRAGMENT: u16 = 0x4000u16.to_be();

#[inline(always)]
pub(crate) fn send(
    frame: Frame<'_>,
    flow: &Flow,
    chosen: &Chosen,
    info: BackendInfo,
) -> Result<u32, Reason> {
    too_big::check(&frame, flow, chosen)?;
    let inner = flow.transport.as_payload();
    if chosen.backend.address.is_v4() {
        wrap_v4(frame, flow, chosen, info, inner)
    } else {
        wrap_v6(frame, flow, chosen, info, inner)
    }
}

#[inline(always)]
fn wrap_v4(
    frame: Frame<'_>,
    flow: &Flow,
    chosen: &Chosen,
    info: BackendInfo,
    inner: u8,
) -> Result<u32, Reason> {
    let length = flow.length + IPV4_LEN as u64;
    if length > MAX_LENGTH {
        return Err(cold(Reason::DropTooLong));
    }
    let length = (length as u16).to_be();
    let exit = ethernet::exit(chosen)?;
    let frame = frame
        .grow(IPV4_LEN as i32)
        .ok_or_else(|| cold(Reason::DropNoHeadroom))?;
    let header = frame
        .view(0, ETH_LEN + IPV4_LEN)
        .ok_or_else(|| cold(Reason::DropNoHeadroom))?;
    let spread = source_bits(flow, info);
    // SAFETY: every write lies in the 34 bytes of the view.
    unsafe {
        let action = exit.address(header, chosen);
        header.write::<u16, 12>(ETH_IPV4);
        header.write::<u16, 14>(IPV4_FIRST_WORD);
        header.write::<u16, 16>(length);
        header.write::<u16, 18>(0);
        header.write::<u16, 20>(DONT_FRAGMENT);
        header.write::<u16, 22>(u16::from_ne_bytes([TUNNEL_TTL, inner]));
        header.write::<u16, 24>(tunnel_checksum(info.checksum_base, length, spread));
        header.write::<u32, 26>(chosen.backend.source.v4_raw() | spread);
        header.write::<u32, 30>(chosen.backend.address.v4_raw());
        Ok(action)
    }
}

#[inline(always)]
fn wrap_v6(
    frame: Frame<'_>,
    flow: &Flow,
    chosen: &Chosen,
    info: BackendInfo,
    inner: u8,
) -> Result<u32, Reason> {
    if flow.length > MAX_LENGTH {
        return Err(cold(Reason::DropTooLong));
    }
    let exit = ethernet::exit(chosen)?;
    let frame = frame
        .grow(IPV6_LEN as i32)
        .ok_or_else(|| cold(Reason::DropNoHeadroom))?;
    let header = frame
        .view(0, ETH_LEN + IPV6_LEN)
        .ok_or_else(|| cold(Reason::DropNoHeadroom))?;
    let backend = chosen.backend;
    let spread = source_bits(flow, info);
    // SAFETY: every write lies in the 54 bytes of the view.
    unsafe {
        let action = exit.address(header, chosen);
        header.write::<u16, 12>(ETH_IPV6);
        header.write::<u32, 14>((6 << 28 | flow.hash as u32 & 0xf_ffff).to_be());
        header.write::<u16, 18>((flow.length as u16).to_be());
        header.write::<u16, 20>(u16::from_ne_bytes([inner, TUNNEL_TTL]));
        header.write::<u64, 22>(backend.source.hi);
        header.write::<u64, 30>(backend.source.lo | u64::from(spread) << 32);
        header.write::<u64, 38>(backend.address.hi);
        header.write::<u64, 46>(backend.address.lo);
        Ok(action)
    }
}

/// What the flow adds to the outer source, as the packet holds its last four bytes.
#[inline(always)]
fn source_bits(flow: &Flow, info: BackendInfo) -> u32 {
    if info.spread == 0 {
        return 0;
    }
    let mask = 1u64.wrapping_shl(info.spread.into()).wrapping_sub(1);
    (flow.hash as u32 & mask as u32).to_be()
}
