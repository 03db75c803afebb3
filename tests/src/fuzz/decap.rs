//! The tunnel end, `navigator_decap`, and its own books.

use super::{
    judge::Fate,
    world::{KINDS, PORT},
};
use crate::packet::{Family, expect::GUE_PORT};
use anyhow::{Context as _, Result, ensure};
use aya::{
    Ebpf, EbpfLoader,
    maps::{HashMap, PerCpuArray},
    programs::Xdp,
};
use navigator_common::{
    addr::Addr,
    maps::{ALL, DECAP_COUNTERS, DECAP_VIPS, DecapOutcome, globals, programs},
};
use std::{
    collections::BTreeMap,
    os::fd::{AsFd as _, BorrowedFd},
};

/// The program, loaded, with the world's VIPs as its own.
pub(super) struct Decap {
    object: Ebpf,
    seen: [u64; 3],
    closed: Vec<u64>,
}

impl Decap {
    pub(super) fn load() -> Result<Self> {
        let mut loader = EbpfLoader::new();
        for spec in ALL {
            loader.map_max_entries(spec.name, 1);
        }
        loader.override_global(globals::GUE_PORT, &GUE_PORT, true);
        let mut object = loader.load(navigator_user::backend_host::OBJECT)?;
        let vips = object.map_mut(DECAP_VIPS.name).context("no VIPs map")?;
        let mut vips: HashMap<_, [u64; 2], u64> = vips.try_into()?;
        for family in Family::BOTH {
            for kind in KINDS {
                let address = Addr::from(family.vip(kind.number, PORT).ip());
                vips.insert([address.hi, address.lo], 1, 0)?;
            }
        }
        let program = object.program_mut(programs::DECAP);
        let program: &mut Xdp = program.context("no program")?.try_into()?;
        program.load()?;
        let mut decap = Self {
            object,
            seen: [0; 3],
            closed: Vec::new(),
        };
        decap.closed = decap.counters()?;
        Ok(decap)
    }

    pub(super) fn fd(&self) -> Result<BorrowedFd<'_>> {
        let program = self.object.program(programs::DECAP);
        let program: &Xdp = program.context("no program")?.try_into()?;
        Ok(program.fd()?.as_fd())
    }

    pub(super) fn enter(&mut self, fate: Fate) {
        self.seen[match fate {
            Fate::Unwrapped => 1,
            Fate::Dropped => 2,
            _ => 0,
        }] += 1;
    }

    /// Holds what was seen against what was counted. The run that finds out what the kernel can
    /// do is seen by nobody, so the first closing only takes note.
    pub(super) fn close_books(&mut self) -> Result<()> {
        let now = self.counters()?;
        let change = |outcome: DecapOutcome| now[outcome as usize] - self.closed[outcome as usize];
        let counted = [
            change(DecapOutcome::Passed) + change(DecapOutcome::Foreign),
            change(DecapOutcome::Unwrapped),
            change(DecapOutcome::Malformed),
        ];
        let seen = std::mem::take(&mut self.seen);
        let probing = seen == [0; 3];
        self.closed = now;
        ensure!(
            probing || seen == counted,
            "navigator_decap: seen were {seen:?} (passed, unwrapped, dropped), counted {counted:?}"
        );
        Ok(())
    }

    pub(super) fn counted(&self) -> Result<BTreeMap<String, u64>> {
        let counters = self.counters()?;
        let named = DecapOutcome::ALL.iter().zip(counters);
        Ok(named
            .map(|(outcome, count)| (format!("decap {}", outcome.name()), count))
            .collect())
    }

    fn counters(&self) -> Result<Vec<u64>> {
        let map = self.object.map(DECAP_COUNTERS.name);
        let map: PerCpuArray<_, u64> = map.context("no counters map")?.try_into()?;
        DecapOutcome::ALL
            .iter()
            .map(|outcome| Ok(map.get(&(*outcome as u32), 0)?.iter().sum()))
            .collect()
    }
}
