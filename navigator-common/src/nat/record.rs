//! Entries as the words that they are made of, for user space, which reads and
//! writes maps without pointers into them.

use super::{NatForward, NatReverse, NatTuple};
use crate::addr::Addr;

/// A map value made of words only.
pub trait Record: Copy {
    /// How many words it has.
    const WORDS: usize;

    /// The record that these words make; `None` if there are more or fewer.
    fn from_words(words: &[u64]) -> Option<Self>;

    /// Hands each word to `put`, in order.
    fn put_words(&self, put: impl FnMut(u64));
}

fn addr(hi: u64, lo: u64) -> Addr {
    Addr { hi, lo }
}

fn tuple([a, b, c, d, ports]: [u64; 5]) -> NatTuple {
    NatTuple {
        source: addr(a, b),
        destination: addr(c, d),
        ports,
    }
}

fn tuple_words(tuple: &NatTuple) -> [u64; 5] {
    let (source, destination) = (tuple.source, tuple.destination);
    [
        source.hi,
        source.lo,
        destination.hi,
        destination.lo,
        tuple.ports,
    ]
}

impl Record for NatForward {
    const WORDS: usize = size_of::<Self>() / 8;

    fn from_words(words: &[u64]) -> Option<Self> {
        let &[a, b, c, d, e, hi, lo, ports, reverse, state, path, rewrite] = words else {
            return None;
        };
        Some(Self {
            tuple: tuple([a, b, c, d, e]),
            source: addr(hi, lo),
            ports,
            reverse,
            state,
            path,
            rewrite,
        })
    }

    fn put_words(&self, put: impl FnMut(u64)) {
        let rest = [
            self.source.hi,
            self.source.lo,
            self.ports,
            self.reverse,
            self.state,
            self.path,
            self.rewrite,
        ];
        tuple_words(&self.tuple)
            .into_iter()
            .chain(rest)
            .for_each(put);
    }
}

impl Record for NatReverse {
    const WORDS: usize = size_of::<Self>() / 8;

    fn from_words(words: &[u64]) -> Option<Self> {
        let &[a, b, c, d, e, f, g, h, i, ports, state, path, rewrite] = words else {
            return None;
        };
        Some(Self {
            tuple: tuple([a, b, c, d, e]),
            source: addr(f, g),
            destination: addr(h, i),
            ports,
            state,
            path,
            rewrite,
        })
    }

    fn put_words(&self, put: impl FnMut(u64)) {
        let rest = [
            self.source.hi,
            self.source.lo,
            self.destination.hi,
            self.destination.lo,
            self.ports,
            self.state,
            self.path,
            self.rewrite,
        ];
        tuple_words(&self.tuple)
            .into_iter()
            .chain(rest)
            .for_each(put);
    }
}
