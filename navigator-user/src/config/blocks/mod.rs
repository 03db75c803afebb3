//! `[[vip]]` and `[[service]]` blocks. What their values may be is for the
//! registry's rules to say, the same as for anybody's entry; here each of
//! their complaints is given its place in the file.

mod rules;
mod service;
mod vip;

use super::reader::Section;
use navigator_core::{entry::Rules, health};
use service::Services;

/// The blocks as registry entries: keys and JSON values, in the order of the file.
#[derive(Default)]
pub(super) struct Blocks {
    pub(super) vips: Vec<(String, Vec<u8>)>,
    pub(super) instances: Vec<(String, Vec<u8>)>,
}

/// What the blocks are measured by.
pub(super) struct Measures<'a> {
    /// Where instances may be.
    pub(super) rules: Rules,
    /// What a check that does not say otherwise uses.
    pub(super) health: &'a health::Settings,
    /// Slots of all VIPs together.
    pub(super) slots: u32,
    /// The addresses of the VIPs are held on an interface.
    pub(super) announces: bool,
    /// There is no other place that instances could come from but the API.
    pub(super) embedded: bool,
}

/// Reads all blocks of the file.
pub(super) fn read(root: &mut Section<'_, '_>, measures: &Measures<'_>) -> Blocks {
    let mut blocks = Blocks::default();
    let cure = "write each VIP as a block that begins with [[vip]]";
    let vips: Vec<_> = root
        .tables("vip", cure)
        .into_iter()
        .filter_map(|section| vip::read(section, &mut blocks.vips))
        .collect();
    let cure = "write each service as a block that begins with [[service]]";
    let mut services = Services::default();
    for section in root.tables("service", cure) {
        services.read(section, measures, &mut blocks.instances);
    }
    vip::check_together(&vips, measures.slots, measures.announces);
    vip::warn_of_unreachable_instances(&vips, &services);
    if measures.embedded {
        vip::warn_of_empty_services(&vips, &services);
    }
    blocks
}
