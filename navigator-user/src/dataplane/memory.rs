//! The data plane in memory, for tests: the same tables, written by the same
//! code, kept in plain memory that outlives the data plane like pinned maps.

use super::{
    DataplaneResult,
    nat::{Collector, Desk, Entries, NatFigures, NatSettings, NatTables, Timeouts},
    plane::Plane,
    store::{Sizes, Store, Table, WayOut},
    windows::DEFAULT_WINDOW,
};
use navigator_common::{
    addr::Addr,
    hash::HashKey,
    nat::{NatForward, NatReverse},
    quic::QuicKey,
    reason::{COUNTERS, Traffic},
};
use std::{
    collections::{BTreeMap, BTreeSet, HashMap},
    io,
    sync::{
        Arc, Mutex, PoisonError,
        atomic::{AtomicU32, AtomicU64, Ordering},
    },
};

/// A data plane in memory.
pub type MemoryDataplane = Plane<MemoryStore>;

impl MemoryDataplane {
    /// An empty one.
    pub fn new(sizes: Sizes) -> Self {
        Self::adopt_from(MemoryStore::new(sizes))
    }

    /// One that takes over the words of another, which must be gone, and does NAT.
    ///
    /// # Errors
    /// If the source addresses find no room.
    pub fn with_nat(store: MemoryStore, nat: NatSettings) -> DataplaneResult<Self> {
        Self::open(store, DEFAULT_WINDOW, nat)
    }

    /// One that takes over the words of another, which must be gone.
    pub fn adopt_from(store: MemoryStore) -> Self {
        match Self::open(store, DEFAULT_WINDOW, NatSettings::default()) {
            Ok(plane) => plane,
            Err(error) => unreachable!("memory has no kernel that could refuse: {error}"),
        }
    }
}

/// Words in memory. A clone shares them.
#[derive(Clone)]
pub struct MemoryStore {
    words: Arc<Words>,
}

struct Words {
    sizes: Sizes,
    tables: [Box<[AtomicU64]>; Table::ALL.len()],
    counters: [AtomicU64; COUNTERS as usize],
    now: AtomicU32,
    outside: Mutex<Outside>,
    desk: Desk,
    forward: MemoryEntries<NatForward>,
    reverse: MemoryEntries<NatReverse>,
}

/// A map of NAT entries in memory. A clone shares them.
#[derive(Clone)]
pub struct MemoryEntries<V>(Arc<Mutex<BTreeMap<u64, V>>>);

impl<V> Default for MemoryEntries<V> {
    fn default() -> Self {
        Self(Arc::default())
    }
}

impl<V> MemoryEntries<V> {
    fn entries(&self) -> std::sync::MutexGuard<'_, BTreeMap<u64, V>> {
        self.0.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

/// Entries of a batch: few, so that a pass has several.
const BATCH: usize = 16;

impl<V: Copy + Send> Entries<V> for MemoryEntries<V> {
    fn batch(&self, cursor: Option<u32>, out: &mut Vec<(u64, V)>) -> io::Result<Option<u32>> {
        // A cursor is the upper half of the first key that was not met yet.
        let start = u64::from(cursor.unwrap_or(0)) << 32;
        for (&key, &value) in self.entries().range(start..) {
            let full = out.len() >= BATCH;
            if full && out.last().is_some_and(|(last, _)| last >> 32 != key >> 32) {
                return Ok(Some((key >> 32) as u32));
            }
            out.push((key, value));
        }
        Ok(None)
    }

    fn get(&self, key: u64) -> io::Result<Option<V>> {
        Ok(self.entries().get(&key).copied())
    }

    fn take(&self, key: u64) -> io::Result<Option<V>> {
        Ok(self.entries().remove(&key))
    }

    fn put(&self, key: u64, value: &V) -> io::Result<bool> {
        let mut entries = self.entries();
        let there = entries.contains_key(&key);
        if !there {
            entries.insert(key, *value);
        }
        Ok(!there)
    }
}

/// What is not one of the mapped tables.
#[derive(Default)]
struct Outside {
    devices: HashMap<u8, u32>,
    traffic: HashMap<u32, Traffic>,
    /// By first address (its words) and leading bits.
    prefixes: BTreeMap<(u64, u64, u32), u64>,
    servers: BTreeMap<QuicKey, u32>,
    #[cfg(test)]
    journal: Option<Vec<Event>>,
}

/// What was done to the words.
#[cfg(test)]
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub(super) enum Event {
    /// A word was stored.
    Store(Table, usize, u64),
    /// A prefix was set or taken out.
    Prefix(Addr, u32, Option<u64>),
    /// A QUIC server id was given to a backend or taken out.
    Server(QuicKey, Option<u32>),
    /// A grace period passed.
    Grace,
}

impl MemoryStore {
    /// All words are zero.
    pub fn new(sizes: Sizes) -> Self {
        let tables = Table::ALL.map(|table| {
            let words = table.entries(&sizes) as usize * table.entry_words();
            (0..words).map(|_| AtomicU64::new(0)).collect()
        });
        Self {
            words: Arc::new(Words {
                sizes,
                tables,
                counters: [const { AtomicU64::new(0) }; COUNTERS as usize],
                now: AtomicU32::new(0),
                outside: Mutex::default(),
                desk: Desk::default(),
                forward: MemoryEntries::default(),
                reverse: MemoryEntries::default(),
            }),
        }
    }

    /// Lets time pass, in [`navigator_common::flow::coarse_time`] units.
    pub fn pass_time(&self, units: u32) {
        self.words.now.fetch_add(units, Ordering::Relaxed);
    }

    /// Counts packets under a backend id, as the program would.
    pub fn add_traffic(&self, backend: u32, traffic: Traffic) {
        let mut outside = self.outside();
        let sum = outside.traffic.entry(backend).or_default();
        sum.packets += traffic.packets;
        sum.bytes += traffic.bytes;
        sum.reply_packets += traffic.reply_packets;
        sum.reply_bytes += traffic.reply_bytes;
    }

    /// The NAT entries.
    pub fn nat_tables(&self) -> NatTables<MemoryEntries<NatForward>, MemoryEntries<NatReverse>> {
        NatTables {
            forward: self.words.forward.clone(),
            reverse: self.words.reverse.clone(),
        }
    }

    fn outside(&self) -> std::sync::MutexGuard<'_, Outside> {
        let outside = self.words.outside.lock();
        outside.unwrap_or_else(PoisonError::into_inner)
    }

    fn word(&self, table: Table, word: usize) -> &AtomicU64 {
        &self.words.tables[table as usize][word]
    }

    #[cfg(test)]
    fn note(&self, event: Event) {
        if let Some(journal) = &mut self.outside().journal {
            journal.push(event);
        }
    }

    /// Starts a journal and returns what was in the one before.
    #[cfg(test)]
    pub(super) fn journal(&self) -> Vec<Event> {
        self.outside()
            .journal
            .replace(Vec::new())
            .unwrap_or_default()
    }

    /// A copy of all words that shares nothing with this one.
    #[cfg(test)]
    pub(super) fn copy(&self) -> Self {
        let copy = Self::new(self.words.sizes);
        for table in Table::ALL {
            for (to, from) in copy.words.tables[table as usize]
                .iter()
                .zip(&self.words.tables[table as usize])
            {
                to.store(from.load(Ordering::Relaxed), Ordering::Relaxed);
            }
        }
        copy.pass_time(self.now());
        copy.outside().devices = self.outside().devices.clone();
        copy.outside().prefixes = self.outside().prefixes.clone();
        copy.outside().servers = self.outside().servers.clone();
        copy.outside().traffic = self.outside().traffic.clone();
        copy
    }
}

impl Store for MemoryStore {
    fn sizes(&self) -> Sizes {
        self.words.sizes
    }

    fn load(&self, table: Table, word: usize) -> u64 {
        self.word(table, word).load(Ordering::Acquire)
    }

    fn store(&self, table: Table, word: usize, value: u64) {
        self.word(table, word).store(value, Ordering::Release);
        #[cfg(test)]
        self.note(Event::Store(table, word, value));
    }

    fn exchange(&self, table: Table, word: usize, old: u64, new: u64) -> bool {
        let place = self.word(table, word);
        let done = place.compare_exchange(old, new, Ordering::AcqRel, Ordering::Acquire);
        #[cfg(test)]
        if done.is_ok() {
            self.note(Event::Store(table, word, new));
        }
        done.is_ok()
    }

    fn grace(&self) -> DataplaneResult<()> {
        #[cfg(test)]
        self.note(Event::Grace);
        Ok(())
    }

    fn now(&self) -> u32 {
        self.words.now.load(Ordering::Relaxed)
    }

    fn device_mac(&self, ifindex: u32) -> DataplaneResult<[u8; 6]> {
        let [a, b, c, d] = ifindex.to_be_bytes();
        Ok([2, 0, a, b, c, d])
    }

    /// An index of 1000 or more is a VLAN device: the id times 1000 above the device below it.
    fn way_out(&self, ifindex: u32) -> DataplaneResult<WayOut> {
        Ok(WayOut {
            device: ifindex % 1000,
            vlan: (ifindex >= 1000).then_some((ifindex / 1000) as u16),
            mac: self.device_mac(ifindex)?,
        })
    }

    fn set_device(&mut self, egress: u8, ifindex: u32) -> DataplaneResult<()> {
        self.outside().devices.insert(egress, ifindex);
        Ok(())
    }

    fn device(&self, egress: u8) -> Option<u32> {
        self.outside().devices.get(&egress).copied()
    }

    fn set_prefix(&self, prefix: Addr, bits: u32, word: Option<u64>) -> DataplaneResult<()> {
        let key = (prefix.hi, prefix.lo, bits);
        let mut outside = self.outside();
        match word {
            Some(word) => outside.prefixes.insert(key, word),
            None => outside.prefixes.remove(&key),
        };
        drop(outside);
        #[cfg(test)]
        self.note(Event::Prefix(prefix, bits, word));
        Ok(())
    }

    fn prefixes(&self) -> Vec<(Addr, u32, u64)> {
        let outside = self.outside();
        let all = outside.prefixes.iter();
        all.map(|(&(hi, lo, bits), &word)| (Addr { hi, lo }, bits, word))
            .collect()
    }

    fn set_server(&self, key: QuicKey, backend: Option<u32>) -> DataplaneResult<()> {
        let mut outside = self.outside();
        match backend {
            Some(backend) => outside.servers.insert(key, backend),
            None => outside.servers.remove(&key),
        };
        drop(outside);
        #[cfg(test)]
        self.note(Event::Server(key, backend));
        Ok(())
    }

    fn servers(&self) -> Vec<(QuicKey, u32)> {
        let outside = self.outside();
        let all = outside.servers.iter();
        all.map(|(&key, &id)| (key, id)).collect()
    }

    fn traffic(&self, backend: u32) -> Traffic {
        let outside = self.outside();
        outside.traffic.get(&backend).copied().unwrap_or_default()
    }

    fn clear_traffic(&mut self, backend: u32) {
        self.outside().traffic.remove(&backend);
    }

    fn end_nat_flows(&self, backends: &BTreeSet<u32>) -> BTreeSet<u32> {
        let desk = &self.words.desk;
        desk.end(backends);
        let key = HashKey::from_words([0; 5]);
        let mut collector =
            Collector::new(self.nat_tables(), key, Timeouts::default(), u32::MAX.into());
        // Memory refuses nothing. The first pass ends the flows, the second meets none.
        for _ in 0..2 {
            let _ = collector.pass(desk, 0);
        }
        desk.end(backends)
    }

    fn nat_figures(&self) -> NatFigures {
        self.words.desk.figures()
    }

    fn counter(&self, index: u32) -> u64 {
        self.words.counters[index as usize].load(Ordering::Relaxed)
    }
}
