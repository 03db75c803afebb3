//! How a packet is brought to its backend.

mod ethernet;
mod ipip;
mod l2;

use crate::{packet::Frame, parse::Flow, select::Chosen};
use navigator_common::{
    backend::{BackendInfo, Mode},
    reason::Reason,
};

/// Rewrites the frame for its backend and returns the XDP action that sends it.
#[inline(always)]
pub(crate) fn send(frame: Frame<'_>, flow: &Flow, chosen: &Chosen) -> Result<u32, Reason> {
    if chosen.word.mac_word() == 0 {
        return Err(Reason::DropNoNeighbour);
    }
    let info = BackendInfo::unpack(chosen.backend.info);
    if info.mode == Mode::L2 as u8 {
        l2::send(&frame, chosen)
    } else if info.mode == Mode::Ipip as u8 {
        ipip::send(frame, flow, chosen, info)
    } else {
        Err(Reason::DropCorrupt)
    }
}
