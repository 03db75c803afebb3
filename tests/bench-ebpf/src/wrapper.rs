//! Makes a repeated test run honest. The kernel hands a repeated run the
//! frame as the run before left it, so an encapsulating program would grow it
//! until the headroom is gone and then measure its own refusal. This program
//! runs in front of every program under test: it takes back what the frame
//! grew (one `bpf_xdp_adjust_head`), restores the Ethernet header, writes the next
//! flow's source address, and tail-calls the program under test. Of an IPv4 packet
//! it restores whatever an address translation changes as well (TTL, checksum,
//! addresses, ports), with the header's checksum as the next flow's source makes it.

use crate::packet::{ETH_LEN, at, write};
use aya_ebpf::{
    bindings::xdp_action,
    helpers::generated::bpf_xdp_adjust_head,
    macros::{map, xdp},
    maps::{Array, ProgramArray},
    programs::XdpContext,
};

/// What the frame looks like and how the flows vary.
#[repr(C)]
#[derive(Clone, Copy)]
struct Frame {
    /// Bytes that the program under test puts in front of the frame.
    growth: u32,
    /// Bytes that it put there in the run before; 0 before the first.
    grown: u32,
    /// First 8 bytes of the Ethernet header.
    ethernet_first: u64,
    /// The next 4.
    ethernet_second: u32,
    /// Its type field.
    ethernet_type: u32,
    /// Whether the packet is an IPv6 one.
    v6: u64,
    /// IPv4: TTL and protocol as the frame holds them.
    ttl_protocol: u32,
    /// IPv4: sum of the header's 16-bit words, as loaded natively, but for source and checksum.
    sum: u32,
    /// IPv4: destination address and ports.
    destination_ports: u64,
    /// Flows to run through.
    flows: u64,
    /// The flow of the last run.
    flow: u64,
}

#[map]
static WRAPPER_FRAME: Array<Frame> = Array::with_max_entries(1, 0);
#[map]
static WRAPPER_NEXT: ProgramArray = ProgramArray::with_max_entries(1, 0);

#[xdp(frags)]
fn wrapper(ctx: XdpContext) -> u32 {
    if prepare(&ctx).is_some() {
        // SAFETY: entry 0 is a program of the same type, or the call fails and we abort below.
        unsafe { WRAPPER_NEXT.tail_call(&ctx, 0) };
    }
    // Never the verdict of a program under test: the benchmark sees that it measured nothing.
    xdp_action::XDP_ABORTED
}

#[inline(always)]
fn prepare(ctx: &XdpContext) -> Option<()> {
    let frame = WRAPPER_FRAME.get_ptr_mut(0)?;
    // SAFETY: a live map value; the benchmark runs on one CPU at a time.
    let Frame {
        growth,
        grown,
        ethernet_first,
        ethernet_second,
        ethernet_type,
        v6,
        ttl_protocol,
        sum,
        destination_ports,
        flows,
        flow,
    } = unsafe { *frame };
    // SAFETY: the context is the one that the kernel passed in.
    if grown != 0 && unsafe { bpf_xdp_adjust_head(ctx.ctx, grown as i32) } != 0 {
        return None;
    }
    let next = if flow + 1 >= flows { 0 } else { flow + 1 };
    // SAFETY: as above.
    unsafe {
        (*frame).flow = next;
        (*frame).grown = growth;
    }
    let start = at(ctx, 0, ETH_LEN + 40)?;
    // SAFETY: 54 bytes are there; the source address of either family ends before that.
    unsafe {
        write(start, ethernet_first);
        write(start + 8, ethernet_second);
        write(start + 12, ethernet_type as u16);
        let source = (0x0b00_0000 + next as u32).to_be();
        if v6 != 0 {
            write(start + 34, source);
        } else {
            let checksum = checksum(sum + (source & 0xffff) + (source >> 16));
            let second = u64::from(ttl_protocol) | u64::from(checksum) << 16;
            write(start + 22, second | u64::from(source) << 32);
            write(start + 30, destination_ports);
        }
    }
    Some(())
}

/// The Internet checksum of a sum of a header's words.
#[inline(always)]
fn checksum(sum: u32) -> u16 {
    let sum = (sum & 0xffff) + (sum >> 16);
    !((sum & 0xffff) + (sum >> 16)) as u16
}
