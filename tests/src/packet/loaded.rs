//! Programs in the kernel, which one test after the other gets with empty tables: that the verifier
//! looks at them takes longer than most tests, above all in an emulated machine.

use super::{addresses::LOCAL_MAC, bed::IFINDEX};
use anyhow::{Result, ensure};
use navigator_common::trace::{TRACERS, TraceFilter};
use navigator_user::dataplane::kernel::{
    Filters, KernelDataplane, KernelSettings, LoadedProgram, Records,
};
use std::{
    ops::{Deref, DerefMut},
    sync::{Mutex, PoisonError},
    thread::panicking,
};

/// A data plane with the programs on it.
pub(super) struct Loaded {
    settings: KernelSettings,
    pub(super) plane: KernelDataplane,
    pub(super) program: LoadedProgram,
    egress: u8,
    pub(super) observed: Option<Observed>,
}

/// The program that writes down packets.
pub(super) struct Observed {
    pub(super) program: LoadedProgram,
    pub(super) filters: Filters,
    pub(super) records: Records,
}

/// Those that nobody has, the one that was used last at the end.
static SPARE: Mutex<Vec<Loaded>> = Mutex::new(Vec::new());

/// As many are kept; most tests want the same settings.
const SPARES: usize = 6;

/// One that nobody else has until it is dropped.
pub(super) struct Lent(Option<Loaded>);

/// One with empty tables.
///
/// # Errors
/// The kernel refuses.
pub(super) fn take(settings: KernelSettings) -> Result<Lent> {
    let spare = {
        let mut spare = SPARE.lock().unwrap_or_else(PoisonError::into_inner);
        let place = spare.iter().position(|it| it.settings == settings);
        place.map(|place| spare.remove(place))
    };
    let loaded = match spare {
        Some(mut loaded) => {
            loaded.empty()?;
            loaded
        }
        None => Loaded::new(settings)?,
    };
    Ok(Lent(Some(loaded)))
}

impl Deref for Lent {
    type Target = Loaded;

    fn deref(&self) -> &Loaded {
        match &self.0 {
            Some(loaded) => loaded,
            None => unreachable!("it is there until it is dropped"),
        }
    }
}

impl DerefMut for Lent {
    fn deref_mut(&mut self) -> &mut Loaded {
        match &mut self.0 {
            Some(loaded) => loaded,
            None => unreachable!("it is there until it is dropped"),
        }
    }
}

impl Drop for Lent {
    fn drop(&mut self) {
        // A test that panics may have been in the middle of anything.
        let loaded = self.0.take().filter(|_| !panicking());
        let mut spare = SPARE.lock().unwrap_or_else(PoisonError::into_inner);
        spare.extend(loaded);
        let longest_unused = (spare.len() > SPARES).then(|| spare.remove(0));
        drop(spare);
        drop(longest_unused);
    }
}

impl Loaded {
    fn new(settings: KernelSettings) -> Result<Self> {
        let mut plane = KernelDataplane::open(settings.clone())?;
        let egress = plane.make_interface_for_test(IFINDEX, LOCAL_MAC)?;
        let program = plane.load_program_for_test(LOCAL_MAC, egress)?;
        Ok(Self {
            settings,
            plane,
            program,
            egress,
            observed: None,
        })
    }

    fn empty(&mut self) -> Result<()> {
        self.plane.wipe_for_test(&self.settings)?;
        let egress = self.plane.make_interface_for_test(IFINDEX, LOCAL_MAC)?;
        ensure!(
            egress == self.egress,
            "the programs were loaded for egress {}, not {egress}",
            self.egress
        );
        Ok(())
    }

    /// Makes the program that writes down packets ready: without a filter and without a record.
    ///
    /// # Errors
    /// If the kernel refuses it.
    pub(super) fn observe(&mut self) -> Result<&mut Observed> {
        let observed = match self.observed.take() {
            Some(mut observed) => {
                for number in 0..TRACERS {
                    observed.filters.clear(number, &TraceFilter::default())?;
                }
                observed.records.forget_for_test()?;
                observed
            }
            None => {
                let (program, filters, records) =
                    self.plane.load_traced_for_test(LOCAL_MAC, self.egress)?;
                Observed {
                    program,
                    filters,
                    records,
                }
            }
        };
        Ok(self.observed.insert(observed))
    }
}
