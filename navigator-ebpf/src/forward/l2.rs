//! `l2`: the packet stays as it is, the frame gets the backend's address.

use super::ethernet;
use crate::{cold::cold, packet::Frame, parse::ETH_LEN, select::Chosen};
use navigator_common::reason::Reason;

#[inline(always)]
pub(crate) fn send(frame: &Frame<'_>, chosen: &Chosen) -> Result<u32, Reason> {
    let exit = ethernet::exit(chosen)?;
    let header = frame
        .view(0, ETH_LEN)
        .ok_or_else(|| cold(Reason::DropCorrupt))?;
    // SAFETY: a view of 14 bytes.
    Ok(unsafe { exit.address(header, chosen) })
}
