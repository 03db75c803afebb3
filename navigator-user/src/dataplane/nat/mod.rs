//! NAT: its settings, the end of its flows, its source addresses.
//!
//! | file | what it keeps true |
//! |---|---|
//! | `sources` | replies come to addresses that the program knows |
//! | `timeouts` | how long a silent flow lives |
//! | `collect` | flows end when their time is over or their backend is gone |
//! | `desk` | what the writer of the tables and the collector tell each other |

mod collect;
mod desk;
mod sources;
#[cfg(test)]
mod tests;
mod timeouts;

pub use collect::{Collector, Entries, NatTables};
pub use desk::{Desk, NatFigures};
pub use sources::SourceError;
pub use timeouts::{Phase, Timeouts};

use navigator_common::nat::LOWEST_PORT;
use std::{collections::BTreeSet, net::IpAddr};

/// How NAT is done on this host.
#[derive(Clone, PartialEq, Eq, Debug)]
pub struct NatSettings {
    /// Source addresses of NAT flows, those of each family in the order of their use.
    pub sources: Vec<IpAddr>,
    /// Those of them that the host itself uses: what is of no flow goes to the host.
    pub own: BTreeSet<IpAddr>,
    /// First and last source port.
    pub ports: (u16, u16),
    /// How long silent flows live.
    pub timeouts: Timeouts,
}

impl Default for NatSettings {
    fn default() -> Self {
        Self {
            sources: Vec::new(),
            own: BTreeSet::new(),
            // Below the ports that Linux gives to its own connections unless told otherwise.
            ports: (LOWEST_PORT, 32_767),
            timeouts: Timeouts::default(),
        }
    }
}

impl NatSettings {
    /// The source addresses of one family.
    pub fn of_family(&self, v4: bool) -> impl Iterator<Item = IpAddr> + '_ {
        self.sources
            .iter()
            .copied()
            .filter(move |source| source.is_ipv4() == v4)
    }

    /// How many source ports there are for each source address and backend.
    pub fn port_count(&self) -> u32 {
        u32::from(self.ports.1 - self.ports.0) + 1
    }
}
