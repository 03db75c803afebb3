//! The data plane: the only code that writes maps.
//!
//! [`Dataplane`] is what the reconciler sees. [`plane`] does all of it over a
//! [`store`], an array of words: [`kernel`] keeps them in mapped BPF arrays,
//! [`memory`] in plain memory, for tests.
//!
//! | file | what it keeps true |
//! |---|---|
//! | `apply` | one VIP as planned: members, states, table |
//! | `vips`, `addresses`, `ports` | address → port → VIP |
//! | `servers` | QUIC server ids |
//! | `slots` | slot words and who is named by them |
//! | `backends`, `egress`, `tunnel` | backend ids, their records, the ways to them |
//! | `nat` | source addresses of NAT flows, and the end of these |
//! | `sweep` | the end of what nothing leads to any more |
//! | `windows` | how long slots are at risk |
//! | `pass` | what is remembered, and for which slots that still matters |
//! | `adopt` | all of this, read back from the words |

mod addresses;
mod adopt;
mod apply;
mod arena;
mod backends;
mod egress;
mod figures;
pub mod kernel;
pub mod memory;
pub mod nat;
pub mod neighbours;
mod pass;
pub mod plane;
mod ports;
mod servers;
mod slots;
pub mod store;
mod sweep;
#[cfg(test)]
mod tests;
pub mod tunnel;
mod vips;
mod windows;

use navigator_core::{
    model::{Affinity, ForwardMode, QuicConfigs, ServerId, UdpPolicy, UnservedPolicy, VipKey},
    plan::members::Member,
};
use std::net::{IpAddr, SocketAddr};

/// What the data plane needs to know of a VIP.
#[derive(Clone, PartialEq, Eq, Debug)]
pub struct VipSettings {
    /// Address, protocol, port.
    pub key: VipKey,
    /// Slots of its table; fixed for its life.
    pub slots: u32,
    /// How packets reach its backends.
    pub mode: ForwardMode,
    /// UDP flows across table changes.
    pub udp: UdpPolicy,
    /// Packets for other ports of its address.
    pub unserved: UnservedPolicy,
    /// What flows go by beside their own hash.
    pub steering: Steering,
}

/// What the flows of a VIP go by beside their own hash; by default nothing.
#[derive(Clone, PartialEq, Eq, Debug, Default)]
pub struct Steering {
    /// The client's address instead of the whole flow.
    pub affinity: Affinity,
    /// How server ids stand in QUIC connection ids.
    pub quic: QuicConfigs,
    /// Server ids of instances; of two that are the same the first counts.
    pub server_ids: Vec<(ServerId, SocketAddr)>,
}

/// Everything the data plane must make true of one VIP.
#[derive(Clone, PartialEq, Eq, Debug)]
pub struct VipPlan {
    /// What it is.
    pub vip: VipSettings,
    /// All instances that take part in it or still hold flows of it.
    pub members: Vec<Member>,
    /// For each slot the index of a member that takes new flows, or [`NOBODY`].
    pub table: Vec<u32>,
}

pub use navigator_core::plan::maglev::NOBODY;
pub use windows::DEFAULT_WINDOW;

/// How to reach a backend's host over Ethernet.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub struct NextHop {
    /// MAC address of the host, or of the router on the way to it.
    pub mac: [u8; 6],
    /// The interface that leads there.
    pub ifindex: u32,
    /// This host's address towards it, the source of tunnel headers.
    pub source: IpAddr,
    /// The MAC address is the host's own: no router is in between.
    pub on_link: bool,
    /// The longest IP packet that the way takes, in bytes; 0 if it is not known.
    pub mtu: u16,
}

/// What a call to [`Dataplane::apply`] did.
#[derive(Clone, Copy, PartialEq, Eq, Debug, Default)]
pub struct Applied {
    /// Slots whose word was written.
    pub slots_written: u32,
    /// Slots at risk afterwards.
    pub at_risk: u32,
}

/// A VIP found in pinned maps.
#[derive(Clone, PartialEq, Eq, Debug)]
pub struct AdoptedVip {
    /// What it is.
    pub vip: VipSettings,
    /// Its backends with the state that the maps imply.
    pub backends: Vec<AdoptedBackend>,
}

/// A backend found in pinned maps.
#[derive(Clone, PartialEq, Eq, Debug)]
pub struct AdoptedBackend {
    /// The instance.
    pub address: SocketAddr,
    /// It was given new flows.
    pub takes_new: bool,
    /// It could still serve the flows that it had.
    pub usable: bool,
    /// Slots that it owns.
    pub slots: u32,
}

/// Traffic and table figures of one backend.
#[derive(Clone, PartialEq, Eq, Debug)]
pub struct BackendFigures {
    /// The instance.
    pub address: SocketAddr,
    /// Slots that it owns.
    pub slots: u32,
    /// Slots at risk that it owned before.
    pub slots_before: u32,
    /// Packets forwarded to it since it became a backend.
    pub packets: u64,
    /// Bytes forwarded to it since it became a backend.
    pub bytes: u64,
    /// Replies of it that were brought to clients since then: in mode `nat` only.
    pub reply_packets: u64,
    /// Bytes of these.
    pub reply_bytes: u64,
    /// Its next hop's MAC address is known.
    pub reachable: bool,
}

/// Figures of one VIP.
#[derive(Clone, PartialEq, Eq, Debug)]
pub struct VipFigures {
    /// Which VIP.
    pub key: VipKey,
    /// Slots of its table.
    pub slots: u32,
    /// Slots at risk.
    pub at_risk: u32,
    /// Slots whose window is closed and whose flows may still be remembered.
    pub tracked: u32,
    /// Its backends, in the order of their addresses.
    pub backends: Vec<BackendFigures>,
}

/// What became of the windows that table changes opened. Counts are of slots, since the start.
#[derive(Clone, Copy, PartialEq, Eq, Debug, Default)]
pub struct WindowFigures {
    /// Windows that were open for their whole time.
    pub closed: u64,
    /// Windows that were closed before their time, because the flow cache was too full.
    pub closed_early: u64,
    /// Slots at rest again: none of their flows had to be remembered any more.
    pub settled: u64,
    /// Seconds for which the oldest open window has been open; 0 if none is open.
    pub oldest_seconds: u64,
}

/// Everything that can be read off the maps.
#[derive(Clone, PartialEq, Eq, Debug, Default)]
pub struct Figures {
    /// The VIPs, in the order of their keys.
    pub vips: Vec<VipFigures>,
    /// Packets by reason and event, by name.
    pub counters: Vec<(&'static str, u64)>,
    /// How full each table is: name, used, capacity.
    pub tables: Vec<(&'static str, u64, u64)>,
    /// The windows that table changes opened.
    pub windows: WindowFigures,
    /// What is wrong with the interfaces that packets come in by, in words.
    pub problems: Vec<String>,
}

/// Why the data plane did not do what it was asked.
#[derive(Debug, thiserror::Error)]
pub enum DataplaneError {
    /// A table has no room left.
    #[error("{table} is full ({capacity} entries): {cure}")]
    Full {
        /// Which table.
        table: &'static str,
        /// Its capacity.
        capacity: u64,
        /// What to do.
        cure: &'static str,
    },
    /// Something that is fixed for a VIP's life was to change.
    #[error(
        "VIP {vip}: {what} is fixed for its life; remove the VIP and add it again if its connections may break"
    )]
    Fixed {
        /// Which VIP.
        vip: VipKey,
        /// What was to change.
        what: String,
    },
    /// A plan contradicts itself, or asks for what no table can hold.
    #[error("VIP {vip}: {why}")]
    Plan {
        /// Which VIP.
        vip: VipKey,
        /// What is wrong, and what to do.
        why: String,
    },
    /// The kernel refused.
    #[error("{action}: {why}")]
    Kernel {
        /// What was tried.
        action: String,
        /// Why it failed and what to do, in words.
        why: String,
    },
}

/// Result of a data-plane call.
pub type DataplaneResult<T> = Result<T, DataplaneError>;

/// What forwards packets. One owner; every call leaves a valid state behind
/// even when it is cut short.
pub trait Dataplane: Send {
    /// What was found in pinned maps at the start; empty after a fresh one.
    fn adopted(&self) -> Vec<AdoptedVip>;

    /// Makes one VIP true: creates it, or changes what differs.
    fn apply(&mut self, plan: &VipPlan) -> DataplaneResult<Applied>;

    /// Sets the state flags of one backend at once, before a new table is planned.
    /// Does nothing for a backend that is not known.
    fn set_state(&mut self, vip: &VipKey, address: SocketAddr, takes_new: bool, usable: bool);

    /// Takes a VIP out; packets for it are no longer its business.
    fn remove(&mut self, vip: &VipKey) -> DataplaneResult<()>;

    /// Sets or clears the way to all backends on one host.
    fn set_next_hop(&mut self, host: IpAddr, hop: Option<NextHop>) -> DataplaneResult<()>;

    /// Frees ids and memory that nothing names any more, and follows the interfaces: their
    /// MAC addresses, and that they were made again. Called about once a second.
    fn sweep(&mut self);

    /// Makes true what those who trace packets want, if packets can be traced here. Called when
    /// somebody begins or ends, and about once a second.
    fn follow_tracers(&mut self) {}

    /// Reads all figures.
    fn figures(&self) -> Figures;
}
