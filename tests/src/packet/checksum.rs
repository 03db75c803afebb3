//! Internet checksums (RFC 1071), recomputed from the bytes of a packet: by other code than
//! the program's, so that what the program makes of a checksum can be held against it.

/// The one's complement sum of `bytes` as big-endian words, on top of `sum`.
pub fn sum(sum: u64, bytes: &[u8]) -> u64 {
    let words = bytes.chunks_exact(2);
    let odd = words
        .remainder()
        .first()
        .map_or(0, |last| u64::from(*last) << 8);
    words.fold(sum + odd, |sum, word| {
        sum + u64::from(u16::from_be_bytes([word[0], word[1]]))
    })
}

/// The sum with all its carries brought in.
pub fn folded(mut sum: u64) -> u16 {
    while sum > 0xffff {
        sum = (sum & 0xffff) + (sum >> 16);
    }
    sum as u16
}

/// The checksum of `bytes`, whose own field is zero.
pub fn of(bytes: &[u8]) -> u16 {
    !folded(sum(0, bytes))
}

/// Whether a receiver takes `bytes` with their checksum for sound.
pub fn is_right(bytes: &[u8]) -> bool {
    folded(sum(0, bytes)) == 0xffff
}

/// The sum of the pseudo-header of an IP packet (IPv4 or IPv6) whose payload, of this protocol,
/// has this length.
pub fn pseudo_header(ip: &[u8], protocol: u8, length: usize) -> u64 {
    let addresses = match ip[0] >> 4 {
        4 => &ip[12..20],
        _ => &ip[8..40],
    };
    sum(length as u64 + u64::from(protocol), addresses)
}

#[cfg(test)]
mod tests {
    use super::*;

    /// The example of RFC 1071, section 3.
    #[test]
    fn the_example_of_the_rfc() {
        let bytes = [0x00, 0x01, 0xf2, 0x03, 0xf4, 0xf5, 0xf6, 0xf7];
        assert_eq!(of(&bytes), !0xddf2);
        assert_eq!(of(&[&bytes[..], &[0x80]].concat()), !0x5df3);
    }

    #[test]
    fn only_the_right_checksum_is_right() {
        let mut bytes = [0x45, 0, 0, 0x30, 0, 0, 0xff, 0xff];
        let right = of(&bytes).to_be_bytes();
        bytes[4..6].copy_from_slice(&right);
        assert!(is_right(&bytes));
        bytes[5] ^= 1;
        assert!(!is_right(&bytes));
        assert!(!is_right(&[0; 8]));
    }
}
