//! VIPs: which addresses Navigator serves, which ports of them, and the slot
//! table of each. Looked up in three steps: address bucket → port word → VIP.
//!
//! One port is found by a perfect hash. Ranges of ports stand behind the
//! hashed ones and are gone through when the hash finds nothing, the
//! narrowest first.

use crate::addr::Addr;

/// Entries in an address bucket.
pub const BUCKET_WAYS: usize = 5;

/// Two cache lines of VIP addresses. An address lives in its first bucket,
/// or, where that was full, in its second one and the first is marked.
///
/// An entry is published by its `lo` word, written last, and withdrawn by
/// clearing it; `hi` and `value` of a withdrawn entry are cleared after a
/// grace period, so a reader never pairs an address with a foreign value.
#[repr(C, align(128))]
#[derive(Clone, Copy, PartialEq, Eq, Debug, Default)]
pub struct AddrBucket {
    /// Low words of the addresses; 0 marks a free entry (no VIP has one).
    pub lo: [u64; BUCKET_WAYS],
    /// [`AddrBucket::OVERFLOWED`], [`AddrBucket::PREFIXES`].
    pub flags: u64,
    /// High words of the addresses.
    pub hi: [u64; BUCKET_WAYS],
    /// An [`AddrWord`] for each address.
    pub value: [u64; BUCKET_WAYS],
}

impl AddrBucket {
    /// Flag: an address of this bucket was put into its second one.
    pub const OVERFLOWED: u64 = 1;
    /// Flag, the same in every bucket: there are prefixes, see [`crate::maps::VIP_PREFIXES`].
    pub const PREFIXES: u64 = 2;
}

/// The two buckets, in a table of `buckets` (a power of two), that may hold `addr`.
/// VIP addresses are chosen by operators, so this hash needs no key.
#[inline(always)]
pub const fn addr_buckets(addr: Addr, buckets: u32) -> (u32, u32) {
    // The swaps put the last octets of host and subnet, in which VIPs differ, side by side where a
    // product spreads them widest.
    let hash =
        (addr.lo.swap_bytes() ^ addr.hi.swap_bytes() << 16).wrapping_mul(0x9e37_79b9_7f4a_7c15);
    let mask = buckets - 1;
    (
        (hash >> 32) as u32 & mask,
        (hash >> 48) as u32 & mask ^ (mask >> 1),
    )
}

/// What an address leads to: one word, always replaced whole.
///
/// | bits | meaning |
/// |---|---|
/// | 0–31 | first entry of the address's port table |
/// | 32–36 | log2 of the port table's size, 0–16 |
/// | 37–39 | room for ranges behind the table: 0 for none, n for 2^(n-1), at most [`MAX_RANGES`] |
/// | 40–47 | flags: [`AddrWord::PASS_UNSERVED`], [`AddrWord::SNAT`] |
/// | 48–63 | multiplier of the port hash; 0 marks a withdrawn entry |
#[repr(transparent)]
#[derive(Clone, Copy, PartialEq, Eq, Debug, Default)]
pub struct AddrWord(pub u64);

/// The most range words of an address.
pub const MAX_RANGES: u32 = 64;

impl AddrWord {
    /// Flag: packets for ports (or protocols) that no VIP serves go to the host; else they are dropped.
    pub const PASS_UNSERVED: u8 = 1;
    /// Flag: NAT flows have this address as their source, so that replies come to it.
    pub const SNAT: u8 = 1 << 7;

    /// Packs a word. `multiplier` must not be 0, nor `log2_size` over 16.
    pub const fn new(base: u32, log2_size: u8, flags: u8, multiplier: u16) -> Self {
        Self(
            base as u64
                | (log2_size as u64) << 32
                | (flags as u64) << 40
                | (multiplier as u64) << 48,
        )
    }

    /// First entry of the port table.
    #[inline(always)]
    pub const fn base(self) -> u32 {
        self.0 as u32
    }

    /// Log2 of the port table's size.
    #[inline(always)]
    pub const fn log2_size(self) -> u32 {
        (self.0 >> 32) as u32 & 31
    }

    /// The same with room for at least `ranges` range words behind the table, at most [`MAX_RANGES`].
    #[must_use]
    pub const fn with_ranges(self, ranges: u32) -> Self {
        let class = match ranges {
            0 => 0,
            n => n.next_power_of_two().trailing_zeros() as u64 + 1,
        };
        Self(self.0 & !(7 << 37) | (class & 7) << 37)
    }

    /// Range words behind the table, some of them free.
    #[inline(always)]
    pub const fn range_room(self) -> u32 {
        (1 << ((self.0 >> 37) as u32 & 7)) >> 1
    }

    /// The first range word's entry of the ports array.
    #[inline(always)]
    pub const fn range_base(self) -> u32 {
        self.base() + (1 << self.log2_size())
    }

    /// Entries of the ports array that belong to the address.
    pub const fn entries(self) -> u32 {
        (1 << self.log2_size()) + self.range_room()
    }

    /// This word with other flags.
    #[must_use]
    pub const fn with_flags(self, flags: u8) -> Self {
        Self(self.0 & !(0xff << 40) | (flags as u64) << 40)
    }

    /// The flags.
    #[inline(always)]
    pub const fn flags(self) -> u8 {
        (self.0 >> 40) as u8
    }

    /// Whether packets for unserved ports go to the host.
    #[inline(always)]
    pub const fn passes_unserved(self) -> bool {
        self.flags() & Self::PASS_UNSERVED != 0
    }

    /// Whether NAT flows have this address as their source.
    #[inline(always)]
    pub const fn is_snat(self) -> bool {
        self.flags() & Self::SNAT != 0
    }

    /// Multiplier of the port hash.
    pub const fn multiplier(self) -> u16 {
        (self.0 >> 48) as u16
    }

    /// The entry of the ports array for `port` (host order) of `protocol`.
    #[inline(always)]
    pub const fn port_index(self, port: u16, protocol: u8) -> u32 {
        let key = port as u32 | (protocol as u32) << 16;
        let hash = key.wrapping_mul(((self.0 >> 48) as u32 * 0x9e37) | 1);
        self.base() + ((hash as u64) << self.log2_size() >> 32) as u32
    }
}

/// An entry of the ports array: one word, always replaced whole.
///
/// | bits | meaning |
/// |---|---|
/// | 0–15 | port, or the first one of a range, host order |
/// | 16–23 | IP protocol number; 0 for both TCP and UDP, in [`Vip::port`] only |
/// | 24 | it is a range |
/// | 25–31 | zero |
/// | 32–47 | id of the VIP; 0 marks a free entry |
/// | 48–63 | last port of a range; else zero |
#[repr(transparent)]
#[derive(Clone, Copy, PartialEq, Eq, Debug, Default)]
pub struct PortWord(pub u64);

impl PortWord {
    const RANGE: u64 = 1 << 24;

    /// Packs a word for one port.
    pub const fn new(port: u16, protocol: u8, vip: u16) -> Self {
        Self(port as u64 | (protocol as u64) << 16 | (vip as u64) << 32)
    }

    /// Packs a word for the ports from `first` to `last`.
    pub const fn range(first: u16, last: u16, protocol: u8, vip: u16) -> Self {
        Self(Self::new(first, protocol, vip).0 | Self::RANGE | (last as u64) << 48)
    }

    /// Whether this entry is for just `port` of `protocol`.
    #[inline(always)]
    pub const fn is_for(self, port: u16, protocol: u8) -> bool {
        self.0 as u32 == port as u32 | (protocol as u32) << 16
    }

    /// Whether this range word has `port` of `protocol`; nothing of it is a range's in a free one.
    #[inline(always)]
    pub const fn has(self, port: u16, protocol: u8) -> bool {
        self.protocol() == protocol && self.port() <= port && port <= self.last()
    }

    /// Whether it is a range.
    #[inline(always)]
    pub const fn is_range(self) -> bool {
        self.0 & Self::RANGE != 0
    }

    /// The VIP.
    #[inline(always)]
    pub const fn vip(self) -> u32 {
        (self.0 >> 32) as u32 & 0xffff
    }

    /// The port, or the first one of a range.
    #[inline(always)]
    pub const fn port(self) -> u16 {
        self.0 as u16
    }

    /// The last port of a range; 0 for one port.
    #[inline(always)]
    pub const fn last(self) -> u16 {
        (self.0 >> 48) as u16
    }

    /// The IP protocol number; 0 for a free entry.
    #[inline(always)]
    pub const fn protocol(self) -> u8 {
        (self.0 >> 16) as u8
    }
}

/// The mutable part of a VIP: one word, always replaced whole.
///
/// | bits | meaning |
/// |---|---|
/// | 0–31 | first slot of its table |
/// | 32–47 | flags: [`VipWord::TRACK_ALL`], [`VipWord::FOLLOW_TABLE`], [`VipWord::AFFINITY`], [`VipWord::QUIC`], [`VipWord::NAT`] |
/// | 48–63 | zero |
#[repr(transparent)]
#[derive(Clone, Copy, PartialEq, Eq, Debug, Default)]
pub struct VipWord(pub u64);

impl VipWord {
    /// Flag: every flow is remembered, also in slots that are not at risk (`udp = sticky`).
    pub const TRACK_ALL: u16 = 1;
    /// Flag: UDP flows follow the table at once, none is remembered (`udp = rehash`).
    pub const FOLLOW_TABLE: u16 = 2;
    /// Flag: its flows are looked up in the NAT tables first (`mode = "nat"`).
    pub const NAT: u16 = 1 << 8;
    /// Flag: slot and memory go by the client's address alone (`affinity = source`).
    pub const AFFINITY: u16 = 4;
    /// Flag: UDP packets go by their QUIC connection id where that names a backend (`quic`).
    pub const QUIC: u16 = 8;

    /// Packs a word.
    pub const fn new(base: u32, flags: u16) -> Self {
        Self(base as u64 | (flags as u64) << 32)
    }

    /// First slot of the table.
    #[inline(always)]
    pub const fn base(self) -> u32 {
        self.0 as u32
    }

    /// The flags.
    #[inline(always)]
    pub const fn flags(self) -> u16 {
        (self.0 >> 32) as u16
    }
}

/// One entry of the VIPs array, one cache line. All but [`Vip::word`] is
/// immutable while a port word may name the entry.
#[repr(C, align(64))]
#[derive(Clone, Copy, PartialEq, Eq, Debug, Default)]
pub struct Vip {
    /// A [`VipWord`].
    pub word: u64,
    /// Number of slots in its table, in the low half; fixed for the VIP's life. 0 marks a free entry.
    pub slots: u64,
    /// Its address; with the port word below it lets a new daemon know an adopted entry.
    pub address: Addr,
    /// Its [`PortWord`], with protocol 0 for one that has TCP and UDP.
    pub port: u64,
    /// How many leading bits of the address count, as in [`crate::maps::VIP_PREFIXES`]: 128 for one address.
    pub bits: u64,
    /// Lengths of the server ids in QUIC connection ids, see [`crate::quic`].
    pub quic: u64,
    /// Zero.
    pub reserved: [u64; 1],
}

const _: () = {
    assert!(size_of::<AddrBucket>() == 128);
    assert!(core::mem::offset_of!(AddrBucket, flags) == 40);
    assert!(core::mem::offset_of!(AddrBucket, hi) == 48);
    assert!(core::mem::offset_of!(AddrBucket, value) == 88);
    assert!(size_of::<Vip>() == 64);
    assert!(core::mem::offset_of!(Vip, slots) == 8);
    assert!(core::mem::offset_of!(Vip, address) == 16);
    assert!(core::mem::offset_of!(Vip, port) == 32);
    assert!(core::mem::offset_of!(Vip, bits) == 40);
    assert!(core::mem::offset_of!(Vip, quic) == 48);
};

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    proptest! {
        #[test]
        fn words_survive_the_round_trip(base: u32, log2 in 0u8..=16, flags: u8, multiplier: u16, port: u16, protocol: u8, vip: u16) {
            let word = AddrWord::new(base, log2, flags, multiplier);
            prop_assert_eq!((word.base(), word.log2_size(), word.flags(), word.multiplier()), (base, u32::from(log2), flags, multiplier));
            let word = PortWord::new(port, protocol, vip);
            prop_assert_eq!((word.port(), word.protocol(), word.vip()), (port, protocol, u32::from(vip)));
            prop_assert!(word.is_for(port, protocol) && !word.is_range());
        }

        #[test]
        fn range_words_hold_their_ports_and_no_others(first: u16, more: u16, port: u16, protocol in 1u8.., vip: u16) {
            let last = first.saturating_add(more);
            let word = PortWord::range(first, last, protocol, vip);
            prop_assert_eq!((word.port(), word.last(), word.protocol(), word.vip()), (first, last, protocol, u32::from(vip)));
            prop_assert_eq!(word.has(port, protocol), (first..=last).contains(&port));
            prop_assert!(word.is_range() && !word.has(port, !protocol) && !word.is_for(first, protocol));
            prop_assert!(!PortWord::default().has(port, protocol));
        }

        #[test]
        fn room_for_ranges_changes_nothing_else(base: u32, log2 in 0u8..=16, flags: u8, multiplier: u16, ranges in 0u32..=MAX_RANGES) {
            let word = AddrWord::new(base >> 1, log2, flags, multiplier);
            prop_assert_eq!(word.range_room(), 0);
            let with = word.with_ranges(ranges);
            prop_assert_eq!((with.base(), with.log2_size(), with.flags(), with.multiplier()), (base >> 1, u32::from(log2), flags, multiplier));
            prop_assert!(with.range_room() >= ranges && with.range_room() < 2 * ranges.max(1));
            prop_assert_eq!(with.with_ranges(0), word);
            prop_assert_eq!(with.with_flags(0).with_flags(flags), with);
        }

        #[test]
        fn a_port_stays_inside_its_table(log2 in 0u8..=16, multiplier in 1u16.., port: u16, protocol: u8) {
            let word = AddrWord::new(1000, log2, 0, multiplier);
            let index = word.port_index(port, protocol);
            prop_assert!((1000..1000 + (1 << log2)).contains(&index));
        }

        #[test]
        fn neighbouring_addresses_spread_over_the_buckets(net: u32, v6_net: u64) {
            let v4 = (0..256u32).map(|i| Addr::from(core::net::Ipv4Addr::from(net & !0xff | i)));
            let v6 = (0..256u128).map(|i| Addr::from(core::net::Ipv6Addr::from(u128::from(v6_net) << 64 | i)));
            let mut load = [0u8; 1024];
            for addr in v4.chain(v6) {
                let (first, _) = addr_buckets(addr, 1024);
                load[first as usize] += 1;
            }
            prop_assert!(load.iter().all(|&n| usize::from(n) <= BUCKET_WAYS));
        }

        #[test]
        fn buckets_are_inside_the_table(hi: u64, lo: u64) {
            let (a, b) = addr_buckets(Addr { hi, lo }, 1024);
            prop_assert!(a < 1024 && b < 1024);
        }
    }
}
