//! A frame's bytes. The only pointer arithmetic there is: every read and
//! write is proven, here and to the verifier, to lie inside the frame's
//! linear part.
//!
//! Loads and stores are as wide as their values although headers lie at odd
//! addresses: told so, LLVM would go byte by byte, two to six times the code.
//! A BPF load has no alignment of its own; the verifier refuses a misaligned
//! one on the machines that could not carry it out.

use aya_ebpf::{
    bindings::xdp_md,
    helpers::generated::{
        bpf_csum_diff, bpf_xdp_adjust_head, bpf_xdp_adjust_tail, bpf_xdp_get_buff_len,
        bpf_xdp_load_bytes,
    },
    programs::XdpContext,
};
use navigator_common::checksum::fold;

/// Types that are integers or made of them: any bytes are a value of them.
///
/// # Safety
///
/// Every bit pattern is valid and there is no padding.
pub(crate) unsafe trait Plain: Copy {}

// SAFETY: integers and arrays of them.
unsafe impl Plain for u8 {}
// SAFETY: as above.
unsafe impl Plain for u16 {}
// SAFETY: as above.
unsafe impl Plain for u32 {}
// SAFETY: as above.
unsafe impl Plain for u64 {}

/// The frame that the program was called with.
pub(crate) struct Frame<'a> {
    ctx: &'a XdpContext,
}

impl<'a> Frame<'a> {
    #[inline(always)]
    pub(crate) fn new(ctx: &'a XdpContext) -> Self {
        Self { ctx }
    }

    /// `size` bytes at `offset` of the linear part, if they are there.
    #[inline(always)]
    pub(crate) fn view(&self, offset: usize, size: usize) -> Option<View> {
        let start = self.ctx.data() + offset;
        (start + size <= self.ctx.data_end()).then_some(View { start })
    }

    /// Length of the frame with all its fragments.
    #[inline(always)]
    pub(crate) fn length(&self) -> usize {
        // SAFETY: the context is the one that the kernel passed in.
        unsafe { bpf_xdp_get_buff_len(self.ctx.ctx) as usize }
    }

    /// Length of the linear part: the whole frame, unless it has fragments.
    #[inline(always)]
    pub(crate) fn linear_length(&self) -> usize {
        self.ctx.data_end() - self.ctx.data()
    }

    /// Whether the frame has at least `length` bytes.
    #[inline(always)]
    pub(crate) fn holds(&self, length: usize) -> bool {
        // Only a multi-buffer frame is longer than its linear part: the helper is called for nothing else.
        length <= self.linear_length() || length <= self.length()
    }

    /// What the kernel passed in, for a subprogram, which must not keep views of its own.
    #[inline(always)]
    pub(crate) fn context(&self) -> *mut xdp_md {
        self.ctx.ctx
    }

    /// Copies the first bytes of the frame, which is `length` long; returns how many.
    #[inline(always)]
    pub(crate) fn copy_start<const SIZE: usize>(&self, length: u32, to: &mut [u8; SIZE]) -> u32 {
        const { assert!(SIZE.is_power_of_two()) };
        let size = if length < SIZE as u32 {
            // Says nothing new of a frame that has bytes, but so every verifier sees that the size
            // is neither 0 nor too large.
            (length.wrapping_sub(1) & (SIZE as u32 - 1)) + 1
        } else {
            SIZE as u32
        };
        // SAFETY: the context is the one that the kernel passed in, and `size` bytes fit `to`.
        let refused = unsafe { bpf_xdp_load_bytes(self.ctx.ctx, 0, to.as_mut_ptr().cast(), size) };
        if refused == 0 { size } else { 0 }
    }

    /// Takes `bytes` off the end of the frame; every earlier view is void, which the consumed
    /// frame stands for.
    #[inline(always)]
    pub(crate) fn cut(self, bytes: usize) -> Option<Self> {
        // SAFETY: the context is the one that the kernel passed in.
        let refused = unsafe { bpf_xdp_adjust_tail(self.ctx.ctx, -(bytes as i32)) };
        (refused == 0).then_some(self)
    }

    /// Moves the start of the frame `bytes` forward into the headroom (or back out of it, if that
    /// is negative); every earlier view is void, which the consumed frame stands for.
    #[inline(always)]
    pub(crate) fn grow(self, bytes: i32) -> Option<Self> {
        // SAFETY: the context is the one that the kernel passed in.
        let refused = unsafe { bpf_xdp_adjust_head(self.ctx.ctx, -bytes) };
        (refused == 0).then_some(self)
    }
}

/// Some bytes of a frame, proven to be there when it was made.
#[derive(Clone, Copy)]
pub(crate) struct View {
    start: usize,
}

impl View {
    /// The value at `OFFSET` of the view, as loaded natively.
    ///
    /// # Safety
    ///
    /// `OFFSET` and the value's size lie within the view. (The verifier proves
    /// it again: a program that breaks this rule does not load.)
    #[inline(always)]
    pub(crate) unsafe fn read<T: Plain, const OFFSET: usize>(self) -> T {
        // SAFETY: inside the view, as the caller promised; for alignment see above.
        unsafe { *((self.start + OFFSET) as *const T) }
    }

    /// Writes `value` at `OFFSET` of the view, natively.
    ///
    /// # Safety
    ///
    /// As for [`View::read`].
    #[inline(always)]
    pub(crate) unsafe fn write<T: Plain, const OFFSET: usize>(self, value: T) {
        // SAFETY: inside the view, as the caller promised; for alignment see above.
        unsafe { *((self.start + OFFSET) as *mut T) = value }
    }

    /// The folded one's complement sum of `SIZE` bytes, a multiple of four, at `OFFSET` of the view.
    ///
    /// # Safety
    ///
    /// As for [`View::read`].
    #[inline(always)]
    pub(crate) unsafe fn sum<const OFFSET: usize, const SIZE: usize>(self) -> u16 {
        let bytes = (self.start + OFFSET) as *mut u32;
        // SAFETY: inside the view, as the caller promised; the helper only reads.
        let sum = unsafe { bpf_csum_diff(core::ptr::null_mut(), 0, bytes, SIZE as u32, 0) };
        fold(sum as u32)
    }
}
