//! What is in the kernel: the pinned maps, read past the daemon.

use super::host::Host;
use anyhow::{Context, Result, anyhow};
use aya::maps::{Array, Map, MapData};
use navigator_common::{
    addr::Addr,
    maps,
    vip::{PortWord, VipWord},
};
use std::{
    collections::BTreeMap,
    net::SocketAddr,
    path::{Path, PathBuf},
    time::{Duration, Instant},
};

/// Where the daemon pins its maps.
pub const PINS: &str = "/sys/fs/bpf/navigator";

/// A VIP's slot table in the kernel.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub struct Table {
    first: u32,
    slots: u32,
}

/// The slot words of a table, by the slot's number.
pub type Words = Vec<u64>;

impl Table {
    /// Finds the table of a TCP VIP.
    ///
    /// # Errors
    /// There are no pins, or no such VIP in them.
    pub fn find(host: &Host, vip: SocketAddr) -> Result<Self> {
        host.enter(move || find(vip))
    }

    /// Reads all of it.
    ///
    /// # Errors
    /// The map cannot be read.
    pub fn read(self, host: &Host) -> Result<Words> {
        host.enter(move || {
            let map = slots()?;
            let range = self.first..self.first + self.slots;
            range.map(|index| Ok(map.get(&index, 0)?)).collect()
        })
    }

    /// Watches 256 slots for `time` while `change` is made; returns when the last of them
    /// was changed, counted from before the change, and how many were.
    ///
    /// # Errors
    /// The map cannot be read, or `change` fails.
    pub fn watch(
        self,
        host: &Host,
        time: Duration,
        change: impl FnOnce() -> Result<()>,
    ) -> Result<(Duration, usize)> {
        const WATCHED: u32 = 256;
        let (first, step) = (self.first, self.slots / WATCHED);
        let indexes: Vec<_> = (0..WATCHED).map(|n| first + n * step).collect();
        let (ready, is_ready) = std::sync::mpsc::channel();
        let watcher = host.enter(move || {
            std::thread::spawn(move || watch(&indexes, time, || ready.send(()).is_ok()))
        });
        is_ready.recv().context("the watcher died")?;
        let start = Instant::now();
        change()?;
        let changes = watcher.join().map_err(|_| anyhow!("the watcher died"))??;
        let last = changes.values().max().copied().unwrap_or(start);
        Ok((last.saturating_duration_since(start), changes.len()))
    }
}

/// When each slot that changed was last seen to change.
fn watch(
    indexes: &[u32],
    time: Duration,
    ready: impl FnOnce() -> bool,
) -> Result<BTreeMap<u32, Instant>> {
    let map = slots()?;
    let read = || -> Result<Words> { indexes.iter().map(|index| Ok(map.get(index, 0)?)).collect() };
    let mut words: Words = read()?;
    let mut changes = BTreeMap::new();
    ready();
    let end = Instant::now() + time;
    while Instant::now() < end {
        let new: Words = read()?;
        let now = Instant::now();
        for ((&index, old), new) in indexes.iter().zip(&words).zip(&new) {
            if old != new {
                changes.insert(index, now);
            }
        }
        words = new;
        std::thread::sleep(Duration::from_micros(500));
    }
    Ok(changes)
}

fn find(vip: SocketAddr) -> Result<Table> {
    const TCP: u8 = 6;
    let map: Array<_, [u64; 8]> = open(&maps::VIPS)?;
    let address = Addr::from(vip.ip());
    for index in 1..maps::VIP_ENTRIES {
        // The words of a `navigator_common::vip::Vip`, in its order.
        let [word, slots, hi, lo, port, ..] = map.get(&index, 0)?;
        let same = Addr { hi, lo } == address && PortWord(port).is_for(vip.port(), TCP);
        if slots > 0 && same {
            return Ok(Table {
                first: VipWord(word).base(),
                slots: u32::try_from(slots)?,
            });
        }
    }
    Err(anyhow!("VIP {vip} is not in the kernel"))
}

fn slots() -> Result<Array<MapData, u64>> {
    open(&maps::SLOTS)
}

fn open<V: aya::Pod>(spec: &maps::MapSpec) -> Result<Array<MapData, V>> {
    let path = pin(spec);
    let data = MapData::from_pin(&path).with_context(|| format!("open {}", path.display()))?;
    Ok(Array::try_from(Map::Array(data))?)
}

fn pin(spec: &maps::MapSpec) -> PathBuf {
    Path::new(PINS).join(format!("{}_v{}", spec.name, spec.abi))
}
