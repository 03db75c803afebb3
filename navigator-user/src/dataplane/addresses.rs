//! The buckets of VIP addresses.

use super::store::{Store, Table, bucket_flags, bucket_hi, bucket_lo, bucket_value, put};
use navigator_common::{
    addr::Addr,
    maps::ADDR_BUCKETS,
    vip::{AddrBucket, AddrWord, BUCKET_WAYS, addr_buckets},
};
use std::{collections::BTreeMap, net::IpAddr};

/// An entry of a bucket.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub(super) struct Way {
    pub(super) bucket: u32,
    pub(super) way: usize,
}

/// Where an address stands, and what it leads to.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub(super) struct Place {
    pub(super) way: Way,
    pub(super) word: AddrWord,
}

/// The addresses that are published.
#[derive(Default)]
pub(super) struct Addresses {
    places: BTreeMap<IpAddr, Place>,
}

impl Addresses {
    /// Where `address` stands.
    pub(super) fn get(&self, address: IpAddr) -> Option<Place> {
        self.places.get(&address).copied()
    }

    /// How many there are.
    pub(super) fn len(&self) -> usize {
        self.places.len()
    }

    /// A free entry for `address`, in its first bucket or else in its second.
    pub(super) fn free_way(store: &impl Store, address: IpAddr) -> Option<Way> {
        let (first, second) = addr_buckets(address.into(), ADDR_BUCKETS);
        [first, second].into_iter().find_map(|bucket| {
            (0..BUCKET_WAYS)
                .map(|way| Way { bucket, way })
                .find(|&way| is_free(store, way))
        })
    }

    /// Publishes `address` in a free entry.
    pub(super) fn publish(
        &mut self,
        store: &impl Store,
        address: IpAddr,
        way: Way,
        word: AddrWord,
    ) {
        let addr = Addr::from(address);
        let (first, _) = addr_buckets(addr, ADDR_BUCKETS);
        if way.bucket != first {
            put(
                store,
                Table::VipAddrs,
                bucket_flags(first),
                AddrBucket::OVERFLOWED,
            );
        }
        store.store(Table::VipAddrs, value(way), word.0);
        store.store(Table::VipAddrs, hi(way), addr.hi);
        store.store(Table::VipAddrs, lo(way), addr.lo);
        self.places.insert(address, Place { way, word });
    }

    /// Lets a published address lead elsewhere.
    pub(super) fn replace(&mut self, store: &impl Store, address: IpAddr, word: AddrWord) {
        if let Some(place) = self.places.get_mut(&address) {
            put(store, Table::VipAddrs, value(place.way), word.0);
            place.word = word;
        }
    }

    /// Withdraws an address. Its entry must be [`clear`]ed after a grace period.
    pub(super) fn withdraw(&mut self, store: &impl Store, address: IpAddr) -> Option<Place> {
        let place = self.places.remove(&address)?;
        store.store(Table::VipAddrs, lo(place.way), 0);
        let (first, _) = addr_buckets(address.into(), ADDR_BUCKETS);
        if place.way.bucket != first && !self.overflows(first) {
            put(store, Table::VipAddrs, bucket_flags(first), 0);
        }
        Some(place)
    }

    /// Takes over an entry that is published already.
    pub(super) fn adopt(&mut self, address: IpAddr, place: Place) {
        self.places.insert(address, place);
    }

    fn overflows(&self, bucket: u32) -> bool {
        self.places.iter().any(|(&address, place)| {
            let (first, _) = addr_buckets(address.into(), ADDR_BUCKETS);
            first == bucket && place.way.bucket != bucket
        })
    }
}

/// What stands in an entry: its address's words and its value.
pub(super) fn read(store: &impl Store, way: Way) -> (Addr, AddrWord) {
    let addr = Addr {
        hi: store.load(Table::VipAddrs, hi(way)),
        lo: store.load(Table::VipAddrs, lo(way)),
    };
    (addr, AddrWord(store.load(Table::VipAddrs, value(way))))
}

/// Makes a withdrawn entry free again.
pub(super) fn clear(store: &impl Store, way: Way) {
    put(store, Table::VipAddrs, lo(way), 0);
    put(store, Table::VipAddrs, hi(way), 0);
    put(store, Table::VipAddrs, value(way), 0);
}

/// An entry in use has a low word, a withdrawn one still has its value.
fn is_free(store: &impl Store, way: Way) -> bool {
    let (addr, word) = read(store, way);
    addr.lo == 0 && word == AddrWord::default()
}

const fn lo(way: Way) -> usize {
    bucket_lo(way.bucket) + way.way
}

const fn hi(way: Way) -> usize {
    bucket_hi(way.bucket) + way.way
}

const fn value(way: Way) -> usize {
    bucket_value(way.bucket) + way.way
}
