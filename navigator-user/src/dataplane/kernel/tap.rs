//! What a loaded `navigator_traced` is told, by its filters, and tells, by its ring.

use super::error::OpenError;
use aya::{
    Ebpf,
    maps::{Array, MapData, MapError, PerCpuArray, PerCpuValues, RingBuf},
    util::nr_cpus,
};
use navigator_common::{
    maps::traced,
    trace::{TRACERS, TraceFilter, TraceRecord},
};
use std::io;

/// The filters of one loaded program.
pub struct Filters {
    map: Array<MapData, [u64; TraceFilter::WORDS]>,
}

/// The records of one loaded program.
pub struct Records {
    ring: RingBuf<MapData>,
    lost: PerCpuArray<MapData, u64>,
}

/// Takes both out of a program; no filter is active.
pub(super) fn take(program: &mut Ebpf) -> Result<(Filters, Records), OpenError> {
    fn taken<T: TryFrom<aya::maps::Map, Error = MapError>>(
        program: &mut Ebpf,
        name: &str,
    ) -> Result<T, OpenError> {
        let broken =
            |why: String| OpenError::from_io(format!("open map {name}"), io::Error::other(why));
        let map = program.take_map(name);
        let map = map.ok_or_else(|| broken("the object has none".to_owned()))?;
        T::try_from(map).map_err(|error| broken(error.to_string()))
    }
    let filters = Filters {
        map: taken(program, traced::FILTERS)?,
    };
    let records = Records {
        ring: taken(program, traced::RING)?,
        lost: taken(program, traced::LOST)?,
    };
    Ok((filters, records))
}

impl Filters {
    /// Lets the program write down what a filter asks for, under the number of a filter that was
    /// never set, or was cleared a grace period ago: the program reads it only from the last write on.
    ///
    /// # Errors
    /// The kernel refuses.
    pub fn set(&mut self, number: usize, filter: &TraceFilter) -> io::Result<()> {
        for active in [0, 1] {
            self.write(number, &TraceFilter { active, ..*filter })?;
        }
        Ok(())
    }

    /// Ends what [`Filters::set`] began with this filter.
    ///
    /// # Errors
    /// The kernel refuses.
    pub fn clear(&mut self, number: usize, filter: &TraceFilter) -> io::Result<()> {
        self.write(
            number,
            &TraceFilter {
                active: 0,
                ..*filter
            },
        )
    }

    fn write(&mut self, number: usize, filter: &TraceFilter) -> io::Result<()> {
        debug_assert!(number < TRACERS);
        self.map
            .set(number as u32, filter.words(), 0)
            .map_err(io::Error::other)
    }
}

impl Records {
    /// The next record, if there is one.
    pub fn next_record(&mut self) -> Option<TraceRecord> {
        while let Some(bytes) = self.ring.next() {
            // What is none is of another layout, which cannot be: program and reader are one binary.
            if let Some(record) = TraceRecord::decode(&bytes) {
                return Some(record);
            }
        }
        None
    }

    /// Forgets them, and the number of those that were lost: for tests that find the program loaded.
    ///
    /// # Errors
    /// The kernel refuses.
    pub fn forget_for_test(&mut self) -> io::Result<()> {
        while self.ring.next().is_some() {}
        let cpus = nr_cpus().map_err(|(_, error)| error)?;
        let zeros = PerCpuValues::try_from(vec![0; cpus])?;
        self.lost.set(0, zeros, 0).map_err(io::Error::other)
    }

    /// Records that found the ring full, since the program was loaded.
    pub fn lost(&self) -> u64 {
        let per_cpu = self.lost.get(&0, 0).ok();
        per_cpu.map_or(0, |values| values.iter().sum())
    }
}
