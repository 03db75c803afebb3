//! Backend ids: who has one, its record in the map, and the way to its end.

use super::{
    DataplaneError, DataplaneResult, NextHop,
    arena::Arena,
    store::{
        Store, Table, backend_address, backend_info, backend_path, backend_source, backend_word,
        put,
    },
};
use navigator_common::{
    addr::Addr,
    backend::{Backend, BackendInfo, BackendWord, Mode, PathWord, TAKES_NEW, USABLE},
    checksum::tunnel_base,
    reason::Traffic,
};
use navigator_core::model::{ForwardMode, VipKey};
use std::{
    collections::BTreeSet,
    net::{IpAddr, SocketAddr},
};

/// The ids that are not free, and what is known of each.
pub(super) struct Backends {
    ids: Arena,
    /// By id.
    entries: Vec<Option<Entry>>,
    retired: BTreeSet<u32>,
}

/// One backend id in use.
#[derive(Clone, Debug)]
pub(super) struct Entry {
    pub(super) vip: VipKey,
    pub(super) address: SocketAddr,
    pub(super) mode: ForwardMode,
    /// State flags as they shall be.
    pub(super) state: u8,
    /// Slots whose current backend it is.
    pub(super) current: u32,
    /// Slots whose previous backend it is.
    pub(super) previous: u32,
    /// Its next hop was known at some time, so that the program may have read its record.
    pub(super) reached: bool,
    /// Traffic of the ids that the instance had before this one.
    pub(super) carried: Traffic,
    pub(super) fate: Fate,
}

/// Where an id is between its first and its last use.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub(super) enum Fate {
    /// It belongs to a member of a VIP.
    Live,
    /// It waits until nothing names it any more.
    Retired {
        /// The id that its instance has now: remembered flows are handed to it.
        successor: Option<u32>,
        /// Flows that named it were taken off it in an earlier sweep.
        swept: bool,
    },
}

/// State flags of the map.
pub(super) const fn flags(takes_new: bool, usable: bool) -> u8 {
    (if takes_new { TAKES_NEW } else { 0 }) | (if usable { USABLE } else { 0 })
}

/// The map's byte for a mode.
const fn mode_byte(mode: ForwardMode) -> u8 {
    match mode {
        ForwardMode::L2 => Mode::L2 as u8,
        ForwardMode::Ipip => Mode::Ipip as u8,
        ForwardMode::Nat => Mode::Nat as u8,
    }
}

/// The mode that a map's byte stands for.
pub(super) fn forward_mode(byte: u8) -> Option<ForwardMode> {
    Mode::from_byte(byte).map(|mode| match mode {
        Mode::L2 => ForwardMode::L2,
        Mode::Ipip => ForwardMode::Ipip,
        Mode::Nat => ForwardMode::Nat,
    })
}

/// The mutable words of a backend that is reached by `way`: what `word` was, and the path's.
pub(super) fn way_words(word: BackendWord, way: Option<&(NextHop, u8)>) -> (BackendWord, PathWord) {
    match way {
        Some((hop, egress)) => (
            word.with_next_hop(hop.mac, *egress, hop.on_link),
            PathWord::new(hop.mtu),
        ),
        None => (word.with_next_hop([0; 6], 0, false), PathWord::default()),
    }
}

/// The immutable part of a backend's record. Without a next hop the tunnel's
/// source is not known yet: the record is whole once the hop is.
pub(super) fn record(entry: &Entry, vip_id: u16, hop: Option<&NextHop>) -> Backend {
    let source = hop
        .filter(|_| entry.mode == ForwardMode::Ipip)
        .map(|hop| hop.source);
    let checksum_base = match (source, entry.address.ip()) {
        (Some(IpAddr::V4(source)), IpAddr::V4(destination)) => {
            let inner = if entry.vip.address.is_ipv4() { 4 } else { 41 };
            tunnel_base(source, destination, inner)
        }
        _ => 0,
    };
    let info = BackendInfo {
        port: entry.address.port(),
        mode: mode_byte(entry.mode),
        spread: 0,
        checksum_base,
        vip: vip_id,
    };
    Backend {
        word: 0,
        info: info.pack(),
        address: entry.address.ip().into(),
        source: source.map(Addr::from).unwrap_or_default(),
        path: 0,
        reserved: 0,
    }
}

impl Backends {
    /// Ids from 1 to `capacity - 1`.
    pub(super) fn new(capacity: u32) -> Self {
        Self {
            ids: Arena::new(1, capacity),
            entries: Vec::new(),
            retired: BTreeSet::new(),
        }
    }

    /// What is known of an id in use.
    pub(super) fn get(&self, id: u32) -> Option<&Entry> {
        self.entries.get(id as usize)?.as_ref()
    }

    pub(super) fn get_mut(&mut self, id: u32) -> Option<&mut Entry> {
        self.entries.get_mut(id as usize)?.as_mut()
    }

    /// Ids in use, and how many there can be.
    pub(super) const fn usage(&self) -> (u32, u32) {
        (self.ids.used(), self.ids.capacity())
    }

    /// The ids that wait for their end.
    pub(super) const fn retired(&self) -> &BTreeSet<u32> {
        &self.retired
    }

    /// Takes a free id. Nothing is written yet.
    pub(super) fn allocate(&mut self, entry: Entry) -> DataplaneResult<u32> {
        let id = self.ids.take(1).ok_or(DataplaneError::Full {
            table: "backends",
            capacity: self.ids.capacity().into(),
            cure: "raise limits.backends and start again after `navigator detach`, or serve fewer instances",
        })?;
        self.insert(id, entry);
        Ok(id)
    }

    /// Takes over an id that is in the map already.
    pub(super) fn adopt(&mut self, id: u32, entry: Entry) {
        if self.ids.take_at(id, 1) {
            self.insert(id, entry);
        }
    }

    fn insert(&mut self, id: u32, entry: Entry) {
        let index = id as usize;
        if self.entries.len() <= index {
            self.entries.resize(index + 1, None);
        }
        if entry.fate != Fate::Live {
            self.retired.insert(id);
        }
        self.entries[index] = Some(entry);
    }

    /// Gives an id back that was never published.
    pub(super) fn forget(&mut self, id: u32) {
        self.drop_entry(id);
        self.ids.give(id, 1);
    }

    /// Nothing names this id any more; only the end of the runs that may still know it is awaited.
    pub(super) fn bury(&mut self, id: u32) {
        self.drop_entry(id);
    }

    fn drop_entry(&mut self, id: u32) {
        self.retired.remove(&id);
        let dropped = self.entries.get_mut(id as usize).and_then(Option::take);
        let next = dropped.and_then(|entry| match entry.fate {
            Fate::Retired { successor, .. } => successor,
            Fate::Live => None,
        });
        for &other in &self.retired {
            if let Some(Some(Entry {
                fate: Fate::Retired { successor, .. },
                ..
            })) = self.entries.get_mut(other as usize)
                && *successor == Some(id)
            {
                *successor = next;
            }
        }
    }

    /// Wipes a buried id's record and makes it free.
    pub(super) fn free(&mut self, store: &impl Store, id: u32) {
        wipe(store, id);
        self.ids.give(id, 1);
    }

    /// Writes the record of an id that nothing names yet, the mutable word last.
    pub(super) fn write(
        &mut self,
        store: &mut impl Store,
        id: u32,
        vip_id: u16,
        hop: Option<&(NextHop, u8)>,
    ) {
        let Some(entry) = self.get_mut(id) else {
            return;
        };
        store.clear_traffic(id);
        entry.reached = hop.is_some();
        let state = entry.state;
        put_record(store, id, &record(entry, vip_id, hop.map(|hop| &hop.0)));
        let (word, path) = way_words(BackendWord::default().with_state(state), hop);
        put(store, Table::Backends, backend_path(id), path.0);
        put(store, Table::Backends, backend_word(id), word.0);
    }

    /// Sets the state flags in the map and in mind.
    pub(super) fn set_state(&mut self, store: &impl Store, id: u32, state: u8) {
        if let Some(entry) = self.get_mut(id) {
            entry.state = state;
            put_state(store, id, state);
        }
    }

    /// Lets an id go. With a successor it serves its remembered flows until they are handed over.
    pub(super) fn retire(&mut self, store: &impl Store, id: u32, successor: Option<u32>) {
        let Some(entry) = self.get_mut(id) else {
            return;
        };
        entry.fate = Fate::Retired {
            successor,
            swept: false,
        };
        if successor.is_none() {
            entry.state = 0;
            put_state(store, id, 0);
        }
        self.retired.insert(id);
    }

    /// The id that the instance of `id` has now; `None` if it has none.
    pub(super) fn heir(&self, id: u32) -> Option<u32> {
        let mut id = id;
        // Each step leads to a younger id, so the chain ends; the bound is for a damaged map.
        for _ in 0..self.entries.len() {
            match self.get(id)?.fate {
                Fate::Live => return Some(id),
                Fate::Retired { successor, .. } => id = successor?,
            }
        }
        None
    }

    /// Gives retired ids the state of their heirs; without one they serve nothing.
    pub(super) fn mirror_states(&mut self, store: &impl Store) {
        let retired: Vec<u32> = self.retired.iter().copied().collect();
        for id in retired {
            let heir = self.heir(id).and_then(|heir| self.get(heir));
            let state = heir.map_or(0, |heir| heir.state);
            self.set_state(store, id, state);
        }
    }

    /// Every id in use with what is known of it.
    pub(super) fn iter(&self) -> impl Iterator<Item = (u32, &Entry)> {
        let entries = self.entries.iter().enumerate();
        entries.filter_map(|(id, entry)| Some((id as u32, entry.as_ref()?)))
    }

    /// The slots of a VIP are gone: none names its ids any more.
    pub(super) fn unslot(&mut self, vip: &VipKey) {
        for entry in self.entries.iter_mut().flatten() {
            if entry.vip == *vip {
                (entry.current, entry.previous) = (0, 0);
            }
        }
    }
}

/// Reads a record.
pub(super) fn read(store: &impl Store, id: u32) -> Backend {
    let load = |word| store.load(Table::Backends, word);
    let addr = |word| Addr {
        hi: load(word),
        lo: load(word + 1),
    };
    Backend {
        word: load(backend_word(id)),
        info: load(backend_info(id)),
        address: addr(backend_address(id)),
        source: addr(backend_source(id)),
        path: load(backend_path(id)),
        reserved: 0,
    }
}

/// Writes all of a record but its mutable words.
pub(super) fn put_record(store: &impl Store, id: u32, record: &Backend) {
    let put = |word, value| put(store, Table::Backends, word, value);
    put(backend_info(id), record.info);
    put(backend_address(id), record.address.hi);
    put(backend_address(id) + 1, record.address.lo);
    put(backend_source(id), record.source.hi);
    put(backend_source(id) + 1, record.source.lo);
}

/// Writes the state flags and leaves the next hop.
pub(super) fn put_state(store: &impl Store, id: u32, state: u8) {
    let word = BackendWord(store.load(Table::Backends, backend_word(id)));
    put(
        store,
        Table::Backends,
        backend_word(id),
        word.with_state(state).0,
    );
}

/// Takes a record from its VIP. Its address stays: only an empty record is a free one.
pub(super) fn disown(store: &impl Store, id: u32) {
    put(store, Table::Backends, backend_word(id), 0);
    put(store, Table::Backends, backend_info(id), 0);
}

/// Empties a record.
pub(super) fn wipe(store: &impl Store, id: u32) {
    put(store, Table::Backends, backend_word(id), 0);
    put(store, Table::Backends, backend_path(id), 0);
    put_record(store, id, &Backend::default());
}
