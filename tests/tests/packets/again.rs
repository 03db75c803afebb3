//! A bed that another test had: programs stay loaded from test to test, what they did is forgotten.

use crate::world::{TCP, UDP, client, packet};
use anyhow::{Result, ensure};
use navigator_core::model::{ForwardMode, UdpPolicy};
use navigator_tests::packet::{
    Family,
    bed::{
        self, Bed,
        Role::{Active, Draining},
    },
    icmp,
};
use navigator_user::dataplane::{
    Dataplane as _, VipSettings,
    store::{Store as _, Table},
};

/// Nobody else's, so that the second bed is the first one.
const NETWORK: [&str; 1] = ["172.20.0.0/16"];

#[test]
fn it_is_as_good_as_new() -> Result<()> {
    let tables = |bed: &Bed| Table::ALL.map(|table| bed.store().copy_for_test(table));
    let counted = |bed: &Bed| {
        let store = bed.store();
        let reasons: u64 = store.reason_counters().sums().flatten().sum();
        reasons + store.backend_counters().sums().flatten().sum::<u64>()
    };
    let mut bed = Bed::from_sources(&NETWORK)?;
    let new = tables(&bed);
    for family in Family::BOTH {
        // A table at risk, flows that are remembered, an answer that is limited.
        let (vip, old) = (family.vip(1, 80), family.backend(1, 80));
        for protocol in [TCP, UDP] {
            let settings = VipSettings {
                udp: UdpPolicy::Sticky,
                ..bed::vip(vip, protocol, ForwardMode::L2)
            };
            bed.serve(&settings, &[(old, Active)])?;
            bed.serve(
                &settings,
                &[(family.backend(2, 80), Active), (old, Draining)],
            )?;
            bed.send(&packet(protocol, vip, b"hello"))?;
        }
        bed.send(&icmp::echo(client(family).ip(), vip.ip(), [0; 4], b"ping"))?;
    }
    let prefix = bed
        .store()
        .set_prefix(client(Family::V6).ip().into(), 64, Some(1));
    ensure!(
        prefix.is_ok() && bed.remembered() > 0 && counted(&bed) > 0,
        "nothing was done"
    );
    ensure!(tables(&bed) != new, "the tables did not change");
    drop(bed);

    let mut bed = Bed::from_sources(&NETWORK)?;
    ensure!(tables(&bed) == new, "a table is not empty");
    ensure!(counted(&bed) == 0, "something is counted");
    ensure!(bed.store().prefixes().is_empty(), "a prefix is there");
    ensure!(bed.plane().figures().vips.is_empty(), "a VIP is there");
    Ok(())
}
