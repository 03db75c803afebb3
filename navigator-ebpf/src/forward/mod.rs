//! How a packet is brought to its backend.

pub(crate) mod ethernet;
mod gue;
mod ipip;
mod l2;
mod too_big;

use crate::{cold::cold, packet::Frame, parse::Flow, select::Chosen, vlan};
use aya_ebpf::bindings::xdp_action;
use navigator_common::{
    backend::{BackendInfo, Mode},
    reason::Reason,
};

/// Rewrites the frame for its backend and returns the XDP action that sends it.
#[inline(always)]
pub(crate) fn send(frame: Frame<'_>, flow: &Flow, chosen: &Chosen) -> Result<u32, Reason> {
    if chosen.word.mac_word() == 0 {
        return Err(cold(Reason::DropNoNeighbour));
    }
    let context = frame.context();
    let info = BackendInfo::unpack(chosen.backend.info);
    let action = if info.mode == Mode::L2 as u8 {
        l2::send(&frame, chosen)
    } else if info.mode == Mode::Ipip as u8 {
        ipip::send(frame, flow, chosen, info)
    } else if info.mode == Mode::Gue as u8 {
        gue::send(frame, flow, chosen, info)
    } else {
        Err(cold(Reason::DropCorrupt))
    }?;
    if action != xdp_action::XDP_TX {
        vlan::leave(context, chosen.word.egress())?;
    }
    Ok(action)
}
