//! What most tables stand on: an address of each family with a VIP of each protocol.

use anyhow::Result;
use navigator_core::model::{ForwardMode, Protocol, UnservedPolicy, VipKey};
use navigator_tests::packet::{
    Family,
    bed::{self, Bed, Role},
    frame::{self, Tcp},
};
use navigator_user::dataplane::VipSettings;
use std::net::SocketAddr;

pub(crate) use Protocol::{Tcp as TCP, Udp as UDP};

/// Number of the addresses that drop what no VIP serves.
pub(crate) const DROPS: u8 = 1;
/// Number of the addresses that hand it to the host.
pub(crate) const PASSES: u8 = 2;
/// Port of the VIPs.
pub(crate) const PORT: u16 = 80;
/// Number of the one backend of each.
pub(crate) const BACKEND: u8 = 1;

/// VIPs in `l2` on port 80 of [`DROPS`] and [`PASSES`], TCP and UDP, IPv4 and IPv6.
pub(crate) fn l2_world() -> Result<Bed> {
    let mut bed = Bed::new()?;
    for family in Family::BOTH {
        for protocol in [TCP, UDP] {
            for (number, unserved) in [
                (DROPS, UnservedPolicy::Drop),
                (PASSES, UnservedPolicy::Pass),
            ] {
                let vip = VipSettings {
                    unserved,
                    ..bed::vip(family.vip(number, PORT), protocol, ForwardMode::L2)
                };
                bed.serve(&vip, &[(family.backend(BACKEND, PORT), Role::Active)])?;
            }
        }
    }
    Ok(bed)
}

/// The client of most rows.
pub(crate) const fn client(family: Family) -> SocketAddr {
    family.client(9, 40_000)
}

/// The key of the VIP at an address.
pub(crate) fn key(vip: SocketAddr, protocol: Protocol) -> VipKey {
    VipKey::new(vip.ip(), protocol, vip.port())
}

/// An ordinary packet to `vip`.
pub(crate) fn packet(protocol: Protocol, vip: SocketAddr, payload: &[u8]) -> Vec<u8> {
    let client = client(Family::of(vip.ip()));
    match protocol {
        TCP => frame::tcp(client, vip, Tcp::Ack, payload),
        UDP | Protocol::Both => frame::udp(client, vip, payload),
    }
}

/// `length` bytes, all different from their neighbours.
pub(crate) fn payload(length: usize) -> Vec<u8> {
    (0..length).map(|n| (n % 251) as u8).collect()
}

/// Length of a TCP or UDP header without options.
pub(crate) const fn transport_header(protocol: Protocol) -> usize {
    match protocol {
        TCP => 20,
        UDP | Protocol::Both => 8,
    }
}
