//! Each route over a real socket, with a registry in memory.

pub(crate) mod double;
mod reads;
mod socket;
mod trace;
mod writes;
