//! IPv4 options: nothing but what they add to the header's checksum.

use crate::{
    packet::Frame,
    parse::{ETH_LEN, IPV4_LEN},
};
use aya_ebpf::{bindings::xdp_md, programs::XdpContext};

/// Words of options that the longest header has.
const WORDS: usize = 10;
/// What the subprogram returns for options that the frame does not hold: more than ten words sum to.
const MISSING: u64 = u64::MAX;

/// Sum of the words of the options of the IPv4 packet in `frame`, as loaded natively, if they
/// are there.
#[inline(always)]
pub(crate) fn sum(frame: &Frame<'_>) -> Option<u64> {
    let sum = navigator_options(frame.context());
    (sum != MISSING).then_some(sum)
}

/// See [`sum`]. The verifier checks this by itself.
#[unsafe(no_mangle)]
extern "C" fn navigator_options(ctx: *mut xdp_md) -> u64 {
    let ctx = XdpContext::new(ctx);
    add_up(&Frame::new(&ctx)).unwrap_or(MISSING)
}

#[inline(always)]
fn add_up(frame: &Frame<'_>) -> Option<u64> {
    let first = frame.view(ETH_LEN, 1)?;
    // SAFETY: a view of one byte.
    let words = usize::from(unsafe { first.read::<u8, 0>() } & 0xf);
    let mut sum = 0;
    for number in 0..WORDS {
        if IPV4_LEN / 4 + number < words {
            let word = frame.view(ETH_LEN + IPV4_LEN + 4 * number, 4)?;
            // SAFETY: a view of four bytes.
            sum += u64::from(unsafe { word.read::<u32, 0>() });
        }
    }
    Some(sum)
}
