//! Bounds-checked pointers into a frame. Values are loaded and stored whole, at any
//! address: told of the alignment, LLVM would go byte by byte.

use aya_ebpf::programs::XdpContext;

pub(crate) const ETH_LEN: usize = 14;
pub(crate) const IPV4_LEN: usize = 20;
pub(crate) const TCP_LEN: usize = 20;

/// A pointer to `size` bytes at `offset`, if the linear part holds them.
#[inline(always)]
pub(crate) fn at(ctx: &XdpContext, offset: usize, size: usize) -> Option<usize> {
    let start = ctx.data() + offset;
    (start + size <= ctx.data_end()).then_some(start)
}

/// Reads a value.
///
/// # Safety
///
/// `address` points at enough bytes of a frame, as [`at`] proves.
#[inline(always)]
pub(crate) unsafe fn read<T: Copy>(address: usize) -> T {
    // SAFETY: as the caller promised; a BPF load has no alignment of its own.
    unsafe { *(address as *const T) }
}

/// Writes a value.
///
/// # Safety
///
/// As for [`read`].
#[inline(always)]
pub(crate) unsafe fn write<T: Copy>(address: usize, value: T) {
    // SAFETY: as the caller promised; a BPF store has no alignment of its own.
    unsafe { *(address as *mut T) = value }
}
