//! Seeing packets: what `navigator_traced` writes down of a packet, and the
//! filters that say of which.
//!
//! Filters live in an array of [`TRACERS`] entries. An entry is rewritten only
//! while it is inactive and a grace period after it became so; what changes
//! while the program reads it is the word [`TraceFilter::active`] alone.

use crate::{
    addr::Addr,
    backend::BackendInfo,
    reason::Reason,
    slot::Slot,
    vip::{PortWord, Vip},
};
use core::mem::offset_of;

/// How many may trace at a time.
pub const TRACERS: usize = 4;
/// Bytes of a packet that a record holds.
pub const CAPTURE: usize = 128;
/// Bytes of the ring that records go through, while somebody traces: a power of two, in pages.
pub const RING_BYTES: u32 = 1 << 21;
/// The outcome of a packet that was forwarded; every other one is the number of a [`Reason`].
pub const FORWARDED: u32 = 127;

/// Which fields of a record say something.
pub mod known {
    /// The destination is a VIP's address: `vip_address`.
    pub const ADDRESS: u32 = 1 << 0;
    /// It is a flow of a VIP: `hash`, `vip`, `vip_port`, `vip_bits`.
    pub const VIP: u32 = 1 << 1;
    /// A slot was read: `slot`, `slot_index`.
    pub const SLOT: u32 = 1 << 2;
    /// A backend was chosen: `backend`, `backend_word`, `backend_info`, `backend_address`.
    pub const BACKEND: u32 = 1 << 3;
    /// It is a backend's reply on its way to the client, in mode `nat`.
    pub const REPLY: u32 = 1 << 4;
}

/// One packet, as `navigator_traced` saw it.
#[repr(C)]
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub struct TraceRecord {
    /// Monotonic nanoseconds.
    pub time: u64,
    /// The keyed hash of its flow.
    pub hash: u64,
    /// The [`Slot`] as it was read.
    pub slot: u64,
    /// The VIP's [`PortWord`].
    pub vip_port: u64,
    /// The backend's [`crate::backend::BackendWord`].
    pub backend_word: u64,
    /// The backend's [`BackendInfo`].
    pub backend_info: u64,
    /// The destination, if that is a VIP's address; once the VIP is known, the VIP's own, of a prefix the first.
    pub vip_address: Addr,
    /// The backend's address.
    pub backend_address: Addr,
    /// Who sent it, see [`client`]; of a reply whom it goes to. All zero if that is not known.
    pub client: Addr,
    /// Which fields say something, see [`known`].
    pub known: u32,
    /// The interface that it came in by.
    pub ifindex: u32,
    /// Bytes of the frame as it came.
    pub length: u32,
    /// Bytes of the frame as it left; 0 if it was passed or dropped.
    pub sent_length: u32,
    /// [`FORWARDED`], or the number of the [`Reason`].
    pub outcome: u32,
    /// The XDP action.
    pub action: u32,
    /// A bit for each filter that asked for it.
    pub filters: u32,
    /// A bit for each [`crate::reason::Event`] that was counted beside.
    pub events: u32,
    /// Id of the VIP.
    pub vip: u32,
    /// The slot's place in the VIP's table.
    pub slot_index: u32,
    /// Id of the backend.
    pub backend: u32,
    /// Bytes of `packet` that are the packet's.
    pub captured: u32,
    /// Bytes of `sent` that are the packet's.
    pub sent_captured: u32,
    /// How many leading bits of the VIP's address count, see [`Vip::bits`].
    pub vip_bits: u32,
    /// The first bytes of the frame as it came.
    pub packet: [u8; CAPTURE],
    /// The first bytes of the frame as it left.
    pub sent: [u8; CAPTURE],
}

/// The fields of a record, in their order, by the size of what they hold.
macro_rules! decode {
    ($bytes:ident: $($field:ident = $kind:ident),+) => {
        TraceRecord { $($field: $kind($bytes, offset_of!(TraceRecord, $field))?),+ }
    };
}

impl TraceRecord {
    /// The record that these bytes of the ring are; `None` if they are none.
    pub fn decode(bytes: &[u8]) -> Option<Self> {
        if bytes.len() < size_of::<Self>() {
            return None;
        }
        let record = decode!(bytes:
            time = word, hash = word, slot = word, vip_port = word, backend_word = word,
            backend_info = word, vip_address = address, backend_address = address, client = address, known = half,
            ifindex = half, length = half, sent_length = half, outcome = half, action = half,
            filters = half, events = half, vip = half, slot_index = half, backend = half,
            captured = half, sent_captured = half, vip_bits = half, packet = capture, sent = capture
        );
        let reason = record.outcome == FORWARDED || record.reason().is_some();
        let captured = record.captured.max(record.sent_captured) as usize <= CAPTURE;
        (reason && captured).then_some(record)
    }

    /// Why it was not forwarded; `None` if it was.
    pub fn reason(&self) -> Option<Reason> {
        let index = usize::try_from(self.outcome).ok()?;
        Reason::ALL.get(index).copied()
    }

    /// The slot as it was read, if one was.
    pub fn slot(&self) -> Option<Slot> {
        (self.known & known::SLOT != 0).then_some(Slot(self.slot))
    }

    /// The VIP's port and protocol, if it is a flow of one.
    pub fn vip_port(&self) -> Option<PortWord> {
        (self.known & known::VIP != 0).then_some(PortWord(self.vip_port))
    }

    /// How its backend is reached, if one was chosen.
    pub fn backend(&self) -> Option<BackendInfo> {
        (self.known & known::BACKEND != 0).then(|| BackendInfo::unpack(self.backend_info))
    }

    /// The bytes of the frame as it came that there are.
    pub fn packet(&self) -> &[u8] {
        self.packet.get(..self.captured as usize).unwrap_or(&[])
    }

    /// The bytes of the frame as it left that there are.
    pub fn sent(&self) -> &[u8] {
        self.sent.get(..self.sent_captured as usize).unwrap_or(&[])
    }

    /// Notes the VIP that it is for.
    #[inline(always)]
    pub fn set_vip(&mut self, vip: &Vip) {
        self.known |= known::VIP;
        self.vip_port = vip.port;
        self.vip = PortWord(vip.port).vip();
        self.vip_address = vip.address;
        self.vip_bits = vip.bits as u32;
    }
}

fn word(bytes: &[u8], at: usize) -> Option<u64> {
    Some(u64::from_ne_bytes(bytes.get(at..at + 8)?.try_into().ok()?))
}

fn half(bytes: &[u8], at: usize) -> Option<u32> {
    Some(u32::from_ne_bytes(bytes.get(at..at + 4)?.try_into().ok()?))
}

fn address(bytes: &[u8], at: usize) -> Option<Addr> {
    Some(Addr {
        hi: word(bytes, at)?,
        lo: word(bytes, at + 8)?,
    })
}

fn capture(bytes: &[u8], at: usize) -> Option<[u8; CAPTURE]> {
    bytes.get(at..at + CAPTURE)?.try_into().ok()
}

/// Which packets somebody wants to see. A field that is zero asks for nothing.
#[repr(C)]
#[derive(Clone, Copy, PartialEq, Eq, Debug, Default)]
pub struct TraceFilter {
    /// 1 while somebody traces by it, else 0.
    pub active: u64,
    /// A bit for each outcome that is wanted.
    pub outcomes: [u64; 2],
    /// The client's address, as far as the mask goes.
    pub client: Addr,
    /// The bits of it that count.
    pub client_mask: Addr,
    /// The backend's address.
    pub backend: Addr,
    /// Address of the VIP `vip`: packets for it that did not get as far as a VIP are wanted too.
    pub vip_address: Addr,
    /// Id of the VIP; [`TraceFilter::NO_VIP`] for one that is not there.
    pub vip: u32,
    /// The backend's port.
    pub backend_port: u32,
    /// Of how many packets one is wanted, as the part of 2^32 that is wanted less one.
    pub sample: u32,
    /// [`TraceFilter::ONLY_VIPS`] or 0.
    pub flags: u32,
}

impl TraceFilter {
    /// A VIP that no packet has.
    pub const NO_VIP: u32 = u32::MAX;
    /// Flag: leave out packets that are handed to the host and are for no VIP's address.
    pub const ONLY_VIPS: u32 = 1;
    /// Words of a filter.
    pub const WORDS: usize = size_of::<Self>() / 8;
    /// Every packet.
    pub const EVERY: u32 = u32::MAX;

    /// A filter's bytes as words, in their order.
    pub const fn words(&self) -> [u64; Self::WORDS] {
        const fn pair(low: u32, high: u32) -> u64 {
            low as u64 | (high as u64) << 32
        }
        [
            self.active,
            self.outcomes[0],
            self.outcomes[1],
            self.client.hi,
            self.client.lo,
            self.client_mask.hi,
            self.client_mask.lo,
            self.backend.hi,
            self.backend.lo,
            self.vip_address.hi,
            self.vip_address.lo,
            pair(self.vip, self.backend_port),
            pair(self.sample, self.flags),
        ]
    }

    /// The sample of one packet in `n`.
    pub const fn one_in(n: u32) -> u32 {
        match n {
            0 | 1 => Self::EVERY,
            n => u32::MAX / n,
        }
    }

    /// Whether a record is wanted; `random` is drawn for each packet.
    #[inline(always)]
    pub fn wants(&self, record: &TraceRecord, random: u32) -> bool {
        let client = record.client;
        let outcomes = if record.outcome < 64 {
            self.outcomes[0]
        } else {
            self.outcomes[1]
        };
        outcomes >> (record.outcome & 63) & 1 != 0
            && random <= self.sample
            && (self.flags & Self::ONLY_VIPS == 0 || !record.is_foreign())
            && client.hi & self.client_mask.hi == self.client.hi
            && client.lo & self.client_mask.lo == self.client.lo
            && self.wants_vip(record)
            && self.wants_backend(record)
    }

    #[inline(always)]
    fn wants_vip(&self, record: &TraceRecord) -> bool {
        if self.vip == 0 {
            return true;
        }
        if record.known & known::VIP != 0 {
            return record.vip == self.vip;
        }
        record.known & known::ADDRESS != 0 && record.vip_address == self.vip_address
    }

    #[inline(always)]
    fn wants_backend(&self, record: &TraceRecord) -> bool {
        if self.backend.is_empty() {
            return true;
        }
        record.known & known::BACKEND != 0
            && record.backend_address == self.backend
            && (self.backend_port == 0
                || self.backend_port == BackendInfo::unpack(record.backend_info).port as u32)
    }
}

impl TraceRecord {
    /// Whether it is for no VIP's address and was handed to the host.
    #[inline(always)]
    fn is_foreign(&self) -> bool {
        const XDP_PASS: u32 = 2;
        self.known & known::ADDRESS == 0 && self.action == XDP_PASS
    }
}

/// Who sent a packet, as far as its first bytes tell: the source of an IP packet, with up to two
/// VLAN tags in front; for an ICMP error the client whose packet it is about, to whom the quoted
/// packet went. All zero for anything else.
#[inline(always)]
pub fn client(packet: &[u8; CAPTURE]) -> Addr {
    const fn is_tag(ether_type: u16) -> bool {
        ether_type == 0x8100 || ether_type == 0x88a8
    }
    let outer = be16::<12>(packet);
    if !is_tag(outer) {
        return ip_client::<14>(packet, outer);
    }
    let inner = be16::<16>(packet);
    if !is_tag(inner) {
        return ip_client::<18>(packet, inner);
    }
    ip_client::<22>(packet, be16::<20>(packet))
}

/// Offsets are constants everywhere, so that the verifier sees that all lie in the packet.
#[inline(always)]
fn ip_client<const IP: usize>(packet: &[u8; CAPTURE], ether_type: u16) -> Addr {
    match ether_type {
        0x0800 => {
            // Without options, which errors about a flow do not have.
            let error =
                packet[IP] == 0x45 && packet[IP + 9] == 1 && matches!(packet[IP + 20], 3 | 11 | 12);
            Addr::from_v4_raw(if error {
                raw32(packet, IP + 44)
            } else {
                raw32(packet, IP + 12)
            })
        }
        0x86dd => {
            let error = packet[IP + 6] == 58 && matches!(packet[IP + 40], 1..=4);
            let at = if error { IP + 72 } else { IP + 8 };
            Addr {
                hi: raw64(packet, at),
                lo: raw64(packet, at + 8),
            }
        }
        _ => Addr::default(),
    }
}

#[inline(always)]
fn be16<const AT: usize>(packet: &[u8; CAPTURE]) -> u16 {
    u16::from_be_bytes([packet[AT], packet[AT + 1]])
}

#[inline(always)]
fn raw32(packet: &[u8; CAPTURE], at: usize) -> u32 {
    u32::from_ne_bytes([packet[at], packet[at + 1], packet[at + 2], packet[at + 3]])
}

#[inline(always)]
fn raw64(packet: &[u8; CAPTURE], at: usize) -> u64 {
    raw32(packet, at) as u64 | (raw32(packet, at + 4) as u64) << 32
}

const _: () = {
    assert!(size_of::<TraceRecord>() == 152 + 2 * CAPTURE);
    assert!(offset_of!(TraceRecord, known) == 96);
    assert!(offset_of!(TraceRecord, packet) == 152);
    assert!(size_of::<TraceFilter>() == 104);
    assert!(offset_of!(TraceFilter, vip) == 88);
    assert!(Reason::ALL.len() <= FORWARDED as usize);
    assert!(crate::reason::Event::ALL.len() <= 32);
    assert!(RING_BYTES.is_power_of_two());
};
