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

    /// All words, read at once, not atomically: nobody may write them meanwhile.
    pub(super) fn copy(&self) -> Vec<u64> {
        let mut words = vec![0; self.length];
        // SAFETY: both are `length` words long; a mapping of the kernel's is no part of a vector.
        unsafe {
            self.words
                .as_ptr()
                .cast::<u64>()
                .copy_to_nonoverlapping(words.as_mut_ptr(), self.length);
        }
        words
    }

    /// Writes all words at once, not atomically: nobody may read them meanwhile.
    pub(super) fn paste(&self, words: &[u64]) {
        let length = self.length.min(words.len());
        // SAFETY: `length` is within both; a mapping of the kernel's is no part of a slice.
        unsafe {
            self.words
                .as_ptr()
                .cast::<u64>()
                .copy_from_nonoverlapping(words.as_ptr(), length);
        }
    }

    /// Sets all words to 0.
    pub(super) fn clear(&mut self) {
        // SAFETY: the mapping is `length` words long and writable, and nobody of this process
        // has a reference into it.
        unsafe { self.words.as_ptr().write_bytes(0, self.length) };
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
