//! The maps: names, capacities, ABI versions. A map's pin is called
//! `<name>_v<abi>`, so that a program of another ABI never meets its values.

/// A map that both sides know.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub struct MapSpec {
    /// Its name in the object file.
    pub name: &'static str,
    /// Raised with every change of its layout or meaning.
    pub abi: u32,
    /// Size of a value, in bytes.
    pub value_size: u32,
}

const fn spec(name: &'static str, abi: u32, value_size: usize) -> MapSpec {
    MapSpec {
        name,
        abi,
        value_size: value_size as u32,
    }
}

/// Addresses of VIPs: array of [`crate::vip::AddrBucket`], mapped.
pub const VIP_ADDRS: MapSpec = spec("VIP_ADDRS", 3, size_of::<crate::vip::AddrBucket>());
/// Prefixes whose addresses are VIPs': longest-prefix trie of 16 bytes, an IPv4 address behind
/// `::ffff:0:0/96`, to [`crate::vip::AddrWord`]. Looked into for addresses that no bucket has.
pub const VIP_PREFIXES: MapSpec = spec("VIP_PREFIXES", 1, 8);
/// Port tables of addresses: array of [`crate::vip::PortWord`], mapped. Entry 0 is never used.
pub const PORTS: MapSpec = spec("PORTS", 2, 8);
/// VIPs by id: array of [`crate::vip::Vip`], mapped. Id 0 is never used.
pub const VIPS: MapSpec = spec("VIPS", 2, size_of::<crate::vip::Vip>());
/// Backends by the server id in a QUIC connection id: hash of [`crate::quic::QuicKey`] to backend id.
pub const QUIC_SERVERS: MapSpec = spec("QUIC_SERVERS", 1, 8);
/// Slot tables: array of [`crate::slot::Slot`], mapped.
pub const SLOTS: MapSpec = spec("SLOTS", 1, 8);
/// Backends by id: array of [`crate::backend::Backend`], mapped. Id 0 is never used.
pub const BACKENDS: MapSpec = spec("BACKENDS", 2, size_of::<crate::backend::Backend>());
/// Remembered flows: array of [`crate::flow::FlowSet`], mapped.
pub const FLOWS: MapSpec = spec("FLOWS", 2, size_of::<crate::flow::FlowSet>());
/// Packets whose fragments are under way: array of [`crate::fragment::FragmentSet`], mapped.
pub const FRAGMENTS: MapSpec = spec("FRAGMENTS", 1, size_of::<crate::fragment::FragmentSet>());
/// The interfaces that packets leave by, by egress index: array of
/// [`crate::egress::EgressWord`], mapped.
pub const EGRESS: MapSpec = spec("EGRESS", 2, 8);
/// The same interfaces for redirection, or those below VLAN devices: devmap by egress index.
pub const EGRESS_DEVS: MapSpec = spec("EGRESS_DEVS", 1, 8);
/// Packets and bytes by backend id: per-CPU array of [`crate::reason::Traffic`].
pub const BACKEND_COUNTERS: MapSpec =
    spec("BACKEND_COUNTERS", 2, size_of::<crate::reason::Traffic>());
/// Packets by reason and event: per-CPU array of `u64`, see [`crate::reason`].
pub const REASON_COUNTERS: MapSpec = spec("REASON_COUNTERS", 2, 8);
/// Token buckets of the program's own answers: per-CPU array of `u64`, see [`crate::limit`].
pub const LIMITS: MapSpec = spec("LIMITS", 1, 8);
/// NAT flows by the hash of the client's tuple: hash of [`crate::nat::NatForward`].
pub const NAT_FORWARD: MapSpec = spec("NAT_FORWARD", 1, size_of::<crate::nat::NatForward>());
/// NAT flows by the hash of the reply's tuple: hash of [`crate::nat::NatReverse`].
pub const NAT_REVERSE: MapSpec = spec("NAT_REVERSE", 1, size_of::<crate::nat::NatReverse>());
/// What a new daemon must know of the old one: array of words, mapped; see [`meta`].
pub const META: MapSpec = spec("META", 1, 8);

/// All maps of the `navigator` program.
pub const ALL: &[MapSpec] = &[
    VIP_ADDRS,
    VIP_PREFIXES,
    PORTS,
    VIPS,
    QUIC_SERVERS,
    SLOTS,
    BACKENDS,
    FLOWS,
    FRAGMENTS,
    EGRESS,
    EGRESS_DEVS,
    BACKEND_COUNTERS,
    REASON_COUNTERS,
    LIMITS,
    NAT_FORWARD,
    NAT_REVERSE,
    META,
];

/// Buckets of VIP addresses; a power of two.
pub const ADDR_BUCKETS: u32 = 1024;
/// Entries of the QUIC server ids' hash map.
pub const QUIC_ENTRIES: u32 = 1 << 15;
/// Entries of the prefixes' trie.
pub const PREFIX_ENTRIES: u32 = 1024;
/// Entries of the ports array.
pub const PORT_ENTRIES: u32 = 1 << 16;
/// Entries of the VIPs array; an id is below this.
pub const VIP_ENTRIES: u32 = 4096;
/// Sets of the fragments array, a power of two: 32,768 packets, 256 KiB.
pub const FRAGMENT_SETS: u32 = 1 << 12;
/// Entries of the egress arrays; an egress index is below this.
pub const EGRESS_ENTRIES: u32 = 64;
/// Words of the meta array.
pub const META_WORDS: u32 = 16;

/// Entries of the arrays whose size an operator may choose (`[limits]`), by default.
pub mod default_entries {
    /// Slots of all tables together: 32 MiB.
    pub const SLOTS: u32 = 1 << 22;
    /// Backends of all VIPs together, with those that are being drained.
    pub const BACKENDS: u32 = 1 << 14;
    /// Sets of the flow cache, a power of two: 2^20 flows, 16 MiB.
    pub const FLOW_SETS: u32 = 1 << 17;
    /// NAT flows, of a data plane with source addresses for them: 86 MiB.
    pub const NAT_FLOWS: u32 = 1 << 18;
}

/// Indexes into [`META`].
pub mod meta {
    /// 1 once the words below are whole; written last.
    pub const READY: u32 = 0;
    /// The five words of the cluster's [`crate::hash::HashKey`].
    pub const HASH_KEY: u32 = 1;
    /// The seed of the cluster's slot tables.
    pub const PLAN_SEED: u32 = 6;
    /// 1 once the epochs of the slots are times, see [`crate::slot::epoch_at`].
    pub const EPOCHS_ARE_TIMES: u32 = 7;
}

/// Names of the read-only variables that the loader sets before a load; the
/// verifier knows their values and takes out the code that they rule out.
pub mod globals {
    /// `u64`: the interface's MAC address as [`crate::mac::to_word`] spells it.
    pub const LOCAL_MAC: &str = "LOCAL_MAC";
    /// `u32`: the egress index of the interface that the program is attached to.
    pub const LOCAL_EGRESS: &str = "LOCAL_EGRESS";
    /// `[u64; 5]`: the words of the [`crate::hash::HashKey`].
    pub const HASH_KEY: &str = "HASH_KEY";
    /// `u16`: the UDP port that GUE packets are sent to, or unwrapped from.
    pub const GUE_PORT: &str = "GUE_PORT";
    /// `u32`: sets of the flow cache, less one.
    pub const FLOW_SET_MASK: &str = "FLOW_SET_MASK";
    /// `u32`: units of [`crate::flow::coarse_time`] after which a silent flow is forgotten.
    pub const FLOW_LIFETIME: &str = "FLOW_LIFETIME";
    /// `[Addr; NAT_SOURCES]`: IPv4 source addresses of NAT flows.
    pub const NAT_SOURCES_V4: &str = "NAT_SOURCES_V4";
    /// `[Addr; NAT_SOURCES]`: IPv6 source addresses of NAT flows.
    pub const NAT_SOURCES_V6: &str = "NAT_SOURCES_V6";
    /// `[u32; 2]`: how many of each there are, IPv4 first.
    pub const NAT_SOURCE_COUNTS: &str = "NAT_SOURCE_COUNTS";
    /// `[u32; 2]`: the first port of NAT flows, and how many there are.
    pub const NAT_PORTS: &str = "NAT_PORTS";
}

/// Names of the programs in the object file.
pub mod programs {
    /// The load balancer.
    pub const NAVIGATOR: &str = "navigator";
    /// The same, writing down packets that somebody asked to see; see [`crate::trace`].
    pub const TRACED: &str = "navigator_traced";
    /// The backend's side: unwraps tunnels.
    pub const DECAP: &str = "navigator_decap";
}

/// Maps of `navigator_traced` alone. They are never pinned: they come and go with it.
pub mod traced {
    /// Which packets are wanted: array of [`crate::trace::TraceFilter`].
    pub const FILTERS: &str = "TRACE_FILTERS";
    /// The records: ring buffer of [`crate::trace::TraceRecord`].
    pub const RING: &str = "TRACE_RING";
    /// The record in the making: per-CPU array of one [`crate::trace::TraceRecord`].
    pub const SCRATCH: &str = "TRACE_SCRATCH";
    /// Records that found the ring full: per-CPU array of one `u64`.
    pub const LOST: &str = "TRACE_LOST";
}

/// VIP addresses that `navigator_decap` unwraps packets for: hash of
/// [`crate::addr::Addr`] to `u64` (packets unwrapped are counted per CPU beside it).
pub const DECAP_VIPS: MapSpec = spec("DECAP_VIPS", 1, 8);
/// What `navigator_decap` did: per-CPU array of `u64`, indexed by [`DecapOutcome`].
pub const DECAP_COUNTERS: MapSpec = spec("DECAP_COUNTERS", 1, 8);

/// Entries of the decapsulation VIPs map.
pub const DECAP_VIP_ENTRIES: u32 = 4096;

/// What `navigator_decap` did with a packet.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
#[repr(u32)]
pub enum DecapOutcome {
    /// Not a tunnel packet; passed untouched.
    Passed,
    /// Unwrapped and passed.
    Unwrapped,
    /// A tunnel packet whose inner destination is none of the VIPs, or a fragment
    /// of a tunnel packet; passed untouched.
    Foreign,
    /// A tunnel packet cut short or contradictory; dropped.
    Malformed,
}

impl DecapOutcome {
    /// All outcomes, in the order of their counters.
    pub const ALL: [Self; 4] = [
        Self::Passed,
        Self::Unwrapped,
        Self::Foreign,
        Self::Malformed,
    ];

    /// Its name in tables and JSON.
    pub const fn name(self) -> &'static str {
        match self {
            Self::Passed => "passed",
            Self::Unwrapped => "unwrapped",
            Self::Foreign => "foreign",
            Self::Malformed => "malformed",
        }
    }
}

const _: () = {
    let mut index = 0;
    while index < DecapOutcome::ALL.len() {
        assert!(DecapOutcome::ALL[index] as usize == index);
        index += 1;
    }
};
