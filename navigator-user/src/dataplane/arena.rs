//! Which parts of an array are taken: first fit, with neighbours joined
//! again when they are given back. Ids are regions of length one.

use std::collections::BTreeMap;

/// Free regions of an array.
#[derive(Clone, PartialEq, Eq, Debug)]
pub(super) struct Arena {
    /// Length by first entry; never empty, never touching one another.
    free: BTreeMap<u32, u32>,
    used: u32,
    capacity: u32,
}

impl Arena {
    /// All of `first..end` is free.
    pub(super) fn new(first: u32, end: u32) -> Self {
        let capacity = end.saturating_sub(first);
        let free = (capacity > 0).then_some((first, capacity));
        Self {
            free: free.into_iter().collect(),
            used: 0,
            capacity,
        }
    }

    /// Takes `length` entries, the lowest that fit together.
    pub(super) fn take(&mut self, length: u32) -> Option<u32> {
        let (&start, &room) = self.free.iter().find(|&(_, &room)| room >= length)?;
        self.carve(start, room, start, length);
        Some(start)
    }

    /// Takes exactly `start..start + length`; whether all of it was free.
    pub(super) fn take_at(&mut self, start: u32, length: u32) -> bool {
        let Some((&region, &room)) = self.free.range(..=start).next_back() else {
            return false;
        };
        let fits = u64::from(start) + u64::from(length) <= u64::from(region) + u64::from(room);
        if fits {
            self.carve(region, room, start, length);
        }
        fits
    }

    /// Gives back what was taken.
    pub(super) fn give(&mut self, start: u32, length: u32) {
        self.used -= length;
        let (mut start, mut length) = (start, length);
        if let Some((&before, &room)) = self.free.range(..start).next_back()
            && before + room == start
        {
            self.free.remove(&before);
            start = before;
            length += room;
        }
        if let Some(room) = self.free.remove(&(start + length)) {
            length += room;
        }
        self.free.insert(start, length);
    }

    /// Entries taken.
    pub(super) const fn used(&self) -> u32 {
        self.used
    }

    /// Entries there are.
    pub(super) const fn capacity(&self) -> u32 {
        self.capacity
    }

    fn carve(&mut self, region: u32, room: u32, start: u32, length: u32) {
        self.free.remove(&region);
        if start > region {
            self.free.insert(region, start - region);
        }
        let (end, region_end) = (start + length, region + room);
        if end < region_end {
            self.free.insert(end, region_end - end);
        }
        self.used += length;
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    proptest! {
        #[test]
        fn regions_never_overlap_and_all_room_comes_back(steps in prop::collection::vec((any::<bool>(), 1u32..20, any::<prop::sample::Index>()), 1..200)) {
            let mut arena = Arena::new(1, 101);
            let mut taken: Vec<(u32, u32)> = Vec::new();
            for (take, length, which) in steps {
                if take {
                    if let Some(start) = arena.take(length) {
                        prop_assert!(start >= 1 && start + length <= 101);
                        prop_assert!(taken.iter().all(|&(s, l)| start + length <= s || s + l <= start));
                        taken.push((start, length));
                    }
                } else if !taken.is_empty() {
                    let (start, length) = taken.swap_remove(which.index(taken.len()));
                    arena.give(start, length);
                }
                prop_assert_eq!(arena.used(), taken.iter().map(|t| t.1).sum::<u32>());
            }
            for (start, length) in taken {
                arena.give(start, length);
            }
            prop_assert_eq!(arena, Arena::new(1, 101));
        }

        #[test]
        fn a_region_can_be_taken_by_its_place_once(start in 0u32..120, length in 1u32..20) {
            let mut arena = Arena::new(1, 101);
            let inside = start >= 1 && start + length <= 101;
            prop_assert_eq!(arena.take_at(start, length), inside);
            prop_assert!(!arena.take_at(start, length));
        }
    }
}
