//! VIPs made known to the network.

pub mod address;
mod gratuitous;
