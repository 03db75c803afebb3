//! Makes this host a good DSR backend, and undoes exactly that:
//! `navigator backend up`, `down`, `status`.
//!
//! What a backend needs: the VIPs as its own addresses, on `lo`; silence when
//! somebody asks the LAN for them, because the balancer answers there; no
//! strict reverse-path filter, because packets come from the balancer with the
//! client's source; and for the tunnel modes something that takes the outer
//! header off.
//!
//! ARP silence is a setting (`arp_ignore`, `arp_announce`) of the interface.
//! NDP needs none: Linux answers a neighbour solicitation only for addresses
//! of the interface that it came in by, and the VIPs are on `lo`. So it is
//! enough that no other interface has them, which [`up`] checks.
//!
//! Every change is recorded, with the old value, before it is made ([`state`]);
//! whatever is found different from what was set is left as it is.

mod apply;
mod decap;
mod inspect;
pub mod state;
mod sysctl;
mod tunnels;
mod undo;

pub use apply::{down, up};
pub use decap::OBJECT;
pub use inspect::status;

use crate::netlink::NetlinkError;
use serde::{Deserialize, Serialize};
use std::{
    collections::{BTreeMap, BTreeSet},
    fmt, io,
    net::IpAddr,
    path::PathBuf,
};

/// Where state files are by default.
pub const DEFAULT_STATE_DIR: &str = "/run/navigator";
/// Where the decapsulation program is pinned by default.
pub const DEFAULT_PINS: &str = "/sys/fs/bpf/navigator-backend";

/// Which interface, and where what was done to it is recorded.
#[derive(Clone, PartialEq, Eq, Debug)]
pub struct Place {
    /// The interface that packets from the balancer come in by. If there is
    /// none: that of the state file, where there is just one; else that of the
    /// default route.
    pub interface: Option<String>,
    /// Directory of the state files.
    pub state_dir: PathBuf,
    /// Directory on a BPF file system, for the program's pins.
    pub pins: PathBuf,
}

impl Default for Place {
    fn default() -> Self {
        Self {
            interface: None,
            state_dir: DEFAULT_STATE_DIR.into(),
            pins: DEFAULT_PINS.into(),
        }
    }
}

/// How tunnel packets are to be unwrapped.
#[derive(Clone, Copy, PartialEq, Eq, Debug, Default, clap::ValueEnum)]
pub enum DecapChoice {
    /// By tunnel devices of the kernel where the right ones are up, else by XDP.
    #[default]
    Auto,
    /// By XDP.
    Xdp,
    /// Not at all: the VIPs are served in l2 mode only.
    None,
}

/// What [`up`] is to make true.
#[derive(Clone, PartialEq, Eq, Debug)]
pub struct UpSettings {
    /// Where.
    pub place: Place,
    /// All VIPs that this host serves; those of an earlier `up` that are not
    /// among them are taken out.
    pub vips: BTreeSet<IpAddr>,
    /// How tunnel packets are unwrapped.
    pub decap: DecapChoice,
    /// The UDP port of GUE packets.
    pub gue_port: u16,
}

/// How tunnel packets are unwrapped.
#[derive(Clone, PartialEq, Eq, Debug, Serialize, Deserialize)]
#[serde(tag = "by", rename_all = "lowercase")]
pub enum Decap {
    /// By the XDP program `navigator_decap`.
    Xdp {
        /// In the driver, not on socket buffers.
        native: bool,
    },
    /// By tunnel devices of the kernel.
    Kernel {
        /// Their names.
        devices: Vec<String>,
        /// Outer families whose GUE packets the kernel takes out of UDP for them (`ip fou`).
        #[serde(default)]
        gue: BTreeSet<OuterFamily>,
    },
    /// Not at all.
    None,
}

/// The family of a tunnel's outer header.
#[derive(Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Debug, Serialize, Deserialize)]
pub enum OuterFamily {
    /// IPv4.
    #[serde(rename = "IPv4")]
    V4,
    /// IPv6.
    #[serde(rename = "IPv6")]
    V6,
}

impl fmt::Display for OuterFamily {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self {
            Self::V4 => "IPv4",
            Self::V6 => "IPv6",
        })
    }
}

/// What [`up`] did.
#[derive(Clone, PartialEq, Eq, Debug, Serialize)]
pub struct UpReport {
    /// The interface.
    pub interface: String,
    /// The VIPs.
    pub vips: BTreeSet<IpAddr>,
    /// How tunnel packets are unwrapped.
    pub decap: Decap,
    /// The UDP port of GUE packets.
    pub gue_port: u16,
    /// What was changed, in words; empty if all was as it should be.
    pub changed: Vec<String>,
    /// What an operator should know, in words.
    pub notes: Vec<String>,
}

/// What [`down`] did.
#[derive(Clone, PartialEq, Eq, Debug, Serialize)]
pub struct DownReport {
    /// The interface.
    pub interface: String,
    /// What was undone, in words.
    pub undone: Vec<String>,
    /// What was left alone, and why, in words.
    pub notes: Vec<String>,
}

/// What one interface is set up for, and whether that is still true.
#[derive(Clone, PartialEq, Eq, Debug, Serialize)]
pub struct Status {
    /// The interface.
    pub interface: String,
    /// VIPs, and whether each is on `lo`.
    pub vips: BTreeMap<IpAddr, bool>,
    /// How tunnel packets are unwrapped.
    pub decap: Decap,
    /// The UDP port of GUE packets.
    pub gue_port: u16,
    /// Packets by what `navigator_decap` did with them; empty without it.
    pub packets: BTreeMap<String, u64>,
    /// What is no longer as [`up`] left it, in words.
    pub problems: Vec<String>,
}

/// Why a host could not be set up, or put back.
#[derive(Debug, thiserror::Error)]
pub enum BackendError {
    /// Not root.
    #[error("{0} changes addresses, sysctls and XDP programs: run it as root")]
    NotRoot(&'static str),
    /// There is no such interface.
    #[error("there is no interface {0}: give --interface a name that `ip link` lists")]
    NoInterface(String),
    /// None was named and there is no default route.
    #[error("there is no default route to tell the interface by: name it with --interface")]
    NoDefaultRoute,
    /// None was named and several are set up.
    #[error("several interfaces are set up ({0}): name one with --interface")]
    WhichInterface(String),
    /// An address cannot be a VIP.
    #[error("{0} cannot be a VIP: it must be a unicast address that is not loopback or link-local")]
    BadVip(IpAddr),
    /// No VIP, or too many.
    #[error("{0} VIPs were given: give at least one with --vip, and at most {1}")]
    VipCount(usize, u32),
    /// Another interface has a VIP, so the host would answer ARP or NDP for it.
    #[error(
        "{ip} is an address of {interface}, so this host would answer for it on the LAN: take it off with `ip address del {ip} dev {interface}`"
    )]
    VipElsewhere {
        /// The VIP.
        ip: IpAddr,
        /// Who has it.
        interface: String,
    },
    /// A setting stands in the way that is not ours to lower.
    #[error("{name} is {value}, with which {effect}: set it to {wanted}")]
    Setting {
        /// Its name as `sysctl` knows it.
        name: String,
        /// What it is.
        value: String,
        /// What that does.
        effect: &'static str,
        /// What it should be.
        wanted: &'static str,
    },
    /// `lo` is down.
    #[error("lo is down, so no address on it works: ip link set lo up")]
    LoopbackDown,
    /// The kernel refused something over netlink.
    #[error(transparent)]
    Kernel(#[from] NetlinkError),
    /// A file cannot be read or written.
    #[error("{path}: {source}")]
    File {
        /// Which.
        path: PathBuf,
        /// Why.
        source: io::Error,
    },
    /// A state file makes no sense.
    #[error(
        "state file {path} cannot be understood ({why}): undo by hand what it lists, then remove it"
    )]
    BadState {
        /// Which.
        path: PathBuf,
        /// Why.
        why: String,
    },
    /// The decapsulation program could not be attached or reached.
    #[error("{0}")]
    Decap(String),
}

/// Result of a call of this module.
pub type BackendResult<T> = Result<T, BackendError>;
