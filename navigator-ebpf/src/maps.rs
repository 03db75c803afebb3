//! The maps. Names and meanings: `navigator_common::maps`; sizes of the
//! configurable ones are set by the loader.

use aya_ebpf::{
    bindings::{BPF_F_MMAPABLE, BPF_F_NO_PREALLOC},
    macros::map,
    maps::{Array, DevMap, HashMap, LpmTrie, PerCpuArray, RingBuf},
};
use navigator_common::{
    backend::Backend,
    flow::FlowSet,
    fragment::FragmentSet,
    limit::BUCKETS,
    maps::{
        ADDR_BUCKETS, EGRESS_ENTRIES, FRAGMENT_SETS, META_WORDS, PORT_ENTRIES, PREFIX_ENTRIES,
        QUIC_ENTRIES, VIP_ENTRIES, default_entries,
    },
    nat::{NatForward, NatReverse},
    quic::QuicKey,
    reason::{COUNTERS, Traffic},
    trace::{TRACERS, TraceFilter, TraceRecord},
    vip::{AddrBucket, Vip},
};

/// The entries of a NAT flow.
#[repr(C)]
pub(crate) struct NatScratch {
    pub(crate) forward: NatForward,
    pub(crate) reverse: NatReverse,
}

/// User space writes these arrays through a mapping.
const MAPPED: u32 = BPF_F_MMAPABLE;

#[map]
pub(crate) static VIP_ADDRS: Array<AddrBucket> = Array::with_max_entries(ADDR_BUCKETS, MAPPED);
#[map]
pub(crate) static VIP_PREFIXES: LpmTrie<[u64; 2], u64> =
    LpmTrie::with_max_entries(PREFIX_ENTRIES, BPF_F_NO_PREALLOC);
#[map]
pub(crate) static PORTS: Array<u64> = Array::with_max_entries(PORT_ENTRIES, MAPPED);
#[map]
pub(crate) static VIPS: Array<Vip> = Array::with_max_entries(VIP_ENTRIES, MAPPED);
#[map]
pub(crate) static QUIC_SERVERS: HashMap<QuicKey, u64> =
    HashMap::with_max_entries(QUIC_ENTRIES, BPF_F_NO_PREALLOC);
#[map]
pub(crate) static SLOTS: Array<u64> = Array::with_max_entries(default_entries::SLOTS, MAPPED);
#[map]
pub(crate) static BACKENDS: Array<Backend> =
    Array::with_max_entries(default_entries::BACKENDS, MAPPED);
#[map]
pub(crate) static FLOWS: Array<FlowSet> =
    Array::with_max_entries(default_entries::FLOW_SETS, MAPPED);
#[map]
pub(crate) static FRAGMENTS: Array<FragmentSet> = Array::with_max_entries(FRAGMENT_SETS, MAPPED);
/// Tags of the frame that the CPU is at; see [`crate::vlan`].
#[map]
pub(crate) static TAGS: PerCpuArray<u64> = PerCpuArray::with_max_entries(1, 0);
#[map]
pub(crate) static EGRESS: Array<u64> = Array::with_max_entries(EGRESS_ENTRIES, MAPPED);
#[map]
pub(crate) static EGRESS_DEVS: DevMap = DevMap::with_max_entries(EGRESS_ENTRIES, 0);
#[map]
pub(crate) static BACKEND_COUNTERS: PerCpuArray<Traffic> =
    PerCpuArray::with_max_entries(default_entries::BACKENDS, 0);
#[map]
pub(crate) static REASON_COUNTERS: PerCpuArray<u64> = PerCpuArray::with_max_entries(COUNTERS, 0);
#[map]
pub(crate) static LIMITS: PerCpuArray<u64> = PerCpuArray::with_max_entries(BUCKETS, 0);
#[map]
pub(crate) static NAT_FORWARD: HashMap<u64, NatForward> =
    HashMap::with_max_entries(default_entries::NAT_FLOWS, 0);
#[map]
pub(crate) static NAT_REVERSE: HashMap<u64, NatReverse> =
    HashMap::with_max_entries(default_entries::NAT_FLOWS, 0);
/// Where a CPU puts the entries of a new flow together: they are too long for the stack.
#[map]
pub(crate) static NAT_SCRATCH: PerCpuArray<NatScratch> = PerCpuArray::with_max_entries(1, 0);
/// Not read here: it carries what a new daemon must know of the old one.
#[map]
static META: Array<u64> = Array::with_max_entries(META_WORDS, MAPPED);

#[map]
pub(crate) static TRACE_FILTERS: Array<TraceFilter> = Array::with_max_entries(TRACERS as u32, 0);
/// As small as a ring can be: the loader makes it larger for `navigator_traced`, which alone writes it.
#[map]
pub(crate) static TRACE_RING: RingBuf = RingBuf::with_byte_size(4096, 0);
#[map]
pub(crate) static TRACE_SCRATCH: PerCpuArray<TraceRecord> = PerCpuArray::with_max_entries(1, 0);
#[map]
pub(crate) static TRACE_LOST: PerCpuArray<u64> = PerCpuArray::with_max_entries(1, 0);

/// One word of shared state: user space or another CPU may replace it at any time.
#[inline(always)]
pub(crate) fn load(word: &u64) -> u64 {
    // SAFETY: the reference is to a live, aligned map value. Volatile makes this the only read,
    // so that all fields of the word belong to one moment.
    unsafe { core::ptr::read_volatile(word) }
}
