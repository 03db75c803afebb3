//! Echo requests, answered as RFC 1122 (3.2.2.6) and RFC 4443 (4.2) want it:
//! the request comes back with its addresses swapped, another type, and the
//! checksum that the change of the type makes of the old one. So a request
//! that was damaged on its way stays damaged.

use super::Fate;
use crate::{
    globals, limit,
    packet::View,
    parse::{ETH_LEN, IPV4_LEN, IPV6_LEN},
};
use navigator_common::{addr::Addr, checksum::replaced, limit::Answer, mac};

/// TTL or hop limit of replies.
const TTL: u8 = 64;

/// Type and code, which are the first word of what the checksum covers.
mod kind {
    pub(super) const REQUEST_V4: u16 = u16::from_ne_bytes([8, 0]);
    pub(super) const REPLY_V4: u16 = u16::from_ne_bytes([0, 0]);
    pub(super) const REQUEST_V6: u16 = u16::from_ne_bytes([128, 0]);
    pub(super) const REPLY_V6: u16 = u16::from_ne_bytes([129, 0]);
}

/// Turns an IPv4 request whose message is at `offset` into its reply. `headers` are the 42 bytes
/// up to the end of a message's header if nothing stands in between.
#[inline(always)]
pub(super) fn reply_v4(headers: View, offset: usize) -> Fate {
    // The options of a request are the host's to judge: they may ask for a source route.
    if offset != ETH_LEN + IPV4_LEN {
        return Fate::Passed;
    }
    // SAFETY: the view has 42 bytes.
    let (source, destination) = unsafe { (headers.read::<u32, 26>(), headers.read::<u32, 30>()) };
    if let Err(fate) = may_answer(headers) {
        return fate;
    }
    // SAFETY: as above.
    unsafe {
        swap_macs(headers);
        headers.write::<u32, 26>(destination);
        headers.write::<u32, 30>(source);
        let life = headers.read::<u16, 22>();
        let renewed = life & 0xff00 | TTL as u16;
        headers.write::<u16, 22>(renewed);
        let sum = replaced(headers.read::<u16, 24>(), life, renewed);
        headers.write::<u16, 24>(usual(sum, true));
        let sum = replaced(headers.read::<u16, 36>(), kind::REQUEST_V4, kind::REPLY_V4);
        // Identifier and sequence number alone can be seen not to be zero.
        let covers_more = headers.read::<u32, 38>() != 0;
        headers.write::<u16, 34>(kind::REPLY_V4);
        headers.write::<u16, 36>(usual(sum, covers_more));
    }
    Fate::Answered
}

/// Turns an IPv6 request whose message is at `offset` into its reply. `headers` are the 62 bytes
/// up to the end of a message's header if nothing stands in between.
#[inline(always)]
pub(super) fn reply_v6(headers: View, offset: usize) -> Fate {
    if offset != ETH_LEN + IPV6_LEN {
        return Fate::Passed;
    }
    // SAFETY: the view has 62 bytes.
    let (source, destination) = unsafe {
        (
            Addr {
                hi: headers.read::<u64, 22>(),
                lo: headers.read::<u64, 30>(),
            },
            Addr {
                hi: headers.read::<u64, 38>(),
                lo: headers.read::<u64, 46>(),
            },
        )
    };
    if let Err(fate) = may_answer(headers) {
        return fate;
    }
    // SAFETY: as above. The pseudo-header's sum is the same with the addresses swapped.
    unsafe {
        swap_macs(headers);
        headers.write::<u8, 21>(TTL);
        headers.write::<u64, 22>(destination.hi);
        headers.write::<u64, 30>(destination.lo);
        headers.write::<u64, 38>(source.hi);
        headers.write::<u64, 46>(source.lo);
        let sum = replaced(headers.read::<u16, 56>(), kind::REQUEST_V6, kind::REPLY_V6);
        headers.write::<u16, 54>(kind::REPLY_V6);
        headers.write::<u16, 56>(usual(sum, true));
    }
    Fate::Answered
}

/// The usual one of zero's two spellings, where a receiver accepts either: where the checksum
/// covers something that is not zero.
#[inline(always)]
fn usual(sum: u16, covers_more: bool) -> u16 {
    if sum == 0xffff && covers_more { 0 } else { sum }
}

/// Whether there is a way back, and one more answer may be given.
#[inline(always)]
fn may_answer(headers: View) -> Result<(), Fate> {
    // SAFETY: the view has more than 12 bytes.
    let (_, source) = unsafe { macs(headers) };
    if source == globals::local_mac() {
        return Err(Fate::Looped);
    }
    if limit::admits(Answer::Echo) {
        Ok(())
    } else {
        Err(Fate::AboveLimit)
    }
}

/// Destination and source of a frame.
///
/// # Safety
///
/// `ethernet` is a view of at least 12 bytes.
#[inline(always)]
unsafe fn macs(ethernet: View) -> (u64, u64) {
    // SAFETY: as the caller promised.
    let (first, second) = unsafe { (ethernet.read::<u64, 0>(), ethernet.read::<u32, 8>()) };
    (first & mac::MASK, first >> 48 | u64::from(second) << 16)
}

/// # Safety
///
/// `ethernet` is a view of at least 12 bytes.
#[inline(always)]
unsafe fn swap_macs(ethernet: View) {
    // SAFETY: as the caller promised.
    unsafe {
        let (destination, source) = macs(ethernet);
        ethernet.write::<u64, 0>(source | destination << 48);
        ethernet.write::<u32, 8>((destination >> 16) as u32);
    }
}
