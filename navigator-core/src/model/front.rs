//! What clients connect to: addresses, protocols, ports.

use serde::{Deserialize, Serialize};
use std::{
    fmt,
    net::{IpAddr, SocketAddr},
    str::FromStr,
};

/// Transport protocol of a VIP.
#[derive(
    Clone,
    Copy,
    PartialEq,
    Eq,
    PartialOrd,
    Ord,
    Hash,
    Debug,
    Serialize,
    Deserialize,
    utoipa::ToSchema,
)]
#[serde(rename_all = "lowercase")]
pub enum Protocol {
    /// TCP.
    Tcp,
    /// UDP.
    Udp,
    /// TCP and UDP, by one table.
    Both,
}

impl Protocol {
    /// IANA protocol number; 0 for [`Protocol::Both`].
    pub const fn number(self) -> u8 {
        match self {
            Self::Tcp => 6,
            Self::Udp => 17,
            Self::Both => 0,
        }
    }

    /// The IANA numbers of all protocols that it stands for.
    pub const fn numbers(self) -> &'static [u8] {
        match self {
            Self::Tcp => &[6],
            Self::Udp => &[17],
            Self::Both => &[6, 17],
        }
    }

    /// The protocol whose [`Protocol::number`] this is.
    pub const fn from_number(number: u8) -> Option<Self> {
        match number {
            6 => Some(Self::Tcp),
            17 => Some(Self::Udp),
            0 => Some(Self::Both),
            _ => None,
        }
    }

    /// Whether some packet is of both.
    pub fn meets(self, other: Self) -> bool {
        self == other || self == Self::Both || other == Self::Both
    }
}

impl fmt::Display for Protocol {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self {
            Self::Tcp => "tcp",
            Self::Udp => "udp",
            Self::Both => "both",
        })
    }
}

/// The ports of a VIP: one, a range, or all. Written as `80`, `"8000-8999"` and `0`.
#[derive(Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash, Debug, Serialize, Deserialize)]
#[serde(try_from = "Written", into = "Written")]
pub struct Ports {
    first: u16,
    last: u16,
}

/// [`Ports`] in JSON.
#[derive(Clone, Serialize, Deserialize)]
#[serde(untagged)]
enum Written {
    Number(u16),
    Range(String),
}

/// Why a text names no ports.
#[derive(Clone, PartialEq, Eq, Debug, thiserror::Error)]
#[error("{0:?}: {1}")]
pub struct BadPorts(pub String, pub BadPortsReason);

/// What is wrong with a text that should name ports.
#[derive(Clone, PartialEq, Eq, Debug, thiserror::Error)]
pub enum BadPortsReason {
    /// It does not have the form.
    #[error("must be a port from 1 to 65535, a range such as \"8000-8999\", or 0 for all ports")]
    Malformed,
    /// The end comes before the beginning.
    #[error("the range ends before it begins: write \"{0}-{1}\"")]
    Backwards(u16, u16),
    /// It has one port only.
    #[error("the range has one port: write {0}")]
    Single(u16),
    /// It begins with 0.
    #[error("a range begins with port 1 or later: write 0 for all ports")]
    Zero,
}

impl Ports {
    /// All ports.
    pub const ALL: Self = Self {
        first: 0,
        last: u16::MAX,
    };

    /// One port; 0 stands for all.
    pub const fn one(port: u16) -> Self {
        match port {
            0 => Self::ALL,
            first => Self { first, last: first },
        }
    }

    /// The ports from `first` to `last`; `None` if that is no range.
    pub const fn range(first: u16, last: u16) -> Option<Self> {
        if first <= last {
            Some(Self { first, last })
        } else {
            None
        }
    }

    /// The lowest one.
    pub const fn first(self) -> u16 {
        self.first
    }

    /// The highest one.
    pub const fn last(self) -> u16 {
        self.last
    }

    /// The port, if it is one.
    pub fn single(self) -> Option<u16> {
        (self.first == self.last).then_some(self.first)
    }

    /// How many there are, less one: of two VIPs that have a port, that of the lesser width gets
    /// its packets.
    pub const fn width(self) -> u16 {
        self.last - self.first
    }

    /// Whether `port` is one of them.
    pub const fn contains(self, port: u16) -> bool {
        self.first <= port && port <= self.last
    }

    /// Whether some port is one of both, and neither is the more specific one.
    pub const fn rivals(self, other: Self) -> bool {
        self.width() == other.width() && self.first <= other.last && other.first <= self.last
    }
}

impl FromStr for Ports {
    type Err = BadPorts;

    fn from_str(text: &str) -> Result<Self, BadPorts> {
        use BadPortsReason::{Backwards, Malformed, Single, Zero};
        let bad = |reason| Err(BadPorts(text.to_owned(), reason));
        let number = |text: &str| {
            let port: u16 = text.parse().ok()?;
            (port.to_string() == text).then_some(port)
        };
        let Some((first, last)) = text.split_once('-') else {
            return number(text).map_or_else(|| bad(Malformed), |port| Ok(Self::one(port)));
        };
        match (number(first), number(last)) {
            (Some(0), Some(_)) => bad(Zero),
            (Some(first), Some(last)) if first == last => bad(Single(first)),
            (Some(first), Some(last)) if first > last => bad(Backwards(last, first)),
            (Some(first), Some(last)) => Ok(Self { first, last }),
            _ => bad(Malformed),
        }
    }
}

impl fmt::Display for Ports {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match (*self, self.single()) {
            (Self::ALL, _) => f.write_str("0"),
            (_, Some(port)) => write!(f, "{port}"),
            (Self { first, last }, None) => write!(f, "{first}-{last}"),
        }
    }
}

impl TryFrom<Written> for Ports {
    type Error = BadPorts;

    fn try_from(written: Written) -> Result<Self, BadPorts> {
        match written {
            Written::Number(port) => Ok(Self::one(port)),
            Written::Range(text) => text.parse(),
        }
    }
}

impl From<Ports> for Written {
    fn from(ports: Ports) -> Self {
        match (ports, ports.single()) {
            (Ports::ALL, _) => Self::Number(0),
            (_, Some(port)) => Self::Number(port),
            (_, None) => Self::Range(ports.to_string()),
        }
    }
}

/// What clients connect to: this identifies a VIP on every node and in every map.
#[derive(Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash, Debug, Serialize, Deserialize)]
pub struct VipKey {
    /// Virtual address; of a prefix the first one.
    pub address: IpAddr,
    /// How many leading bits of the address count: all, unless it is a prefix.
    pub prefix: u8,
    /// Transport protocol.
    pub protocol: Protocol,
    /// Ports.
    pub ports: Ports,
}

impl VipKey {
    /// One port of one address; 0 stands for all ports.
    pub const fn new(address: IpAddr, protocol: Protocol, port: u16) -> Self {
        Self {
            address,
            prefix: Self::whole(address),
            protocol,
            ports: Ports::one(port),
        }
    }

    /// Length of the prefix that is one address.
    pub const fn whole(address: IpAddr) -> u8 {
        if address.is_ipv4() { 32 } else { 128 }
    }

    /// Whether it has more than one address.
    pub const fn is_prefix(&self) -> bool {
        self.prefix < Self::whole(self.address)
    }

    /// Its address, or its prefix with its length, as text.
    pub fn network(&self) -> String {
        if self.is_prefix() {
            format!("{}/{}", self.address, self.prefix)
        } else {
            self.address.to_string()
        }
    }

    /// Whether `address` is one of its addresses.
    pub fn covers(&self, address: IpAddr) -> bool {
        let bits = |ip: IpAddr| match ip {
            IpAddr::V4(ip) => u128::from(ip.to_bits()) << 96,
            IpAddr::V6(ip) => ip.to_bits(),
        };
        let differ = bits(self.address) ^ bits(address);
        self.address.is_ipv4() == address.is_ipv4()
            && u32::from(self.prefix) <= differ.leading_zeros()
    }

    /// Whether some packet is for both and for neither more than for the other: two such VIPs
    /// cannot be.
    pub fn rivals(&self, other: &Self) -> bool {
        (self.address, self.prefix) == (other.address, other.prefix)
            && self.protocol.meets(other.protocol)
            && self.ports.rivals(other.ports)
    }
}

impl fmt::Display for VipKey {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let (address, protocol) = (self.address, self.protocol);
        match (self.is_prefix(), self.ports.single(), address) {
            (false, Some(port), _) => write!(f, "{}", SocketAddr::new(address, port))?,
            (false, None, IpAddr::V4(_)) => write!(f, "{address}:")?,
            (false, None, IpAddr::V6(_)) => write!(f, "[{address}]:")?,
            (true, _, IpAddr::V4(_)) => write!(f, "{address}/{}:", self.prefix)?,
            (true, _, IpAddr::V6(_)) => write!(f, "[{address}/{}]:", self.prefix)?,
        }
        match (self.is_prefix(), self.ports.single()) {
            (false, Some(_)) => {}
            _ if self.ports == Ports::ALL => f.write_str("*")?,
            _ => write!(f, "{}", self.ports)?,
        }
        write!(f, "/{protocol}")
    }
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used, reason = "a test's own input")]
    use super::*;
    use proptest::prelude::*;

    fn key(address: &str, prefix: u8, protocol: Protocol, ports: &str) -> VipKey {
        VipKey {
            address: address.parse().unwrap(),
            prefix,
            protocol,
            ports: ports.parse().unwrap(),
        }
    }

    #[test]
    fn keys_are_written_as_people_write_them() {
        for (key, text) in [
            (
                key("192.0.2.1", 32, Protocol::Tcp, "80"),
                "192.0.2.1:80/tcp",
            ),
            (
                key("2001:db8::1", 128, Protocol::Udp, "53"),
                "[2001:db8::1]:53/udp",
            ),
            (
                key("192.0.2.1", 32, Protocol::Both, "8000-8999"),
                "192.0.2.1:8000-8999/both",
            ),
            (
                key("2001:db8::1", 128, Protocol::Tcp, "0"),
                "[2001:db8::1]:*/tcp",
            ),
            (
                key("2001:db8:1::", 64, Protocol::Tcp, "443"),
                "[2001:db8:1::/64]:443/tcp",
            ),
            (
                key("198.51.100.0", 24, Protocol::Udp, "0"),
                "198.51.100.0/24:*/udp",
            ),
        ] {
            assert_eq!(key.to_string(), text);
        }
    }

    #[test]
    fn texts_that_name_no_ports_say_what_to_write() {
        for (text, says) in [
            ("", "8000-8999"),
            ("http", "8000-8999"),
            ("080", "8000-8999"),
            ("65536", "65535"),
            ("1-2-3", "8000-8999"),
            ("-1", "8000-8999"),
            ("8000-", "8000-8999"),
            ("8999-8000", "write \"8000-8999\""),
            ("80-80", "write 80"),
            ("0-65535", "write 0"),
        ] {
            let error = text.parse::<Ports>().unwrap_err().to_string();
            assert!(error.contains(says), "{text:?}: {error}");
        }
    }

    #[test]
    fn a_key_covers_its_addresses() {
        let prefix = key("2001:db8:1::", 64, Protocol::Tcp, "80");
        let covers = |ip: &str| prefix.covers(ip.parse().unwrap());
        assert!(covers("2001:db8:1::") && covers("2001:db8:1:0:ffff::1"));
        assert!(!covers("2001:db8:1:1::") && !covers("192.0.2.1"));
        let v4 = key("192.0.2.0", 24, Protocol::Tcp, "80");
        assert!(v4.covers("192.0.2.255".parse().unwrap()));
        assert!(!v4.covers("192.0.3.0".parse().unwrap()));
        let one = VipKey::new("192.0.2.1".parse().unwrap(), Protocol::Tcp, 80);
        assert!(one.covers(one.address) && !one.is_prefix());
        assert!(!one.covers("192.0.2.2".parse().unwrap()));
    }

    proptest! {
        #[test]
        fn ports_survive_the_round_trip(a: u16, b: u16) {
            let ports = match Ports::range(a.min(b), a.max(b)) {
                Some(ports) if ports.first() > 0 => ports,
                _ => Ports::ALL,
            };
            prop_assert_eq!(ports.to_string().parse(), Ok(ports));
            let json = serde_json::to_string(&ports).unwrap();
            prop_assert_eq!(serde_json::from_str::<Ports>(&json).unwrap(), ports);
        }

        #[test]
        fn of_two_that_share_a_port_one_is_narrower_or_they_are_rivals(a in 1u16..50, b in 1u16..50, c in 1u16..50, d in 1u16..50) {
            let one = Ports::range(a.min(b), a.max(b)).unwrap();
            let two = Ports::range(c.min(d), c.max(d)).unwrap();
            let share = (1..50).any(|port| one.contains(port) && two.contains(port));
            prop_assert_eq!(share && one.width() == two.width(), one.rivals(two));
        }
    }
}
