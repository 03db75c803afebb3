//! The words of a NAT entry.

use crate::mac;

/// What was seen of one side of a flow: one word, always replaced whole.
///
/// | bits | meaning |
/// |---|---|
/// | 0–7 | what was seen, see [`seen`] |
/// | 8–31 | bits of the flow's hash |
/// | 32–63 | when the side was last heard, in [`crate::flow::coarse_time`] units |
#[repr(transparent)]
#[derive(Clone, Copy, PartialEq, Eq, Debug, Default)]
pub struct NatState(pub u64);

/// What one side of a flow did, as flags of a [`NatState`].
pub mod seen {
    /// TCP: it sent a SYN, and nothing that ends the connection since.
    pub const SYN: u8 = 1 << 0;
    /// TCP: it sent a segment that is neither a SYN nor a RST. UDP: it sent anything.
    pub const DATA: u8 = 1 << 1;
    /// TCP: it sent a FIN.
    pub const FIN: u8 = 1 << 2;
    /// TCP: it sent a RST.
    pub const RST: u8 = 1 << 3;

    /// Flags of a TCP header.
    const TCP_FIN: u8 = 0x01;
    const TCP_SYN: u8 = 0x02;
    const TCP_RST: u8 = 0x04;

    /// What was seen of a side after a TCP segment with these header flags. A SYN begins anew
    /// what had ended: ports are used again.
    #[inline(always)]
    pub const fn after_tcp(before: u8, header: u8) -> u8 {
        if header & TCP_SYN != 0 {
            if before & (FIN | RST) != 0 {
                SYN
            } else {
                before | SYN
            }
        } else if header & TCP_RST != 0 {
            before | RST
        } else if header & TCP_FIN != 0 {
            before | DATA | FIN
        } else {
            before | DATA
        }
    }
}

/// How old a side's time may grow before it is renewed, in coarse time units (seconds, about).
/// Against timeouts of half a minute and more that is exact enough, and a busy flow neither
/// dirties its cache line nor pulls it from CPU to CPU with every packet.
pub const RENEWAL: u32 = 2;

impl NatState {
    const TAG: u64 = 0xffff_ff00;

    /// A side of the flow with this hash.
    #[inline(always)]
    pub const fn new(hash: u64, seen: u8, time: u32) -> Self {
        Self(seen as u64 | hash & Self::TAG | (time as u64) << 32)
    }

    /// What was seen of the side.
    #[inline(always)]
    pub const fn seen(self) -> u8 {
        self.0 as u8
    }

    /// When it was last heard, to within [`RENEWAL`].
    #[inline(always)]
    pub const fn time(self) -> u32 {
        (self.0 >> 32) as u32
    }

    /// For how long it was silent at `now`; a time from a CPU whose clock is ahead is no silence.
    #[inline(always)]
    pub const fn age(self, now: u32) -> u32 {
        let age = now.wrapping_sub(self.time());
        if age as i32 >= 0 { age } else { 0 }
    }

    /// The word after a packet at `now` that leaves `seen`, if it says something new.
    #[inline(always)]
    pub const fn renewed(self, seen: u8, now: u32) -> Option<Self> {
        if seen == self.seen() && self.age(now) <= RENEWAL {
            return None;
        }
        Some(Self(self.0 & Self::TAG | seen as u64 | (now as u64) << 32))
    }
}

/// The way to a flow's client: one word, always replaced whole.
///
/// | bits | meaning |
/// |---|---|
/// | 0–47 | MAC address that the client's last packet came from |
/// | 48–55 | egress index of the interface that it came in by |
/// | 56–63 | bits of the flow's hash |
#[repr(transparent)]
#[derive(Clone, Copy, PartialEq, Eq, Debug, Default)]
pub struct NatPath(pub u64);

impl NatPath {
    const TAG: u64 = 0xff << 56;

    /// The way back for a packet of the flow with this hash; `mac` as [`mac::to_word`] spells it.
    #[inline(always)]
    pub const fn new(mac: u64, egress: u32, hash: u64) -> Self {
        Self(mac & mac::MASK | (egress as u64 & 0xff) << 48 | hash & Self::TAG)
    }

    /// The same way for an entry with another hash.
    #[inline(always)]
    #[must_use]
    pub const fn of(self, hash: u64) -> Self {
        Self(self.0 & !Self::TAG | hash & Self::TAG)
    }

    /// MAC address and egress index, as in a [`crate::backend::BackendWord`] without state.
    #[inline(always)]
    pub const fn hop(self) -> u64 {
        self.0 & !Self::TAG
    }
}

/// What the rewrite of a packet does to its checksums, and the end mark of the entry.
///
/// | bits | meaning |
/// |---|---|
/// | 0–15 | to be added to a sum over both addresses |
/// | 16–31 | to be added to a sum over both addresses and both ports |
/// | 32–63 | bits of the flow's hash: the entry's end mark |
#[repr(transparent)]
#[derive(Clone, Copy, PartialEq, Eq, Debug, Default)]
pub struct NatRewrite(pub u64);

impl NatRewrite {
    /// Packs a word.
    #[inline(always)]
    pub const fn new(addresses: u16, all: u16, hash: u64) -> Self {
        Self(addresses as u64 | (all as u64) << 16 | hash << 32)
    }

    /// To be added to a sum over both addresses.
    #[inline(always)]
    pub const fn addresses(self) -> u16 {
        self.0 as u16
    }

    /// To be added to a sum over both addresses and both ports.
    #[inline(always)]
    pub const fn all(self) -> u16 {
        (self.0 >> 16) as u16
    }

    /// Whether the entry that ends here is one for `hash`.
    #[inline(always)]
    pub const fn ends(self, hash: u64) -> bool {
        self.0 >> 32 == hash & 0xffff_ffff
    }
}
