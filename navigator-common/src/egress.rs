//! Egress: an interface that packets leave by, as the program needs it.

use crate::mac;

/// How frames leave by an interface: one word, always replaced whole.
///
/// | bits | meaning |
/// |---|---|
/// | 0–47 | the interface's MAC address; 0 marks a free entry |
/// | 48–59 | VLAN id |
/// | 60 | frames leave with an 802.1Q tag of that id: the interface is a VLAN device, and the devmap's device the one below it |
/// | 61–63 | zero |
#[repr(transparent)]
#[derive(Clone, Copy, PartialEq, Eq, Hash, Default, Debug)]
pub struct EgressWord(pub u64);

/// The largest VLAN id, less one: 0 and 4095 are none.
const ID_MASK: u64 = 0xfff;
const TAGGED: u64 = 1 << 60;

impl EgressWord {
    /// Packs a word.
    pub const fn new(mac: [u8; 6], vlan: Option<u16>) -> Self {
        let tag = match vlan {
            Some(id) => TAGGED | (id as u64 & ID_MASK) << 48,
            None => 0,
        };
        Self(mac::to_word(mac) | tag)
    }

    /// The MAC address as [`mac::to_word`] spells it.
    #[inline(always)]
    pub const fn mac_word(self) -> u64 {
        self.0 & mac::MASK
    }

    /// Whether frames leave with a tag.
    #[inline(always)]
    pub const fn is_tagged(self) -> bool {
        self.0 & TAGGED != 0
    }

    /// The tag's VLAN id.
    #[inline(always)]
    pub const fn vlan_id(self) -> u16 {
        (self.0 >> 48 & ID_MASK) as u16
    }

    /// The VLAN id, if frames leave with a tag.
    pub const fn vlan(self) -> Option<u16> {
        if self.is_tagged() {
            Some(self.vlan_id())
        } else {
            None
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    proptest! {
        #[test]
        fn words_survive_the_round_trip(mac: [u8; 6], vlan in proptest::option::of(0u16..4096)) {
            let word = EgressWord::new(mac, vlan);
            prop_assert_eq!((word.mac_word(), word.vlan()), (mac::to_word(mac), vlan));
        }
    }
}
