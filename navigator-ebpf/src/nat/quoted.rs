//! ICMP errors about what was translated. A client's network quotes what left
//! for the client, and gets to the backend as if it were about what the backend
//! had sent; and the other way round. The quoted packet and the one that carries
//! it get the addresses that their receiver knows, all checksums follow.

use super::{forward, packet::Packet, reply, rewrite::udp_checksum, stray, told};
use crate::{
    count,
    forward::ethernet::{self, Exit},
    icmp::{MESSAGE_HEADER, ipv6_transport},
    packet::{Frame, View},
    parse::{ETH_IPV4, ETH_LEN, IPV4_LEN, IPV6_LEN, TCP},
    select::{self, Chosen},
    vlan,
};
use aya_ebpf::{bindings::xdp_md, programs::XdpContext};
use navigator_common::{
    addr::Addr,
    backend::BackendWord,
    checksum::{adjust, change, fold, wide},
    nat::{NatRewrite, NatTuple},
    reason::Reason,
};

/// Above the flags of the address that the error came to: it is about a reply's translation.
pub(super) const FROM_BACKEND: u64 = 1 << 8;

/// Brings an error to whom it concerns.
#[unsafe(no_mangle)]
pub(super) extern "C" fn navigator_nat_quoted(
    ctx: *mut xdp_md,
    hash: u64,
    word: u64,
    length: u64,
    flags: u64,
) -> u64 {
    let ctx = XdpContext::new(ctx);
    let packet = Packet::new(hash, word, length);
    let frame = Frame::new(&ctx);
    told(
        match Quote::read(&frame, &packet) {
            Some(quote) if flags & FROM_BACKEND != 0 => {
                to_client(&frame, &packet, &quote, flags as u8)
            }
            Some(quote) => to_backend(&frame, &packet, &quote),
            None => Err(Reason::DropIcmpQuote),
        }
        .map(Some),
    )
}

/// An error and the packet in it.
struct Quote {
    /// Ethernet header and the IP header that carries the error.
    outer: View,
    v4: bool,
    /// ICMP header.
    message: View,
    /// The quoted IP header.
    inner: View,
    /// The quoted ports, and four bytes more.
    transport: View,
    /// The TCP header as far as its checksum, if so much is quoted.
    tcp: Option<View>,
    /// The quoted packet turned around: what the flow's entry is found by.
    tuple: NatTuple,
}

impl Quote {
    #[inline(always)]
    fn read(frame: &Frame<'_>, packet: &Packet) -> Option<Self> {
        let ethernet = frame.view(0, ETH_LEN)?;
        let end = ETH_LEN + (packet.length as usize & 0x1_ffff);
        // SAFETY: the type is the last word of the 14 bytes.
        let v4 = unsafe { ethernet.read::<u16, 12>() } == ETH_IPV4;
        // Told apart once: Linux 6.1 does not learn from a second comparison of the type that the
        // first one was of the same outcome.
        let v4 = core::hint::black_box(v4);
        let fixed = if v4 { IPV4_LEN } else { IPV6_LEN };
        let outer = frame.view(0, ETH_LEN + fixed)?;
        let header = if v4 {
            // SAFETY: the length is the first byte of the IP header.
            usize::from(unsafe { outer.read::<u8, 14>() } & 0xf) * 4
        } else {
            IPV6_LEN
        };
        let at = ETH_LEN + header;
        let message = frame.view(at, MESSAGE_HEADER)?;
        let at = at + MESSAGE_HEADER;
        let inner = frame.view(at, fixed)?;
        let (source, destination, transport) = if v4 {
            // SAFETY: all of these lie in the 20 bytes.
            let (first, source, destination) = unsafe {
                (
                    inner.read::<u8, 0>(),
                    inner.read::<u32, 12>(),
                    inner.read::<u32, 16>(),
                )
            };
            let (source, destination) = (Addr::from_v4_raw(source), Addr::from_v4_raw(destination));
            (source, destination, at + usize::from(first & 0xf) * 4)
        } else {
            // SAFETY: all of these lie in the 40 bytes.
            let (next, [a, b, c, d]) = unsafe {
                (
                    inner.read::<u8, 6>(),
                    [
                        inner.read::<u64, 8>(),
                        inner.read::<u64, 16>(),
                        inner.read::<u64, 24>(),
                        inner.read::<u64, 32>(),
                    ],
                )
            };
            let (source, destination) = (Addr { hi: a, lo: b }, Addr { hi: c, lo: d });
            (
                source,
                destination,
                ipv6_transport(frame, next, at + IPV6_LEN, end)?,
            )
        };
        let whole = packet.protocol == TCP && transport + TCP_SUMMED <= end;
        Some(Self {
            outer,
            v4,
            message,
            inner,
            transport: frame.view(transport, 8)?,
            tcp: if whole {
                frame.view(transport, TCP_SUMMED)
            } else {
                None
            },
            tuple: NatTuple::new(destination, source, packet.ports, packet.protocol),
        })
    }
}

/// Length of a TCP header up to the end of its checksum.
const TCP_SUMMED: usize = 18;

/// What an error gets: the quoted packet, and the one around it.
struct Translation {
    inner: (Addr, Addr),
    ports: u32,
    change: NatRewrite,
    outer: (Addr, Addr),
}

/// About a packet that left for a client.
#[inline(always)]
fn to_backend(frame: &Frame<'_>, packet: &Packet, quote: &Quote) -> Result<u32, Reason> {
    let known = forward::find(packet.hash, &quote.tuple)?.ok_or(Reason::DropNatUnknown)?;
    let chosen = select::by_id((known.ports >> 32) as u32).ok_or(Reason::DropCorrupt)?;
    if !chosen.word.is_usable() {
        return Err(Reason::DropNatGone);
    }
    if chosen.word.mac_word() == 0 {
        return Err(Reason::DropNoNeighbour);
    }
    let backend = chosen.backend.address;
    let to = Translation {
        inner: (backend, known.source),
        ports: (known.ports as u32).rotate_left(16),
        change: known.rewrite,
        // The router that sent it is nobody that a backend needs to know a way to.
        outer: (known.source, backend),
    };
    let exit = ethernet::exit(&chosen)?;
    let action = send(quote, packet, &to, &exit, &chosen);
    vlan::leave(frame.context(), chosen.word.egress())?;
    count::forwarded(chosen.id, packet.length.into());
    Ok(action)
}

/// About a packet that left for a backend.
#[inline(always)]
fn to_client(frame: &Frame<'_>, packet: &Packet, quote: &Quote, flags: u8) -> Result<u32, Reason> {
    let known = reply::find(packet.hash, &quote.tuple).ok_or(stray(flags))?;
    let backend = select::by_id((known.ports >> 32) as u32).ok_or(Reason::DropCorrupt)?;
    let client = Chosen {
        word: BackendWord(known.path.hop()),
        ..backend
    };
    if client.word.mac_word() == 0 {
        return Err(Reason::DropNoNeighbour);
    }
    let to = Translation {
        inner: (known.destination, known.source),
        ports: (known.ports as u32).rotate_left(16),
        change: known.rewrite,
        outer: (known.source, known.destination),
    };
    let exit = ethernet::exit(&client)?;
    let action = send(quote, packet, &to, &exit, &client);
    vlan::leave(frame.context(), client.word.egress())?;
    count::replied(client.id, packet.length);
    Ok(action)
}

#[inline(always)]
fn send(quote: &Quote, packet: &Packet, to: &Translation, exit: &Exit, chosen: &Chosen) -> u32 {
    let mut sum = u32::from(transport(quote, packet, to));
    sum += u32::from(inner(quote, to));
    sum += u32::from(outer(quote, to));
    // SAFETY: the checksum lies in the 8 bytes of the ICMP header; the outer view has the Ethernet
    // header.
    unsafe {
        let checksum = adjust(quote.message.read::<u16, 2>(), fold(sum));
        quote.message.write::<u16, 2>(checksum);
        exit.address(quote.outer, chosen)
    }
}

/// Rewrites the quoted ports and, where it is quoted, the checksum behind them; what that does to
/// a sum over them.
#[inline(always)]
fn transport(quote: &Quote, packet: &Packet, to: &Translation) -> u16 {
    // SAFETY: the view has 8 bytes.
    let ports = unsafe {
        let old = quote.transport.read::<u32, 0>();
        quote.transport.write::<u32, 0>(to.ports);
        change(old.into(), to.ports.into())
    };
    let checksum = if packet.protocol == TCP {
        // SAFETY: the view has 18 bytes.
        quote.tcp.map_or(0, |tcp| unsafe {
            let old = tcp.read::<u16, 16>();
            let new = adjust(old, to.change.all());
            tcp.write::<u16, 16>(new);
            change(old.into(), new.into())
        })
    } else {
        // SAFETY: the view has 8 bytes, a whole UDP header.
        unsafe {
            let old = quote.transport.read::<u16, 6>();
            let new = udp_checksum(old, to.change.all());
            quote.transport.write::<u16, 6>(new);
            change(old.into(), new.into())
        }
    };
    fold(u32::from(ports) + u32::from(checksum))
}

/// Rewrites the quoted IP header; what that does to a sum over it.
#[inline(always)]
fn inner(quote: &Quote, to: &Translation) -> u16 {
    let ip = quote.inner;
    let (source, destination) = to.inner;
    let addresses = to.change.addresses();
    if quote.v4 {
        // SAFETY: all of these lie in the 20 bytes.
        unsafe {
            let old = ip.read::<u16, 10>();
            let new = adjust(old, addresses);
            ip.write::<u16, 10>(new);
            ip.write::<u32, 12>(source.v4_raw());
            ip.write::<u32, 16>(destination.v4_raw());
            fold(u32::from(addresses) + u32::from(change(old.into(), new.into())))
        }
    } else {
        // SAFETY: all of these lie in the 40 bytes.
        unsafe {
            ip.write::<u64, 8>(source.hi);
            ip.write::<u64, 16>(source.lo);
            ip.write::<u64, 24>(destination.hi);
            ip.write::<u64, 32>(destination.lo);
        }
        addresses
    }
}

/// Rewrites the addresses of the packet around; what that does to a sum over its pseudo-header,
/// which only ICMPv6 has.
#[inline(always)]
fn outer(quote: &Quote, to: &Translation) -> u16 {
    let ip = quote.outer;
    let (source, destination) = to.outer;
    let new = wide(source) + wide(destination);
    if quote.v4 {
        // SAFETY: all of these lie in the 34 bytes of Ethernet and IPv4 header.
        unsafe {
            let old = [ip.read::<u32, 26>(), ip.read::<u32, 30>()];
            let old = old.map(Addr::from_v4_raw);
            let change = change(wide(old[0]) + wide(old[1]), new);
            ip.write::<u16, 24>(adjust(ip.read::<u16, 24>(), change));
            ip.write::<u32, 26>(source.v4_raw());
            ip.write::<u32, 30>(destination.v4_raw());
        }
        0
    } else {
        // SAFETY: all of these lie in the 54 bytes of Ethernet and IPv6 header.
        unsafe {
            let old = Addr {
                hi: ip.read::<u64, 22>(),
                lo: ip.read::<u64, 30>(),
            };
            let old_destination = Addr {
                hi: ip.read::<u64, 38>(),
                lo: ip.read::<u64, 46>(),
            };
            ip.write::<u64, 22>(source.hi);
            ip.write::<u64, 30>(source.lo);
            ip.write::<u64, 38>(destination.hi);
            ip.write::<u64, 46>(destination.lo);
            change(wide(old) + wide(old_destination), new)
        }
    }
}
