//! 802.1Q and 802.1ad tags: taken off a frame for a VIP, so that nothing that
//! follows knows of them, and put on again where the frame goes to the host or
//! back to where it came from. One that is forwarded gets the tag of its way out.
//! `docs/decisions/009-vlan.md` has the rules.
//!
//! All of it is in subprograms. The tags themselves wait in a per-CPU word
//! that has a meaning only while [`Taken`] says so.

use crate::{
    cold::cold,
    globals,
    maps::{EGRESS, TAGS, load},
    packet::{Frame, View},
    parse::{ETH_IPV4, ETH_IPV6, ETH_LEN, IPV4_LEN, IPV6_LEN},
    vip,
};
use aya_ebpf::{bindings::xdp_md, programs::XdpContext};
use navigator_common::{addr::Addr, egress::EgressWord, reason::Reason};

/// A customer's tag, and a provider's in front of it.
const CUSTOMER: u16 = 0x8100u16.to_be();
const PROVIDER: u16 = 0x88a8u16.to_be();

/// Length of both MAC addresses, behind which tags stand.
const MACS: usize = 12;
/// Length of a tag.
const TAG: usize = 4;

/// Whether tags were taken off the frame: its lowest bit.
///
/// Without tags it is the lowest bit of the first byte of our own MAC address, which is 0. The
/// verifier does not know that, and so does not go through all that follows once with and once
/// without tags.
#[derive(Clone, Copy)]
pub(crate) struct Taken(u64);

impl Taken {
    /// Of a frame that was not looked at.
    pub(crate) const NONE: Self = Self(0);

    /// Of a frame that starts with the address in the low bytes of `first`, our own one.
    #[inline(always)]
    pub(crate) const fn nothing(first: u64) -> Self {
        Self(first & 1)
    }

    /// Takes tags off `frame` if they stand in front of a packet for a VIP address.
    #[inline(always)]
    pub(crate) fn off(frame: &Frame<'_>) -> Result<Self, Reason> {
        let fate = navigator_untag(frame.context());
        if fate == Fate::Taken as u64 {
            Ok(Self(fate & 1))
        } else if fate == Fate::NotVip as u64 {
            Err(Reason::PassNotVip)
        } else if fate == Fate::Truncated as u64 {
            Err(Reason::PassTruncated)
        } else {
            Err(Reason::PassNotIp)
        }
    }

    /// Puts them on again; whether it could.
    #[inline(always)]
    pub(crate) fn put_back(self, ctx: *mut xdp_md) -> bool {
        self.0 & 1 == 0 || navigator_retag(ctx) != 0
    }
}

/// What becomes of a frame whose type is not that of IP.
#[derive(Clone, Copy)]
#[repr(u64)]
enum Fate {
    NotIp = 0,
    Taken = 1,
    NotVip = 2,
    Truncated = 4,
}

/// See [`Taken::off`]. The verifier checks this by itself.
#[unsafe(no_mangle)]
extern "C" fn navigator_untag(ctx: *mut xdp_md) -> u64 {
    let ctx = XdpContext::new(ctx);
    match untag(Frame::new(&ctx)) {
        Ok(()) => Fate::Taken as u64,
        Err(fate) => fate as u64,
    }
}

#[inline(always)]
fn untag(frame: Frame<'_>) -> Result<(), Fate> {
    let ethernet = frame.view(0, ETH_LEN).ok_or(Fate::Truncated)?;
    // SAFETY: a view of 14 bytes.
    let first = unsafe { ethernet.read::<u16, 12>() };
    if first != CUSTOMER && first != PROVIDER {
        return Err(Fate::NotIp);
    }
    let tagged = frame.view(0, ETH_LEN + TAG).ok_or(Fate::Truncated)?;
    // SAFETY: a view of 18 bytes.
    let (outer, second) = unsafe { (tagged.read::<u32, 12>(), tagged.read::<u16, 16>()) };
    if second != CUSTOMER {
        is_for_vip::<TAG>(&frame, second)?;
        return take(frame, tagged, TAG, outer.into());
    }
    let tagged = frame.view(0, ETH_LEN + 2 * TAG).ok_or(Fate::Truncated)?;
    // SAFETY: a view of 22 bytes.
    let (inner, third) = unsafe { (tagged.read::<u32, 16>(), tagged.read::<u16, 20>()) };
    is_for_vip::<{ 2 * TAG }>(&frame, third)?;
    take(
        frame,
        tagged,
        2 * TAG,
        u64::from(outer) | u64::from(inner) << 32,
    )
}

/// Whether a packet for a VIP address stands behind `TAGS` bytes of tags.
#[inline(always)]
fn is_for_vip<const TAGS: usize>(frame: &Frame<'_>, ether_type: u16) -> Result<(), Fate> {
    let address = if ether_type == ETH_IPV4 {
        let ip = frame
            .view(ETH_LEN + TAGS, IPV4_LEN)
            .ok_or(Fate::Truncated)?;
        // SAFETY: the destination is the last word of the 20 bytes.
        Addr::from_v4_raw(unsafe { ip.read::<u32, 16>() })
    } else if ether_type == ETH_IPV6 {
        let ip = frame
            .view(ETH_LEN + TAGS, IPV6_LEN)
            .ok_or(Fate::Truncated)?;
        // SAFETY: the destination is the last 16 of the 40 bytes.
        unsafe {
            Addr {
                hi: ip.read::<u64, 24>(),
                lo: ip.read::<u64, 32>(),
            }
        }
    } else {
        return Err(Fate::NotIp);
    };
    vip::find_address(address).map(|_| ()).ok_or(Fate::NotVip)
}

/// Takes `length` bytes of tags off: `tags`, the outer one in the low half.
#[inline(always)]
fn take(frame: Frame<'_>, tagged: View, length: usize, tags: u64) -> Result<(), Fate> {
    let word = TAGS.get_ptr_mut(0).ok_or(Fate::NotIp)?;
    // SAFETY: this CPU's value of a live map, which nobody else writes; a view of at least 12 bytes.
    let macs = unsafe {
        *word = tags;
        (tagged.read::<u64, 0>(), tagged.read::<u32, 8>())
    };
    let frame = frame.grow(-(length as i32)).ok_or(Fate::NotIp)?;
    let start = frame.view(0, MACS).ok_or(Fate::NotIp)?;
    // SAFETY: a view of 12 bytes.
    unsafe {
        start.write::<u64, 0>(macs.0);
        start.write::<u32, 8>(macs.1);
    }
    Ok(())
}

/// See [`Taken::put_back`]; 0 if it could not. The verifier checks this by itself.
#[unsafe(no_mangle)]
extern "C" fn navigator_retag(ctx: *mut xdp_md) -> u64 {
    let ctx = XdpContext::new(ctx);
    let Some(word) = TAGS.get_ptr_mut(0) else {
        return 0;
    };
    // SAFETY: this CPU's value of a live map.
    let tags = unsafe { *word };
    let frame = Frame::new(&ctx);
    let (outer, inner) = (tags as u32, (tags >> 32) as u32);
    let done = if inner == 0 {
        put::<TAG>(frame, outer, 0)
    } else {
        put::<{ 2 * TAG }>(frame, outer, inner)
    };
    done.is_some().into()
}

/// Puts one tag or two on a frame.
#[inline(always)]
fn put<const TAGS: usize>(frame: Frame<'_>, outer: u32, inner: u32) -> Option<()> {
    let start = frame.view(0, MACS)?;
    // SAFETY: a view of 12 bytes.
    let macs = unsafe { (start.read::<u64, 0>(), start.read::<u32, 8>()) };
    let frame = frame.grow(TAGS as i32)?;
    let start = frame.view(0, MACS + 2 * TAG)?;
    // SAFETY: a view of 20 bytes.
    unsafe {
        start.write::<u64, 0>(macs.0);
        start.write::<u32, 8>(macs.1);
        start.write::<u32, 12>(outer);
        if TAGS == 2 * TAG {
            start.write::<u32, 16>(inner);
        }
    }
    Some(())
}

/// Gives a finished frame the tag of the way out with this index, if that is another one than
/// the way in and has a tag.
#[inline(always)]
pub(crate) fn leave(ctx: *mut xdp_md, egress: u32) -> Result<(), Reason> {
    if egress == globals::local_egress() || navigator_tag(ctx, egress.into()) != 0 {
        Ok(())
    } else {
        Err(cold(Reason::DropNoHeadroom))
    }
}

/// See [`leave`]; 0 if it could not. The verifier checks this by itself.
#[unsafe(no_mangle)]
extern "C" fn navigator_tag(ctx: *mut xdp_md, egress: u64) -> u64 {
    let ctx = XdpContext::new(ctx);
    let Some(word) = EGRESS.get(egress as u32) else {
        return 0;
    };
    let word = EgressWord(load(word));
    if !word.is_tagged() {
        return 1;
    }
    let tag = u32::from(CUSTOMER) | u32::from(word.vlan_id().to_be()) << 16;
    put::<TAG>(Frame::new(&ctx), tag, 0).is_some().into()
}
