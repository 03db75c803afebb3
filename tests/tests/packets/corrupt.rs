//! Words that no writer would write lead to `drop_corrupt`, not elsewhere.

use crate::world::{PORT, TCP, key, packet};
use anyhow::{Result, ensure};
use navigator_common::{
    backend::BackendInfo,
    maps::VIP_ENTRIES,
    reason::Reason,
    slot::{MAX_BACKEND, Slot},
    vip::{PortWord, VipWord},
};
use navigator_core::model::ForwardMode;
use navigator_tests::packet::{
    Family,
    bed::{self, Bed, Role, SIZES, SLOTS},
    expect::{dropped, l2},
    row::{Row, row},
};
use navigator_user::dataplane::store::{Store as _, Table};

/// The first word of `table` that is `old`, set to `new` while `rows` are run.
fn with_word(bed: &mut Bed, table: Table, (old, new): (u64, u64), rows: &[Row]) -> Result<()> {
    let words = table.entries(&SIZES) as usize * table.entry_words();
    let found: Vec<_> = (0..words)
        .filter(|&word| bed.store().load(table, word) == old)
        .collect();
    ensure!(!found.is_empty(), "no word {old:#x} in {table:?}");
    for &word in &found {
        bed.store().store(table, word, new);
    }
    bed.check(rows)?;
    for &word in &found {
        bed.store().store(table, word, old);
    }
    Ok(())
}

#[test]
fn words_that_lead_nowhere() -> Result<()> {
    for family in Family::BOTH {
        let mut bed = Bed::new()?;
        let (vip, backend) = (family.vip(1, PORT), family.backend(1, PORT));
        let settings = bed::vip(vip, TCP, ForwardMode::L2);
        bed.serve(&settings, &[(backend, Role::Active)])?;
        let packet = packet(TCP, vip, b"hello");
        let good = [row("as it was", packet.clone(), l2(key(vip, TCP), backend))];
        let bad = |what: &str| {
            let name = format!("{family:?}: {what}");
            [row(name, packet.clone(), dropped(Reason::DropCorrupt))]
        };
        let info = BackendInfo {
            port: PORT,
            mode: 1,
            spread: 0,
            checksum_base: 0,
            vip: 1,
        };
        let port = PortWord::new(PORT, 6, 1).0;
        let far_vip = PortWord::new(PORT, 6, VIP_ENTRIES as u16).0;
        let steady = |backend| Slot::steady(backend).0;
        for (what, table, words) in [
            (
                "a slot names no backend id",
                Table::Slots,
                (steady(1), steady(SIZES.backends)),
            ),
            (
                "a slot names the last id",
                Table::Slots,
                (steady(1), steady(MAX_BACKEND)),
            ),
            ("a port names no VIP id", Table::Ports, (port, far_vip)),
            (
                "a backend has no mode",
                Table::Backends,
                (info.pack(), BackendInfo { mode: 0, ..info }.pack()),
            ),
            (
                "a backend has an unknown mode",
                Table::Backends,
                (info.pack(), BackendInfo { mode: 9, ..info }.pack()),
            ),
        ] {
            with_word(&mut bed, table, words, &bad(what))?;
            bed.check(&good)?;
        }
        let word = Table::Vips.entry_words();
        ensure!(
            bed.store().load(Table::Vips, word + 1) == u64::from(SLOTS),
            "the VIP has not the id 1"
        );
        let table = bed.store().load(Table::Vips, word);
        bed.store()
            .store(Table::Vips, word, VipWord::new(SIZES.slots, 0).0);
        bed.check(&bad("a table outside of all slots"))?;
        bed.store().store(Table::Vips, word, table);
        bed.check(&good)?;
    }
    Ok(())
}
