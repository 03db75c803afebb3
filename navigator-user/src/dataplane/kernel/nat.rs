//! The NAT tables in the kernel, and the thread that ends their flows.

use super::{KernelSettings, sys};
use crate::dataplane::nat::{Collector, Desk, Entries, NatTables};
use aya::maps::MapData;
use navigator_common::{
    maps::{MapSpec, NAT_FORWARD, NAT_REVERSE},
    nat::{NatForward, NatReverse, Record},
};
use std::{
    io,
    marker::PhantomData,
    os::fd::{AsFd, OwnedFd},
    sync::{
        Arc,
        mpsc::{self, Receiver, RecvTimeoutError, Sender},
    },
    thread::JoinHandle,
    time::{Duration, Instant},
};

/// One of the two maps.
pub struct KernelEntries<V> {
    map: OwnedFd,
    value: PhantomData<V>,
}

/// Entries of a batch: a millisecond or so.
const BATCH: usize = 4096;

impl<V: Record> KernelEntries<V> {
    fn of(maps: &[(MapSpec, MapData)], spec: MapSpec) -> io::Result<Self> {
        let map = maps.iter().find(|(known, _)| *known == spec);
        let (_, map) = map.ok_or(io::ErrorKind::NotFound)?;
        Ok(Self {
            map: map.fd().as_fd().try_clone_to_owned()?,
            value: PhantomData,
        })
    }

    fn value(&self, key: u64, take: bool) -> io::Result<Option<V>> {
        let mut words = vec![0; V::WORDS];
        let found = sys::lookup(&self.map, key, &mut words, take)?;
        Ok(V::from_words(&words).filter(|_| found))
    }
}

impl<V: Record + Send> Entries<V> for KernelEntries<V> {
    fn batch(&self, cursor: Option<u32>, out: &mut Vec<(u64, V)>) -> io::Result<Option<u32>> {
        let mut keys = vec![0; BATCH];
        let mut values = vec![0; BATCH * V::WORDS];
        let (count, next) = sys::lookup_batch(&self.map, cursor, &mut keys, &mut values)?;
        let records = values.chunks(V::WORDS).map(V::from_words);
        let entries = keys.into_iter().zip(records).take(count);
        out.extend(entries.filter_map(|(key, record)| Some((key, record?))));
        Ok(next)
    }

    fn get(&self, key: u64) -> io::Result<Option<V>> {
        self.value(key, false)
    }

    fn take(&self, key: u64) -> io::Result<Option<V>> {
        self.value(key, true)
    }

    fn put(&self, key: u64, value: &V) -> io::Result<bool> {
        let mut words = Vec::with_capacity(V::WORDS);
        value.put_words(|word| words.push(word));
        sys::insert_new(&self.map, key, &words)
    }
}

/// The tables of the maps.
pub type KernelNatTables = NatTables<KernelEntries<NatForward>, KernelEntries<NatReverse>>;

/// The NAT tables among these maps.
pub(super) fn tables(maps: &[(MapSpec, MapData)]) -> io::Result<KernelNatTables> {
    Ok(NatTables {
        forward: KernelEntries::of(maps, NAT_FORWARD)?,
        reverse: KernelEntries::of(maps, NAT_REVERSE)?,
    })
}

/// The thread that ends flows. It stops when this is dropped.
pub(super) struct CollectorThread {
    desk: Arc<Desk>,
    stop: Option<Sender<()>>,
    thread: Option<JoinHandle<()>>,
}

/// From the end of a pass to the next one, at least.
const PAUSE: Duration = Duration::from_secs(1);
/// The thread rests this many times as long as it works.
const REST: u32 = 9;

impl CollectorThread {
    /// Starts it on these tables.
    pub(super) fn start(tables: KernelNatTables, settings: &KernelSettings) -> io::Result<Self> {
        let collector = Collector::new(
            tables,
            settings.hash_key,
            settings.nat.timeouts,
            settings.sizes.nat_flows.into(),
        );
        let desk = Arc::new(Desk::default());
        let (stop, stopped) = mpsc::channel();
        let of_thread = Arc::clone(&desk);
        let thread = std::thread::Builder::new()
            .name("nat-collector".to_owned())
            .spawn(move || collect(collector, &of_thread, &stopped))?;
        Ok(Self {
            desk,
            stop: Some(stop),
            thread: Some(thread),
        })
    }

    pub(super) fn desk(&self) -> &Desk {
        &self.desk
    }
}

impl Drop for CollectorThread {
    fn drop(&mut self) {
        self.stop = None;
        if let Some(thread) = self.thread.take() {
            // It does not panic; if it did, there is nothing left to stop.
            let _ = thread.join();
        }
    }
}

fn collect(
    mut collector: Collector<KernelEntries<NatForward>, KernelEntries<NatReverse>>,
    desk: &Desk,
    stopped: &Receiver<()>,
) {
    let rest = |time| stopped.recv_timeout(time) == Err(RecvTimeoutError::Disconnected);
    let mut trouble = String::new();
    loop {
        let mut pass = collector.begin(desk);
        let outcome = loop {
            let begin = Instant::now();
            match collector.step(&mut pass, super::store::now()) {
                Ok(true) => break Ok(()),
                Ok(false) if rest(begin.elapsed() * REST) => return,
                Ok(false) => {}
                Err(error) => break Err(error.to_string()),
            }
        };
        match outcome {
            Ok(()) => {
                collector.finish(&pass, desk);
                trouble.clear();
            }
            Err(why) => {
                if trouble != why {
                    tracing::error!("NAT flows do not end for now: {why}");
                }
                trouble = why;
            }
        }
        if rest(PAUSE) {
            return;
        }
    }
}
