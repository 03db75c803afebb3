//! Backends: how a packet reaches one instance of one VIP.

use crate::{addr::Addr, mac};

/// Flag: the backend may be given new flows.
pub const TAKES_NEW: u8 = 1 << 0;
/// Flag: the backend can still serve the flows that it has.
pub const USABLE: u8 = 1 << 1;
/// Flag of the way, not of the state: the next hop is the backend itself, so that the MAC
/// address is its own.
pub const ON_LINK: u8 = 1 << 2;

/// The mutable part of a backend: one word, always replaced whole.
///
/// | bits | meaning |
/// |---|---|
/// | 0–47 | next hop's MAC address; 0 while it is not known |
/// | 48–55 | egress index, see [`crate::maps::EGRESS`] |
/// | 56–63 | flags: [`TAKES_NEW`] and [`USABLE`], its state; [`ON_LINK`], of its next hop |
#[repr(transparent)]
#[derive(Clone, Copy, PartialEq, Eq, Hash, Default, Debug)]
pub struct BackendWord(pub u64);

impl BackendWord {
    /// Packs a next hop and flags.
    pub const fn new(mac: [u8; 6], egress: u8, flags: u8) -> Self {
        Self(mac::to_word(mac) | (egress as u64) << 48 | (flags as u64) << 56)
    }

    /// The next hop's MAC address as [`mac::to_word`] spells it; 0 while it is not known.
    #[inline(always)]
    pub const fn mac_word(self) -> u64 {
        self.0 & mac::MASK
    }

    /// The next hop's MAC address; all zero while it is not known.
    pub const fn mac(self) -> [u8; 6] {
        mac::from_word(self.0)
    }

    /// The interface that leads to the backend.
    #[inline(always)]
    pub const fn egress(self) -> u32 {
        (self.0 >> 48 & 0xff) as u32
    }

    /// All flags.
    #[inline(always)]
    pub const fn flags(self) -> u8 {
        (self.0 >> 56) as u8
    }

    /// The flags of the backend's state.
    #[inline(always)]
    pub const fn state(self) -> u8 {
        self.flags() & !ON_LINK
    }

    /// Whether the next hop is the backend itself.
    #[inline(always)]
    pub const fn is_on_link(self) -> bool {
        self.flags() & ON_LINK != 0
    }

    /// Whether the backend may be given new flows.
    #[inline(always)]
    pub const fn takes_new(self) -> bool {
        self.state() & TAKES_NEW != 0
    }

    /// Whether the backend can still serve the flows that it has.
    #[inline(always)]
    pub const fn is_usable(self) -> bool {
        self.state() & USABLE != 0
    }

    /// This word with other state flags; the next hop and what is flagged of it stay.
    #[must_use]
    pub const fn with_state(self, state: u8) -> Self {
        let flags = state & !ON_LINK | self.flags() & ON_LINK;
        Self::new(self.mac(), self.egress() as u8, flags)
    }

    /// This word with another next hop; `on_link` says that it is the backend itself.
    #[must_use]
    pub const fn with_next_hop(self, mac: [u8; 6], egress: u8, on_link: bool) -> Self {
        let flags = self.state() | if on_link { ON_LINK } else { 0 };
        Self::new(mac, egress, flags)
    }
}

/// The second mutable word of a backend, always replaced whole: what the program must know of
/// the way to it beyond the next hop.
///
/// | bits | meaning |
/// |---|---|
/// | 0–15 | MTU of the way: the longest IP packet, tunnel header included, that gets there; 0 while it is not known |
/// | 16–31 | zero |
/// | 32–63 | length of the shortest client's packet that does not fit with the header that the mode adds; 0 for no limit |
#[repr(transparent)]
#[derive(Clone, Copy, PartialEq, Eq, Hash, Default, Debug)]
pub struct PathWord(pub u64);

impl PathWord {
    /// A way of this MTU, which the clients' packets take as long as they are.
    pub const fn unlimited(mtu: u16) -> Self {
        Self(mtu as u64)
    }

    /// A way of this MTU for packets that get a header of `overhead` bytes on it; without a
    /// limit if the MTU is not known.
    pub const fn limited(mtu: u16, overhead: u32) -> Self {
        match mtu {
            0 => Self(0),
            _ => Self(mtu as u64 | ((mtu as u64).saturating_sub(overhead as u64) + 1) << 32),
        }
    }

    /// The longest of the clients' packets that fits.
    #[inline(always)]
    pub const fn longest(self) -> u64 {
        (self.0 >> 32).wrapping_sub(1)
    }

    /// Whether a client's packet of `length` bytes fits.
    #[inline(always)]
    pub const fn takes(self, length: u64) -> bool {
        length <= self.longest()
    }

    /// The longest IP packet that gets there, in bytes; 0 while it is not known.
    #[inline(always)]
    pub const fn mtu(self) -> u32 {
        (self.0 & 0xffff) as u32
    }
}

/// How a packet is brought to a backend.
#[derive(Clone, Copy, PartialEq, Eq, Hash, Debug)]
#[repr(u8)]
pub enum Mode {
    /// Rewrite the Ethernet addresses (direct server return on one LAN).
    L2 = 1,
    /// Wrap into an IP header of the backend's family (direct server return across routers).
    Ipip = 2,
    /// Wrap into UDP and a GUE header in an IP header of the backend's family.
    Gue = 3,
    /// Rewrite addresses and ports, and those of the replies back (full NAT).
    Nat = 4,
}

impl Mode {
    /// The mode that a map's byte stands for.
    pub const fn from_byte(byte: u8) -> Option<Self> {
        match byte {
            1 => Some(Self::L2),
            2 => Some(Self::Ipip),
            3 => Some(Self::Gue),
            4 => Some(Self::Nat),
            _ => None,
        }
    }
}

/// One entry of the backends array, one cache line. All but [`Backend::word`] and
/// [`Backend::path`] is immutable while a slot or a remembered flow may name the entry.
#[repr(C, align(64))]
#[derive(Clone, Copy, PartialEq, Eq, Debug, Default)]
pub struct Backend {
    /// A [`BackendWord`].
    pub word: u64,
    /// [`BackendInfo`], packed.
    pub info: u64,
    /// The instance's address; the outer destination in a tunnel mode.
    pub address: Addr,
    /// The outer source in a tunnel mode, of the same family as `address`; else zero.
    pub source: Addr,
    /// A [`PathWord`].
    pub path: u64,
    /// Zero.
    pub reserved: u64,
}

/// The immutable scalars of a backend.
///
/// | bits | meaning |
/// |---|---|
/// | 0–15 | instance's port, host order |
/// | 16–23 | [`Mode`]; 0 marks an entry that is not in use |
/// | 24–31 | low bits of the outer source that come from the flow's hash; 0 for one and the same source |
/// | 32–47 | the outer IPv4 header's one's complement sum without length and id, see [`crate::checksum::tunnel_base`] |
/// | 48–63 | id of the VIP that it serves |
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub struct BackendInfo {
    /// The instance's port.
    pub port: u16,
    /// A [`Mode`] as a byte.
    pub mode: u8,
    /// Low bits of the outer source, at most 32, that are taken from the flow's hash.
    pub spread: u8,
    /// Partial sum of the outer IPv4 header.
    pub checksum_base: u16,
    /// The VIP it serves.
    pub vip: u16,
}

impl BackendInfo {
    /// The word for the map.
    pub const fn pack(self) -> u64 {
        self.port as u64
            | (self.mode as u64) << 16
            | (self.spread as u64) << 24
            | (self.checksum_base as u64) << 32
            | (self.vip as u64) << 48
    }

    /// The scalars of a map's word.
    #[inline(always)]
    pub const fn unpack(word: u64) -> Self {
        Self {
            port: word as u16,
            mode: (word >> 16) as u8,
            spread: (word >> 24) as u8,
            checksum_base: (word >> 32) as u16,
            vip: (word >> 48) as u16,
        }
    }
}

const _: () = {
    assert!(size_of::<Backend>() == 64);
    assert!(core::mem::offset_of!(Backend, word) == 0);
    assert!(core::mem::offset_of!(Backend, info) == 8);
    assert!(core::mem::offset_of!(Backend, address) == 16);
    assert!(core::mem::offset_of!(Backend, source) == 32);
    assert!(core::mem::offset_of!(Backend, path) == 48);
};

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    proptest! {
        #[test]
        fn words_survive_the_round_trip(mac: [u8; 6], egress: u8, flags: u8, port: u16, mode: u8, spread: u8, checksum_base: u16, vip: u16) {
            let word = BackendWord::new(mac, egress, flags);
            prop_assert_eq!((word.mac(), word.egress(), word.flags()), (mac, u32::from(egress), flags));
            let info = BackendInfo { port, mode, spread, checksum_base, vip };
            prop_assert_eq!(BackendInfo::unpack(info.pack()), info);
        }

        #[test]
        fn a_way_takes_what_fits_with_its_header(mtu: u16, overhead in 0u32..100, length in 0u64..70_000) {
            let path = PathWord::limited(mtu, overhead);
            prop_assert_eq!(path.mtu(), u32::from(mtu));
            let fits = length == 0 || length + u64::from(overhead) <= u64::from(mtu);
            prop_assert_eq!(path.takes(length), mtu == 0 || fits);
            let longest = u64::from(mtu.saturating_sub(overhead as u16));
            prop_assert!(mtu == 0 || path.longest() == longest);
            prop_assert!(PathWord::unlimited(mtu).takes(length));
            prop_assert_eq!(PathWord::unlimited(mtu).mtu(), u32::from(mtu));
        }

        #[test]
        fn state_and_next_hop_change_without_each_other(old: u64, mac: [u8; 6], egress: u8, on_link: bool, state in 0u8..4) {
            let old = BackendWord(old);
            let moved = old.with_next_hop(mac, egress, on_link);
            prop_assert_eq!((moved.mac(), moved.egress(), moved.is_on_link()), (mac, u32::from(egress), on_link));
            prop_assert_eq!(moved.state(), old.state());
            let changed = moved.with_state(state);
            prop_assert_eq!(changed.state(), state);
            prop_assert_eq!(changed.with_state(moved.state()), moved);
        }
    }
}
