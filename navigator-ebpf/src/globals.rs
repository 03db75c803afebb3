//! Read-only variables that the loader sets before the load. The verifier
//! knows their values and takes out the code that they rule out.

use navigator_common::{addr::Addr, hash::HashKey, nat::NAT_SOURCES};

macro_rules! globals {
    ($($(#[$doc:meta])+ $static:ident: $type:ty = $initial:expr, $read:ident;)+) => {$(
        #[unsafe(no_mangle)]
        static $static: $type = $initial;

        $(#[$doc])+
        #[inline(always)]
        pub(crate) fn $read() -> $type {
            // SAFETY: the variable is a live static. Volatile, because the loader replaces the
            // value that the compiler sees here.
            unsafe { core::ptr::read_volatile(&raw const $static) }
        }
    )+};
}

globals! {
    /// MAC address of the interface, in the low 48 bits.
    LOCAL_MAC: u64 = 0, local_mac;
    /// Egress index of the interface.
    LOCAL_EGRESS: u32 = 0, local_egress;
    /// Sets of the flow cache, less one.
    FLOW_SET_MASK: u32 = 0, flow_set_mask;
    /// Coarse time units after which a silent flow is forgotten.
    FLOW_LIFETIME: u32 = 0, flow_lifetime;
    /// Words of the hash key; see [`hash_key`].
    HASH_KEY: [u64; 5] = [0; 5], hash_key_words;
    /// How many source addresses NAT flows have, IPv4 first.
    NAT_SOURCE_COUNTS: [u32; 2] = [0; 2], nat_source_counts;
    /// The first port of NAT flows, and how many there are.
    NAT_PORTS: [u32; 2] = [0; 2], nat_port_range;
}

/// The cluster's hash key.
#[inline(always)]
pub(crate) fn hash_key() -> HashKey {
    let [seed, a, b, c, d] = hash_key_words();
    // The multipliers are odd already: `HashKey::from_words` would cost four instructions.
    HashKey {
        seed,
        multipliers: [a, b, c, d],
    }
}

#[unsafe(no_mangle)]
static NAT_SOURCES_V4: [Addr; NAT_SOURCES] = [Addr { hi: 0, lo: 0 }; NAT_SOURCES];
#[unsafe(no_mangle)]
static NAT_SOURCES_V6: [Addr; NAT_SOURCES] = [Addr { hi: 0, lo: 0 }; NAT_SOURCES];

/// A source address of NAT flows.
#[inline(always)]
pub(crate) fn nat_source(v4: bool, index: u32) -> Addr {
    let index = index as usize % NAT_SOURCES;
    let sources = if v4 { &NAT_SOURCES_V4 } else { &NAT_SOURCES_V6 };
    // SAFETY: the variable is a live static. Volatile, because the loader replaces the values
    // that the compiler sees here.
    unsafe { core::ptr::read_volatile(&raw const sources[index]) }
}

/// How many source addresses of a family NAT flows have.
#[inline(always)]
pub(crate) fn nat_source_count(v4: bool) -> u32 {
    let [v4_sources, v6_sources] = nat_source_counts();
    if v4 { v4_sources } else { v6_sources }
}

/// The first port of NAT flows, and how many there are.
#[inline(always)]
pub(crate) fn nat_ports() -> (u16, u32) {
    let [first, count] = nat_port_range();
    (first as u16, count)
}
