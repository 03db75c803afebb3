//! The Internet checksum (RFC 1071), over 16-bit words as loaded natively
//! from a packet: the one's complement sum is the same in either byte order.

use crate::addr::Addr;
use core::net::Ipv4Addr;

/// Folds a sum of up to 2^16 words to 16 bits; two folds always suffice for 32 bits.
#[inline(always)]
pub const fn fold(sum: u32) -> u16 {
    let sum = (sum & 0xffff) + (sum >> 16);
    let sum = (sum & 0xffff) + (sum >> 16);
    sum as u16
}

/// A checksum field after one word of what it covers changed from `old` to `new`: right if and
/// only if it was right before, for what is not zero throughout (RFC 1624, section 3).
///
/// Zero has two spellings in one's complement. This never gives `0`, so that the sum of what is
/// covered and the checksum is not zero either, which a receiver would take for wrong.
#[inline(always)]
pub const fn replaced(checksum: u16, old: u16, new: u16) -> u16 {
    match !fold((!checksum) as u32 + (!old) as u32 + new as u32) {
        0 => 0xffff,
        checksum => checksum,
    }
}

/// Folds a sum of any number of 32-bit words to 16 bits.
#[inline(always)]
pub const fn fold_wide(sum: u64) -> u16 {
    let sum = (sum & 0xffff_ffff) + (sum >> 32);
    let sum = (sum & 0xffff_ffff) + (sum >> 32);
    fold(sum as u32)
}

/// An address as 32-bit words, summed up: enough room for 2^30 of them.
#[inline(always)]
pub const fn wide(addr: Addr) -> u64 {
    (addr.hi & 0xffff_ffff) + (addr.hi >> 32) + (addr.lo & 0xffff_ffff) + (addr.lo >> 32)
}

/// What has to be added to a sum that contains `old` so that it contains `new`; both are sums of
/// up to 16 32-bit words.
#[inline(always)]
pub const fn change(old: u64, new: u64) -> u16 {
    // 2^36 - 16 is a multiple of 2^16 - 1 and more than any such sum: one's complement takes it for 0.
    fold_wide(new + ((1 << 36) - 16 - old))
}

/// A checksum field after a [`change`] of what it covers (RFC 1624, equation 3).
#[inline(always)]
pub const fn adjust(field: u16, change: u16) -> u16 {
    !fold(!field as u32 + change as u32)
}

/// Whether the 32-bit words of a header, loaded natively and added up, tell that its checksum is
/// right: whether they are a multiple of 2^16 - 1. Up to 2^16 words.
#[inline(always)]
pub const fn is_right(sum: u64) -> bool {
    // A multiple of an odd number times that one's inverse (modulo 2^64) is at most 2^64 divided
    // by it, and nothing else is: one multiplication instead of three folds. All zero is no sum.
    const QUOTIENT: u64 = u64::MAX / 0xffff;
    const INVERSE: u64 = QUOTIENT.wrapping_neg();
    sum.wrapping_mul(INVERSE).wrapping_sub(1) < QUOTIENT
}

/// Version 4, five words, no TOS: the first 16 bits of an outer IPv4 header, loaded natively.
pub const IPV4_FIRST_WORD: u16 = u16::from_ne_bytes([0x45, 0x00]);

/// The TTL or hop limit of outer headers.
pub const TUNNEL_TTL: u8 = 64;

/// The folded sum of an outer IPv4 header's constant words: everything but
/// total length, identification, the checksum itself, and what a flow adds to
/// the source. DF is set.
pub fn tunnel_base(source: Ipv4Addr, destination: Ipv4Addr, protocol: u8) -> u16 {
    let word = |bytes: [u8; 2]| u32::from(u16::from_ne_bytes(bytes));
    let [a, b, c, d] = source.octets();
    let [e, f, g, h] = destination.octets();
    fold(
        u32::from(IPV4_FIRST_WORD)
            + word([0x40, 0x00])
            + word([TUNNEL_TTL, protocol])
            + word([a, b])
            + word([c, d])
            + word([e, f])
            + word([g, h]),
    )
}

/// The checksum field of an outer IPv4 header whose identification is zero, from its
/// [`tunnel_base`], its total length as the packet holds it, and bits that its source has
/// beyond that of the base.
#[inline(always)]
pub const fn tunnel_checksum(base: u16, total_length_be: u16, source_bits: u32) -> u16 {
    let bits = (source_bits & 0xffff) + (source_bits >> 16);
    !fold(base as u32 + total_length_be as u32 + bits)
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    /// RFC 1071 as written, with the carry folded until none is left.
    fn reference(header: &[u8]) -> u16 {
        let mut sum: u64 = header
            .chunks(2)
            .map(|w| u64::from(u16::from_be_bytes([w[0], w[1]])))
            .sum();
        while sum > 0xffff {
            sum = (sum & 0xffff) + (sum >> 16);
        }
        !(sum as u16)
    }

    proptest! {
        #[test]
        fn the_outer_header_sums_to_the_reference(source: u32, spread in 0u32..32, destination: u32, protocol: u8, length: u16) {
            let (network, bits) = (source & !((1 << spread) - 1), source & ((1 << spread) - 1));
            let (source, destination) = (Ipv4Addr::from(source), Ipv4Addr::from(destination));
            let mut header = [0u8; 20];
            header[0] = 0x45;
            header[2..4].copy_from_slice(&length.to_be_bytes());
            header[6] = 0x40;
            header[8] = TUNNEL_TTL;
            header[9] = protocol;
            header[12..16].copy_from_slice(&source.octets());
            header[16..20].copy_from_slice(&destination.octets());
            let base = tunnel_base(network.into(), destination, protocol);
            let got = tunnel_checksum(base, length.to_be(), bits.to_be());
            prop_assert_eq!(u16::from_be(got), reference(&header));
        }

        #[test]
        fn a_replaced_word_keeps_right_right_and_wrong_wrong(mut message in prop::collection::vec(prop_oneof![Just(0u8), Just(0xff), any::<u8>()], 4..64), new in prop_oneof![Just(0u16), Just(0xffff), any::<u16>()], wrong: bool, by in 1u16..0xffff) {
            // The first word changes, the checksum is the second one.
            message.truncate(message.len() & !1);
            prop_assume!(message[..2] != [0, 0]);
            let old = u16::from_ne_bytes([message[0], message[1]]);
            message[2..4].fill(0);
            let mut field = reference(&message).to_be();
            if wrong { field = fold(u32::from(field) + u32::from(by)); }
            let field = replaced(field, old, new);
            message[..2].copy_from_slice(&new.to_ne_bytes());
            message[2..4].copy_from_slice(&field.to_ne_bytes());
            prop_assert_eq!(reference(&message) == 0, !wrong);
        }

        #[test]
        fn a_header_is_right_if_it_sums_to_nothing(mut header in prop::collection::vec(prop_oneof![Just(0u8), Just(0xff), any::<u8>()], 20..=60), wrong in 1u16.., spoil: bool) {
            header.truncate(header.len() & !3);
            // No header is all zeros.
            header[0] = 0x45;
            header[10..12].fill(0);
            let sum = reference(&header).to_be_bytes();
            header[10..12].copy_from_slice(&sum);
            if spoil {
                let field = u16::from_be_bytes(sum) ^ wrong;
                header[10..12].copy_from_slice(&field.to_be_bytes());
            }
            let words = header.chunks(4).map(|w| u64::from(u32::from_ne_bytes([w[0], w[1], w[2], w[3]])));
            prop_assert_eq!(is_right(words.sum()), reference(&header) == 0);
        }

        #[test]
        fn two_folds_are_enough(sum: u32) {
            let mut want = u64::from(sum);
            while want > 0xffff { want = (want & 0xffff) + (want >> 16); }
            prop_assert_eq!(u64::from(fold(sum)), want);
        }
    }
}
