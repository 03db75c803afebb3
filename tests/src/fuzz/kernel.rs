//! One frame through one program by BPF_PROG_TEST_RUN, with nothing around it
//! that costs time, and with a say in how much of the frame is in its first
//! buffer.

use std::{
    io,
    os::fd::{AsRawFd as _, BorrowedFd},
};

/// Room for what a program puts in front.
const GROWTH: usize = 256;
/// The longest frame.
pub const LONGEST: usize = 14 + 65_535 + 64;

const BPF_PROG_TEST_RUN: libc::c_long = 10;

/// What the kernel takes for this command.
#[repr(C)]
#[derive(Default)]
struct TestRun {
    prog_fd: u32,
    retval: u32,
    data_size_in: u32,
    data_size_out: u32,
    data_in: u64,
    data_out: u64,
    repeat: u32,
    duration: u32,
    ctx_size_in: u32,
    ctx_size_out: u32,
    ctx_in: u64,
    ctx_out: u64,
    flags: u32,
    cpu: u32,
    batch_size: u32,
    padding: u32,
}

/// The kernel's `struct xdp_md`.
#[repr(C)]
#[derive(Default)]
struct Context {
    data: u32,
    data_end: u32,
    data_meta: u32,
    ingress_ifindex: u32,
    rx_queue_index: u32,
    egress_ifindex: u32,
}

/// Runs frames; keeps the buffer that they come out in.
pub struct Runner {
    out: Vec<u8>,
}

impl Default for Runner {
    fn default() -> Self {
        Self {
            out: vec![0; LONGEST + GROWTH],
        }
    }
}

impl Runner {
    /// Runs `frame` through `program`, the first `linear` bytes of it in the first buffer if
    /// that is given: the return value and the frame that came out.
    ///
    /// # Errors
    /// The kernel refuses to run it.
    pub fn run(
        &mut self,
        program: BorrowedFd<'_>,
        frame: &[u8],
        linear: Option<usize>,
    ) -> io::Result<(u32, &[u8])> {
        let context = Context {
            data_end: linear.unwrap_or(frame.len()) as u32,
            ..Context::default()
        };
        let mut attributes = TestRun {
            prog_fd: program.as_raw_fd() as u32,
            data_size_in: frame.len() as u32,
            data_size_out: self.out.len() as u32,
            data_in: frame.as_ptr() as u64,
            data_out: self.out.as_mut_ptr() as u64,
            ..TestRun::default()
        };
        if linear.is_some() {
            attributes.ctx_in = (&raw const context) as u64;
            attributes.ctx_size_in = size_of::<Context>() as u32;
        }
        // SAFETY: the attributes are those of the command, and the buffers that they name live
        // and have the sizes that are told.
        let result = unsafe {
            libc::syscall(
                libc::SYS_bpf,
                BPF_PROG_TEST_RUN,
                &raw mut attributes,
                size_of::<TestRun>(),
            )
        };
        if result < 0 {
            return Err(io::Error::last_os_error());
        }
        let size = attributes.data_size_out as usize;
        Ok((attributes.retval, self.out.get(..size).unwrap_or_default()))
    }
}
