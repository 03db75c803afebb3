//! What tunnel headers are made of: the settings, and what a backend's record
//! tells the program of them.

use super::NextHop;
use navigator_common::{backend::PathWord, checksum::tunnel_base, gue};
use navigator_core::{entry::Cidr, model::ForwardMode};
use std::net::IpAddr;

/// Bits of an outer source that a flow's hash fills at most.
const MOST_SPREAD: u8 = 32;

/// Settings of the tunnel modes.
#[derive(Clone, PartialEq, Eq, Debug)]
pub struct TunnelSettings {
    /// The UDP port that `gue` sends to.
    pub gue_port: u16,
    /// Networks that `ipip` takes its outer sources from, at most one of a family. Where there is
    /// none it is this host's address.
    pub sources: Vec<Cidr>,
}

impl Default for TunnelSettings {
    fn default() -> Self {
        Self {
            gue_port: gue::DEFAULT_PORT,
            sources: Vec::new(),
        }
    }
}

/// The outer source of a backend's packets.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub(super) struct Source {
    pub(super) address: IpAddr,
    /// Its last bits that a flow's hash fills.
    pub(super) spread: u8,
}

impl TunnelSettings {
    /// The outer source in `mode`, if it has one, where `own` is this host's address towards
    /// the backend.
    pub(super) fn source(&self, mode: ForwardMode, own: IpAddr) -> Option<Source> {
        let of_family = |network: &&Cidr| network.network().is_ipv4() == own.is_ipv4();
        let network = match mode {
            ForwardMode::L2 => return None,
            ForwardMode::Gue => None,
            ForwardMode::Ipip => self.sources.iter().find(of_family),
        };
        Some(match network {
            Some(network) => Source {
                address: network.network(),
                spread: network.host_bits().min(MOST_SPREAD),
            },
            None => Source {
                address: own,
                spread: 0,
            },
        })
    }
}

/// Whether packets leave in a tunnel in this mode.
pub(super) const fn is_tunnel(mode: ForwardMode) -> bool {
    match mode {
        ForwardMode::L2 => false,
        ForwardMode::Ipip | ForwardMode::Gue => true,
    }
}

/// The sum of the outer IPv4 header that the record holds; 0 for an IPv6 one.
pub(super) fn checksum_base(
    mode: ForwardMode,
    source: IpAddr,
    backend: IpAddr,
    client_is_ipv4: bool,
) -> u16 {
    let (IpAddr::V4(source), IpAddr::V4(backend)) = (source, backend) else {
        return 0;
    };
    let protocol = match (mode, client_is_ipv4) {
        (ForwardMode::L2, _) => return 0,
        (ForwardMode::Gue, _) => 17,
        (ForwardMode::Ipip, true) => 4,
        (ForwardMode::Ipip, false) => 41,
    };
    tunnel_base(source, backend, protocol)
}

/// The second mutable word of a backend that is reached by `hop`.
pub(super) fn path(mode: ForwardMode, backend: IpAddr, hop: &NextHop) -> PathWord {
    let outer = if backend.is_ipv4() { 20 } else { 40 };
    match mode {
        // What came in by a LAN fits one: decision 008.
        ForwardMode::L2 => PathWord::unlimited(hop.mtu),
        ForwardMode::Ipip => PathWord::limited(hop.mtu, outer),
        ForwardMode::Gue => PathWord::limited(hop.mtu, outer + gue::HEADERS),
    }
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used, reason = "a test's own input")]
    use super::*;

    #[test]
    fn only_ipip_takes_its_source_from_a_network_of_the_right_family() {
        let settings = TunnelSettings {
            sources: ["172.16.0.0/16", "fd00::/64"]
                .map(|n| n.parse().unwrap())
                .to_vec(),
            ..TunnelSettings::default()
        };
        let [four, six]: [IpAddr; 2] = ["10.0.0.1", "fd77::1"].map(|a| a.parse().unwrap());
        let source = |address: &str, spread| {
            let address = address.parse().unwrap();
            Some(Source { address, spread })
        };
        use ForwardMode::{Gue, Ipip, L2};
        assert_eq!(settings.source(Ipip, four), source("172.16.0.0", 16));
        assert_eq!(settings.source(Ipip, six), source("fd00::", 32));
        assert_eq!(settings.source(Gue, four), source("10.0.0.1", 0));
        assert_eq!(settings.source(L2, four), None);
        let plain = TunnelSettings::default();
        assert_eq!(plain.source(Ipip, six), source("fd77::1", 0));
        let one = TunnelSettings {
            sources: vec!["172.16.0.7/32".parse().unwrap()],
            ..TunnelSettings::default()
        };
        assert_eq!(one.source(Ipip, four), source("172.16.0.7", 0));
        assert_eq!(one.source(Ipip, six), source("fd77::1", 0));
    }
}
