//! `classic-lru`: the classic design. A hash map of VIPs, an LRU hash map that
//! remembers every flow, a ring of backends for flows that it does not know,
//! two per-CPU counters, L2 rewrite. IPv4 and IPv6 share the maps, so the keys
//! have room for IPv6 addresses, as in the balancers of this design; IPv4 only
//! is enough here.

use crate::packet::{ETH_LEN, IPV4_LEN, TCP_LEN, at, read, write};
use aya_ebpf::{
    bindings::xdp_action,
    macros::{map, xdp},
    maps::{Array, HashMap, LruHashMap, PerCpuArray},
    programs::XdpContext,
};

const RING: u32 = 65_537;

#[repr(C)]
#[derive(Clone, Copy)]
struct VipKey {
    address: [u32; 4],
    port: u16,
    protocol: u16,
}

#[repr(C)]
#[derive(Clone, Copy)]
struct FlowKey {
    source: [u32; 4],
    destination: [u32; 4],
    ports: u32,
    protocol: u32,
}

#[repr(C)]
#[derive(Clone, Copy)]
struct Count {
    packets: u64,
    bytes: u64,
}

#[map]
static CLASSIC_VIPS: HashMap<VipKey, u32> = HashMap::with_max_entries(512, 0);
#[map]
static CLASSIC_FLOWS: LruHashMap<FlowKey, u32> = LruHashMap::with_max_entries(1 << 21, 0);
#[map]
static CLASSIC_RING: Array<u32> = Array::with_max_entries(RING, 0);
#[map]
static CLASSIC_BACKENDS: Array<u64> = Array::with_max_entries(4096, 0);
#[map]
static CLASSIC_VIP_COUNTS: PerCpuArray<Count> = PerCpuArray::with_max_entries(512, 0);
#[map]
static CLASSIC_BACKEND_COUNTS: PerCpuArray<Count> = PerCpuArray::with_max_entries(4096, 0);

#[xdp(frags)]
fn classic_lru(ctx: XdpContext) -> u32 {
    balance(&ctx).unwrap_or(xdp_action::XDP_PASS)
}

#[inline(always)]
fn balance(ctx: &XdpContext) -> Option<u32> {
    let frame = at(ctx, 0, ETH_LEN + IPV4_LEN + TCP_LEN)?;
    // SAFETY: 54 bytes are there.
    let (length, flow) = unsafe {
        if read::<u16>(frame + 12) != 0x0800u16.to_be() || read::<u8>(frame + 14) != 0x45 {
            return None;
        }
        let flow = FlowKey {
            source: [read(frame + 26), 0, 0, 0],
            destination: [read(frame + 30), 0, 0, 0],
            ports: read(frame + 34),
            protocol: u32::from(read::<u8>(frame + 23)),
        };
        (u64::from(u16::from_be(read(frame + 16))), flow)
    };
    let key = VipKey {
        address: flow.destination,
        port: (flow.ports >> 16) as u16,
        protocol: flow.protocol as u16,
    };
    // SAFETY: the value is copied at once.
    let vip = *unsafe { CLASSIC_VIPS.get(key) }?;
    // SAFETY: the value is copied at once.
    let backend = match unsafe { CLASSIC_FLOWS.get(flow) } {
        Some(backend) => *backend,
        None => {
            let backend = *CLASSIC_RING.get(hash(&flow) % RING)?;
            let _ = CLASSIC_FLOWS.insert(flow, backend, 0);
            backend
        }
    };
    let mac = *CLASSIC_BACKENDS.get(backend)?;
    count(CLASSIC_VIP_COUNTS.get_ptr_mut(vip)?, length);
    count(CLASSIC_BACKEND_COUNTS.get_ptr_mut(backend)?, length);
    // SAFETY: 54 bytes are there.
    unsafe {
        let (own_high, own_low) = (read::<u32>(frame), read::<u16>(frame + 4));
        write(frame, mac as u32);
        write(frame + 4, (mac >> 32) as u16);
        write(frame + 6, own_high);
        write(frame + 10, own_low);
    }
    Some(xdp_action::XDP_TX)
}

#[inline(always)]
fn count(counter: *mut Count, bytes: u64) {
    // SAFETY: a live map value of this CPU.
    unsafe {
        (*counter).packets += 1;
        (*counter).bytes += bytes;
    }
}

/// A mix of the tuple's words, closed by MurmurHash3's finaliser.
#[inline(always)]
fn hash(flow: &FlowKey) -> u32 {
    let mut hash = flow.ports;
    for (source, destination) in flow.source.iter().zip(&flow.destination) {
        hash = (hash ^ source).wrapping_mul(0x9e37_79b1) ^ destination.rotate_left(13);
    }
    hash = (hash ^ hash >> 16).wrapping_mul(0x85eb_ca6b);
    hash = (hash ^ hash >> 13).wrapping_mul(0xc2b2_ae35);
    hash ^ hash >> 16
}
