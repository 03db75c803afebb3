//! Each route over a real socket, with a registry in memory.

mod discovery;
pub(crate) mod double;
mod reads;
mod roles;
mod socket;
mod tls;
mod trace;
mod writes;
