//! What other ways would have done with the same packets: a consistent-hash
//! table alone, and such a table behind an LRU memory of flows.

use super::world::World;
/// Where a scheme's connection is at home.
#[derive(Clone, Copy)]
struct Home {
    host: usize,
    generation: u32,
}

/// One way to balance, and the connections that it broke so far.
pub struct Classic {
    /// What it is, for people.
    pub name: String,
    /// Connections that were sent to a host that does not know them, although their own
    /// could serve them. A client that this happened to connects again.
    pub broken: u64,
    memory: Option<Lru>,
    /// By flow.
    homes: Vec<Option<Home>>,
}

impl Classic {
    /// A table, and nothing else.
    pub fn stateless() -> Self {
        Self::new("consistent hashing alone".to_owned(), None)
    }

    /// A table behind an LRU memory of `flows`, which are so many percent of those alive.
    pub fn lru(flows: usize, percent: usize) -> Self {
        let name = format!("LRU memory for {percent} % of the flows");
        Self::new(name, Some(Lru::new(flows)))
    }

    fn new(name: String, memory: Option<Lru>) -> Self {
        Self {
            name,
            broken: 0,
            memory,
            homes: Vec::new(),
        }
    }

    /// A packet of a flow; `owner` is whom the table names for it.
    pub fn packet(&mut self, flow: u32, opens: bool, owner: Option<usize>, world: &World) {
        let known = self.memory.as_mut().and_then(|lru| lru.get(flow));
        let serves = |host: &usize| {
            if opens {
                world.takes_new(*host)
            } else {
                world.is_usable(*host)
            }
        };
        let target = known.filter(serves).or(owner);
        if let (Some(lru), Some(target)) = (&mut self.memory, target) {
            lru.put(flow, target);
        }
        let Some(target) = target else {
            return;
        };
        let here = Home {
            host: target,
            generation: world.generation(target),
        };
        let place = flow as usize;
        if self.homes.len() <= place {
            self.homes.resize(place + 1, None);
        }
        if let Some(home) = self.homes[place].filter(|_| !opens)
            && home.host != target
            && home.generation == world.generation(home.host)
            && world.is_usable(home.host)
        {
            self.broken += 1;
        }
        self.homes[place] = Some(here);
    }
}

/// The flows that were seen last.
struct Lru {
    capacity: usize,
    /// By flow; [`NONE`] for one that is forgotten.
    places: Vec<usize>,
    entries: Vec<Entry>,
    newest: usize,
    oldest: usize,
}

struct Entry {
    flow: u32,
    host: usize,
    newer: usize,
    older: usize,
}

const NONE: usize = usize::MAX;

impl Lru {
    fn new(capacity: usize) -> Self {
        Self {
            capacity: capacity.max(1),
            places: Vec::new(),
            entries: Vec::with_capacity(capacity),
            newest: NONE,
            oldest: NONE,
        }
    }

    fn get(&mut self, flow: u32) -> Option<usize> {
        let place = self.place(flow)?;
        self.unlink(place);
        self.link(place);
        Some(self.entries[place].host)
    }

    fn put(&mut self, flow: u32, host: usize) {
        if let Some(place) = self.place(flow) {
            self.entries[place].host = host;
            return;
        }
        let entry = Entry {
            flow,
            host,
            newer: NONE,
            older: NONE,
        };
        let place = if self.entries.len() < self.capacity {
            self.entries.push(entry);
            self.entries.len() - 1
        } else {
            let place = self.oldest;
            self.unlink(place);
            self.places[self.entries[place].flow as usize] = NONE;
            self.entries[place] = entry;
            place
        };
        if self.places.len() <= flow as usize {
            self.places.resize(flow as usize + 1, NONE);
        }
        self.places[flow as usize] = place;
        self.link(place);
    }

    fn place(&self, flow: u32) -> Option<usize> {
        let place = self.places.get(flow as usize).copied();
        place.filter(|&place| place != NONE)
    }

    fn unlink(&mut self, place: usize) {
        let Entry { newer, older, .. } = self.entries[place];
        match newer {
            NONE => self.newest = older,
            newer => self.entries[newer].older = older,
        }
        match older {
            NONE => self.oldest = newer,
            older => self.entries[older].newer = newer,
        }
    }

    fn link(&mut self, place: usize) {
        let older = self.newest;
        self.entries[place].newer = NONE;
        self.entries[place].older = older;
        match older {
            NONE => self.oldest = place,
            older => self.entries[older].newer = place,
        }
        self.newest = place;
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_flow_that_was_seen_longest_ago_is_forgotten() {
        let mut lru = Lru::new(3);
        (1..=3).for_each(|flow| lru.put(flow, flow as usize));
        assert_eq!(lru.get(1), Some(1));
        lru.put(4, 4);
        assert_eq!(
            (lru.get(2), lru.get(1), lru.get(3)),
            (None, Some(1), Some(3))
        );
        lru.put(1, 9);
        lru.put(5, 5);
        assert_eq!(
            (lru.get(4), lru.get(1), lru.get(5)),
            (None, Some(9), Some(5))
        );
    }
}
