//! A BPF array in this process's memory.

use std::{
    io,
    num::NonZeroUsize,
    os::fd::{AsRawFd, BorrowedFd},
    ptr::NonNull,
    sync::atomic::AtomicU64,
};

/// The words of a mapped array.
pub(super) struct Mapping {
    words: NonNull<AtomicU64>,
    length: usize,
}

impl Mapping {
    /// Maps the first `length` words of an array made with `BPF_F_MMAPABLE`.
    pub(super) fn new(map: BorrowedFd<'_>, length: NonZeroUsize) -> io::Result<Self> {
        // SAFETY: a new mapping at a place that the kernel chooses touches nothing of ours.
        let address = unsafe {
            libc::mmap(
                std::ptr::null_mut(),
                length.get() * size_of::<u64>(),
                libc::PROT_READ | libc::PROT_WRITE,
                libc::MAP_SHARED,
                map.as_raw_fd(),
                0,
            )
        };
        if address == libc::MAP_FAILED {
            return Err(io::Error::last_os_error());
        }
        let words = NonNull::new(address.cast()).ok_or(io::ErrorKind::AddrNotAvailable)?;
        Ok(Self {
            words,
            length: length.get(),
        })
    }
}

impl std::ops::Deref for Mapping {
    type Target = [AtomicU64];

    fn deref(&self) -> &[AtomicU64] {
        // SAFETY: the mapping is page-aligned, `length` words long, readable and writable until
        // it is dropped; array values are backed by memory from the start. Others change the
        // words only by aligned atomic stores, which is what `AtomicU64` allows for.
        unsafe { std::slice::from_raw_parts(self.words.as_ptr(), self.length) }
    }
}

impl Drop for Mapping {
    fn drop(&mut self) {
        // SAFETY: the mapping is ours, and no reference into it outlives `self`.
        unsafe { libc::munmap(self.words.as_ptr().cast(), self.length * size_of::<u64>()) };
    }
}

// SAFETY: the mapping belongs to the process, not to a thread, and its words are atomic.
unsafe impl Send for Mapping {}
