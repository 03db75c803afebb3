//! Navigator's XDP programs.
//!
//! `navigator`, the load balancer, runs a packet through stages that each
//! return `Result<T, Reason>`: [`parse`] → [`vip`] → [`select`] →
//! [`forward`] → [`count`]. Only this file turns a [`Reason`] into an XDP
//! action, and only [`packet`] does pointer arithmetic.
//!
//! `navigator_traced` is the same code with an observer ([`trace`]); it is
//! loaded only while somebody wants to see packets.
#![no_std]
#![no_main]
#![allow(
    internal_features,
    reason = "a BPF target has no atomic read-modify-write in core::sync, only the intrinsics"
)]
#![feature(asm_experimental_arch, core_intrinsics)]

mod affinity;
mod atomic;
mod clock;
mod cold;
mod count;
mod flow;
mod forward;
mod globals;
mod icmp;
mod limit;
mod maps;
mod nat;
mod odd;
mod packet;
mod parse;
mod quic;
mod refuse;
mod select;
mod trace;
mod vip;
mod vlan;

mod decap;

use aya_ebpf::{bindings::xdp_action, macros::xdp, programs::XdpContext};
use aya_log_ebpf::info;
use cold::cold;
use maps::load;
use navigator_common::{
    reason::{Reason, Verdict},
    vip::VipWord,
};
use packet::Frame;
use parse::NoFlow;
use trace::{Observer, Recorder, Unobserved};
use vlan::Taken;

/// The load balancer.
#[xdp(frags)]
fn navigator(ctx: XdpContext) -> u32 {
    run(&ctx, &Unobserved)
}

/// The same, for as long as somebody wants to see packets.
#[xdp(frags)]
fn navigator_traced(ctx: XdpContext) -> u32 {
    match Recorder::new() {
        Some(recorder) => run(&ctx, &recorder),
        // Cannot be: an array's first entry is always there.
        None => xdp_action::XDP_PASS,
    }
}

#[inline(always)]
fn run(ctx: &XdpContext, observer: &impl Observer) -> u32 {
    observer.arrives(ctx);
    let mut taken = Taken::NONE;
    let outcome = balance(ctx, &mut taken, observer);
    let action = match outcome {
        Ok(action) => action,
        Err(reason) => {
            count::reason(reason);
            match reason.verdict() {
                Verdict::Pass | Verdict::Reply if !taken.put_back(ctx.ctx) => {
                    xdp_action::XDP_ABORTED
                }
                Verdict::Pass => xdp_action::XDP_PASS,
                Verdict::Reply => xdp_action::XDP_TX,
                Verdict::Drop => {
                    info!(ctx, "dropped under reason {}", reason.index());
                    xdp_action::XDP_DROP
                }
            }
        }
    };
    observer.leaves(ctx, action, outcome.err());
    action
}

#[inline(always)]
fn balance(ctx: &XdpContext, taken: &mut Taken, observer: &impl Observer) -> Result<u32, Reason> {
    let frame = Frame::new(ctx);
    let destination = parse::destination(&frame, taken)?;
    let address = vip::find_address(destination.address).ok_or_else(|| cold(Reason::PassNotVip))?;
    observer.address(destination.address);
    let flow = match parse::flow(&frame, &destination) {
        Ok(flow) => flow,
        Err(NoFlow::Icmp(message)) => icmp::flow(ctx, destination.family, message)
            .map_err(|reason| nat::or_hosts(reason, address))?,
        Err(problem) => return Err(nat::or_hosts(vip::unserved(problem, address), address)),
    };
    let vip = match vip::find(address, &flow) {
        Ok(vip) => vip,
        Err(_) if address.is_snat() => {
            let action = nat::to_client(ctx, &flow, address)?;
            observer.returned(&flow);
            return Ok(action);
        }
        Err(reason) => return Err(reason),
    };
    let flow = flow.veiled(load(&vip.reserved[0]));
    observer.vip(&flow, vip);
    let table = VipWord(load(&vip.word));
    if table.flags() & VipWord::NAT != 0
        && let Some(action) = nat::to_backend(ctx, &flow, vip, table)?
    {
        observer.translated(&flow);
        return Ok(action);
    }
    let chosen = select::backend(ctx, &flow, vip, table, observer)?;
    observer.chosen(&chosen);
    refuse::loops(&frame, &chosen)?;
    let action = forward::send(frame, &flow, &chosen)?;
    count::forwarded(chosen.id, flow.length);
    Ok(action)
}

#[cfg(not(test))]
#[panic_handler]
fn panic(_info: &core::panic::PanicInfo<'_>) -> ! {
    loop {}
}
