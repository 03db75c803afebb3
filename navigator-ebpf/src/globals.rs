//! Read-only variables that the loader sets before the load. The verifier
//! knows their values and takes out the code that they rule out.

use navigator_common::hash::HashKey;

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
    /// UDP port that GUE packets are sent to, or unwrapped from.
    GUE_PORT: u16 = 0, gue_port;
    /// Sets of the flow cache, less one.
    FLOW_SET_MASK: u32 = 0, flow_set_mask;
    /// Coarse time units after which a silent flow is forgotten.
    FLOW_LIFETIME: u32 = 0, flow_lifetime;
    /// Words of the hash key; see [`hash_key`].
    HASH_KEY: [u64; 5] = [0; 5], hash_key_words;
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
