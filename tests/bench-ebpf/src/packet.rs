//! Bounds-checked pointers into a frame. Values are loaded and stored whole, at any
//! address: told of the alignment, LLVM would go byte by byte.

use aya_ebpf::programs::XdpContext;

pub(crate) const ETH_LEN: usize = 14;
pub(crate) const IPV4_LEN: usize = 20;
pub(crate) const IPV6_LEN: usize = 40;
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

/// The Ethernet addresses of a frame, to be written in the other order.
pub(crate) struct Swapped {
    to: (u32, u16),
    from: (u32, u16),
}

impl Swapped {
    /// Reads both addresses.
    ///
    /// # Safety
    ///
    /// 12 bytes are at `frame`.
    #[inline(always)]
    pub(crate) unsafe fn read(frame: usize) -> Self {
        // SAFETY: as the caller promised.
        unsafe {
            Self {
                to: (read(frame), read(frame + 4)),
                from: (read(frame + 6), read(frame + 10)),
            }
        }
    }

    /// Writes them, source and destination exchanged.
    ///
    /// # Safety
    ///
    /// 12 bytes are at `frame`.
    #[inline(always)]
    pub(crate) unsafe fn write(self, frame: usize) {
        // SAFETY: as the caller promised.
        unsafe {
            write(frame, self.from.0);
            write(frame + 4, self.from.1);
            write(frame + 6, self.to.0);
            write(frame + 10, self.to.1);
        }
    }
}

/// Whether a frame holds TCP over IPv4 without options.
///
/// # Safety
///
/// 54 bytes are at `frame`.
#[inline(always)]
pub(crate) unsafe fn is_tcp4(frame: usize) -> bool {
    // SAFETY: as the caller promised.
    unsafe {
        read::<u16>(frame + 12) == 0x0800u16.to_be()
            && read::<u8>(frame + 14) == 0x45
            && read::<u8>(frame + 23) == 6
    }
}
