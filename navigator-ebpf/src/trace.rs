//! Seeing packets. The stages tell an [`Observer`] what they found out. In
//! `navigator` that is [`Unobserved`], of which the compiler leaves nothing;
//! in `navigator_traced` a [`Recorder`], which writes down what a filter asks for.

use crate::{
    maps::{
        NAT_FORWARD, NAT_REVERSE, TRACE_FILTERS, TRACE_LOST, TRACE_RING, TRACE_SCRATCH, VIPS, load,
    },
    packet::Frame,
    parse::Flow,
    select::{self, Chosen},
};
use aya_ebpf::{
    bindings::{BPF_RB_NO_WAKEUP, xdp_action, xdp_md},
    helpers::generated::{bpf_get_prandom_u32, bpf_ktime_get_ns},
    programs::XdpContext,
};
use navigator_common::{
    addr::Addr,
    backend::BackendInfo,
    reason::{Event, Reason},
    slot::Slot,
    trace::{FORWARDED, TRACERS, TraceRecord, client, known},
    vip::Vip,
};

/// The reader looks by itself: waking it for every packet would cost more than the record.
const NO_WAKEUP: u64 = BPF_RB_NO_WAKEUP as u64;

/// Who is told what becomes of a packet, in this order; what comes after a stage that refuses
/// the packet is not told, but for the last.
pub(crate) trait Observer {
    /// It came.
    #[inline(always)]
    fn arrives(&self, _ctx: &XdpContext) {}
    /// It is for this address, a VIP's.
    #[inline(always)]
    fn address(&self, _address: Addr) {}
    /// It is of this flow of this VIP.
    #[inline(always)]
    fn vip(&self, _flow: &Flow, _vip: &Vip) {}
    /// Its flow falls into this slot of the VIP's table.
    #[inline(always)]
    fn slot(&self, _index: u32, _slot: Slot) {}
    /// This was counted beside.
    #[inline(always)]
    fn event(&self, _event: Event) {}
    /// This backend is to have it.
    #[inline(always)]
    fn chosen(&self, _chosen: &Chosen) {}
    /// It was brought to its backend by the NAT entry of its flow.
    #[inline(always)]
    fn translated(&self, _flow: &Flow) {}
    /// It is a backend's reply, and was brought to its client by the NAT entry of its flow.
    #[inline(always)]
    fn returned(&self, _flow: &Flow) {}
    /// It leaves by this action; forwarded, or under a reason.
    #[inline(always)]
    fn leaves(&self, _ctx: &XdpContext, _action: u32, _reason: Option<Reason>) {}
}

/// Nobody looks.
pub(crate) struct Unobserved;

impl Observer for Unobserved {}

/// Writes a record of the packet, and hands it out if a filter asks for it.
pub(crate) struct Recorder {
    record: *mut TraceRecord,
}

impl Recorder {
    #[inline(always)]
    pub(crate) fn new() -> Option<Self> {
        let record = TRACE_SCRATCH.get_ptr_mut(0)?;
        Some(Self { record })
    }

    #[inline(always)]
    #[expect(clippy::mut_from_ref, reason = "one reference at a time, see below")]
    fn record(&self) -> &mut TraceRecord {
        // SAFETY: a live map value of this CPU, which nobody else uses; no method keeps the
        // reference, nor calls another one while it has it.
        unsafe { &mut *self.record }
    }
}

impl Observer for Recorder {
    #[inline(always)]
    fn arrives(&self, ctx: &XdpContext) {
        let frame = Frame::new(ctx);
        let length = frame.length() as u32;
        let record = self.record();
        // SAFETY: the helper takes no argument.
        record.time = unsafe { bpf_ktime_get_ns() };
        record.ifindex = ctx.ingress_ifindex() as u32;
        record.known = 0;
        record.events = 0;
        record.length = length;
        record.sent_length = 0;
        record.sent_captured = 0;
        record.captured = frame.copy_start(length, &mut record.packet);
        record.client = client(&record.packet);
    }

    #[inline(always)]
    fn address(&self, address: Addr) {
        let record = self.record();
        record.known = known::ADDRESS;
        record.vip_address = address;
    }

    #[inline(always)]
    fn vip(&self, flow: &Flow, vip: &Vip) {
        let record = self.record();
        record.hash = flow.hash;
        record.set_vip(vip);
    }

    #[inline(always)]
    fn slot(&self, index: u32, slot: Slot) {
        let record = self.record();
        record.known |= known::SLOT;
        record.slot_index = index;
        record.slot = slot.0;
    }

    #[inline(always)]
    fn event(&self, event: Event) {
        self.record().events |= 1 << event as u32;
    }

    #[inline(always)]
    fn chosen(&self, chosen: &Chosen) {
        let record = self.record();
        record.known |= known::BACKEND;
        record.backend = chosen.id;
        record.backend_word = chosen.word.0;
        record.backend_info = chosen.backend.info;
        record.backend_address = chosen.backend.address;
    }

    #[inline(always)]
    fn translated(&self, flow: &Flow) {
        if let Some(entry) = NAT_FORWARD.get_ptr(flow.hash)
            // SAFETY: a live map value; the word is read once.
            && let Some(chosen) = select::by_id((load(unsafe { &(*entry).ports }) >> 32) as u32)
        {
            self.chosen(&chosen);
        }
    }

    #[inline(always)]
    fn returned(&self, flow: &Flow) {
        let Some(entry) = NAT_REVERSE.get_ptr(flow.hash) else {
            return;
        };
        // SAFETY: a live map value. Its words may be another flow's a moment later: then the record
        // is about that one, which no forwarding depends on.
        let entry = unsafe { &*entry };
        let client = Addr {
            hi: load(&entry.destination.hi),
            lo: load(&entry.destination.lo),
        };
        let Some(chosen) = select::by_id((load(&entry.ports) >> 32) as u32) else {
            return;
        };
        self.chosen(&chosen);
        let record = self.record();
        record.known |= known::REPLY;
        record.client = client;
        if let Some(vip) = VIPS.get(BackendInfo::unpack(record.backend_info).vip.into()) {
            record.set_vip(vip);
        }
    }

    #[inline(always)]
    fn leaves(&self, ctx: &XdpContext, action: u32, reason: Option<Reason>) {
        navigator_record(ctx.ctx, action, reason.map_or(FORWARDED, Reason::index));
    }
}

/// Ends this CPU's record with how the packet leaves, and hands it out. Always 0. The verifier
/// checks this by itself: once, and not for every reason.
#[unsafe(no_mangle)]
extern "C" fn navigator_record(ctx: *mut xdp_md, action: u32, outcome: u32) -> u64 {
    if let Some(recorder) = Recorder::new() {
        recorder.hand_out(&XdpContext::new(ctx), action, outcome);
    }
    0
}

impl Recorder {
    #[inline(always)]
    fn hand_out(&self, ctx: &XdpContext, action: u32, outcome: u32) {
        let record = self.record();
        record.action = action;
        record.outcome = outcome;
        record.filters = asked_for(record);
        if record.filters == 0 {
            return;
        }
        if action > xdp_action::XDP_PASS {
            let frame = Frame::new(ctx);
            let length = frame.length() as u32;
            record.sent_length = length;
            record.sent_captured = frame.copy_start(length, &mut record.sent);
        }
        if TRACE_RING
            .output::<TraceRecord>(&*record, NO_WAKEUP)
            .is_err()
            && let Some(lost) = TRACE_LOST.get_ptr_mut(0)
        {
            // SAFETY: a live map value of this CPU, which nobody else writes.
            unsafe { *lost += 1 };
        }
    }
}

/// A bit for each filter that asks for the record.
#[inline(always)]
fn asked_for(record: &TraceRecord) -> u32 {
    // SAFETY: the helper takes no argument.
    let random = unsafe { bpf_get_prandom_u32() };
    let mut filters = 0;
    for number in 0..TRACERS as u32 {
        if let Some(filter) = TRACE_FILTERS.get(number)
            && load(&filter.active) != 0
            && filter.wants(record, random)
        {
            filters |= 1 << number;
        }
    }
    filters
}
