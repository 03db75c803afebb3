//! `gue`: the packet is wrapped into UDP and a GUE header of variant 0 (as
//! Linux's `fou` devices understand it), inside an IP header of the backend's
//! family. Both UDP checksums are zero: decision 006.

use super::{ethernet, too_big};
use crate::{
    cold::cold,
    globals,
    packet::{Frame, View},
    parse::{ETH_IPV4, ETH_IPV6, ETH_LEN, Flow, IPV4_LEN, IPV6_LEN},
    select::Chosen,
};
use navigator_common::{
    backend::BackendInfo,
    checksum::{IPV4_FIRST_WORD, TUNNEL_TTL, tunnel_checksum},
    gue::{FIRST_SOURCE_PORT, HEADERS, SOURCE_PORT_BITS},
    reason::Reason,
};
use network_types::ip::IpProto;

const HEADERS_LEN: usize = HEADERS as usize;
const UDP: u8 = IpProto::Udp as u8;
const DONT_FRAGMENT: u16 = 0x4000u16.to_be();
/// The largest total length of an IPv4 packet, and payload of an IPv6 packet.
const MAX_LENGTH: u64 = u16::MAX as u64;

#[inline(always)]
pub(crate) fn send(
    frame: Frame<'_>,
    flow: &Flow,
    chosen: &Chosen,
    info: BackendInfo,
) -> Result<u32, Reason> {
    too_big::check(&frame, flow, chosen)?;
    if chosen.backend.address.is_v4() {
        wrap_v4(frame, flow, chosen, info)
    } else {
        wrap_v6(frame, flow, chosen)
    }
}

#[inline(always)]
fn wrap_v4(
    frame: Frame<'_>,
    flow: &Flow,
    chosen: &Chosen,
    info: BackendInfo,
) -> Result<u32, Reason> {
    const GROWTH: usize = IPV4_LEN + HEADERS_LEN;
    let length = flow.length + GROWTH as u64;
    if length > MAX_LENGTH {
        return Err(cold(Reason::DropTooLong));
    }
    let length_be = (length as u16).to_be();
    let exit = ethernet::exit(chosen)?;
    let frame = frame
        .grow(GROWTH as i32)
        .ok_or_else(|| cold(Reason::DropNoHeadroom))?;
    let header = frame
        .view(0, ETH_LEN + GROWTH)
        .ok_or_else(|| cold(Reason::DropNoHeadroom))?;
    // SAFETY: every write lies in the 46 bytes of the view.
    unsafe {
        let action = exit.address(header, chosen);
        header.write::<u16, 12>(ETH_IPV4);
        header.write::<u16, 14>(IPV4_FIRST_WORD);
        header.write::<u16, 16>(length_be);
        header.write::<u16, 18>(0);
        header.write::<u16, 20>(DONT_FRAGMENT);
        header.write::<u16, 22>(u16::from_ne_bytes([TUNNEL_TTL, UDP]));
        header.write::<u16, 24>(tunnel_checksum(info.checksum_base, length_be, 0));
        header.write::<u32, 26>(chosen.backend.source.v4_raw());
        header.write::<u32, 30>(chosen.backend.address.v4_raw());
        udp::<34, 38, 40, 42>(header, flow);
        Ok(action)
    }
}

#[inline(always)]
fn wrap_v6(frame: Frame<'_>, flow: &Flow, chosen: &Chosen) -> Result<u32, Reason> {
    const GROWTH: usize = IPV6_LEN + HEADERS_LEN;
    let payload = flow.length + HEADERS_LEN as u64;
    if payload > MAX_LENGTH {
        return Err(cold(Reason::DropTooLong));
    }
    let exit = ethernet::exit(chosen)?;
    let frame = frame
        .grow(GROWTH as i32)
        .ok_or_else(|| cold(Reason::DropNoHeadroom))?;
    let header = frame
        .view(0, ETH_LEN + GROWTH)
        .ok_or_else(|| cold(Reason::DropNoHeadroom))?;
    let backend = chosen.backend;
    // SAFETY: every write lies in the 66 bytes of the view.
    unsafe {
        let action = exit.address(header, chosen);
        header.write::<u16, 12>(ETH_IPV6);
        header.write::<u32, 14>((6 << 28 | flow.hash as u32 & 0xf_ffff).to_be());
        header.write::<u16, 18>((payload as u16).to_be());
        header.write::<u16, 20>(u16::from_ne_bytes([UDP, TUNNEL_TTL]));
        header.write::<u64, 22>(backend.source.hi);
        header.write::<u64, 30>(backend.source.lo);
        header.write::<u64, 38>(backend.address.hi);
        header.write::<u64, 46>(backend.address.lo);
        udp::<54, 58, 60, 62>(header, flow);
        Ok(action)
    }
}

/// Writes the UDP and GUE headers; `PORTS` is the offset of the first, the others
/// those of its length, its checksum and the GUE header.
///
/// # Safety
///
/// `header` is a view of at least `GUE + 4` bytes.
#[inline(always)]
unsafe fn udp<const PORTS: usize, const LENGTH: usize, const CHECKSUM: usize, const GUE: usize>(
    header: View,
    flow: &Flow,
) {
    let source = FIRST_SOURCE_PORT | flow.hash as u16 & ((1 << SOURCE_PORT_BITS) - 1);
    let inner = flow.transport.as_payload();
    // SAFETY: as the caller promised.
    unsafe {
        header.write::<u32, PORTS>(
            u32::from(source.to_be()) | u32::from(globals::gue_port().to_be()) << 16,
        );
        header.write::<u16, LENGTH>(((flow.length + HEADERS_LEN as u64) as u16).to_be());
        header.write::<u16, CHECKSUM>(0);
        header.write::<u32, GUE>(u32::from(inner) << 8);
    }
}
