//! Packets for a VIP that no honest sender makes: refused here, before they
//! reach a flow, a backend or an answer. `docs/decisions/011-refused-packets.md`
//! has the reasons, `012-loops.md` those for [`loops`].

use crate::{cold::cold, globals, packet::Frame, parse::ETH_LEN, select::Chosen};
use navigator_common::{addr::Addr, reason::Reason};

/// An IPv4 packet from an address that no host has who sends to `destination`, or whose time
/// has run out. The address is as the packet holds it, `life` are its TTL and protocol.
#[inline(always)]
pub(crate) fn ipv4(source: u32, destination: u32, life: u16) -> Result<(), Reason> {
    let network = source as u8;
    // One comparison for 0 and for 224 and all above, one for 127: the rest is looked at only then.
    if network.wrapping_sub(1) >= 223 || network == 127 || source == destination {
        const MULTICAST_END: u8 = 240;
        const BROADCAST: u32 = u32::MAX;
        // 240.0.0.0/4 is reserved and in use inside of some networks: only broadcast is refused of it.
        if network < MULTICAST_END || source == BROADCAST || source == destination {
            return Err(cold(Reason::DropSource));
        }
    }
    alive(life as u8)
}

/// As [`ipv4`], for IPv6 and its hop limit.
#[inline(always)]
pub(crate) fn ipv6(source: Addr, destination: Addr, hop_limit: u8) -> Result<(), Reason> {
    const MULTICAST: u8 = 0xff;
    // In `::/64` are the unspecified address, loopback, IPv4-mapped and IPv4-compatible ones: nobody's.
    if source.hi == 0 || source.hi as u8 == MULTICAST || source == destination {
        return Err(cold(Reason::DropSource));
    }
    alive(hop_limit)
}

#[inline(always)]
fn alive(life: u8) -> Result<(), Reason> {
    if life == 0 {
        Err(cold(Reason::DropTtl))
    } else {
        Ok(())
    }
}

/// Ports of a TCP or UDP packet, as it holds them, of which one is 0.
#[inline(always)]
pub(crate) fn ports(ports: u32) -> Result<(), Reason> {
    if ports & 0xffff == 0 || ports >> 16 == 0 {
        Err(cold(Reason::DropPortZero))
    } else {
        Ok(())
    }
}

/// A frame that came from where it would go: sent by this interface, or by `chosen` itself.
#[inline(always)]
pub(crate) fn loops(frame: &Frame<'_>, chosen: &Chosen) -> Result<(), Reason> {
    let ethernet = frame
        .view(0, ETH_LEN)
        .ok_or_else(|| cold(Reason::DropCorrupt))?;
    // SAFETY: the source and the type, the last eight of the 14 bytes of the view. The shift leaves
    // the source.
    let source = unsafe { ethernet.read::<u64, 6>() } << 16;
    let from_backend = source == chosen.word.0 << 16 && chosen.word.is_on_link();
    if from_backend || source == globals::local_mac() << 16 {
        return Err(cold(Reason::DropLoop));
    }
    Ok(())
}
