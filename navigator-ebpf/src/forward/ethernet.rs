//! The Ethernet header of an outgoing frame, and the interface it leaves by.

use crate::{
    cold::cold,
    globals,
    maps::{EGRESS, EGRESS_DEVS, load},
    packet::View,
    select::Chosen,
};
use aya_ebpf::bindings::xdp_action;
use navigator_common::reason::Reason;

/// Where a frame leaves: the sending interface's MAC address and the action.
pub(crate) struct Exit {
    source_mac: u64,
    action: u32,
}

/// The way out to `chosen`.
#[inline(always)]
pub(crate) fn exit(chosen: &Chosen) -> Result<Exit, Reason> {
    let egress = chosen.word.egress();
    if egress == globals::local_egress() {
        return Ok(Exit {
            source_mac: globals::local_mac(),
            action: xdp_action::XDP_TX,
        });
    }
    let source_mac = load(
        EGRESS
            .get(egress)
            .ok_or_else(|| cold(Reason::DropNoEgress))?,
    );
    // The low bits of the flags are what comes back when the map has no such device.
    let action = EGRESS_DEVS
        .redirect(egress, 0)
        .map_err(|_| Reason::DropNoEgress)?;
    Ok(Exit { source_mac, action })
}

impl Exit {
    /// Writes both addresses and returns the action. The type field is left alone.
    ///
    /// # Safety
    ///
    /// `ethernet` is a view of at least 14 bytes.
    #[inline(always)]
    pub(crate) unsafe fn address(&self, ethernet: View, chosen: &Chosen) -> u32 {
        // SAFETY: 12 bytes are written, 14 are there.
        unsafe {
            ethernet.write::<u64, 0>(chosen.word.mac_word() | self.source_mac << 48);
            ethernet.write::<u32, 8>((self.source_mac >> 16) as u32);
        }
        self.action
    }
}
