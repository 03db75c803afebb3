//! What the writer of the tables and the collector of NAT flows, each on a
//! thread of its own, tell each other.

use std::{
    collections::{BTreeMap, BTreeSet},
    sync::{Mutex, MutexGuard, PoisonError},
};

/// How full the NAT tables are, as of the last look at all of them.
#[derive(Clone, Copy, PartialEq, Eq, Debug, Default)]
pub struct NatFigures {
    /// Flows.
    pub flows: u64,
    /// Ports in use towards the backend, from the source address, that have most of them.
    pub ports: u64,
}

/// The desk.
#[derive(Default)]
pub struct Desk(Mutex<Papers>);

#[derive(Default)]
struct Papers {
    /// Backends whose flows are to end, with the number of the order.
    ordered: BTreeMap<u32, u64>,
    orders: u64,
    /// Those of them that no flow names.
    done: BTreeSet<u32>,
    figures: NatFigures,
}

/// Orders as they were at the start of a pass.
pub(super) type Orders = BTreeMap<u32, u64>;

impl Desk {
    fn papers(&self) -> MutexGuard<'_, Papers> {
        self.0.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// Orders the end of all flows of these backends, and of no others. Returns those that no
    /// flow names: a whole pass that began after the order has met none.
    pub fn end(&self, backends: &BTreeSet<u32>) -> BTreeSet<u32> {
        let mut papers = self.papers();
        let Papers {
            ordered,
            orders,
            done,
            ..
        } = &mut *papers;
        ordered.retain(|id, _| backends.contains(id));
        done.retain(|id| backends.contains(id));
        for &id in backends {
            ordered.entry(id).or_insert_with(|| {
                *orders += 1;
                *orders
            });
        }
        done.clone()
    }

    /// The orders, for a pass that begins now.
    pub(super) fn orders(&self) -> Orders {
        self.papers().ordered.clone()
    }

    /// A pass has ended that met flows of these backends.
    pub(super) fn report(&self, orders: &Orders, met: &BTreeSet<u32>, figures: NatFigures) {
        let mut papers = self.papers();
        for (id, order) in orders {
            if !met.contains(id) && papers.ordered.get(id) == Some(order) {
                papers.done.insert(*id);
            }
        }
        papers.figures = figures;
    }

    /// How full the tables were at the end of the last pass.
    pub fn figures(&self) -> NatFigures {
        self.papers().figures
    }
}
