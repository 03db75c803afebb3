//! The words that everything else is said in: services, instances, VIPs, orders.

mod front;
mod quic;

pub use front::{BadPorts, Ports, Protocol, VipKey};
pub use quic::{BadServerId, MAX_SERVER_ID, QUIC_CONFIGS, QuicConfigs, ServerId};

use serde::{Deserialize, Serialize};
use std::{collections::BTreeMap, fmt, net::SocketAddr, str::FromStr, time::Duration};

/// A service's name: a DNS label of at most 63 characters.
#[derive(Clone, PartialEq, Eq, PartialOrd, Ord, Hash, Debug, Serialize, Deserialize)]
#[serde(try_from = "String", into = "String")]
pub struct ServiceName(String);

/// Why a text is no service name.
#[derive(Clone, PartialEq, Eq, Debug, thiserror::Error)]
#[error(
    "service name {0:?} is not a DNS label: use 1 to 63 of a-z, 0-9 and '-', not starting or ending with '-'"
)]
pub struct BadServiceName(pub String);

impl ServiceName {
    /// The name as text.
    pub fn as_str(&self) -> &str {
        &self.0
    }
}

impl TryFrom<String> for ServiceName {
    type Error = BadServiceName;

    fn try_from(text: String) -> Result<Self, BadServiceName> {
        let inner = |c: u8| c.is_ascii_lowercase() || c.is_ascii_digit() || c == b'-';
        let good = (1..=63).contains(&text.len())
            && text.bytes().all(inner)
            && !text.starts_with('-')
            && !text.ends_with('-');
        if good {
            Ok(Self(text))
        } else {
            Err(BadServiceName(text))
        }
    }
}

impl FromStr for ServiceName {
    type Err = BadServiceName;

    fn from_str(text: &str) -> Result<Self, BadServiceName> {
        text.to_owned().try_into()
    }
}

impl From<ServiceName> for String {
    fn from(name: ServiceName) -> Self {
        name.0
    }
}

impl fmt::Display for ServiceName {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.0)
    }
}

/// Which instance of which service.
#[derive(Clone, PartialEq, Eq, PartialOrd, Ord, Hash, Debug, Serialize, Deserialize)]
pub struct InstanceKey {
    /// The service.
    pub service: ServiceName,
    /// Where the instance listens.
    pub address: SocketAddr,
}

impl fmt::Display for InstanceKey {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}/{}", self.service, self.address)
    }
}

/// The weight of an instance that names none.
pub const DEFAULT_WEIGHT: u16 = 100;
/// The highest weight.
pub const MAX_WEIGHT: u16 = 1000;

/// The label that holds an instance's QUIC server ids.
pub const SERVER_ID_LABEL: &str = "quic_server_id";

/// One instance as it registered itself.
#[derive(Clone, PartialEq, Eq, Debug, Serialize)]
pub struct Instance {
    /// Service and address.
    pub key: InstanceKey,
    /// Share of new flows relative to the other instances, 0 to [`MAX_WEIGHT`]; 0 drains.
    pub weight: u16,
    /// How its health is checked.
    pub check: CheckSpec,
    /// Its registration ends with a lease (else it is `static`).
    pub leased: bool,
    /// Labels of the registrant: `id`, `version`, `zone`, `priority`, `tags` and `meta`, which are free,
    /// and [`SERVER_ID_LABEL`], as JSON.
    pub labels: BTreeMap<String, serde_json::Value>,
}

/// How an instance's health is checked. Unset times take the daemon's defaults.
#[derive(Clone, PartialEq, Eq, Debug, Serialize)]
pub struct CheckSpec {
    /// What is asked, and what is a pass.
    pub kind: CheckKind,
    /// Where the check goes, if not to the instance's own port.
    pub port: Option<u16>,
    /// Time between two checks of a settled instance.
    pub interval: Option<Duration>,
    /// Time after which an unanswered check has failed.
    pub timeout: Option<Duration>,
    /// Passes in a row that make an unhealthy instance healthy.
    pub rise: Option<u32>,
    /// Failures in a row that make a healthy instance unhealthy.
    pub fall: Option<u32>,
}

/// What a check asks.
#[derive(Clone, PartialEq, Eq, Debug, Serialize)]
#[serde(rename_all = "snake_case", tag = "kind")]
pub enum CheckKind {
    /// Always healthy.
    None,
    /// A TCP connection is accepted.
    Tcp,
    /// An HTTP request is answered with an expected status.
    Http {
        /// Request target, starting with `/`.
        path: String,
        /// `Host` header; by default the instance's address and port.
        host: Option<String>,
        /// Request method.
        method: String,
        /// Lowest and highest status that pass.
        expect: (u16, u16),
        /// Further headers.
        headers: Vec<(String, String)>,
    },
}

/// How packets are brought to the backends of a VIP.
#[derive(Clone, Copy, PartialEq, Eq, Hash, Debug, Serialize, Deserialize, utoipa::ToSchema)]
#[serde(rename_all = "lowercase")]
pub enum ForwardMode {
    /// Rewrite of the Ethernet addresses: backends on the same LAN, VIP on their `lo`.
    L2,
    /// IP in IP: backends anywhere, tunnel decapsulation and VIP on their `lo`.
    Ipip,
    /// IP in UDP (GUE): as `ipip`, through networks that forward only what has ports.
    Gue,
    /// Full NAT: backends anywhere that the balancer reaches, on any port, with no change to
    /// them; replies go through the balancer.
    Nat,
}

impl fmt::Display for ForwardMode {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self {
            Self::L2 => "l2",
            Self::Ipip => "ipip",
            Self::Gue => "gue",
            Self::Nat => "nat",
        })
    }
}

/// What happens to UDP flows when the table changes.
#[derive(Clone, Copy, PartialEq, Eq, Hash, Debug, Default, Serialize, Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum UdpPolicy {
    /// They follow the table.
    #[default]
    Rehash,
    /// Every flow is remembered.
    Sticky,
}

/// What keeps a client's flows together.
#[derive(Clone, Copy, PartialEq, Eq, Hash, Debug, Default, Serialize, Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum Affinity {
    /// Nothing: each flow goes its own way.
    #[default]
    None,
    /// The client's address: all its flows to the VIP go to one backend.
    Source,
}

/// What happens to packets for a port of a VIP address that no VIP serves.
#[derive(Clone, Copy, PartialEq, Eq, Hash, Debug, Default, Serialize, Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum UnservedPolicy {
    /// They are dropped.
    #[default]
    Drop,
    /// They go to the balancer's own network stack.
    Pass,
}

/// What happens to the connections of a backend that died.
#[derive(Clone, Copy, PartialEq, Eq, Hash, Debug, Serialize, Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum OnDown {
    /// They stay with it: it may still serve them, or come back (default for TCP).
    Keep,
    /// They are given to other backends at once (default for UDP).
    Reset,
}

/// What happens to new flows when no backend is healthy.
#[derive(Clone, Copy, PartialEq, Eq, Hash, Debug, Default, Serialize, Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum OnEmpty {
    /// They are dropped.
    #[default]
    Drop,
    /// They go to all checked-unhealthy instances.
    Open,
}

/// Slots of a VIP that names no number; prime.
pub const DEFAULT_SLOTS: u32 = 65_537;
/// How long a drained backend keeps its flows, by default.
pub const DEFAULT_DRAIN: Duration = Duration::from_secs(300);

/// A VIP as it was configured.
#[derive(Clone, PartialEq, Eq, Debug, Serialize)]
pub struct Vip {
    /// Its name in the registry and in commands; of a [`ServiceName`]'s form.
    pub name: ServiceName,
    /// What clients connect to.
    pub key: VipKey,
    /// The service whose instances serve it.
    pub service: ServiceName,
    /// How packets reach them.
    pub mode: ForwardMode,
    /// Slots of its table: a prime, fixed for the VIP's life.
    pub slots: u32,
    /// UDP flows across table changes.
    pub udp: UdpPolicy,
    /// Flows of one client.
    pub affinity: Affinity,
    /// What QUIC connection ids say of backends.
    pub quic: QuicConfigs,
    /// Packets for other ports of its address; when VIPs of one address differ, `pass` wins.
    pub unserved: UnservedPolicy,
    /// Connections of a backend that died.
    pub on_down: OnDown,
    /// New flows while nothing is healthy.
    pub on_empty: OnEmpty,
    /// How long a drained backend keeps its flows.
    #[serde(serialize_with = "seconds")]
    pub drain: Duration,
}

fn seconds<S: serde::Serializer>(duration: &Duration, serializer: S) -> Result<S::Ok, S::Error> {
    serializer.serialize_f64(duration.as_secs_f64())
}

/// What an operator ordered for one instance, whatever it registered.
#[derive(Clone, PartialEq, Eq, Debug, Default, Serialize, Deserialize, utoipa::ToSchema)]
#[serde(deny_unknown_fields)]
pub struct Order {
    /// Give it no new flows; keep those that it has for the drain time.
    #[serde(default, skip_serializing_if = "std::ops::Not::not")]
    pub drain: bool,
    /// Give it no flows at all, and those that it has to others.
    #[serde(default, skip_serializing_if = "std::ops::Not::not")]
    pub maintenance: bool,
    /// Use this weight instead of its own.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    #[schema(maximum = 1000, nullable = false)]
    pub weight: Option<u16>,
}

impl Instance {
    /// What it writes into its QUIC connection ids: its label `quic_server_id`, one or a list.
    pub fn server_ids(&self) -> Vec<ServerId> {
        let ids = match self.labels.get(SERVER_ID_LABEL) {
            Some(serde_json::Value::Array(ids)) => ids.as_slice(),
            Some(id) => std::slice::from_ref(id),
            None => &[],
        };
        let text = ids.iter().filter_map(serde_json::Value::as_str);
        text.filter_map(|text| text.parse().ok()).collect()
    }
}

impl Order {
    /// Whether it orders nothing.
    pub fn is_empty(&self) -> bool {
        *self == Self::default()
    }
}

/// Keys of the registry.
pub mod keys {
    use super::{InstanceKey, ServiceName};

    /// Instances: `/services/<service>/<address>:<port>`.
    pub const SERVICES: &str = "/services/";
    /// VIPs: `/navigator/vips/<name>`.
    pub const VIPS: &str = "/navigator/vips/";
    /// Operators' orders: `/navigator/orders/<service>/<address>:<port>`.
    pub const ORDERS: &str = "/navigator/orders/";
    /// The cluster's secret hash key and table seed.
    pub const CLUSTER: &str = "/navigator/cluster";

    /// The key of an instance.
    pub fn instance(key: &InstanceKey) -> String {
        format!("{SERVICES}{key}")
    }

    /// The key of an operator's order.
    pub fn order(key: &InstanceKey) -> String {
        format!("{ORDERS}{key}")
    }

    /// The key of a VIP.
    pub fn vip(name: &ServiceName) -> String {
        format!("{VIPS}{name}")
    }
}
