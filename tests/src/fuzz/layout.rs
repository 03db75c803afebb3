//! Where what is in a frame, by code of this crate's own: enough to mend a
//! packet after a mutation and to judge what a program made of it.

use crate::packet::checksum;

/// 802.1Q and 802.1ad tags that are looked behind.
const TAGS: usize = 2;

/// Protocol numbers.
pub mod protocol {
    #![allow(missing_docs, reason = "the names say it")]
    pub const ICMP: u8 = 1;
    pub const IPV4: u8 = 4;
    pub const TCP: u8 = 6;
    pub const UDP: u8 = 17;
    pub const IPV6: u8 = 41;
    pub const ICMPV6: u8 = 58;
}

/// An IP packet in a frame.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub struct Packet {
    /// Offset of the IP header; the Ethernet type stands in front of it.
    pub ip: usize,
    /// 4 or 6, as the Ethernet type and the header both say.
    pub version: u8,
    /// Offset of what the last header that is known leads to: TCP, UDP, ICMP or something else.
    pub transport: usize,
    /// Its protocol.
    pub protocol: u8,
    /// Offset of the packet's end, as the IP header tells.
    pub end: usize,
    /// It is a fragment, or an IPv6 packet with a fragment header.
    pub fragment: bool,
    /// It is a fragment, and not the first one: it carries the middle of something.
    pub later: bool,
}

/// Offset of the Ethernet type behind up to two tags.
pub fn ether_type(frame: &[u8]) -> Option<usize> {
    let mut at = 12;
    for _ in 0..TAGS {
        match frame.get(at..at + 2)? {
            [0x81, 0x00] | [0x88, 0xa8] => at += 4,
            _ => break,
        }
    }
    (frame.len() >= at + 2).then_some(at)
}

impl Packet {
    /// The IP packet of a frame, if its headers are sound and all of it is there.
    pub fn of(frame: &[u8]) -> Option<Self> {
        let at = ether_type(frame)?;
        let version = match frame[at..at + 2] {
            [0x08, 0x00] => 4,
            [0x86, 0xdd] => 6,
            _ => return None,
        };
        Self::at(frame, at + 2, version)
    }

    /// The packet of this version at `ip`.
    pub fn at(frame: &[u8], ip: usize, version: u8) -> Option<Self> {
        let header = frame.get(ip..)?;
        if header.first()? >> 4 != version {
            return None;
        }
        let word = |at: usize| {
            Some(usize::from(u16::from_be_bytes([
                *header.get(at)?,
                *header.get(at + 1)?,
            ])))
        };
        let packet = if version == 4 {
            let length = usize::from(header[0] & 0xf) * 4;
            let packet = Self {
                ip,
                version,
                transport: ip + length,
                protocol: *header.get(9)?,
                end: ip + word(2)?,
                fragment: word(6)? & 0x3fff != 0,
                later: word(6)? & 0x1fff != 0,
            };
            (length >= 20).then_some(packet)?
        } else {
            let end = ip + 40 + word(4)?;
            let mut packet = Self {
                ip,
                version,
                transport: ip + 40,
                protocol: *header.get(6)?,
                end,
                fragment: false,
                later: false,
            };
            packet.walk(frame)?;
            packet
        };
        (packet.transport <= packet.end && packet.end <= frame.len()).then_some(packet)
    }

    /// Goes on behind IPv6 extension headers.
    fn walk(&mut self, frame: &[u8]) -> Option<()> {
        for _ in 0..64 {
            let length = match self.protocol {
                0 | 43 | 60 => (usize::from(*frame.get(self.transport + 1)?) + 1) * 8,
                44 => 8,
                51 => (usize::from(*frame.get(self.transport + 1)?) + 2) * 4,
                _ => return Some(()),
            };
            let later = self.protocol == 44 && {
                let offset = frame.get(self.transport + 2..self.transport + 4)?;
                u16::from_be_bytes([offset[0], offset[1]]) & 0xfff8 != 0
            };
            self.fragment |= self.protocol == 44;
            self.protocol = *frame.get(self.transport)?;
            self.transport += length;
            if later {
                self.later = true;
                return Some(());
            }
        }
        None
    }

    /// Source address.
    pub fn source<'a>(&self, frame: &'a [u8]) -> &'a [u8] {
        match self.version {
            4 => &frame[self.ip + 12..self.ip + 16],
            _ => &frame[self.ip + 8..self.ip + 24],
        }
    }

    /// Destination address.
    pub fn destination<'a>(&self, frame: &'a [u8]) -> &'a [u8] {
        match self.version {
            4 => &frame[self.ip + 16..self.ip + 20],
            _ => &frame[self.ip + 24..self.ip + 40],
        }
    }

    /// Offset of the checksum of what the packet carries, if it has one and is whole.
    fn checksum_field(&self) -> Option<usize> {
        let (field, least) = match self.protocol {
            protocol::TCP => (16, 20),
            protocol::UDP => (6, 8),
            protocol::ICMP if self.version == 4 => (2, 4),
            protocol::ICMPV6 if self.version == 6 => (2, 4),
            _ => return None,
        };
        (!self.fragment && self.transport + least <= self.end).then_some(self.transport + field)
    }

    /// The sum of everything that the checksum of what it carries covers, itself included.
    fn transport_sum(&self, frame: &[u8]) -> u16 {
        let carried = &frame[self.transport..self.end];
        let pseudo = match self.protocol {
            protocol::ICMP => 0,
            _ => checksum::pseudo_header(&frame[self.ip..], self.protocol, carried.len()),
        };
        checksum::folded(checksum::sum(pseudo, carried))
    }

    /// Whether the IPv4 header's checksum is right; IPv6 has none.
    pub fn header_is_right(&self, frame: &[u8]) -> bool {
        let header = usize::from(frame[self.ip] & 0xf) * 4;
        self.version == 6 || checksum::is_right(&frame[self.ip..self.ip + header])
    }

    /// Whether the checksum of what it carries is right; `None` if there is none: another
    /// protocol, a fragment, a UDP datagram without one.
    pub fn transport_is_right(&self, frame: &[u8]) -> Option<bool> {
        let field = self.checksum_field()?;
        if self.protocol == protocol::UDP && self.version == 4 && frame[field..field + 2] == [0, 0]
        {
            return None;
        }
        Some(self.transport_sum(frame) == 0xffff)
    }

    /// Makes both checksums right.
    pub fn mend_checksums(&self, frame: &mut [u8]) {
        if let Some(field) = self.checksum_field() {
            frame[field..field + 2].fill(0);
            let right = match !self.transport_sum(frame) {
                0 if self.protocol == protocol::UDP => 0xffff,
                right => right,
            };
            frame[field..field + 2].copy_from_slice(&right.to_be_bytes());
        }
        if self.version == 4 {
            let header = self.ip..self.ip + usize::from(frame[self.ip] & 0xf) * 4;
            frame[self.ip + 10..self.ip + 12].fill(0);
            let right = checksum::of(&frame[header]).to_be_bytes();
            frame[self.ip + 10..self.ip + 12].copy_from_slice(&right);
        }
    }
}

/// Makes the lengths of a frame's headers agree with it and its checksums right, as far as it
/// can be read.
pub fn mend(frame: &mut [u8]) {
    let Some(at) = ether_type(frame) else { return };
    let ip = at + 2;
    let room = frame.len().saturating_sub(ip);
    let version = match frame[at..at + 2] {
        [0x08, 0x00] if room >= 20 => 4,
        [0x86, 0xdd] if room >= 40 => 6,
        _ => return,
    };
    frame[ip] = version << 4 | frame[ip] & 0xf;
    let length = if version == 4 { room } else { room - 40 };
    let field = if version == 4 { ip + 2 } else { ip + 4 };
    let length = u16::try_from(length).unwrap_or(u16::MAX).to_be_bytes();
    frame[field..field + 2].copy_from_slice(&length);
    let Some(packet) = Packet::at(frame, ip, version) else {
        return;
    };
    let carried = packet.end - packet.transport;
    if packet.protocol == protocol::UDP && carried >= 8 {
        let length = u16::try_from(carried).unwrap_or(u16::MAX).to_be_bytes();
        let field = packet.transport + 4;
        frame[field..field + 2].copy_from_slice(&length);
    }
    packet.mend_checksums(frame);
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::packet::{
        Family, Tcp,
        edit::tagged,
        frame::{self, ETH},
        icmp,
    };

    #[test]
    fn sound_packets_are_read_and_need_no_mending() {
        for family in Family::BOTH {
            let (client, vip) = (family.client(1, 4000), family.vip(1, 80));
            for sound in [
                frame::tcp(client, vip, Tcp::Ack, b"hello"),
                frame::udp(client, vip, b"hello!"),
                icmp::echo(client.ip(), vip.ip(), [0; 4], b"ping"),
            ] {
                let packet = Packet::of(&sound).unwrap_or_else(|| panic!("{sound:02x?}"));
                assert_eq!(packet.transport, ETH + family.header());
                assert_eq!(packet.end, sound.len());
                assert!(packet.header_is_right(&sound));
                assert_eq!(packet.transport_is_right(&sound), Some(true));
                let mut mended = sound.clone();
                mend(&mut mended);
                assert_eq!(mended, sound);
                let mut spoilt = sound.clone();
                let last = spoilt.len() - 1;
                spoilt[last] ^= 1;
                assert_eq!(packet.transport_is_right(&spoilt), Some(false));
            }
        }
    }

    #[test]
    fn tags_are_looked_behind() {
        let client = Family::V4.client(1, 4000);
        let plain = frame::udp(client, Family::V4.vip(1, 80), b"hello");
        let tagged = tagged(&tagged(&plain, 5), 6);
        let packet = Packet::of(&tagged).unwrap_or_else(|| panic!("{tagged:02x?}"));
        assert_eq!(packet.ip, ETH + 8);
        assert_eq!(packet.destination(&tagged), [192, 0, 2, 1]);
    }
}
