//! What can be seen of the daemon: one immutable snapshot, swapped whole.
//! API, CLI and metrics render it; nobody who reads it can hold up the loop.

use navigator_core::{
    health::Health,
    model::{ForwardMode, Order, Ports, Protocol, VipKey},
    plan::members::State,
};
use serde::{Deserialize, Serialize};
use std::net::{IpAddr, SocketAddr};

/// Everything, as of one moment.
#[derive(Clone, PartialEq, Debug, Default, Serialize, Deserialize)]
pub struct Snapshot {
    /// The daemon itself.
    pub daemon: DaemonView,
    /// Where services come from.
    pub registry: RegistryView,
    /// VIPs, in the order of their names.
    pub vips: Vec<VipView>,
    /// Services, in the order of their names.
    pub services: Vec<ServiceView>,
    /// Registry and configuration entries that were refused.
    pub rejected: Vec<RejectedView>,
    /// Packets by reason and event.
    pub counters: Vec<CounterView>,
    /// How full each table is.
    pub tables: Vec<TableView>,
    /// VIPs or backends that could not be applied, in words.
    pub problems: Vec<String>,
}

/// The daemon itself.
#[derive(Clone, PartialEq, Debug, Default, Serialize, Deserialize)]
pub struct DaemonView {
    /// Program version.
    pub version: String,
    /// Process id.
    pub pid: u32,
    /// Seconds since it started.
    pub uptime_seconds: f64,
    /// The registry was read and first verdicts are in: what is applied is what was planned.
    pub ready: bool,
    /// The pinned state of an earlier daemon was taken over at the start.
    pub adopted: bool,
    /// Slots written since the start.
    pub slots_written: u64,
    /// Interfaces with their attach mode (`native` or `generic`).
    pub interfaces: Vec<InterfaceView>,
    /// When the snapshot was made, in seconds since 1970.
    pub time: f64,
}

/// One interface that packets come in by.
#[derive(Clone, PartialEq, Debug, Default, Serialize, Deserialize)]
pub struct InterfaceView {
    /// Name.
    pub name: String,
    /// `native` or `generic`.
    pub attach: String,
}

/// Where services come from.
#[derive(Clone, PartialEq, Debug, Default, Serialize, Deserialize)]
pub struct RegistryView {
    /// Which one, for people.
    pub kind: String,
    /// It was read since the daemon started.
    pub synced: bool,
    /// It is reached and nothing was missed.
    pub connected: bool,
    /// Why not, in words.
    pub why: String,
    /// Revision up to which all changes are known.
    pub revision: i64,
    /// Seconds since it was last heard of; 0 while it is connected.
    pub stale_seconds: f64,
}

/// One VIP.
#[derive(Clone, PartialEq, Debug, Serialize, Deserialize)]
pub struct VipView {
    /// Name.
    pub name: String,
    /// Virtual address; of a prefix the first one.
    pub address: IpAddr,
    /// How many leading bits of the address count: 32 or 128, unless it is a prefix.
    pub prefix: u8,
    /// Port, range of ports (a string, `8000-8999`), or 0 for all.
    pub port: Ports,
    /// Protocol.
    pub protocol: Protocol,
    /// Forwarding mode.
    pub mode: ForwardMode,
    /// Service.
    pub service: String,
    /// It is in the maps.
    pub applied: bool,
    /// It is held on the interface (`announce = "address"`).
    pub announced: bool,
    /// Slots of its table.
    pub slots: u32,
    /// Slots at risk.
    pub at_risk_slots: u32,
    /// Packets forwarded.
    pub packets: u64,
    /// Bytes forwarded.
    pub bytes: u64,
    /// Replies brought to clients, in mode `nat`.
    pub reply_packets: u64,
    /// Bytes of these.
    pub reply_bytes: u64,
    /// Packets forwarded per second, over the last second or so.
    pub packets_per_second: f64,
    /// Bytes forwarded per second, over the last second or so.
    pub bytes_per_second: f64,
    /// What is wrong with it, in words; empty if nothing is.
    pub problem: String,
    /// Backends, in the order of their addresses.
    pub backends: Vec<BackendView>,
}

impl VipView {
    /// Its addresses, protocol and ports.
    pub const fn key(&self) -> VipKey {
        VipKey {
            address: self.address,
            prefix: self.prefix,
            protocol: self.protocol,
            ports: self.port,
        }
    }
}

/// One backend of one VIP.
#[derive(Clone, PartialEq, Debug, Serialize, Deserialize)]
pub struct BackendView {
    /// Where the instance listens.
    pub address: SocketAddr,
    /// What it is at the moment.
    pub state: State,
    /// Why, in words; empty for an active one.
    pub why: String,
    /// Weight in force.
    pub weight: u16,
    /// Its next hop is known.
    pub reachable: bool,
    /// Slots that it owns.
    pub slots: u32,
    /// Its part of the table, 0 to 1.
    pub share: f64,
    /// Slots at risk that it owned before.
    pub at_risk_slots: u32,
    /// Packets forwarded.
    pub packets: u64,
    /// Bytes forwarded.
    pub bytes: u64,
    /// Replies brought to clients, in mode `nat`.
    pub reply_packets: u64,
    /// Bytes of these.
    pub reply_bytes: u64,
    /// Packets forwarded per second, over the last second or so.
    pub packets_per_second: f64,
    /// Bytes forwarded per second, over the last second or so.
    pub bytes_per_second: f64,
}

/// One service.
#[derive(Clone, PartialEq, Debug, Serialize, Deserialize)]
pub struct ServiceView {
    /// Name.
    pub name: String,
    /// Instances, in the order of their addresses.
    pub instances: Vec<InstanceView>,
}

/// One registered instance.
#[derive(Clone, PartialEq, Debug, Serialize, Deserialize)]
pub struct InstanceView {
    /// Where it listens.
    pub address: SocketAddr,
    /// Weight that it registered.
    pub weight: u16,
    /// `lease`, `static` or `config`.
    pub origin: String,
    /// What its checks say.
    pub health: Health,
    /// What the last check found, in words.
    pub last_check: String,
    /// What an operator ordered.
    pub order: Order,
    /// Free labels of the registrant.
    pub labels: std::collections::BTreeMap<String, serde_json::Value>,
}

/// One refused entry.
#[derive(Clone, PartialEq, Debug, Serialize, Deserialize)]
pub struct RejectedView {
    /// Its key.
    pub key: String,
    /// Named reason, for example `bad_port`.
    pub reason: String,
    /// What is wrong with which value, and what to do.
    pub detail: String,
    /// The last valid version of it stays in force.
    pub stale: bool,
}

/// One counter.
#[derive(Clone, PartialEq, Debug, Serialize, Deserialize)]
pub struct CounterView {
    /// Name of a reason or an event.
    pub name: String,
    /// Packets.
    pub packets: u64,
}

/// How full a table is.
#[derive(Clone, PartialEq, Debug, Serialize, Deserialize)]
pub struct TableView {
    /// Name.
    pub name: String,
    /// Entries in use.
    pub used: u64,
    /// Entries there are.
    pub capacity: u64,
}
