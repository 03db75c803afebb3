//! The addresses of VIPs: single ones in buckets, prefixes in a trie beside.

use super::{
    DataplaneResult,
    store::{Store, Table, bucket_flags, bucket_hi, bucket_lo, bucket_value, put},
};
use navigator_common::{
    addr::Addr,
    maps::ADDR_BUCKETS,
    vip::{AddrBucket, AddrWord, BUCKET_WAYS, addr_buckets},
};
use navigator_core::model::VipKey;
use std::{collections::BTreeMap, net::IpAddr};

/// Addresses that lead to one port table: the first one, and how many of its leading bits count.
#[derive(Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Debug)]
pub(super) struct Network {
    pub(super) address: IpAddr,
    pub(super) prefix: u8,
}

impl Network {
    /// That of a VIP.
    pub(super) const fn of(key: &VipKey) -> Self {
        Self {
            address: key.address,
            prefix: key.prefix,
        }
    }

    /// One address.
    pub(super) const fn single(address: IpAddr) -> Self {
        Self {
            address,
            prefix: VipKey::whole(address),
        }
    }

    pub(super) const fn is_prefix(self) -> bool {
        self.prefix < VipKey::whole(self.address)
    }

    /// The leading bits that count in a map, where an IPv4 address has 96 more in front.
    pub(super) const fn bits(self) -> u32 {
        let more = 128 - VipKey::whole(self.address);
        (self.prefix + more) as u32
    }

    /// The network of a map's entry; `None` if bits behind the prefix are set.
    pub(super) fn from_map(addr: Addr, bits: u32) -> Option<Self> {
        let address = IpAddr::from(addr);
        let whole = VipKey::whole(address);
        let prefix = (bits as u8).checked_sub(128 - whole)?;
        let zeros = match address {
            IpAddr::V4(ip) => ip.to_bits().trailing_zeros(),
            IpAddr::V6(ip) => ip.to_bits().trailing_zeros(),
        };
        (prefix < whole && zeros >= u32::from(whole - prefix)).then_some(Self { address, prefix })
    }
}

/// An entry of a bucket.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub(super) struct Way {
    pub(super) bucket: u32,
    pub(super) way: usize,
}

/// Where an address stands, and what it leads to.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub(super) struct Place {
    /// Its entry in a bucket; a prefix has none.
    pub(super) way: Option<Way>,
    pub(super) word: AddrWord,
}

/// The addresses that are published.
#[derive(Default)]
pub(super) struct Addresses {
    places: BTreeMap<Network, Place>,
}

impl Addresses {
    /// Where `network` stands.
    pub(super) fn get(&self, network: Network) -> Option<Place> {
        self.places.get(&network).copied()
    }

    /// All of them.
    pub(super) fn all(&self) -> Vec<Network> {
        self.places.keys().copied().collect()
    }

    /// How many single addresses there are.
    pub(super) fn singles(&self) -> usize {
        self.places.len() - self.prefixes()
    }

    /// How many prefixes there are.
    pub(super) fn prefixes(&self) -> usize {
        let networks = self.places.keys();
        networks.filter(|network| network.is_prefix()).count()
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

    /// Publishes `network`: an address in a free entry, a prefix in the trie.
    pub(super) fn publish(
        &mut self,
        store: &impl Store,
        network: Network,
        place: Place,
    ) -> DataplaneResult<()> {
        let addr = Addr::from(network.address);
        if let Some(way) = place.way {
            let (first, _) = addr_buckets(addr, ADDR_BUCKETS);
            if way.bucket != first {
                set_flag(store, first, AddrBucket::OVERFLOWED, true);
            }
            store.store(Table::VipAddrs, value(way), place.word.0);
            store.store(Table::VipAddrs, hi(way), addr.hi);
            store.store(Table::VipAddrs, lo(way), addr.lo);
        } else {
            // Looked up from here on, found once it is there.
            tell_of_prefixes(store, true);
            store.set_prefix(addr, network.bits(), Some(place.word.0))?;
        }
        self.places.insert(network, place);
        Ok(())
    }

    /// Lets a published network lead elsewhere.
    pub(super) fn replace(
        &mut self,
        store: &impl Store,
        network: Network,
        word: AddrWord,
    ) -> DataplaneResult<()> {
        let Some(place) = self.places.get_mut(&network) else {
            return Ok(());
        };
        match place.way {
            Some(way) => put(store, Table::VipAddrs, value(way), word.0),
            None if place.word == word => {}
            None => store.set_prefix(network.address.into(), network.bits(), Some(word.0))?,
        }
        place.word = word;
        Ok(())
    }

    /// Withdraws a network. Its entry in a bucket must be [`clear`]ed after a grace period.
    pub(super) fn withdraw(&mut self, store: &impl Store, network: Network) -> Option<Place> {
        let place = self.places.remove(&network)?;
        let Some(way) = place.way else {
            if let Err(error) = store.set_prefix(network.address.into(), network.bits(), None) {
                tracing::error!("{network:?} stays in the map: {error}");
            } else if self.prefixes() == 0 {
                tell_of_prefixes(store, false);
            }
            return Some(place);
        };
        store.store(Table::VipAddrs, lo(way), 0);
        let (first, _) = addr_buckets(network.address.into(), ADDR_BUCKETS);
        if way.bucket != first && !self.overflows(first) {
            set_flag(store, first, AddrBucket::OVERFLOWED, false);
        }
        Some(place)
    }

    /// Takes over a network that is published already.
    pub(super) fn adopt(&mut self, network: Network, place: Place) {
        self.places.insert(network, place);
    }

    fn overflows(&self, bucket: u32) -> bool {
        self.places.iter().any(|(network, place)| {
            let (first, _) = addr_buckets(network.address.into(), ADDR_BUCKETS);
            first == bucket && place.way.is_some_and(|way| way.bucket != bucket)
        })
    }
}

/// Whether addresses that no bucket has are looked up in the trie: every bucket says so, in
/// the word that is read there anyway.
pub(super) fn tell_of_prefixes(store: &impl Store, there_are: bool) {
    for bucket in 0..ADDR_BUCKETS {
        set_flag(store, bucket, AddrBucket::PREFIXES, there_are);
    }
}

fn set_flag(store: &impl Store, bucket: u32, flag: u64, on: bool) {
    let word = store.load(Table::VipAddrs, bucket_flags(bucket));
    let word = if on { word | flag } else { word & !flag };
    put(store, Table::VipAddrs, bucket_flags(bucket), word);
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
