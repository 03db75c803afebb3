//! QUIC by connection id: the backend whose server id a datagram's
//! destination connection id holds. The format: `navigator_common::quic`.
//!
//! Nothing of a packet's first octet counts but its highest bit, which says
//! where the connection id begins: everything else depends on the version.

use crate::{
    count,
    maps::{QUIC_SERVERS, load},
    packet::Frame,
    parse::{ETH_IPV4, ETH_LEN, UDP},
    select::{self, Chosen},
    trace::Observer,
};
use aya_ebpf::{bindings::xdp_md, programs::XdpContext};
use navigator_common::{
    backend::BackendInfo,
    quic::{LEAST_NONCE, QuicKey, server_id_length},
    reason::Event,
    vip::{PortWord, Vip},
};

const UDP_LEN: usize = 8;
/// Most of a short packet that is looked into: first octet, first octet of the connection id,
/// 16 bytes that begin with the server id. No real one is shorter.
const SHORT: usize = 18;
/// The same of a long packet, whose connection id stands behind version and length.
const LONG: usize = 23;

/// The backend that the packet's connection id names, if that can serve it.
#[inline(always)]
pub(crate) fn backend(ctx: &XdpContext, vip: &Vip, observer: &impl Observer) -> Option<Chosen> {
    let vip_id = PortWord(vip.port).vip();
    let id = navigator_quic(ctx.ctx, vip_id, load(&vip.quic));
    let named = select::by_id(id).filter(|named| {
        // Id 0 is nobody's, and an id that was given to another VIP meanwhile is none of ours.
        let info = BackendInfo::unpack(named.backend.info);
        named.word.is_usable() && u32::from(info.vip) == vip_id
    });
    let event = match named {
        Some(_) => Event::QuicById,
        None => Event::QuicByTuple,
    };
    count::event(event);
    observer.event(event);
    named
}

/// The id of the backend that a connection id of these configurations names; 0 if it names none.
#[unsafe(no_mangle)]
#[inline(never)]
extern "C" fn navigator_quic(ctx: *mut xdp_md, vip: u32, configs: u64) -> u32 {
    let ctx = XdpContext::new(ctx);
    server_id(&Frame::new(&ctx), vip, configs)
        .and_then(|key| {
            // SAFETY: the value is read at once, and freed only after the runs that may have found it.
            unsafe { QUIC_SERVERS.get(key) }.copied()
        })
        .unwrap_or(0) as u32
}

/// The key of the server id in the packet.
#[inline(always)]
fn server_id(frame: &Frame<'_>, vip: u32, configs: u64) -> Option<QuicKey> {
    let at = datagram(frame)?;
    let head = frame.view(at, UDP_LEN + SHORT)?;
    // SAFETY: the view has 26 bytes.
    let (length, first) = unsafe { (head.read::<u16, 4>(), head.read::<u8, 8>()) };
    let length = usize::from(u16::from_be(length));
    let (octet, lo, hi) = if first & 0x80 == 0 {
        if length < UDP_LEN + SHORT {
            return None;
        }
        // SAFETY: as above; the last word ends with the view.
        unsafe {
            (
                head.read::<u8, 9>(),
                head.read::<u64, 10>(),
                head.read::<u64, 18>(),
            )
        }
    } else {
        let head = frame.view(at, UDP_LEN + LONG)?;
        // SAFETY: the view has 31 bytes; the last word ends with it.
        let (id_length, octet, lo, hi) = unsafe {
            (
                head.read::<u8, 13>(),
                head.read::<u8, 14>(),
                head.read::<u64, 15>(),
                head.read::<u64, 23>(),
            )
        };
        let needed = 1 + server_id_length(configs, octet) + LEAST_NONCE;
        if length < UDP_LEN + LONG || u32::from(id_length) < needed {
            return None;
        }
        (octet, lo, hi)
    };
    match server_id_length(configs, octet) {
        0 => None,
        length => Some(QuicKey::new(vip, length, lo, hi)),
    }
}

/// Where the UDP header begins. Behind IPv6 extension headers it is not looked for.
#[inline(always)]
fn datagram(frame: &Frame<'_>) -> Option<usize> {
    let ip = frame.view(0, ETH_LEN + 20)?;
    // SAFETY: the view has 34 bytes.
    let (ether_type, first, next, protocol) = unsafe {
        (
            ip.read::<u16, 12>(),
            ip.read::<u8, 14>(),
            ip.read::<u8, 20>(),
            ip.read::<u8, 23>(),
        )
    };
    if ether_type == ETH_IPV4 {
        (protocol == UDP).then_some(ETH_LEN + (first as usize & 0xf) * 4)
    } else {
        (next == UDP).then_some(ETH_LEN + 40)
    }
}
