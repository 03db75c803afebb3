//! Next hops, kept true by netlink.
//!
//! A [`Resolver`] is told which hosts matter and reports, for each of them,
//! the MAC address, interface and source address that lead there, and every
//! change of that. It follows the kernel's routes, links, addresses and
//! neighbours by their events; since events may be lost, it also looks at
//! everything again every 30 s and whenever the kernel says that it dropped some.
//!
//! The programs send packets past the kernel's neighbour code, so nothing
//! would keep its entries alive: the resolver asks the kernel to manage them
//! (`NTF_EXT_MANAGED`) and, where it does not, pokes them at every look.
//!
//! A hop is reported lost only after the doubt was checked: a neighbour that
//! failed or vanished is asked for once more, a missing route or carrier gets
//! half a second to come back. Until then the last known hop stays in force.

mod events;
mod judge;
mod task;

use super::NextHop;
use crate::netlink::{Netlink, NetlinkResult};
use std::{collections::BTreeSet, net::IpAddr};
use tokio::sync::{mpsc, watch};

/// Changes that may wait for the reader; beyond that the resolver waits too.
const CHANGES: usize = 256;

/// What changed about the way to one host.
#[derive(Clone, PartialEq, Eq, Debug)]
pub struct HopChange {
    /// The host.
    pub host: IpAddr,
    /// How it is reached now; `None` if it cannot be.
    pub hop: Option<NextHop>,
    /// Why it cannot be reached, in words; empty if it can.
    pub why: String,
}

/// A running resolver. Ends when it is dropped, or when either half of it is.
#[derive(Debug)]
pub struct Resolver {
    /// The hosts that matter. One that is added gets its first [`HopChange`]
    /// at once or after a failed look for it; one that is taken out gets none.
    pub hosts: watch::Sender<BTreeSet<IpAddr>>,
    /// What is found, in order; several changes of one host are all reported.
    pub changes: mpsc::Receiver<HopChange>,
}

impl Resolver {
    /// Starts a resolver in the network namespace of the calling thread.
    /// Must be called inside a tokio runtime.
    pub fn start() -> NetlinkResult<Self> {
        let (hosts, wanted) = watch::channel(BTreeSet::new());
        let (report, changes) = mpsc::channel(CHANGES);
        let task = task::Task::new(wanted, report)?;
        tokio::spawn(task.run());
        Ok(Self { hosts, changes })
    }
}

/// Leaves all neighbour entries that a resolver ever had the kernel manage to
/// the kernel's own ways again. For `detach`: a resolver that merely stops
/// leaves them managed, because forwarding goes on.
pub async fn release_neighbours() -> NetlinkResult<()> {
    Netlink::open()?.drop_all_neighbours().await
}
