//! Keeps what is rare from costing what is not.

use core::arch::asm;
use navigator_common::reason::Reason;

/// The same reason. LLVM would put the constant into its place before the test that leads here, on
/// the way of every packet, often with a store to the stack; what a block of its own computes stays there.
#[inline(always)]
pub(crate) fn cold(reason: Reason) -> Reason {
    let mut index = reason as u64;
    // SAFETY: `index` stays what it is, a reason. (With no instruction at all, two line infos would
    // name the next one, which the kernel refuses.)
    unsafe {
        asm!("{0} = {0}", inout(reg) index, options(nomem, nostack, preserves_flags));
        core::mem::transmute::<u32, Reason>(index as u32)
    }
}
