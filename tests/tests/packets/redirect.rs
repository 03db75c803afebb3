//! Backends behind another interface than the one that the packet came in by.

use crate::world::{PORT, TCP, key, packet, payload};
use anyhow::{Context, Result, ensure};
use navigator_core::model::ForwardMode;
use navigator_tests::packet::{
    Family,
    bed::{self, Bed, IFINDEX, Role},
    expect::{ipip, l2},
    row::row,
};
use nix::{
    net::if_::if_nametoindex,
    sched::{CloneFlags, unshare},
};
use std::process::Command;

/// Name and MAC address of the other interface: a real one, or there would be
/// nothing to redirect to.
const OTHER: &str = "packets0";
pub(crate) const OTHER_MAC: [u8; 6] = [0x02, 0x4e, 0x41, 0x56, 0x77, 0x88];

/// Runs `work` with the index of an interface that is [`OTHER`], in a network
/// namespace that ends with it.
pub(crate) fn beside_another_interface(
    work: impl FnOnce(u32) -> Result<()> + Send + 'static,
) -> Result<()> {
    let worker = std::thread::spawn(move || {
        unshare(CloneFlags::CLONE_NEWNET)
            .context("packet tables make a network namespace: run them as root")?;
        let mac = OTHER_MAC.map(|byte| format!("{byte:02x}")).join(":");
        let add = format!("link add {OTHER} address {mac} type veth peer name packets1");
        let status = Command::new("ip").args(add.split(' ')).status();
        ensure!(
            status.context("cannot run `ip`")?.success(),
            "`ip {add}` failed"
        );
        work(if_nametoindex(OTHER)?)
    });
    let result = worker.join();
    result.unwrap_or_else(|panic| std::panic::resume_unwind(panic))
}

#[test]
fn packets_leave_with_the_mac_address_of_the_interface_that_sends_them() -> Result<()> {
    beside_another_interface(|ifindex| {
        let mut bed = Bed::new()?;
        let (mut over_there, mut back_here) = (Vec::new(), Vec::new());
        for inner in Family::BOTH {
            for outer in Family::BOTH {
                for mode in [ForwardMode::L2, ForwardMode::Ipip] {
                    if mode == ForwardMode::L2 && inner != outer {
                        continue;
                    }
                    let number = 1 + outer as u8 + 2 * u8::from(mode == ForwardMode::Ipip);
                    let (vip, backend) = (inner.vip(number, PORT), outer.backend(number, PORT));
                    bed.serve(&bed::vip(vip, TCP, mode), &[(backend, Role::Active)])?;
                    let name = format!("{inner:?} to {outer:?}, {mode}");
                    let packet = packet(TCP, vip, &payload(100));
                    let sent = match mode {
                        ForwardMode::L2 => l2(key(vip, TCP), backend)(&packet),
                        _ => ipip(key(vip, TCP), backend, outer.local())(&packet),
                    };
                    let redirected = sent.clone().redirected(OTHER_MAC);
                    over_there.push(row(&name, packet.clone(), |_| redirected));
                    back_here.push(row(&name, packet, |_| sent));
                }
            }
        }
        let hosts = || {
            let numbers = (1..=4).flat_map(|n| Family::BOTH.map(|f| f.backend(n, PORT).ip()));
            numbers.collect::<Vec<_>>()
        };
        for host in hosts() {
            bed.reach(host, ifindex)?;
        }
        bed.check(&over_there)?;
        for host in hosts() {
            bed.reach(host, IFINDEX)?;
        }
        bed.check(&back_here)
    })
}
