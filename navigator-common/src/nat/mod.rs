//! Full NAT: a client's packet leaves with one of the balancer's own addresses
//! as its source, so that backends need no change and ports may differ.
//!
//! A flow is two entries of two hash maps. [`NatForward`] is found by the
//! client's packets, [`NatReverse`] by the backend's replies; each holds all
//! that its direction needs, so that a packet costs one look-up. The keys are
//! the keyed flow hashes of the tuples, eight bytes that are cheap to hash
//! again; the whole tuple stands in the value and is compared.
//!
//! The reverse entry is inserted first, and only if there is none: that claims
//! the source port. An entry is immutable but for two words, [`NatState`] and
//! [`NatPath`], which are replaced by compare-and-exchange.
//!
//! A preallocated hash map hands the memory of a removed entry to the next
//! insert at once, while another CPU may still read it. So a reader takes what
//! it needs, and only then looks whether the entry still is the flow's: its
//! tuple, which stands in front of everything else, and the end mark
//! ([`NatRewrite`]), which stands behind. The two words carry some bits of the
//! flow's hash, so that an exchange cannot hit the word of another flow.

mod record;
mod words;

pub use record::Record;
pub use words::{NatPath, NatRewrite, NatState, RENEWAL, seen};

use crate::{
    addr::Addr,
    checksum,
    hash::{self, HashKey},
};

/// Who sends to whom: a flow in one direction.
#[repr(C)]
#[derive(Clone, Copy, PartialEq, Eq, Hash, Debug, Default)]
pub struct NatTuple {
    /// Source address.
    pub source: Addr,
    /// Destination address, of the same family.
    pub destination: Addr,
    /// Source port in bits 0–15 and destination port in bits 16–31, as the packet's bytes are
    /// loaded natively; IP protocol number in bits 32–39.
    pub ports: u64,
}

impl NatTuple {
    /// The tuple of a packet; `ports` as the packet holds them.
    #[inline(always)]
    pub const fn new(source: Addr, destination: Addr, ports: u32, protocol: u8) -> Self {
        Self {
            source,
            destination,
            ports: ports as u64 | (protocol as u64) << 32,
        }
    }

    /// Both ports as a packet holds them.
    #[inline(always)]
    pub const fn ports(&self) -> u32 {
        self.ports as u32
    }

    /// The IP protocol number.
    #[inline(always)]
    pub const fn protocol(&self) -> u8 {
        (self.ports >> 32) as u8
    }

    /// The flow hash of a packet with this tuple, which is its key in the maps.
    #[inline(always)]
    pub const fn hash(&self, key: &HashKey) -> u64 {
        let (ports, protocol) = (self.ports(), self.protocol());
        if self.destination.is_v4() {
            let (source, destination) = (self.source.v4_raw(), self.destination.v4_raw());
            hash::flow_v4(key, source, destination, ports, protocol)
        } else {
            hash::flow_v6(key, self.source, self.destination, ports, protocol)
        }
    }

    /// The one's complement sum that tells packets of two tuples apart in a TCP or UDP checksum.
    #[inline(always)]
    const fn sum(&self) -> u64 {
        self.addresses() + self.ports as u32 as u64
    }

    #[inline(always)]
    const fn addresses(&self) -> u64 {
        checksum::wide(self.source) + checksum::wide(self.destination)
    }
}

/// Two ports, in host order, as a packet holds them.
#[inline(always)]
pub const fn raw_ports(source: u16, destination: u16) -> u32 {
    source.to_be() as u32 | (destination.to_be() as u32) << 16
}

/// A flow as the program makes it.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub struct NatFlow {
    /// What the client sends.
    pub client: NatTuple,
    /// What leaves for the backend: from a source address and port of ours.
    pub backend: NatTuple,
    /// The backend's id.
    pub id: u32,
}

impl NatFlow {
    /// What the backend answers.
    #[inline(always)]
    pub const fn reply(&self) -> NatTuple {
        turned(&self.backend)
    }

    /// The entry that the client's packets find. `hash` is that of the client's tuple,
    /// `reverse` that of the reply.
    #[inline(always)]
    pub const fn forward(
        &self,
        hash: u64,
        reverse: u64,
        state: NatState,
        path: NatPath,
    ) -> NatForward {
        NatForward {
            tuple: self.client,
            source: self.backend.source,
            ports: self.backend.ports as u32 as u64 | (self.id as u64) << 32,
            reverse,
            state: state.0,
            path: path.0,
            rewrite: rewrite(&self.client, &self.backend, hash).0,
        }
    }

    /// The entry that the backend's replies find. `hash` is that of the reply.
    #[inline(always)]
    pub const fn reverse(&self, hash: u64, state: NatState, path: NatPath) -> NatReverse {
        let (reply, answer) = (self.reply(), turned(&self.client));
        NatReverse {
            tuple: reply,
            source: answer.source,
            destination: answer.destination,
            ports: answer.ports as u32 as u64 | (self.id as u64) << 32,
            state: state.0,
            path: path.0,
            rewrite: rewrite(&reply, &answer, hash).0,
        }
    }
}

/// The same flow in the other direction.
#[inline(always)]
pub const fn turned(tuple: &NatTuple) -> NatTuple {
    NatTuple {
        source: tuple.destination,
        destination: tuple.source,
        ports: (tuple.ports as u32).rotate_left(16) as u64 | tuple.ports & 0xff << 32,
    }
}

#[inline(always)]
const fn rewrite(old: &NatTuple, new: &NatTuple, hash: u64) -> NatRewrite {
    NatRewrite::new(
        checksum::change(old.addresses(), new.addresses()),
        checksum::change(old.sum(), new.sum()),
        hash,
    )
}

/// What a client's packet finds under the hash of its tuple.
#[repr(C)]
#[derive(Clone, Copy, PartialEq, Eq, Debug, Default)]
pub struct NatForward {
    /// The client's tuple.
    pub tuple: NatTuple,
    /// The source address that it gets. The destination is the backend's.
    pub source: Addr,
    /// The ports that it gets, as the packet will hold them, in bits 0–31; the backend's id above.
    pub ports: u64,
    /// Key of the reverse entry.
    pub reverse: u64,
    /// A [`NatState`]: what was seen of the client.
    pub state: u64,
    /// A [`NatPath`]: where the client's last packet came from.
    pub path: u64,
    /// A [`NatRewrite`].
    pub rewrite: u64,
}

/// What a backend's reply finds under the hash of its tuple.
#[repr(C)]
#[derive(Clone, Copy, PartialEq, Eq, Debug, Default)]
pub struct NatReverse {
    /// The reply's tuple.
    pub tuple: NatTuple,
    /// The source address that it gets: the VIP's.
    pub source: Addr,
    /// The destination address that it gets: the client's.
    pub destination: Addr,
    /// The ports that it gets, as the packet will hold them, in bits 0–31; the backend's id above.
    pub ports: u64,
    /// A [`NatState`]: what was seen of the backend.
    pub state: u64,
    /// A [`NatPath`]: the way to the client.
    pub path: u64,
    /// A [`NatRewrite`].
    pub rewrite: u64,
}

impl NatForward {
    /// The backend's id.
    #[inline(always)]
    pub const fn backend(&self) -> u32 {
        (self.ports >> 32) as u32
    }
}

impl NatReverse {
    /// The backend's id.
    #[inline(always)]
    pub const fn backend(&self) -> u32 {
        (self.ports >> 32) as u32
    }

    /// The tuple of the client's packets.
    pub const fn client(&self) -> NatTuple {
        turned(&NatTuple::new(
            self.source,
            self.destination,
            self.ports as u32,
            self.tuple.protocol(),
        ))
    }
}

/// Source addresses of each family that a program can have.
pub const NAT_SOURCES: usize = 16;

/// Ports that are tried for a new flow before it is dropped. With nine of ten ports taken, one
/// flow in five finds none in 16 tries; at one half, one in 65,536.
pub const PORT_TRIES: u32 = 16;

/// The lowest port that may be given: those below belong to the system (RFC 6335).
pub const LOWEST_PORT: u16 = 1024;

/// The port of a flow's `attempt`-th try, of `count` ports from `first` on. Start and step come
/// from the flow's hash, so that two flows that meet once seldom meet again; the step is more
/// than half of the range, so that the tries of one flow lie far from each other.
#[inline(always)]
pub const fn nat_port(hash: u64, attempt: u32, first: u16, count: u32) -> u16 {
    let step = 0x9000_0000 | (hash >> 32) as u32 >> 4;
    let number = (hash as u32).wrapping_add(step.wrapping_mul(attempt));
    first.wrapping_add(((number as u64 * count as u64) >> 32) as u16)
}

/// The source address of a flow, of `count`.
#[inline(always)]
pub const fn nat_source(hash: u64, count: u32) -> u32 {
    (((hash as u32).wrapping_mul(0x9e37_79b9) as u64 * count as u64) >> 32) as u32
}

const _: () = {
    assert!(size_of::<NatTuple>() == 40);
    assert!(size_of::<NatForward>() == 96);
    assert!(size_of::<NatReverse>() == 104);
    assert!(core::mem::offset_of!(NatForward, source) == 40);
    assert!(core::mem::offset_of!(NatForward, state) == 72);
    assert!(core::mem::offset_of!(NatForward, rewrite) == 88);
    assert!(core::mem::offset_of!(NatReverse, source) == 40);
    assert!(core::mem::offset_of!(NatReverse, state) == 80);
    assert!(core::mem::offset_of!(NatReverse, rewrite) == 96);
};

#[cfg(test)]
mod tests;
