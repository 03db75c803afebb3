//! IP addresses as two words, spelled as a little-endian CPU loads them from
//! a packet, so that the program needs no byte swap.

use core::net::{IpAddr, Ipv4Addr, Ipv6Addr};

/// An IPv4 or IPv6 address. IPv4 is stored v4-mapped (`::ffff:a.b.c.d`); a
/// v4-mapped IPv6 address is never a VIP or an instance, so the two families
/// cannot be confused.
#[repr(C)]
#[derive(Clone, Copy, PartialEq, Eq, Hash, Debug, Default)]
pub struct Addr {
    /// Bytes 0–7 of the address, loaded natively.
    pub hi: u64,
    /// Bytes 8–15 of the address, loaded natively.
    pub lo: u64,
}

/// Bytes 8–11 of a v4-mapped address (`00 00 ff ff`), loaded natively.
const V4_PREFIX: u64 = 0xffff_0000;

impl Addr {
    /// From the four bytes of an IPv4 address as loaded from a packet.
    #[inline(always)]
    pub const fn from_v4_raw(raw: u32) -> Self {
        Self {
            hi: 0,
            lo: V4_PREFIX | (raw as u64) << 32,
        }
    }

    /// The four bytes of an IPv4 address as a packet holds them, whatever the family.
    #[inline(always)]
    pub const fn v4_raw(self) -> u32 {
        (self.lo >> 32) as u32
    }

    /// Whether this is an IPv4 address.
    #[inline(always)]
    pub const fn is_v4(self) -> bool {
        self.hi == 0 && self.lo as u32 as u64 == V4_PREFIX
    }

    /// Whether this is the all-zero word pair that marks an empty table entry.
    #[inline(always)]
    pub const fn is_empty(self) -> bool {
        self.hi == 0 && self.lo == 0
    }
}

impl From<Ipv4Addr> for Addr {
    fn from(ip: Ipv4Addr) -> Self {
        Self::from_v4_raw(u32::from_ne_bytes(ip.octets()))
    }
}

impl From<Ipv6Addr> for Addr {
    fn from(ip: Ipv6Addr) -> Self {
        let bits = u128::from_ne_bytes(ip.octets());
        Self {
            hi: bits as u64,
            lo: (bits >> 64) as u64,
        }
    }
}

impl From<IpAddr> for Addr {
    fn from(ip: IpAddr) -> Self {
        match ip {
            IpAddr::V4(ip) => ip.into(),
            IpAddr::V6(ip) => ip.into(),
        }
    }
}

impl From<Addr> for IpAddr {
    fn from(addr: Addr) -> Self {
        if addr.is_v4() {
            return Ipv4Addr::from(addr.v4_raw().to_ne_bytes()).into();
        }
        let bits = u128::from(addr.hi) | u128::from(addr.lo) << 64;
        Ipv6Addr::from(bits.to_ne_bytes()).into()
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    proptest! {
        #[test]
        fn every_address_survives_the_round_trip(v4: u32, v6: u128) {
            let v4 = IpAddr::from(Ipv4Addr::from(v4));
            prop_assert_eq!(IpAddr::from(Addr::from(v4)), v4);
            let v6 = Ipv6Addr::from(v6);
            prop_assume!(v6.to_ipv4_mapped().is_none());
            prop_assert_eq!(IpAddr::from(Addr::from(v6)), IpAddr::from(v6));
        }
    }

    #[test]
    fn words_are_the_packet_bytes_as_loaded() {
        let addr = Addr::from(Ipv6Addr::new(0x2001, 0xdb8, 0, 0, 0, 0, 0, 0x35));
        assert_eq!(addr.hi.to_ne_bytes(), [0x20, 0x01, 0x0d, 0xb8, 0, 0, 0, 0]);
        assert_eq!(addr.lo.to_ne_bytes(), [0, 0, 0, 0, 0, 0, 0, 0x35]);
        let mapped = Addr::from(Ipv4Addr::new(192, 0, 2, 7));
        assert_eq!(mapped.lo.to_ne_bytes(), [0, 0, 0xff, 0xff, 192, 0, 2, 7]);
        assert!(mapped.is_v4());
    }
}
