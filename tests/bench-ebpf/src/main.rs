//! What the packet benchmark measures Navigator against. These programs are
//! small, frozen and share no code with the product: a floor does the least
//! that any program doing the same job must do, `classic_lru` is the classic
//! design of a balancer that keeps state for every flow, and [`wrapper`] makes a
//! repeated test run honest.
#![no_std]
#![no_main]

mod classic_lru;
mod floor_gue;
mod floor_ip6;
mod floor_ipip;
mod floor_nat;
mod floor_parse_swap;
mod floor_return;
mod packet;
mod sink;
mod wrapper;

#[cfg(not(test))]
#[panic_handler]
fn panic(_info: &core::panic::PanicInfo<'_>) -> ! {
    loop {}
}
