//! Per-CPU counters, all of an array by one call.

use super::sys;
use aya::maps::MapData;
use std::{io, os::fd::AsFd as _};

/// The values of a per-CPU array of `WORDS` words each, as they are at one moment.
pub struct PerCpu<const WORDS: usize> {
    /// Entry by entry, and of each entry CPU by CPU.
    values: Vec<u64>,
    cpus: usize,
}

impl<const WORDS: usize> PerCpu<WORDS> {
    pub(super) fn zeros(entries: u32, cpus: usize) -> Self {
        Self {
            values: vec![0; entries as usize * cpus * WORDS],
            cpus,
        }
    }

    pub(super) fn read(map: &MapData, entries: u32, cpus: usize) -> io::Result<Self> {
        let mut array = Self::zeros(entries, cpus);
        sys::read_array(map.fd().as_fd(), WORDS * cpus, &mut array.values)?;
        Ok(array)
    }

    /// The sums over all CPUs, entry by entry.
    pub fn sums(&self) -> impl Iterator<Item = [u64; WORDS]> {
        self.entries().map(sum)
    }

    /// Entries that differ from those at another moment, with the sums then and now.
    pub fn changes(
        &self,
        then: &Self,
    ) -> impl Iterator<Item = (usize, [u64; WORDS], [u64; WORDS])> {
        let pairs = then.entries().zip(self.entries()).enumerate();
        pairs
            .filter(|(_, (then, now))| then != now)
            .map(|(entry, (then, now))| (entry, sum(then), sum(now)))
    }

    fn entries(&self) -> impl Iterator<Item = &[u64]> {
        self.values.chunks(WORDS * self.cpus)
    }
}

fn sum<const WORDS: usize>(of_cpus: &[u64]) -> [u64; WORDS] {
    let mut sums = [0u64; WORDS];
    for (index, word) in of_cpus.iter().enumerate() {
        let sum = &mut sums[index % WORDS];
        *sum = sum.wrapping_add(*word);
    }
    sums
}

#[cfg(test)]
mod tests {
    use super::*;

    fn array(values: &[u64]) -> PerCpu<2> {
        PerCpu {
            values: values.to_vec(),
            cpus: 2,
        }
    }

    #[test]
    fn values_of_all_cpus_are_added_up() {
        let sums: Vec<_> = array(&[1, 2, 3, 4, 5, 6, u64::MAX, 1]).sums().collect();
        assert_eq!(sums, [[4, 6], [4, 7]]);
    }

    #[test]
    fn only_what_differs_has_changed() {
        let then = array(&[1, 2, 3, 4, 5, 6, 7, 8]);
        let now = array(&[1, 2, 3, 4, 5, 6, 7, 9]);
        let changes: Vec<_> = now.changes(&then).collect();
        assert_eq!(changes, [(1, [12, 14], [12, 15])]);
        assert_eq!(then.changes(&then).count(), 0);
    }
}
