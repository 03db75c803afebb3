//! The lab with devices that backends really have and this machine may lack: the kernel's own
//! tunnels and VLANs. `cargo xtask vm` runs this in emulated machines with Debian's kernels.

mod support;
mod tunnels;
mod vlans;
