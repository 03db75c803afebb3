//! Ethernet addresses in the low 48 bits of a word, spelled as a
//! little-endian CPU loads them from a frame.

/// The bits of a word that hold a MAC address.
pub const MASK: u64 = 0x0000_ffff_ffff_ffff;

/// The bit of a word that multicast and broadcast addresses have.
pub const GROUP: u64 = 1;

/// The word for `bytes`; its upper 16 bits are zero.
pub const fn to_word(bytes: [u8; 6]) -> u64 {
    let [a, b, c, d, e, f] = bytes;
    u64::from_le_bytes([a, b, c, d, e, f, 0, 0])
}

/// The address in the low 48 bits of `word`; the rest is ignored.
pub const fn from_word(word: u64) -> [u8; 6] {
    let [a, b, c, d, e, f, _, _] = word.to_le_bytes();
    [a, b, c, d, e, f]
}

#[cfg(test)]
mod tests {
    #[test]
    fn words_hold_the_bytes_in_frame_order() {
        let mac = [0x02, 0x11, 0x22, 0x33, 0x44, 0x55];
        assert_eq!(super::to_word(mac), 0x5544_3322_1102);
        assert_eq!(super::from_word(0xbeef_5544_3322_1102), mac);
    }
}
