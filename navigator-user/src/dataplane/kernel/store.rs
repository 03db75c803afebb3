//! The words of pinned maps.

use super::{
    KernelSettings,
    counters::PerCpu,
    error::OpenError,
    interface,
    mapping::Mapping,
    nat::{self, CollectorThread, KernelNatTables},
    sys,
};
use crate::dataplane::{
    DataplaneError, DataplaneResult,
    nat::NatFigures,
    store::{Sizes, Store, Table, WayOut},
};
use aya::{
    maps::{
        DevMap, HashMap, Map, MapData, PerCpuArray, PerCpuValues,
        lpm_trie::{Key, LpmTrie},
    },
    util::nr_cpus,
};
use navigator_common::{
    addr::Addr,
    flow::coarse_time,
    maps::{
        ALL, BACKEND_COUNTERS, EGRESS_DEVS, MapSpec, QUIC_ENTRIES, QUIC_SERVERS, REASON_COUNTERS,
        VIP_PREFIXES,
    },
    quic::QuicKey,
    reason::{COUNTERS, Traffic},
};
use nix::time::{ClockId, clock_gettime};
use std::{
    collections::BTreeSet,
    io,
    num::NonZeroUsize,
    os::fd::AsFd,
    path::Path,
    sync::{Mutex, MutexGuard, PoisonError, atomic::Ordering},
};

/// The maps of the `navigator` program.
pub struct KernelStore {
    sizes: Sizes,
    tables: [Mapping; Table::ALL.len()],
    devices: DevMap<MapData>,
    /// Locked only because these maps are written through a handle that may change.
    prefixes: Mutex<LpmTrie<MapData, [u64; 2], u64>>,
    servers: Mutex<HashMap<MapData, [u64; 3], u64>>,
    traffic: PerCpuArray<MapData, [u64; 4]>,
    counters: PerCpuArray<MapData, u64>,
    cpus: usize,
    /// None where NAT is not done.
    collector: Option<CollectorThread>,
    /// All maps once more, to be pinned again for another load.
    maps: Vec<(MapSpec, MapData)>,
}

impl KernelStore {
    /// Opens the maps that are pinned in `dir`.
    pub(super) fn open(dir: &Path, settings: &KernelSettings) -> Result<Self, OpenError> {
        let sizes = settings.sizes;
        let tables = Table::ALL.map(|table| map_table(dir, table, &sizes));
        let mut mapped = Vec::with_capacity(tables.len());
        for table in tables {
            mapped.push(table?);
        }
        let tables = mapped
            .try_into()
            .map_err(|_| io_error("map the tables", io::ErrorKind::InvalidData.into()))?;
        let typed = |spec| open_map(dir, spec).and_then(|data| typed(spec, data));
        let maps = ALL
            .iter()
            .map(|&spec| open_map(dir, spec).map(|data| (spec, data)))
            .collect::<Result<Vec<_>, _>>()?;
        let bad = |spec: MapSpec| move |error: aya::maps::MapError| map_error(spec, error);
        Ok(Self {
            sizes,
            tables,
            devices: DevMap::try_from(typed(EGRESS_DEVS)?).map_err(bad(EGRESS_DEVS))?,
            prefixes: LpmTrie::try_from(typed(VIP_PREFIXES)?)
                .map(Mutex::new)
                .map_err(bad(VIP_PREFIXES))?,
            servers: HashMap::try_from(typed(QUIC_SERVERS)?)
                .map(Mutex::new)
                .map_err(bad(QUIC_SERVERS))?,
            traffic: PerCpuArray::try_from(typed(BACKEND_COUNTERS)?)
                .map_err(bad(BACKEND_COUNTERS))?,
            counters: PerCpuArray::try_from(typed(REASON_COUNTERS)?)
                .map_err(bad(REASON_COUNTERS))?,
            cpus: nr_cpus().map_err(|(action, error)| OpenError::from_io(action, error))?,
            collector: collector(&maps, settings)?,
            maps,
        })
    }

    /// All counters of [`navigator_common::reason`].
    pub fn reason_counters(&self) -> PerCpu<1> {
        self.read_counters(REASON_COUNTERS, COUNTERS)
    }

    /// Packets and bytes under all backend ids, and the same of replies.
    pub fn backend_counters(&self) -> PerCpu<4> {
        self.read_counters(BACKEND_COUNTERS, self.sizes.backends)
    }

    fn read_counters<const WORDS: usize>(&self, spec: MapSpec, entries: u32) -> PerCpu<WORDS> {
        let map = self.maps.iter().find(|(known, _)| *known == spec);
        // A look-up of entries that exist fails only without memory; the next one may not.
        map.and_then(|(_, map)| PerCpu::read(map, entries, self.cpus).ok())
            .unwrap_or_else(|| PerCpu::zeros(entries, self.cpus))
    }

    /// All words of a table, while no packet is under way: for tests.
    pub fn copy_for_test(&self, table: Table) -> Vec<u64> {
        self.tables[table as usize].copy()
    }

    /// Makes a table what it was when it was copied, while no packet is under way: for tests.
    pub fn paste_for_test(&self, table: Table, words: &[u64]) {
        self.tables[table as usize].paste(words);
    }

    /// Lets nobody but the caller change the maps from now on.
    pub(super) fn stop(&mut self) {
        self.collector = None;
    }

    fn trie(&self) -> MutexGuard<'_, LpmTrie<MapData, [u64; 2], u64>> {
        self.prefixes.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// The tables of NAT flows: for tests and benchmarks.
    ///
    /// # Errors
    /// If the process has no file descriptor left.
    pub fn nat_tables(&self) -> io::Result<KernelNatTables> {
        nat::tables(&self.maps)
    }

    /// The maps.
    pub(super) fn maps(&self) -> &[(MapSpec, MapData)] {
        &self.maps
    }
}

/// Whoever starts NAT flows also ends them.
fn collector(
    maps: &[(MapSpec, MapData)],
    settings: &KernelSettings,
) -> Result<Option<CollectorThread>, OpenError> {
    if settings.nat.sources.is_empty() {
        return Ok(None);
    }
    nat::tables(maps)
        .and_then(|tables| CollectorThread::start(tables, settings))
        .map(Some)
        .map_err(|error| io_error("start the collector of NAT flows", error))
}

fn map_table(dir: &Path, table: Table, sizes: &Sizes) -> Result<Mapping, OpenError> {
    let data = open_map(dir, table.spec())?;
    let action = || format!("map {} into memory", table.spec().name);
    let words = table.entries(sizes) as usize * table.entry_words();
    let words = NonZeroUsize::new(words)
        .ok_or_else(|| io_error(action(), io::ErrorKind::InvalidInput.into()))?;
    Mapping::new(data.fd().as_fd(), words).map_err(|error| io_error(action(), error))
}

fn open_map(dir: &Path, spec: MapSpec) -> Result<MapData, OpenError> {
    MapData::from_pin(dir.join(super::pins::map_pin(spec))).map_err(|e| map_error(spec, e))
}

fn typed(spec: MapSpec, data: MapData) -> Result<Map, OpenError> {
    Map::from_map_data(data).map_err(|error| map_error(spec, error))
}

fn map_error(spec: MapSpec, error: aya::maps::MapError) -> OpenError {
    io_error(format!("open map {}", spec.name), io::Error::other(error))
}

fn io_error(action: impl Into<String>, error: io::Error) -> OpenError {
    OpenError::from_io(action, error)
}

/// The program's clock, in units of [`coarse_time`].
pub(super) fn now() -> u32 {
    // This clock always exists; 0 would only make figures look too full.
    let now = clock_gettime(ClockId::CLOCK_MONOTONIC).map_or(0, |now| {
        now.tv_sec() as u64 * 1_000_000_000 + now.tv_nsec() as u64
    });
    coarse_time(now)
}

impl Store for KernelStore {
    fn sizes(&self) -> Sizes {
        self.sizes
    }

    fn load(&self, table: Table, word: usize) -> u64 {
        self.tables[table as usize][word].load(Ordering::Acquire)
    }

    fn store(&self, table: Table, word: usize, value: u64) {
        self.tables[table as usize][word].store(value, Ordering::Release);
    }

    fn exchange(&self, table: Table, word: usize, old: u64, new: u64) -> bool {
        self.tables[table as usize][word]
            .compare_exchange(old, new, Ordering::AcqRel, Ordering::Acquire)
            .is_ok()
    }

    fn grace(&self) -> DataplaneResult<()> {
        sys::grace().map_err(|error| DataplaneError::Kernel {
            action: "wait for a grace period".to_owned(),
            why: format!("neither membarrier(2) nor a map in a map works here: {error}"),
        })
    }

    fn now(&self) -> u32 {
        now()
    }

    fn device_mac(&self, ifindex: u32) -> DataplaneResult<[u8; 6]> {
        interface::mac(ifindex).map_err(|why| DataplaneError::Kernel {
            action: format!("send by interface {ifindex}"),
            why,
        })
    }

    fn way_out(&self, ifindex: u32) -> DataplaneResult<WayOut> {
        interface::way_out(ifindex).map_err(|why| DataplaneError::Kernel {
            action: format!("send by interface {ifindex}"),
            why,
        })
    }

    fn set_device(&mut self, egress: u8, ifindex: u32) -> DataplaneResult<()> {
        self.devices
            .set(egress.into(), ifindex, None, 0)
            .map_err(|error| DataplaneError::Kernel {
                action: format!("send by interface {ifindex}"),
                why: format!("it cannot be put into {}: {error}", EGRESS_DEVS.name),
            })
    }

    fn device(&self, egress: u8) -> Option<u32> {
        let device = self.devices.get(egress.into(), 0).ok()?.if_index;
        (device != 0).then_some(device)
    }

    fn set_prefix(&self, prefix: Addr, bits: u32, word: Option<u64>) -> DataplaneResult<()> {
        let key = Key::new(bits, [prefix.hi, prefix.lo]);
        let done = match word {
            Some(word) => self.trie().insert(&key, word, 0),
            None => self.trie().remove(&key),
        };
        done.map_err(|error| DataplaneError::Kernel {
            action: format!("change {}", VIP_PREFIXES.name),
            why: error.to_string(),
        })
    }

    fn prefixes(&self) -> Vec<(Addr, u32, u64)> {
        let entries: Vec<_> = self.trie().iter().flatten().collect();
        let entry = |(key, word): (Key<[u64; 2]>, u64)| {
            let [hi, lo] = key.data();
            (Addr { hi, lo }, key.prefix_len(), word)
        };
        entries.into_iter().map(entry).collect()
    }

    fn set_server(&self, key: QuicKey, backend: Option<u32>) -> DataplaneResult<()> {
        let words = [key.scope, key.lo, key.hi];
        let mut servers = self.servers.lock().unwrap_or_else(PoisonError::into_inner);
        let done = match backend {
            Some(backend) => servers.insert(words, u64::from(backend), 0),
            None => servers.remove(&words),
        };
        done.map_err(|error| DataplaneError::Kernel {
            action: format!("change {}", QUIC_SERVERS.name),
            why: format!("{error} (it has {QUIC_ENTRIES} entries)"),
        })
    }

    fn servers(&self) -> Vec<(QuicKey, u32)> {
        let servers = self.servers.lock().unwrap_or_else(PoisonError::into_inner);
        let entry = |([scope, lo, hi], id): ([u64; 3], u64)| (QuicKey { scope, lo, hi }, id as u32);
        servers.iter().flatten().map(entry).collect()
    }

    fn traffic(&self, backend: u32) -> Traffic {
        // A look-up of an entry that exists fails only without memory; the next one may not.
        let per_cpu = self.traffic.get(&backend, 0).ok();
        let sum = |field: usize| {
            let values = per_cpu.iter().flat_map(|values| values.iter());
            values.fold(0u64, |sum, value| sum.wrapping_add(value[field]))
        };
        Traffic {
            packets: sum(0),
            bytes: sum(1),
            reply_packets: sum(2),
            reply_bytes: sum(3),
        }
    }

    fn clear_traffic(&mut self, backend: u32) {
        let cleared = PerCpuValues::try_from(vec![[0; 4]; self.cpus])
            .map_err(|error| error.to_string())
            .and_then(|zeros| {
                self.traffic
                    .set(backend, zeros, 0)
                    .map_err(|e| e.to_string())
            });
        if let Err(why) = cleared {
            tracing::warn!("the counters of backend id {backend} keep an old value: {why}");
        }
    }

    fn end_nat_flows(&self, backends: &BTreeSet<u32>) -> BTreeSet<u32> {
        match &self.collector {
            Some(collector) => collector.desk().end(backends),
            // Nobody makes flows, and nobody reads those that may be there.
            None => backends.clone(),
        }
    }

    fn nat_figures(&self) -> NatFigures {
        let collector = self.collector.as_ref();
        collector.map_or_else(NatFigures::default, |it| it.desk().figures())
    }

    fn counter(&self, index: u32) -> u64 {
        let per_cpu = self.counters.get(&index, 0).ok();
        per_cpu.map_or(0, |values| {
            values
                .iter()
                .fold(0, |sum: u64, value| sum.wrapping_add(*value))
        })
    }
}
