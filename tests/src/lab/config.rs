//! Configuration files for the daemon under test.

use super::etcd::Etcd;
use std::{
    fmt::Write as _,
    net::{IpAddr, SocketAddr},
    time::Duration,
};

/// Where instances are registered.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum RegistryKind {
    /// In the daemon.
    Embedded,
    /// In [`Etcd`].
    Etcd,
}

/// How instances are checked.
#[derive(Clone, Copy, Debug)]
pub struct Timing {
    /// Time between two checks of a settled instance.
    pub interval: Duration,
    /// The same while its verdict is changing.
    pub fast: Duration,
    /// Failures in a row that make an instance unhealthy.
    pub fall: u32,
}

impl Timing {
    /// Short times, so that tests are short.
    pub const QUICK: Self = Self {
        interval: Duration::from_millis(500),
        fast: Duration::from_millis(100),
        fall: 3,
    };

    /// How long a backend that refuses connections may go on to get new ones:
    /// jitter on the wait for the first failed check, the checks that confirm
    /// it, and half a second for all the rest.
    pub fn longest_detection(self) -> Duration {
        let checks = self.interval + self.fast * (self.fall - 1);
        checks.mul_f64(1.1) + Duration::from_millis(500)
    }
}

/// How packets are brought to the backends.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum Mode {
    /// Rewrite of the MAC addresses.
    L2,
    /// IP in IP.
    Ipip,
    /// GUE.
    Gue,
    /// Full NAT.
    Nat,
}

impl Mode {
    /// The word in configuration files.
    pub const fn word(self) -> &'static str {
        match self {
            Self::L2 => "l2",
            Self::Ipip => "ipip",
            Self::Gue => "gue",
            Self::Nat => "nat",
        }
    }
}

/// A configuration file.
#[derive(Clone, Debug)]
pub struct Config {
    /// Where instances are registered.
    pub registry: RegistryKind,
    /// The interfaces, as they stand in the list in the file.
    pub interfaces: &'static str,
    /// The balancer holds the VIPs, so that it answers ARP and NDP for them.
    pub hold_vips: bool,
    /// Defaults of the checks.
    pub timing: Timing,
    nat: String,
    more: String,
    vips: String,
    services: String,
}

impl Config {
    /// One without VIPs and services.
    pub fn new(registry: RegistryKind) -> Self {
        Self {
            registry,
            interfaces: "\"eth0\"",
            hold_vips: false,
            timing: Timing::QUICK,
            nat: String::new(),
            more: String::new(),
            vips: String::new(),
            services: String::new(),
        }
    }

    /// Adds a TCP VIP on port 80.
    #[must_use]
    pub fn vip(self, name: &str, address: IpAddr, service: &str, mode: Mode) -> Self {
        self.vip_on(name, (address, 80).into(), "tcp", service, mode)
    }

    /// Adds a VIP on any port, of any protocol.
    #[must_use]
    pub fn vip_on(
        mut self,
        name: &str,
        at: SocketAddr,
        protocol: &str,
        service: &str,
        mode: Mode,
    ) -> Self {
        let (address, port) = (at.ip(), at.port());
        let _ = write!(
            self.vips,
            "\n[[vip]]\nname = \"{name}\"\naddress = \"{address}\"\nport = {port}\n\
             protocol = \"{protocol}\"\nservice = \"{service}\"\nmode = \"{}\"\n",
            mode.word()
        );
        self
    }

    /// Lets NAT flows start from these addresses.
    #[must_use]
    pub fn nat(mut self, addresses: &[IpAddr]) -> Self {
        let listed: Vec<_> = addresses.iter().map(|ip| format!("\"{ip}\"")).collect();
        self.nat = format!("[nat]\naddresses = [{}]\n\n", listed.join(", "));
        self
    }

    /// Adds blocks as they stand in the file.
    #[must_use]
    pub fn also(mut self, blocks: &str) -> Self {
        self.more = format!("{blocks}\n\n");
        self
    }

    /// Adds a service with its instances and their weights, checked at `/health`.
    #[must_use]
    pub fn service(self, name: &str, instances: &[(SocketAddr, u16)]) -> Self {
        self.service_checked(name, "{ kind = \"http\", path = \"/health\" }", instances)
    }

    /// The same, not checked at all.
    #[must_use]
    pub fn unchecked_service(self, name: &str, instances: &[(SocketAddr, u16)]) -> Self {
        self.service_checked(name, "{ kind = \"none\" }", instances)
    }

    fn service_checked(mut self, name: &str, check: &str, instances: &[(SocketAddr, u16)]) -> Self {
        let _ = write!(
            self.services,
            "\n[[service]]\nname = \"{name}\"\ncheck = {check}\ninstances = [\n"
        );
        for (address, weight) in instances {
            let _ = writeln!(
                self.services,
                "  {{ address = \"{address}\", weight = {weight} }},"
            );
        }
        self.services.push_str("]\n");
        self
    }

    /// The file's text.
    pub fn text(&self) -> String {
        let announce = if self.hold_vips { "address" } else { "none" };
        let registry = match self.registry {
            RegistryKind::Embedded => "kind = \"embedded\"".to_owned(),
            RegistryKind::Etcd => format!("kind = \"etcd\"\nendpoints = [\"{}\"]", Etcd::ENDPOINT),
        };
        let Timing {
            interval,
            fast,
            fall,
        } = self.timing;
        format!(
            "interfaces = [{}]\nannounce = \"{announce}\"\n\n[registry]\n{registry}\n\n\
             [health]\ninterval = \"{}ms\"\nfast_interval = \"{}ms\"\ntimeout = \"{}ms\"\n\
             rise = 2\nfall = {fall}\n\n{}{}{}{}",
            self.interfaces,
            interval.as_millis(),
            fast.as_millis(),
            interval.as_millis(),
            self.nat,
            self.more,
            self.vips,
            self.services
        )
    }
}
