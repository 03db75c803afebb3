//! Networks, as `10.0.0.0/8` or `2001:db8::/32`.

use std::{fmt, net::IpAddr, str::FromStr};

/// A network: an address and how many of its leading bits matter.
#[derive(Clone, Copy, PartialEq, Eq, Hash, Debug)]
pub struct Cidr {
    network: IpAddr,
    prefix: u8,
}

/// Why a text is no network.
#[derive(Clone, PartialEq, Eq, Debug, thiserror::Error)]
pub enum BadCidr {
    /// It does not have the form of one.
    #[error("{0:?} is no network: write it as 10.0.0.0/8 or 2001:db8::/32")]
    Malformed(String),
    /// It names an address inside a network.
    #[error(
        "{0:?} has bits set behind its prefix: write {1} for the network or leave out the prefix for the address"
    )]
    HostBits(String, Cidr),
}

impl Cidr {
    /// Whether `address` lies in the network.
    pub fn contains(&self, address: IpAddr) -> bool {
        let kept = |ip| bits_of(ip, self.shift());
        self.network.is_ipv4() == address.is_ipv4() && kept(self.network) == kept(address)
    }

    /// Its first address.
    pub const fn network(&self) -> IpAddr {
        self.network
    }

    /// How many leading bits matter.
    pub const fn prefix(&self) -> u8 {
        self.prefix
    }

    /// Whether some address lies in both.
    pub fn meets(&self, other: &Self) -> bool {
        self.contains(other.network) || other.contains(self.network)
    }

    /// How many of an address's last bits do not matter.
    pub fn host_bits(&self) -> u8 {
        self.shift() as u8
    }

    fn shift(&self) -> u32 {
        width(self.network) - u32::from(self.prefix)
    }
}

fn width(address: IpAddr) -> u32 {
    if address.is_ipv4() { 32 } else { 128 }
}

fn bits_of(address: IpAddr, shift: u32) -> u128 {
    let bits = match address {
        IpAddr::V4(ip) => ip.to_bits().into(),
        IpAddr::V6(ip) => ip.to_bits(),
    };
    bits.checked_shr(shift).unwrap_or(0)
}

fn masked(address: IpAddr, shift: u32) -> IpAddr {
    let kept = bits_of(address, shift).checked_shl(shift).unwrap_or(0);
    match address {
        IpAddr::V4(_) => IpAddr::V4((kept as u32).into()),
        IpAddr::V6(_) => IpAddr::V6(kept.into()),
    }
}

impl FromStr for Cidr {
    type Err = BadCidr;

    fn from_str(text: &str) -> Result<Self, BadCidr> {
        let malformed = || BadCidr::Malformed(text.to_owned());
        let (address, prefix) = match text.split_once('/') {
            Some((address, prefix)) => (address, Some(prefix)),
            None => (text, None),
        };
        let address: IpAddr = address.parse().map_err(|_| malformed())?;
        let most = width(address) as u8;
        let prefix = match prefix {
            None => most,
            Some(digits) if digits.bytes().all(|c| c.is_ascii_digit()) => {
                digits.parse().map_err(|_| malformed())?
            }
            Some(_) => return Err(malformed()),
        };
        if prefix > most {
            return Err(malformed());
        }
        let shift = u32::from(most - prefix);
        let network = masked(address, shift);
        let cidr = Self { network, prefix };
        if network == address {
            Ok(cidr)
        } else {
            Err(BadCidr::HostBits(text.to_owned(), cidr))
        }
    }
}

impl fmt::Display for Cidr {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}/{}", self.network, self.prefix)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    #[allow(clippy::unwrap_used, reason = "a test's own input")]
    fn a_network_contains_its_addresses_and_no_others() {
        for (cidr, inside, outside) in [
            ("10.0.0.0/8", "10.255.0.1", "11.0.0.0"),
            ("0.0.0.0/0", "255.255.255.255", "::"),
            ("192.0.2.7", "192.0.2.7", "192.0.2.6"),
            ("192.0.2.6/31", "192.0.2.7", "192.0.2.8"),
            ("2001:db8::/32", "2001:db8:ffff::1", "2001:db9::"),
            ("::/0", "ffff::", "1.2.3.4"),
            ("::1", "::1", "0.0.0.1"),
        ] {
            let cidr: Cidr = cidr.parse().unwrap();
            assert!(cidr.contains(inside.parse().unwrap()), "{cidr} {inside}");
            assert!(!cidr.contains(outside.parse().unwrap()), "{cidr} {outside}");
            assert_eq!(cidr.to_string().parse(), Ok(cidr));
        }
    }

    #[test]
    fn what_is_no_network_is_refused_with_the_way_out() {
        for text in [
            "",
            "10.0.0.0/33",
            "10.0/8",
            "10.0.0.0/",
            "10.0.0.0/+8",
            "::/129",
            "host/8",
        ] {
            assert_eq!(text.parse::<Cidr>(), Err(BadCidr::Malformed(text.into())));
        }
        let error = "10.0.0.1/8"
            .parse::<Cidr>()
            .map_err(|error| error.to_string());
        assert!(error.is_err_and(|text| text.contains("write 10.0.0.0/8 for the network")));
    }
}
