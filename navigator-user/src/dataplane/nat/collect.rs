//! The end of NAT flows: when their time is over, or their backend is gone.
//!
//! A pass looks at all entries, a batch at a time. An entry that should go is
//! taken out and looked at once more: a packet may have come in between. Then
//! it is put back, unless the flow has made itself a new one.
//!
//! The forward entry goes first: from then on nobody relies on the reverse
//! entry, whose end makes the port free.

use super::{Desk, NatFigures, Phase, Timeouts, desk::Orders};
use navigator_common::{
    hash::HashKey,
    nat::{NatForward, NatReverse, NatState},
};
use std::{
    collections::{BTreeSet, HashMap},
    io,
};

/// One of the two maps.
pub trait Entries<V>: Send {
    /// Appends a batch of entries that begins at `cursor`, or at the start; returns where the
    /// next one begins. What is in the map from the first batch to the last is met, each once.
    ///
    /// # Errors
    /// If the kernel refuses.
    fn batch(&self, cursor: Option<u32>, out: &mut Vec<(u64, V)>) -> io::Result<Option<u32>>;

    /// An entry.
    ///
    /// # Errors
    /// If the kernel refuses.
    fn get(&self, key: u64) -> io::Result<Option<V>>;

    /// Takes an entry out, as it was at that moment.
    ///
    /// # Errors
    /// If the kernel refuses.
    fn take(&self, key: u64) -> io::Result<Option<V>>;

    /// Puts an entry in where there is none; whether it did.
    ///
    /// # Errors
    /// If the kernel refuses, for example because the map is full.
    fn put(&self, key: u64, value: &V) -> io::Result<bool>;
}

/// Both maps.
pub struct NatTables<F, R> {
    /// By the client's tuple.
    pub forward: F,
    /// By the reply's tuple.
    pub reverse: R,
}

/// Ends flows.
pub struct Collector<F, R> {
    tables: NatTables<F, R>,
    hash_key: HashKey,
    timeouts: Timeouts,
    /// Flows that there is room for.
    capacity: u64,
    /// The tables are nearly full.
    pressed: bool,
}

/// Where a pass is.
pub struct Pass {
    orders: Orders,
    met: BTreeSet<u32>,
    stage: Stage,
    cursor: Option<u32>,
    flows: u64,
    /// Flows from each source address to each backend.
    ports: HashMap<[u64; 5], u64>,
    /// Flows that were ended.
    pub ended: u64,
}

#[derive(Clone, Copy, PartialEq, Eq)]
enum Stage {
    Reverse,
    Forward,
}

/// A flow as it was looked at.
struct Sight {
    forward_key: u64,
    forward: NatForward,
    reverse_key: u64,
    reverse: NatReverse,
}

impl<F: Entries<NatForward>, R: Entries<NatReverse>> Collector<F, R> {
    /// For tables with room for `capacity` flows.
    pub fn new(
        tables: NatTables<F, R>,
        hash_key: HashKey,
        timeouts: Timeouts,
        capacity: u64,
    ) -> Self {
        Self {
            tables,
            hash_key,
            timeouts,
            capacity,
            pressed: false,
        }
    }

    /// The tables.
    pub const fn tables(&self) -> &NatTables<F, R> {
        &self.tables
    }

    /// Begins a pass over all entries.
    pub fn begin(&self, desk: &Desk) -> Pass {
        Pass {
            orders: desk.orders(),
            met: BTreeSet::new(),
            stage: Stage::Reverse,
            cursor: None,
            flows: 0,
            ports: HashMap::new(),
            ended: 0,
        }
    }

    /// Looks at one batch at coarse time `now`; whether the pass is over.
    ///
    /// # Errors
    /// If the kernel refuses. The pass has failed then.
    pub fn step(&self, pass: &mut Pass, now: u32) -> io::Result<bool> {
        match pass.stage {
            Stage::Reverse => {
                let mut batch = Vec::new();
                pass.cursor = self.tables.reverse.batch(pass.cursor, &mut batch)?;
                for (key, entry) in batch {
                    self.look_at_reverse(pass, key, entry, now)?;
                }
                if pass.cursor.is_none() {
                    pass.stage = Stage::Forward;
                }
                Ok(false)
            }
            Stage::Forward => {
                let mut batch = Vec::new();
                pass.cursor = self.tables.forward.batch(pass.cursor, &mut batch)?;
                for (key, entry) in batch {
                    self.look_at_forward(pass, key, entry, now)?;
                }
                Ok(pass.cursor.is_none())
            }
        }
    }

    /// Ends a pass that is over.
    pub fn finish(&mut self, pass: &Pass, desk: &Desk) {
        let figures = NatFigures {
            flows: pass.flows - pass.ended.min(pass.flows),
            ports: pass.ports.values().copied().max().unwrap_or(0),
        };
        self.pressed = figures.flows * 4 > self.capacity * 3;
        desk.report(&pass.orders, &pass.met, figures);
    }

    /// One whole pass.
    ///
    /// # Errors
    /// If the kernel refuses.
    pub fn pass(&mut self, desk: &Desk, now: u32) -> io::Result<u64> {
        let mut pass = self.begin(desk);
        while !self.step(&mut pass, now)? {}
        self.finish(&pass, desk);
        Ok(pass.ended)
    }

    fn look_at_reverse(
        &self,
        pass: &mut Pass,
        key: u64,
        entry: NatReverse,
        now: u32,
    ) -> io::Result<()> {
        pass.flows += 1;
        let ordered = pass.orders.contains_key(&entry.backend());
        if ordered {
            pass.met.insert(entry.backend());
        } else if NatState(entry.state).age(now) <= self.timeouts.shortest(self.pressed) {
            pass.count_port(&entry);
            return Ok(());
        }
        let client = entry.client();
        let forward_key = client.hash(&self.hash_key);
        let forward = self.tables.forward.get(forward_key)?;
        let forward = forward.filter(|f| f.tuple == client && f.reverse == key);
        let Some(forward) = forward else {
            // Its other half is about to be made, or never was.
            if ordered || self.is_lost(entry.state, now) {
                pass.ended += u64::from(self.end_reverse(key, &entry, ordered)?);
            }
            return Ok(());
        };
        let sight = Sight {
            forward_key,
            forward,
            reverse_key: key,
            reverse: entry,
        };
        if (ordered || self.is_over(&sight, now)) && self.end(&sight, ordered, now)? {
            pass.ended += 1;
        } else {
            pass.count_port(&entry);
        }
        Ok(())
    }

    /// Entries without another half, and those of backends that are to go, are all that is left
    /// to find here.
    fn look_at_forward(
        &self,
        pass: &mut Pass,
        key: u64,
        entry: NatForward,
        now: u32,
    ) -> io::Result<()> {
        let ordered = pass.orders.contains_key(&entry.backend());
        if ordered {
            pass.met.insert(entry.backend());
        } else if !self.is_lost(entry.state, now) {
            return Ok(());
        }
        let reverse = self.tables.reverse.get(entry.reverse)?;
        let whole = reverse.is_some_and(|reverse| reverse.client() == entry.tuple);
        if ordered || !whole {
            self.end_forward(key, &entry, ordered)?;
        }
        Ok(())
    }

    /// Whether an entry without its other half is older than any insert takes.
    fn is_lost(&self, state: u64, now: u32) -> bool {
        NatState(state).age(now) > self.timeouts.lifetime(Phase::Opening, false)
    }

    fn is_over(&self, sight: &Sight, now: u32) -> bool {
        let (client, backend) = (NatState(sight.forward.state), NatState(sight.reverse.state));
        let protocol = sight.forward.tuple.protocol();
        let phase = Phase::of(protocol, client.seen(), backend.seen());
        let silent = client.age(now).min(backend.age(now));
        silent > self.timeouts.lifetime(phase, self.pressed)
    }

    /// Takes both entries of a flow out, unless a packet came meanwhile; whether it did.
    fn end(&self, sight: &Sight, ordered: bool, now: u32) -> io::Result<bool> {
        let Some(forward) = self.tables.forward.take(sight.forward_key)? else {
            return Ok(false);
        };
        let now_seen = |forward, reverse| Sight {
            forward,
            reverse,
            ..*sight
        };
        let same = forward.tuple == sight.forward.tuple && forward.reverse == sight.reverse_key;
        if !same || !ordered && !self.is_over(&now_seen(forward, sight.reverse), now) {
            self.tables.forward.put(sight.forward_key, &forward)?;
            return Ok(false);
        }
        let Some(reverse) = self.tables.reverse.take(sight.reverse_key)? else {
            return Ok(true);
        };
        let same = reverse.tuple == sight.reverse.tuple && reverse.client() == forward.tuple;
        if !same || !ordered && !self.is_over(&now_seen(forward, reverse), now) {
            self.tables.reverse.put(sight.reverse_key, &reverse)?;
            if same {
                self.tables.forward.put(sight.forward_key, &forward)?;
            }
            return Ok(!same);
        }
        Ok(true)
    }

    fn end_reverse(&self, key: u64, seen: &NatReverse, ordered: bool) -> io::Result<bool> {
        let Some(taken) = self.tables.reverse.take(key)? else {
            return Ok(false);
        };
        if taken == *seen || ordered && taken.backend() == seen.backend() {
            return Ok(true);
        }
        self.tables.reverse.put(key, &taken)?;
        Ok(false)
    }

    fn end_forward(&self, key: u64, seen: &NatForward, ordered: bool) -> io::Result<bool> {
        let Some(taken) = self.tables.forward.take(key)? else {
            return Ok(false);
        };
        if taken == *seen || ordered && taken.backend() == seen.backend() {
            return Ok(true);
        }
        self.tables.forward.put(key, &taken)?;
        Ok(false)
    }
}

impl Pass {
    fn count_port(&mut self, entry: &NatReverse) {
        let (backend, source) = (entry.tuple.source, entry.tuple.destination);
        // The port of the backend, and the protocol.
        let rest = entry.tuple.ports & 0xff_0000_ffff;
        let key = [backend.hi, backend.lo, source.hi, source.lo, rest];
        *self.ports.entry(key).or_insert(0) += 1;
    }
}
