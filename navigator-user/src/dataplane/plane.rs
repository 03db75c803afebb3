//! The data plane over any [`Store`]: what is in the tables, as their only
//! writer remembers it.
//!
//! Every change is a sequence of word stores that may be cut anywhere: what
//! is new is whole before a word that leads to it is stored, and what is old
//! is rewritten only after the last word that led to it is gone and a grace
//! period has passed (`sweep`).

use super::{
    AdoptedVip, Applied, Dataplane, DataplaneError, DataplaneResult, Figures, NextHop, VipPlan,
    VipSettings,
    addresses::Addresses,
    arena::Arena,
    backends::{Backends, flags},
    egress::Egress,
    nat::NatSettings,
    pass::Pass,
    store::{Store, Table},
    sweep::Garbage,
    tunnel::TunnelSettings,
    windows::{Bits, VipWindows, Windows},
};
use navigator_common::quic::QuicKey;
use navigator_core::model::VipKey;
use std::{
    collections::{BTreeMap, HashMap},
    net::{IpAddr, SocketAddr},
    time::Duration,
};

/// A data plane whose words are kept by `S`.
pub struct Plane<S: Store> {
    pub(super) store: S,
    pub(super) vips: BTreeMap<VipKey, VipEntry>,
    pub(super) addresses: Addresses,
    pub(super) ports: Arena,
    pub(super) slots: Arena,
    pub(super) vip_ids: Arena,
    pub(super) backends: Backends,
    pub(super) egress: Egress,
    /// Ways to hosts, also to those without a backend yet, with their egress index.
    pub(super) hops: HashMap<IpAddr, (NextHop, u8)>,
    pub(super) tunnels: TunnelSettings,
    pub(super) nat: NatSettings,
    /// Backend ids by QUIC server id.
    pub(super) servers: BTreeMap<QuicKey, u32>,
    pub(super) limbo: Vec<Garbage>,
    pub(super) windows: Windows,
    /// The look through the flow cache that is under way.
    pub(super) pass: Option<Pass>,
    /// Sweeps until another one is begun that nobody waits for.
    pub(super) resting: u32,
    pub(super) adopted: Vec<AdoptedVip>,
}

/// A VIP in the tables.
pub(super) struct VipEntry {
    pub(super) id: u16,
    pub(super) settings: VipSettings,
    /// First slot of its table.
    pub(super) base: u32,
    pub(super) windows: VipWindows,
    /// Slots that are at rest again if the pass that is under way finds no flow of theirs.
    pub(super) settling: Bits,
    /// Backend ids of its members.
    pub(super) members: BTreeMap<SocketAddr, u32>,
}

impl<S: Store> Plane<S> {
    /// Takes over what the store holds: nothing, or what an earlier data plane left.
    /// Waits for one grace period. A window stays open for `window`.
    pub fn open(store: S, window: Duration, nat: NatSettings) -> DataplaneResult<Self> {
        store.grace()?;
        let sizes = store.sizes();
        let mut plane = Self {
            vips: BTreeMap::new(),
            addresses: Addresses::default(),
            ports: Arena::new(1, Table::Ports.entries(&sizes)),
            slots: Arena::new(0, sizes.slots),
            vip_ids: Arena::new(1, Table::Vips.entries(&sizes)),
            backends: Backends::new(sizes.backends),
            egress: Egress::default(),
            hops: HashMap::new(),
            tunnels: TunnelSettings::default(),
            nat,
            servers: BTreeMap::new(),
            limbo: Vec::new(),
            windows: Windows::new(window),
            pass: None,
            resting: 0,
            adopted: Vec::new(),
            store,
        };
        plane.adopt();
        plane.place_sources()?;
        Ok(plane)
    }

    /// Has tunnel headers made with these settings, of which backends that were taken over
    /// learn with their next hops.
    #[must_use]
    pub fn with_tunnels(mut self, tunnels: TunnelSettings) -> Self {
        self.tunnels = tunnels;
        self
    }

    /// The store.
    pub const fn store(&self) -> &S {
        &self.store
    }

    /// The store, for what nothing else here does.
    pub(super) const fn store_mut(&mut self) -> &mut S {
        &mut self.store
    }

    /// The id of a VIP, if it is in the tables.
    pub fn vip_id(&self, vip: &VipKey) -> Option<u16> {
        Some(self.vips.get(vip)?.id)
    }

    /// Runs `action`; if a table is full, frees at once what would be freed later and tries again.
    fn with_room<T>(
        &mut self,
        mut action: impl FnMut(&mut Self) -> DataplaneResult<T>,
    ) -> DataplaneResult<T> {
        match action(self) {
            Err(DataplaneError::Full { .. }) if self.has_garbage() => {
                self.settle();
                action(self)
            }
            result => result,
        }
    }
}

impl<S: Store> Dataplane for Plane<S> {
    fn adopted(&self) -> Vec<AdoptedVip> {
        self.adopted.clone()
    }

    fn apply(&mut self, plan: &VipPlan) -> DataplaneResult<Applied> {
        super::apply::check(plan)?;
        self.check_nat(&plan.vip)?;
        self.with_room(|plane| plane.apply_plan(plan))
    }

    fn set_state(&mut self, vip: &VipKey, address: SocketAddr, takes_new: bool, usable: bool) {
        let id = self.vips.get(vip).and_then(|vip| vip.members.get(&address));
        if let Some(&id) = id {
            self.backends
                .set_state(&self.store, id, flags(takes_new, usable));
            self.backends.mirror_states(&self.store);
        }
    }

    fn remove(&mut self, vip: &VipKey) -> DataplaneResult<()> {
        self.remove_vip(vip);
        Ok(())
    }

    fn set_next_hop(&mut self, host: IpAddr, hop: Option<NextHop>) -> DataplaneResult<()> {
        let hop = hop.filter(|hop| hop.mac != [0; 6]);
        self.with_room(|plane| plane.change_next_hop(host, hop))
    }

    fn sweep(&mut self) {
        self.sweep_once();
    }

    fn figures(&self) -> Figures {
        self.read_figures()
    }
}
