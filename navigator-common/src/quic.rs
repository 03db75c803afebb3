//! QUIC by connection id: how a server id is found in a packet and looked up.
//!
//! A connection id that a server made begins with an octet whose three
//! highest bits name a configuration (7: none, the packet goes by its tuple),
//! then the server id, then a nonce of at least [`LEAST_NONCE`] bytes. A
//! VIP's configurations are one word, a byte for each: the server id's
//! length, or 0.

/// The shortest nonce behind a server id.
pub const LEAST_NONCE: u32 = 4;

/// A server id of a VIP: key of [`crate::maps::QUIC_SERVERS`].
#[repr(C)]
#[derive(Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash, Debug, Default)]
pub struct QuicKey {
    /// Id of the VIP in the low half, length of the server id in the high one.
    pub scope: u64,
    /// Its first eight bytes as loaded natively; what the id does not have is zero.
    pub lo: u64,
    /// The rest of it.
    pub hi: u64,
}

impl QuicKey {
    /// The key of the server id that begins 16 bytes, which were loaded natively as two words.
    #[inline(always)]
    pub const fn new(vip: u32, length: u32, lo: u64, hi: u64) -> Self {
        Self {
            scope: vip as u64 | (length as u64) << 32,
            lo: lo & mask(length),
            hi: hi & mask(length.saturating_sub(8)),
        }
    }

    /// The VIP.
    pub const fn vip(&self) -> u32 {
        self.scope as u32
    }
}

/// The first `bytes` bytes of a word, at most 8.
#[inline(always)]
const fn mask(bytes: u32) -> u64 {
    if bytes >= 8 {
        u64::MAX
    } else {
        (1 << (8 * bytes)) - 1
    }
}

/// Length of the server id in a connection id with this first octet; 0 if it has none.
#[inline(always)]
pub const fn server_id_length(configs: u64, first: u8) -> u32 {
    (configs >> (8 * (first >> 5) as u32)) as u32 & 0xff
}

const _: () = assert!(size_of::<QuicKey>() == 24);

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    proptest! {
        #[test]
        fn a_key_is_the_id_and_nothing_behind_it(bytes: [u8; 16], other: [u8; 16], length in 1u32..=15, vip in 0u32..4096) {
            let key = |bytes: [u8; 16]| {
                let word = u128::from_le_bytes(bytes);
                QuicKey::new(vip, length, word as u64, (word >> 64) as u64)
            };
            let mut same = other;
            let id = length as usize;
            same[..id].copy_from_slice(&bytes[..id]);
            prop_assert_eq!(key(bytes), key(same));
            prop_assert_eq!(key(bytes) == key(other), bytes[..id] == other[..id]);
            prop_assert_eq!(key(bytes).vip(), vip);
        }

        #[test]
        fn the_first_three_bits_name_the_configuration(lengths in proptest::array::uniform7(0u8..16), first: u8) {
            let [a, b, c, d, e, f, g] = lengths;
            let configs = u64::from_le_bytes([a, b, c, d, e, f, g, 0]);
            let want = lengths.get(usize::from(first >> 5)).copied().unwrap_or(0);
            prop_assert_eq!(server_id_length(configs, first), u32::from(want));
        }
    }
}
