//! The source addresses of NAT flows among the addresses that the program knows.

use super::NatSettings;
use crate::dataplane::{
    DataplaneError, DataplaneResult, VipSettings, addresses::Network, plane::Plane, store::Store,
};
use navigator_common::{
    nat::{LOWEST_PORT, NAT_SOURCES},
    vip::AddrWord,
};
use navigator_core::model::ForwardMode;

/// Why NAT cannot be done as it is set.
#[derive(Clone, PartialEq, Eq, Debug, thiserror::Error)]
pub enum SourceError {
    /// More than the program has room for.
    #[error(
        "nat.addresses has {0} addresses of one family: the program has room for {NAT_SOURCES} of each"
    )]
    TooMany(usize),
    /// Ports that others use.
    #[error(
        "nat.ports is {first}-{last}, and this host gives {taken_first}-{taken_last} to its own connections \
         (net.ipv4.ip_local_port_range): choose ports outside of that, from {LOWEST_PORT} on, or change that range"
    )]
    Ports {
        /// First port.
        first: u16,
        /// Last port.
        last: u16,
        /// First port of the host's own connections.
        taken_first: u16,
        /// The last one.
        taken_last: u16,
    },
}

impl NatSettings {
    /// Checks what was set against what the host uses itself: `local_ports` is its
    /// `ip_local_port_range`, first and last. `ports` that are not set become the larger part
    /// of what is left.
    ///
    /// # Errors
    /// If ports overlap, or there are too many addresses.
    pub fn settle(
        mut self,
        ports: Option<(u16, u16)>,
        local_ports: (u16, u16),
    ) -> Result<Self, SourceError> {
        let (taken_first, taken_last) = local_ports;
        self.ports = match ports {
            Some((first, last)) if first <= taken_last && last >= taken_first => {
                return Err(SourceError::Ports {
                    first,
                    last,
                    taken_first,
                    taken_last,
                });
            }
            Some(ports) => ports,
            None => {
                let below = (LOWEST_PORT, taken_first.saturating_sub(1).max(LOWEST_PORT));
                let above = (taken_last.saturating_add(1), u16::MAX);
                if above.1 - above.0 > below.1 - below.0 {
                    above
                } else {
                    below
                }
            }
        };
        for v4 in [true, false] {
            let count = self.of_family(v4).count();
            if count > NAT_SOURCES {
                return Err(SourceError::TooMany(count));
            }
        }
        Ok(self)
    }
}

impl<S: Store> Plane<S> {
    /// Makes the source addresses known to the program, and takes out those that are no longer
    /// configured.
    pub(in crate::dataplane) fn place_sources(&mut self) -> DataplaneResult<()> {
        for source in self.nat.sources.clone() {
            let network = Network::single(source);
            if self.addresses.get(network).is_none() {
                self.publish_bare(source)?;
            } else {
                self.settle_flags(network);
            }
        }
        for network in self.addresses.all() {
            if self.is_source(network) {
                continue;
            }
            if self.serves(network) {
                self.settle_flags(network);
            } else {
                self.withdraw_address(network);
            }
        }
        Ok(())
    }

    /// Whether NAT flows start from this address.
    pub(in crate::dataplane) fn is_source(&self, network: Network) -> bool {
        !network.is_prefix() && self.nat.sources.contains(&network.address)
    }

    /// Flags of an address as a source of NAT flows.
    pub(in crate::dataplane) fn source_flags(&self, network: Network) -> u8 {
        let own = self.nat.own.contains(&network.address);
        match (self.is_source(network), own) {
            (false, _) => 0,
            (true, false) => AddrWord::SNAT,
            (true, true) => AddrWord::SNAT | AddrWord::PASS_UNSERVED,
        }
    }

    /// Refuses a VIP that NAT as it is set cannot serve, or that would take NAT's replies.
    pub(in crate::dataplane) fn check_nat(&self, vip: &VipSettings) -> DataplaneResult<()> {
        let refuse = |why: String| Err(DataplaneError::Plan { vip: vip.key, why });
        let v4 = vip.key.address.is_ipv4();
        if vip.mode == ForwardMode::Nat && self.nat.of_family(v4).next().is_none() {
            let family = if v4 { "IPv4" } else { "IPv6" };
            return refuse(format!(
                "mode nat needs an {family} address for its flows to start from: name one of this \
                 host in nat.addresses and start again"
            ));
        }
        let (first, last) = self.nat.ports;
        let (lowest, highest) = (vip.key.ports.first(), vip.key.ports.last());
        if self.is_source(Network::of(&vip.key)) && lowest <= last && highest >= first {
            return refuse(format!(
                "{} is one of nat.addresses, and nat.ports ({first}-{last}) are where replies come to: \
                 choose another address, or ports outside of these, or other nat.ports",
                vip.key.address
            ));
        }
        Ok(())
    }
}
