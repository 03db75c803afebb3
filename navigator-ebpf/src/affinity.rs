//! Source-address affinity: what a client's slot and its memory go by, instead of its flow.

use crate::{
    globals,
    packet::Frame,
    parse::{ETH_IPV4, ETH_LEN},
};
use aya_ebpf::{bindings::xdp_md, programs::XdpContext};
use navigator_common::{addr::Addr, hash};

const ICMP_LEN: usize = 8;
const ICMPV6: u8 = 58;

/// The hash of a client and the address that it speaks to, whatever ports and protocol; `None`
/// for an ICMPv6 error behind extension headers, where the quote is not looked for again.
#[inline(always)]
pub(crate) fn client(ctx: &XdpContext, quoted: bool) -> Option<u64> {
    match navigator_client(ctx.ctx, quoted.into()) {
        0 => None,
        hash => Some(hash),
    }
}

/// See [`client`]; 0 for none. A subprogram: VIPs that want it are few.
#[unsafe(no_mangle)]
#[inline(never)]
extern "C" fn navigator_client(ctx: *mut xdp_md, quoted: u32) -> u64 {
    let ctx = XdpContext::new(ctx);
    hash_of_client(&Frame::new(&ctx), quoted != 0).unwrap_or(0)
}

/// The client is the packet's source, or the destination of the packet that an ICMP error quotes.
#[inline(always)]
fn hash_of_client(frame: &Frame<'_>, quoted: bool) -> Option<u64> {
    let ip = frame.view(0, ETH_LEN + 20)?;
    // SAFETY: the view has 34 bytes.
    let (ether_type, first, source, destination) = unsafe {
        (
            ip.read::<u16, 12>(),
            ip.read::<u8, 14>(),
            ip.read::<u32, 26>(),
            ip.read::<u32, 30>(),
        )
    };
    let key = globals::hash_key();
    if ether_type == ETH_IPV4 {
        if quoted {
            let at = ETH_LEN + (first as usize & 0xf) * 4 + ICMP_LEN;
            let quote = frame.view(at, 20)?;
            // SAFETY: the view has 20 bytes.
            let client = unsafe { quote.read::<u32, 16>() };
            return Some(hash::client_v4(&key, client, destination));
        }
        return Some(hash::client_v4(&key, source, destination));
    }
    let ip = frame.view(0, ETH_LEN + 40)?;
    // SAFETY: the view has 54 bytes.
    let (next, source, destination) = unsafe {
        (
            ip.read::<u8, 20>(),
            Addr {
                hi: ip.read::<u64, 22>(),
                lo: ip.read::<u64, 30>(),
            },
            Addr {
                hi: ip.read::<u64, 38>(),
                lo: ip.read::<u64, 46>(),
            },
        )
    };
    if quoted {
        let quote = frame.view(ETH_LEN + 40 + ICMP_LEN, 40)?;
        // SAFETY: the view has 40 bytes.
        let client = unsafe {
            Addr {
                hi: quote.read::<u64, 24>(),
                lo: quote.read::<u64, 32>(),
            }
        };
        return (next == ICMPV6).then(|| hash::client_v6(&key, client, destination));
    }
    Some(hash::client_v6(&key, source, destination))
}
