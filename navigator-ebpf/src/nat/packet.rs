//! A packet as the subprograms know it.

use crate::{
    odd,
    packet::{Frame, View},
    parse::{ETH_IPV4, ETH_LEN, Flow, IPV4_LEN, IPV6_LEN, Kind, TCP},
};
use navigator_common::{
    addr::Addr,
    nat::{NatTuple, seen},
    reason::Reason,
};

/// What the parser found out, as it was told in words.
pub(super) struct Packet {
    pub(super) hash: u64,
    pub(super) ports: u32,
    pub(super) protocol: u8,
    /// A [`Kind`].
    pub(super) kind: u8,
    /// Length of the IP packet.
    pub(super) length: u32,
}

/// Where a packet's headers are, and its tuple.
pub(super) struct Headers {
    /// Ethernet header and fixed IP header.
    pub(super) ip: View,
    pub(super) v4: bool,
    /// Offset of the TCP or UDP header.
    pub(super) transport: usize,
    pub(super) tuple: NatTuple,
}

impl Packet {
    /// What a subprogram is told of a flow's packet beside its hash: ports, protocol and kind;
    /// length.
    #[inline(always)]
    pub(super) fn words(flow: &Flow) -> (u64, u64) {
        (flow.transport.0, flow.length)
    }

    #[inline(always)]
    pub(super) fn new(hash: u64, word: u64, length: u64) -> Self {
        Self {
            hash,
            ports: word as u32,
            protocol: (word >> 32) as u8,
            kind: (word >> 40) as u8,
            length: length as u32,
        }
    }

    /// Whether it opens a TCP connection.
    #[inline(always)]
    pub(super) fn opens(&self) -> bool {
        self.kind == Kind::Opens as u8
    }

    /// Whether it is a later fragment: without ports or a checksum of its own.
    #[inline(always)]
    pub(super) fn is_later(&self) -> bool {
        self.kind == Kind::Later as u8
    }

    /// Whether it may be the first packet of a flow.
    #[inline(always)]
    pub(super) fn may_open(&self) -> bool {
        self.opens() || self.protocol != TCP && !self.is_later()
    }

    /// Reads the headers again. The parser has seen all of them, so an error is never seen.
    #[inline(always)]
    pub(super) fn headers(&self, frame: &Frame<'_>) -> Result<Headers, Reason> {
        let ethernet = frame.view(0, ETH_LEN).ok_or(Reason::DropCorrupt)?;
        // SAFETY: the type is the last word of the 14 bytes.
        let v4 = unsafe { ethernet.read::<u16, 12>() } == ETH_IPV4;
        if v4 {
            let ip = frame
                .view(0, ETH_LEN + IPV4_LEN)
                .ok_or(Reason::DropCorrupt)?;
            // SAFETY: all of these lie in the 34 bytes.
            let (ihl, source, destination) = unsafe {
                (
                    ip.read::<u8, 14>() & 0xf,
                    ip.read::<u32, 26>(),
                    ip.read::<u32, 30>(),
                )
            };
            let (source, destination) = (Addr::from_v4_raw(source), Addr::from_v4_raw(destination));
            Ok(Headers {
                ip,
                v4,
                transport: ETH_LEN + usize::from(ihl) * 4,
                tuple: NatTuple::new(source, destination, self.ports, self.protocol),
            })
        } else {
            let ip = frame
                .view(0, ETH_LEN + IPV6_LEN)
                .ok_or(Reason::DropCorrupt)?;
            // SAFETY: all of these lie in the 54 bytes.
            let (next, [a, b, c, d]) = unsafe {
                (
                    ip.read::<u8, 20>(),
                    [
                        ip.read::<u64, 22>(),
                        ip.read::<u64, 30>(),
                        ip.read::<u64, 38>(),
                        ip.read::<u64, 46>(),
                    ],
                )
            };
            let first = ETH_LEN + IPV6_LEN;
            let transport = if next == self.protocol || self.is_later() {
                first
            } else {
                odd::transport_offset(frame).ok_or(Reason::DropCorrupt)?
            };
            let (source, destination) = (Addr { hi: a, lo: b }, Addr { hi: c, lo: d });
            Ok(Headers {
                ip,
                v4,
                transport,
                tuple: NatTuple::new(source, destination, self.ports, self.protocol),
            })
        }
    }

    /// What was seen of a side after this packet of it.
    #[inline(always)]
    pub(super) fn seen(&self, frame: &Frame<'_>, headers: &Headers, before: u8) -> u8 {
        if self.is_later() {
            return before;
        }
        if self.protocol != TCP {
            return before | seen::DATA;
        }
        match frame.view(headers.transport, FLAGS + 1) {
            // SAFETY: the flags are the last of the bytes.
            Some(tcp) => seen::after_tcp(before, unsafe { tcp.read::<u8, FLAGS>() }),
            None => before,
        }
    }
}

/// Offset of the flags in a TCP header.
const FLAGS: usize = 13;
