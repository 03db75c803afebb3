//! What can be seen of the daemon: one immutable snapshot, swapped whole.
//! API, CLI and metrics render it; nobody who reads it can hold up the loop.

use navigator_core::{
    health::Health,
    model::{ForwardMode, Order, Ports, Protocol, VipKey},
    plan::members::State,
};
use serde::{Deserialize, Serialize};
use std::{
    net::{IpAddr, SocketAddr},
    sync::Arc,
};
use utoipa::ToSchema;

/// Everything, as of one moment.
#[derive(Clone, PartialEq, Debug, Default, Serialize, Deserialize, ToSchema)]
pub struct Snapshot {
    /// The daemon itself.
    pub daemon: DaemonView,
    /// Where services come from.
    pub registry: RegistryView,
    /// VIPs, in the order of their names.
    pub vips: Vec<VipView>,
    /// Services, in the order of their names. Those that did not change are shared with the
    /// snapshot before.
    #[serde(with = "shared")]
    #[schema(value_type = Vec<ServiceView>)]
    pub services: Vec<Arc<ServiceView>>,
    /// Number of the snapshot in which any service changed last, came or went.
    #[serde(default)]
    pub services_index: u64,
    /// Registry and configuration entries that were refused.
    pub rejected: Vec<RejectedView>,
    /// Packets by reason and event.
    pub counters: Vec<CounterView>,
    /// How full each table is.
    pub tables: Vec<TableView>,
    /// The windows that table changes opened.
    #[serde(default)]
    pub windows: WindowsView,
    /// VIPs or backends that could not be applied, in words.
    pub problems: Vec<String>,
}

/// The daemon itself.
#[derive(Clone, PartialEq, Debug, Default, Serialize, Deserialize, ToSchema)]
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
    /// How many trace packets at the moment.
    #[serde(default)]
    pub tracers: usize,
    /// When the snapshot was made, in seconds since 1970.
    pub time: f64,
}

/// One interface that packets come in by.
#[derive(Clone, PartialEq, Debug, Default, Serialize, Deserialize, ToSchema)]
pub struct InterfaceView {
    /// Name.
    pub name: String,
    /// `native` or `generic`.
    pub attach: String,
}

/// Where services come from.
#[derive(Clone, PartialEq, Debug, Default, Serialize, Deserialize, ToSchema)]
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
#[derive(Clone, PartialEq, Debug, Serialize, Deserialize, ToSchema)]
pub struct VipView {
    /// Name.
    pub name: String,
    /// Virtual address; of a prefix the first one.
    #[schema(value_type = String, example = "192.0.2.10")]
    pub address: IpAddr,
    /// How many leading bits of the address count: 32 or 128, unless it is a prefix.
    pub prefix: u8,
    /// Port, range of ports (a string, `8000-8999`), or 0 for all.
    #[schema(schema_with = ports)]
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
    /// Slots whose window is closed and whose flows may still be remembered.
    #[serde(default)]
    pub tracked_slots: u32,
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
#[derive(Clone, PartialEq, Debug, Serialize, Deserialize, ToSchema)]
pub struct BackendView {
    /// Where the instance listens.
    #[schema(value_type = String, example = "10.0.0.5:80")]
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
#[derive(Clone, PartialEq, Debug, Serialize, Deserialize, ToSchema)]
pub struct ServiceView {
    /// Name.
    pub name: String,
    /// Number of the snapshot in which it changed last: its instances, their weights, labels,
    /// orders or verdicts. What single checks find between does not count.
    #[serde(default)]
    pub index: u64,
    /// Instances, in the order of their addresses.
    pub instances: Vec<InstanceView>,
}

/// A service in the list of all.
#[derive(Clone, PartialEq, Debug, Serialize, Deserialize, ToSchema)]
pub struct ServiceSummary {
    /// Name.
    pub name: String,
    /// Number of the snapshot in which it changed last.
    pub index: u64,
    /// How many instances it has.
    pub instances: usize,
    /// How many of them take new clients: healthy, with a weight, and no order against it.
    pub available: usize,
}

impl ServiceView {
    /// It in the list of all.
    pub fn summary(&self) -> ServiceSummary {
        ServiceSummary {
            name: self.name.clone(),
            index: self.index,
            instances: self.instances.len(),
            available: self.instances.iter().filter(|i| i.takes_new()).count(),
        }
    }

    /// Whether another view shows anything else than what single checks found.
    pub fn same_for_clients(&self, other: &Self) -> bool {
        let pairs = self.instances.iter().zip(&other.instances);
        self.name == other.name
            && self.instances.len() == other.instances.len()
            && pairs
                .into_iter()
                .all(|(one, other)| one.without_check() == other.without_check())
    }
}

/// One registered instance.
#[derive(Clone, PartialEq, Debug, Serialize, Deserialize, ToSchema)]
pub struct InstanceView {
    /// Where it listens.
    #[schema(value_type = String, example = "10.0.0.5:80")]
    pub address: SocketAddr,
    /// Weight that it registered.
    pub weight: u16,
    /// `lease`, `static` or `config`.
    pub origin: String,
    /// What its checks say.
    pub health: Health,
    /// Since when, in seconds since 1970; 0 if there was no verdict yet.
    #[serde(default)]
    pub health_since: f64,
    /// What the last check found, in words.
    pub last_check: String,
    /// When it ended, in seconds since 1970; 0 if there was none yet.
    #[serde(default)]
    pub checked_at: f64,
    /// How long it took.
    #[serde(default)]
    pub check_seconds: f64,
    /// What an operator ordered.
    pub order: Order,
    /// Free labels of the registrant.
    pub labels: std::collections::BTreeMap<String, serde_json::Value>,
}

/// What clients of an instance see of it.
type ForClients<'a> = (
    SocketAddr,
    u16,
    &'a str,
    Health,
    &'a Order,
    &'a std::collections::BTreeMap<String, serde_json::Value>,
);

impl InstanceView {
    /// The weight in force: the ordered one, or its own.
    pub fn weight_in_force(&self) -> u16 {
        self.order.weight.unwrap_or(self.weight)
    }

    /// Whether new clients may be sent to it: healthy, with a weight, and no order against it.
    pub fn takes_new(&self) -> bool {
        self.health == Health::Healthy && self.is_wanted()
    }

    /// Whether nobody, registrant or operator, keeps new clients from it.
    pub fn is_wanted(&self) -> bool {
        self.weight_in_force() > 0 && !self.order.drain && !self.order.maintenance
    }

    fn without_check(&self) -> ForClients<'_> {
        (
            self.address,
            self.weight,
            &self.origin,
            self.health,
            &self.order,
            &self.labels,
        )
    }
}

/// [`Ports`] as they are written.
pub(crate) fn ports() -> utoipa::openapi::schema::Schema {
    use utoipa::openapi::schema::{ObjectBuilder, OneOfBuilder, Type};
    let number = ObjectBuilder::new().schema_type(Type::Integer);
    let number = number.minimum(Some(0)).maximum(Some(65_535));
    let range = ObjectBuilder::new().schema_type(Type::String);
    OneOfBuilder::new()
        .item(number)
        .item(range.pattern(Some("^[0-9]+-[0-9]+$")))
        .build()
        .into()
}

/// Shared views, written like any others.
mod shared {
    use super::{Arc, Deserialize, ServiceView};
    use serde::{Deserializer, Serializer};

    pub(super) fn serialize<S: Serializer>(
        services: &[Arc<ServiceView>],
        serializer: S,
    ) -> Result<S::Ok, S::Error> {
        serializer.collect_seq(services.iter().map(|service| &**service))
    }

    pub(super) fn deserialize<'de, D: Deserializer<'de>>(
        deserializer: D,
    ) -> Result<Vec<Arc<ServiceView>>, D::Error> {
        let services = Vec::<ServiceView>::deserialize(deserializer)?;
        Ok(services.into_iter().map(Arc::new).collect())
    }
}

/// One refused entry.
#[derive(Clone, PartialEq, Debug, Serialize, Deserialize, ToSchema)]
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
#[derive(Clone, PartialEq, Debug, Serialize, Deserialize, ToSchema)]
pub struct CounterView {
    /// Name of a reason or an event.
    pub name: String,
    /// Packets.
    pub packets: u64,
    /// Packets per second, over the last second or so.
    #[serde(default)]
    pub packets_per_second: f64,
}

/// What became of the windows that table changes opened. Counts are of slots, since the start.
#[derive(Clone, Copy, PartialEq, Eq, Debug, Default, Serialize, Deserialize, ToSchema)]
pub struct WindowsView {
    /// Seconds for which the oldest open window has been open; 0 if none is open.
    pub oldest_seconds: u64,
    /// Windows that were open for their whole time.
    pub closed: u64,
    /// Windows that were closed before their time, because the flow cache was too full.
    pub closed_early: u64,
    /// Slots at rest again: none of their flows had to be remembered any more.
    pub settled: u64,
}

/// How full a table is.
#[derive(Clone, PartialEq, Debug, Serialize, Deserialize, ToSchema)]
pub struct TableView {
    /// Name.
    pub name: String,
    /// Entries in use.
    pub used: u64,
    /// Entries there are.
    pub capacity: u64,
}

impl TableView {
    /// Percent of a table from which on it is said to be nearly full.
    pub const NEARLY_FULL: u64 = 80;

    /// Whether it is time to do something about it.
    pub const fn is_nearly_full(&self) -> bool {
        self.capacity > 0 && self.used.saturating_mul(100) >= self.capacity * Self::NEARLY_FULL
    }
}
