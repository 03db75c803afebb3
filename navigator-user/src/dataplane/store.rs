//! Where the words of the maps are kept: the one seam between the tables'
//! logic and the place that it writes to.

use super::{DataplaneResult, nat::NatFigures};
use navigator_common::{
    addr::Addr,
    backend::Backend,
    flow::WAYS,
    maps::{self, MapSpec},
    quic::QuicKey,
    reason::Traffic,
    vip::{AddrBucket, Vip},
};
use std::{
    collections::BTreeSet,
    mem::{offset_of, size_of},
};

/// A map that user space writes word by word.
#[derive(Clone, Copy, PartialEq, Eq, Hash, Debug)]
#[repr(usize)]
pub enum Table {
    /// [`maps::VIP_ADDRS`]
    VipAddrs,
    /// [`maps::PORTS`]
    Ports,
    /// [`maps::VIPS`]
    Vips,
    /// [`maps::SLOTS`]
    Slots,
    /// [`maps::BACKENDS`]
    Backends,
    /// [`maps::FLOWS`]
    Flows,
    /// [`maps::FRAGMENTS`]
    Fragments,
    /// [`maps::EGRESS`]
    Egress,
    /// [`maps::META`]
    Meta,
}

impl Table {
    /// Every table; a table's place in it is its discriminant.
    pub const ALL: [Self; 9] = [
        Self::VipAddrs,
        Self::Ports,
        Self::Vips,
        Self::Slots,
        Self::Backends,
        Self::Flows,
        Self::Fragments,
        Self::Egress,
        Self::Meta,
    ];

    /// The map.
    pub const fn spec(self) -> MapSpec {
        match self {
            Self::VipAddrs => maps::VIP_ADDRS,
            Self::Ports => maps::PORTS,
            Self::Vips => maps::VIPS,
            Self::Slots => maps::SLOTS,
            Self::Backends => maps::BACKENDS,
            Self::Flows => maps::FLOWS,
            Self::Fragments => maps::FRAGMENTS,
            Self::Egress => maps::EGRESS,
            Self::Meta => maps::META,
        }
    }

    /// Words of one entry.
    pub const fn entry_words(self) -> usize {
        self.spec().value_size as usize / 8
    }

    /// Entries in a data plane of these sizes.
    pub const fn entries(self, sizes: &Sizes) -> u32 {
        match self {
            Self::VipAddrs => maps::ADDR_BUCKETS,
            Self::Ports => maps::PORT_ENTRIES,
            Self::Vips => maps::VIP_ENTRIES,
            Self::Slots => sizes.slots,
            Self::Backends => sizes.backends,
            Self::Flows => sizes.flow_sets,
            Self::Fragments => maps::FRAGMENT_SETS,
            Self::Egress => maps::EGRESS_ENTRIES,
            Self::Meta => maps::META_WORDS,
        }
    }
}

/// Entries of the tables whose size an operator may choose.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub struct Sizes {
    /// Slots of all tables together.
    pub slots: u32,
    /// Backends of all VIPs together, one more than there may be.
    pub backends: u32,
    /// Sets of the flow cache; a power of two.
    pub flow_sets: u32,
    /// NAT flows; 1 where NAT is not done, so that its tables take no memory.
    pub nat_flows: u32,
}

impl Default for Sizes {
    fn default() -> Self {
        Self {
            slots: maps::default_entries::SLOTS,
            backends: maps::default_entries::BACKENDS,
            flow_sets: maps::default_entries::FLOW_SETS,
            nat_flows: 1,
        }
    }
}

/// How frames leave by an interface.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub struct WayOut {
    /// The device that sends them: the interface itself, or the one below a VLAN device.
    pub device: u32,
    /// The VLAN that their tag names.
    pub vlan: Option<u16>,
    /// The interface's MAC address.
    pub mac: [u8; 6],
}

/// Words that the program reads while they are written, and what belongs to
/// them. Every store is one atomic write of an aligned word, in program order.
pub trait Store: Send {
    /// The sizes it was made with.
    fn sizes(&self) -> Sizes;

    /// Reads a word. `word` counts from the start of the table.
    fn load(&self, table: Table, word: usize) -> u64;

    /// Replaces a word.
    fn store(&self, table: Table, word: usize, value: u64);

    /// Replaces a word if it still is `old`; whether it was.
    fn exchange(&self, table: Table, word: usize, old: u64, new: u64) -> bool;

    /// Returns once every run of the program that was under way has ended.
    fn grace(&self) -> DataplaneResult<()>;

    /// The program's clock, in [`navigator_common::flow::coarse_time`] units.
    fn now(&self) -> u32;

    /// The MAC address of an interface.
    fn device_mac(&self, ifindex: u32) -> DataplaneResult<[u8; 6]>;

    /// How frames leave by an interface.
    fn way_out(&self, ifindex: u32) -> DataplaneResult<WayOut>;

    /// Lets the program redirect to a device under an egress index.
    fn set_device(&mut self, egress: u8, ifindex: u32) -> DataplaneResult<()>;

    /// The device under an egress index.
    fn device(&self, egress: u8) -> Option<u32>;

    /// Lets the addresses that begin with `bits` leading bits of `prefix` lead to this
    /// [`navigator_common::vip::AddrWord`], or nowhere.
    fn set_prefix(&self, prefix: Addr, bits: u32, word: Option<u64>) -> DataplaneResult<()>;

    /// All prefixes: first address, leading bits, word.
    fn prefixes(&self) -> Vec<(Addr, u32, u64)>;

    /// Lets a QUIC server id name a backend id, or nobody.
    fn set_server(&self, key: QuicKey, backend: Option<u32>) -> DataplaneResult<()>;

    /// All QUIC server ids with the backend ids that they name.
    fn servers(&self) -> Vec<(QuicKey, u32)>;

    /// What was sent under a backend id, all CPUs together.
    fn traffic(&self, backend: u32) -> Traffic;

    /// Sets a backend id's traffic to zero.
    fn clear_traffic(&mut self, backend: u32);

    /// Orders the end of all NAT flows of these backends, and of no others. Returns those of
    /// them that no NAT flow names, for which the program must have ended all runs that may
    /// have read a slot that named them.
    fn end_nat_flows(&self, backends: &BTreeSet<u32>) -> BTreeSet<u32>;

    /// How full the NAT tables are.
    fn nat_figures(&self) -> NatFigures;

    /// A counter of [`navigator_common::reason`], all CPUs together.
    fn counter(&self, index: u32) -> u64;
}

/// Words of a record, relative to the table.
macro_rules! words {
    ($($(#[$doc:meta])+ $name:ident = $record:ident.$field:ident;)+) => {$(
        $(#[$doc])+
        pub(super) const fn $name(entry: u32) -> usize {
            (entry as usize * size_of::<$record>() + offset_of!($record, $field)) / 8
        }
    )+};
}

words! {
    /// Low words of a bucket's addresses.
    bucket_lo = AddrBucket.lo;
    /// Flags of a bucket.
    bucket_flags = AddrBucket.flags;
    /// High words of a bucket's addresses.
    bucket_hi = AddrBucket.hi;
    /// Address words of a bucket.
    bucket_value = AddrBucket.value;
    /// A VIP's mutable word.
    vip_word = Vip.word;
    /// A VIP's number of slots.
    vip_slots = Vip.slots;
    /// A VIP's address, high word; the low one follows.
    vip_address = Vip.address;
    /// A VIP's port word.
    vip_port = Vip.port;
    /// How many leading bits of a VIP's address count.
    vip_bits = Vip.bits;
    /// A VIP's lengths of QUIC server ids.
    vip_quic = Vip.quic;
    /// A backend's mutable word.
    backend_word = Backend.word;
    /// A backend's scalars.
    backend_info = Backend.info;
    /// A backend's address, high word; the low one follows.
    backend_address = Backend.address;
    /// A backend's tunnel source, high word; the low one follows.
    backend_source = Backend.source;
    /// What is known of the way to a backend.
    backend_path = Backend.path;
}

/// The word of entry `way` of a flow set.
pub(super) const fn flow_entry(set: u32, way: usize) -> usize {
    set as usize * WAYS + way
}

/// Stores a word if it differs.
pub(super) fn put(store: &impl Store, table: Table, word: usize, value: u64) {
    if store.load(table, word) != value {
        store.store(table, word, value);
    }
}
