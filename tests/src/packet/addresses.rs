//! Who is who in the tables. Every address follows from a number.

use std::net::{IpAddr, Ipv4Addr, Ipv6Addr, SocketAddr};

/// MAC address of the interface that the program thinks it is on.
pub const LOCAL_MAC: [u8; 6] = [0x02, 0x4e, 0x41, 0x56, 0x00, 0x01];
/// MAC address that clients' packets come from: the router's.
pub const ROUTER_MAC: [u8; 6] = [0x02, 0x4e, 0x41, 0x56, 0x00, 0xfe];

/// An IP version.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum Family {
    /// IPv4.
    V4,
    /// IPv6.
    V6,
}

impl Family {
    /// Both.
    pub const BOTH: [Self; 2] = [Self::V4, Self::V6];

    /// Which one an address is of.
    pub const fn of(ip: IpAddr) -> Self {
        if ip.is_ipv4() { Self::V4 } else { Self::V6 }
    }

    /// Length of its header, without options and extensions.
    pub const fn header(self) -> usize {
        match self {
            Self::V4 => 20,
            Self::V6 => 40,
        }
    }

    /// A VIP's address.
    pub const fn vip(self, number: u8, port: u16) -> SocketAddr {
        self.address([192, 0, 2], [0x2001, 0xdb8, 2], number, port)
    }

    /// A client.
    pub const fn client(self, number: u8, port: u16) -> SocketAddr {
        self.address([198, 51, 100], [0x2001, 0xdb8, 0xc], number, port)
    }

    /// A backend.
    pub const fn backend(self, number: u8, port: u16) -> SocketAddr {
        self.address([10, 77, 0], [0xfd77, 0, 0], number, port)
    }

    /// This host's address towards the backends.
    pub const fn local(self) -> IpAddr {
        self.backend(254, 0).ip()
    }

    const fn address(self, v4: [u8; 3], v6: [u16; 3], number: u8, port: u16) -> SocketAddr {
        let ip = match (self, v4, v6) {
            (Self::V4, [a, b, c], _) => IpAddr::V4(Ipv4Addr::new(a, b, c, number)),
            (Self::V6, _, [a, b, c]) => {
                IpAddr::V6(Ipv6Addr::new(a, b, c, 0, 0, 0, 0, number as u16))
            }
        };
        SocketAddr::new(ip, port)
    }
}

/// The MAC address of a backend's host.
pub fn host_mac(host: IpAddr) -> [u8; 6] {
    let number = match host {
        IpAddr::V4(ip) => ip.octets()[3],
        IpAddr::V6(ip) => ip.octets()[15],
    };
    let [a, b, c, d, ..] = ROUTER_MAC;
    [a, b, c, d, 0x0b, number]
}
