//! QUIC by connection id, as draft-ietf-quic-load-balancers lays it down
//! (unencrypted ids): a server writes its server id into the connection ids
//! that it gives out, and a balancer finds it there, wherever the client's
//! packets come from.

use serde::Serialize;
use std::{fmt, str::FromStr};

/// Configurations that a connection id can name; the next codepoint, 7, means "none".
pub const QUIC_CONFIGS: u8 = 7;
/// The longest server id, in bytes.
pub const MAX_SERVER_ID: usize = 15;

/// What a connection id's first three bits may be, and how long the server id is then.
#[derive(Clone, Copy, PartialEq, Eq, Hash, Debug, Default, Serialize)]
pub struct QuicConfigs([u8; QUIC_CONFIGS as usize]);

impl QuicConfigs {
    /// Whether there is none: packets are not looked into.
    pub fn is_empty(&self) -> bool {
        *self == Self::default()
    }

    /// Sets the length of the server ids of a configuration; false if there is no such
    /// configuration or length, or it is set already.
    pub fn set(&mut self, config: u8, length: u8) -> bool {
        let good = (1..=MAX_SERVER_ID).contains(&length.into());
        match self.0.get_mut(usize::from(config)) {
            Some(place) if good && *place == 0 => {
                *place = length;
                true
            }
            _ => false,
        }
    }

    /// Configurations with their lengths.
    pub fn iter(&self) -> impl Iterator<Item = (u8, u8)> {
        (0..).zip(self.0).filter(|(_, length)| *length > 0)
    }

    /// Whether some configuration has server ids of this length.
    pub fn has_length(&self, length: u8) -> bool {
        self.iter().any(|(_, known)| known == length)
    }

    /// The lengths, a byte for each configuration, the first one lowest.
    pub fn packed(&self) -> u64 {
        let [a, b, c, d, e, f, g] = self.0;
        u64::from_le_bytes([a, b, c, d, e, f, g, 0])
    }

    /// What [`QuicConfigs::packed`] packed; impossible lengths count as none.
    pub fn from_packed(word: u64) -> Self {
        let [lengths @ .., _] = word.to_le_bytes();
        let sound = |length: u8| {
            if usize::from(length) <= MAX_SERVER_ID {
                length
            } else {
                0
            }
        };
        Self(lengths.map(sound))
    }
}

/// What a server writes into its connection ids.
#[derive(Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct ServerId {
    length: u8,
    bytes: [u8; MAX_SERVER_ID],
}

/// Why a text is no server id.
#[derive(Clone, PartialEq, Eq, Debug, thiserror::Error)]
#[error("must be 1 to 15 bytes in hexadecimal digits, such as \"c4605e\"")]
pub struct BadServerId;

impl ServerId {
    /// A server id of these bytes.
    pub fn new(bytes: &[u8]) -> Option<Self> {
        let mut own = [0; MAX_SERVER_ID];
        own.get_mut(..bytes.len())?.copy_from_slice(bytes);
        (!bytes.is_empty()).then_some(Self {
            length: bytes.len() as u8,
            bytes: own,
        })
    }

    /// How many bytes it has.
    pub const fn length(&self) -> u8 {
        self.length
    }

    /// Its bytes.
    pub fn bytes(&self) -> &[u8] {
        &self.bytes[..usize::from(self.length)]
    }
}

impl FromStr for ServerId {
    type Err = BadServerId;

    fn from_str(text: &str) -> Result<Self, BadServerId> {
        let digit = |c: u8| match c {
            b'0'..=b'9' => Ok(c - b'0'),
            b'a'..=b'f' => Ok(c - b'a' + 10),
            _ => Err(BadServerId),
        };
        let (pairs, rest) = text.as_bytes().as_chunks::<2>();
        if !rest.is_empty() {
            return Err(BadServerId);
        }
        let byte = |&[high, low]: &[u8; 2]| Ok(digit(high)? << 4 | digit(low)?);
        let bytes: Vec<u8> = pairs.iter().map(byte).collect::<Result<_, _>>()?;
        Self::new(&bytes).ok_or(BadServerId)
    }
}

impl fmt::Display for ServerId {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        self.bytes()
            .iter()
            .try_for_each(|byte| write!(f, "{byte:02x}"))
    }
}

impl fmt::Debug for ServerId {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        fmt::Display::fmt(self, f)
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    #[test]
    fn texts_that_are_no_server_id_are_refused() {
        for text in [
            "",
            "c",
            "c46",
            "C4",
            "0x12",
            "gg",
            "c4605e4504cc4fc4605e4504cc4fc460",
        ] {
            assert_eq!(text.parse::<ServerId>(), Err(BadServerId), "{text}");
        }
        assert_eq!("c4605e".parse::<ServerId>().map(|id| id.length()), Ok(3));
    }

    #[test]
    fn there_are_seven_configurations() {
        let mut configs = QuicConfigs::default();
        assert!(configs.is_empty() && configs.set(0, 3) && configs.set(6, 15));
        assert!(!configs.set(0, 3), "twice");
        assert!(!configs.set(7, 3) && !configs.set(1, 0) && !configs.set(1, 16));
        assert_eq!(configs.iter().collect::<Vec<_>>(), [(0, 3), (6, 15)]);
        assert!(configs.has_length(15) && !configs.has_length(4));
    }

    proptest! {
        #[test]
        fn ids_and_configurations_survive_the_round_trip(bytes in prop::collection::vec(any::<u8>(), 1..=15), lengths in prop::array::uniform7(0u8..16)) {
            let id = ServerId::new(&bytes).ok_or(TestCaseError::fail("no id"))?;
            prop_assert_eq!(id.to_string().parse(), Ok(id));
            prop_assert_eq!(id.bytes(), bytes);
            let configs = QuicConfigs(lengths);
            prop_assert_eq!(QuicConfigs::from_packed(configs.packed()), configs);
        }
    }
}
