//! Where packets are run: the real program over tables that the real writer
//! filled, by BPF_PROG_TEST_RUN.

use super::{
    addresses::{Family, host_mac},
    counters::Counters,
    expect::{Action, GUE_PORT, Outcome},
    loaded::{self, Lent, Loaded, Observed},
};
use anyhow::{Context, Result, ensure};
use aya::{
    maps::loaded_maps,
    programs::{TestRun as _, TestRunOptions},
};
use navigator_common::{addr::Addr, hash::HashKey, trace::TraceFilter};
use navigator_core::{
    model::{ForwardMode, Protocol, UdpPolicy, UnservedPolicy, VipKey},
    plan::members::{Member, State},
};
use navigator_user::dataplane::{
    Applied, DEFAULT_WINDOW, Dataplane, NOBODY, NextHop, Steering, VipPlan, VipSettings,
    kernel::{Filters, KernelDataplane, KernelSettings, KernelStore, LoadedProgram, Records},
    nat::NatSettings,
    store::{Sizes, Table},
    tunnel::TunnelSettings,
};
use std::{
    net::{IpAddr, SocketAddr},
    os::fd::{AsFd as _, BorrowedFd},
};

/// The hash key of the bed; any will do.
pub const HASH_KEY: HashKey = HashKey::from_words([
    0x9216_d5d9_8979_fb1b,
    0xd131_0ba6_98df_b5ac,
    0x2ffd_72db_d01a_dfb7,
    0xb8e1_afed_6a26_7e96,
    0xba7c_9045_f12c_7f99,
]);

/// Index of the made-up interface that the program is on.
pub const IFINDEX: u32 = 4001;
/// A VIP's slots here: few, so that a test can name each.
pub const SLOTS: u32 = 251;
/// Sizes of the tables; small, so that all counters can be read after every packet.
pub const SIZES: Sizes = Sizes {
    slots: 1 << 14,
    backends: 64,
    flow_sets: 64,
    nat_flows: 1,
};

/// The tables that the program writes.
const REMEMBERING: [Table; 2] = [Table::Flows, Table::Fragments];

/// Room in front of and behind a frame that comes out.
const GROWTH: usize = 256;

/// A backend in a plan.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum Role {
    /// Takes new flows.
    Active,
    /// Keeps those that it has.
    Draining,
    /// Serves nobody.
    Dead,
}

/// Settings of a VIP of [`SLOTS`] slots whose unserved ports are dropped; change
/// what a test needs otherwise.
pub fn vip(address: SocketAddr, protocol: Protocol, mode: ForwardMode) -> VipSettings {
    VipSettings {
        key: VipKey::new(address.ip(), protocol, address.port()),
        slots: SLOTS,
        mode,
        udp: UdpPolicy::Rehash,
        unserved: UnservedPolicy::Drop,
        steering: Steering::default(),
    }
}

/// The data plane and the programs on it.
pub struct Bed {
    loaded: Lent,
    /// The program that writes down packets is ready.
    observed: bool,
    /// It is used instead of the other one.
    looking: bool,
    does_nat: bool,
    /// The counters, if nothing has changed them since they were read.
    counters: Option<Counters>,
}

/// The filter that asks for every packet.
pub const EVERYTHING: TraceFilter = TraceFilter {
    active: 1,
    outcomes: [u64::MAX; 2],
    client: Addr { hi: 0, lo: 0 },
    client_mask: Addr { hi: 0, lo: 0 },
    backend: Addr { hi: 0, lo: 0 },
    vip_address: Addr { hi: 0, lo: 0 },
    vip: 0,
    backend_port: 0,
    sample: TraceFilter::EVERY,
    flags: 0,
};

impl Bed {
    /// An empty one. Tunnels start at the host's address, GUE goes to [`GUE_PORT`].
    ///
    /// # Errors
    /// Without root or BPF.
    pub fn new() -> Result<Self> {
        Self::open(&[], NatSettings::default(), SIZES)
    }

    /// An empty one whose IP-in-IP tunnels start in these networks.
    ///
    /// # Errors
    /// As [`Bed::new`], and for what is no network.
    pub fn from_sources(networks: &[&str]) -> Result<Self> {
        Self::open(networks, NatSettings::default(), SIZES)
    }

    /// An empty one that does NAT, with tables of other sizes.
    ///
    /// # Errors
    /// Without root or BPF.
    pub fn with_nat(nat: NatSettings, sizes: Sizes) -> Result<Self> {
        Self::open(&[], nat, sizes)
    }

    fn open(networks: &[&str], nat: NatSettings, sizes: Sizes) -> Result<Self> {
        let tunnels = TunnelSettings {
            gue_port: GUE_PORT,
            sources: networks
                .iter()
                .map(|network| network.parse())
                .collect::<Result<_, _>>()?,
        };
        ensure!(
            nix::unistd::geteuid().is_root(),
            "packet tables load BPF programs: run them as root"
        );
        let does_nat = !nat.sources.is_empty();
        let loaded = loaded::take(KernelSettings {
            pins: None,
            interfaces: Vec::new(),
            hash_key: HASH_KEY,
            plan_seed: 1,
            sizes,
            window: DEFAULT_WINDOW,
            tunnels,
            nat,
        })?;
        Ok(Self {
            loaded,
            observed: false,
            looking: false,
            does_nat,
            counters: None,
        })
    }

    /// From now on frames are run through the program that writes down packets, by this filter.
    ///
    /// # Errors
    /// If the kernel refuses the program.
    pub fn observe(&mut self, filter: &TraceFilter) -> Result<()> {
        self.loaded.observe()?.filters.set(0, filter)?;
        self.observed = true;
        self.looking = true;
        Ok(())
    }

    /// From now on frames are run through the program of [`Bed::observe`], or again
    /// through the ordinary one.
    ///
    /// # Errors
    /// If the kernel refuses the program.
    pub fn look(&mut self, looking: bool) -> Result<()> {
        if looking && !self.observed {
            self.observe(&EVERYTHING)?;
        }
        self.looking = looking;
        Ok(())
    }

    /// What the program remembers of flows and fragments.
    pub fn memory(&self) -> [Vec<u64>; 2] {
        REMEMBERING.map(|table| self.store().copy_for_test(table))
    }

    /// Lets the program remember what it did when [`Bed::memory`] was called.
    pub fn remember(&self, memory: &[Vec<u64>; 2]) {
        for (table, words) in REMEMBERING.into_iter().zip(memory) {
            self.store().paste_for_test(table, words);
        }
    }

    /// Whether a packet leaves behind what [`Bed::remember`] cannot undo: flows of NAT.
    pub(super) const fn is_marked_by_packets(&self) -> bool {
        self.does_nat
    }

    /// Whether frames are run through the program that writes down packets.
    pub const fn is_observed(&self) -> bool {
        self.looking
    }

    fn observed(&mut self) -> Result<&mut Observed> {
        let observed = self.loaded.observed.as_mut();
        observed
            .filter(|_| self.observed)
            .context("nobody observes")
    }

    /// The filters of the program of [`Bed::observe`].
    ///
    /// # Errors
    /// It was not called.
    pub fn filters(&mut self) -> Result<&mut Filters> {
        Ok(&mut self.observed()?.filters)
    }

    /// What that program wrote down.
    ///
    /// # Errors
    /// [`Bed::observe`] was not called.
    pub fn records(&mut self) -> Result<&mut Records> {
        Ok(&mut self.observed()?.records)
    }

    /// Applies a table in which every slot belongs to the first active backend. All of
    /// them become reachable.
    ///
    /// # Errors
    /// If the data plane refuses.
    pub fn serve(&mut self, vip: &VipSettings, backends: &[(SocketAddr, Role)]) -> Result<Applied> {
        let owner = backends.iter().position(|(_, role)| *role == Role::Active);
        self.spread(vip, backends, |_| owner)
    }

    /// As [`Bed::serve`], with the owner of each slot, an index into `backends`.
    ///
    /// # Errors
    /// If the data plane refuses.
    pub fn spread(
        &mut self,
        vip: &VipSettings,
        backends: &[(SocketAddr, Role)],
        owner: impl Fn(u32) -> Option<usize>,
    ) -> Result<Applied> {
        for (address, _) in backends {
            self.reach(address.ip(), IFINDEX)?;
        }
        let members = backends.iter().map(|(address, role)| Member {
            address: *address,
            weight: 100,
            state: match role {
                Role::Active => State::Active,
                Role::Draining => State::Draining,
                Role::Dead => State::Unhealthy,
            },
            why: String::new(),
            takes_new: *role == Role::Active,
            usable: *role != Role::Dead,
        });
        let owner = |slot| owner(slot).map_or(NOBODY, |index| index as u32);
        Ok(self.plane().apply(&VipPlan {
            vip: vip.clone(),
            members: members.collect(),
            table: (0..vip.slots).map(owner).collect(),
        })?)
    }

    /// Makes a host reachable by an interface: the program's own, one that was made up for
    /// [`Bed::plane`], or a real one. Tunnels start at the family's local address.
    ///
    /// # Errors
    /// If the data plane refuses.
    pub fn reach(&mut self, host: IpAddr, ifindex: u32) -> Result<()> {
        self.reach_by(host, ifindex, 0)
    }

    /// As [`Bed::reach`], by a way that takes packets of at most `mtu` bytes.
    ///
    /// # Errors
    /// If the data plane refuses.
    pub fn reach_by(&mut self, host: IpAddr, ifindex: u32, mtu: u16) -> Result<()> {
        let hop = NextHop {
            mac: host_mac(host),
            ifindex,
            source: Family::of(host).local(),
            on_link: true,
            mtu,
        };
        Ok(self.plane().set_next_hop(host, Some(hop))?)
    }

    /// Forgets the way to a host.
    ///
    /// # Errors
    /// If the data plane refuses.
    pub fn lose(&mut self, host: IpAddr) -> Result<()> {
        Ok(self.plane().set_next_hop(host, None)?)
    }

    /// The data plane itself.
    pub fn plane(&mut self) -> &mut KernelDataplane {
        self.counters = None;
        &mut self.loaded.plane
    }

    /// The program that frames are run through.
    ///
    /// # Errors
    /// It is not loaded.
    pub fn program_fd(&mut self) -> Result<BorrowedFd<'_>> {
        Ok(self.program().xdp()?.fd()?.as_fd())
    }

    /// The words of the tables.
    pub fn store(&self) -> &KernelStore {
        self.loaded.plane.store()
    }

    /// Flows in the cache that are alive.
    pub fn remembered(&self) -> u64 {
        let tables = self.loaded.plane.figures().tables;
        let mut flows = tables.iter().filter(|(name, ..)| *name == "flows");
        flows.next().map_or(0, |(_, used, _)| *used)
    }

    /// The names of the maps that the program uses.
    ///
    /// # Errors
    /// If the kernel does not tell.
    pub fn maps(&mut self) -> Result<Vec<String>> {
        let ids = self.program().xdp()?.info()?.map_ids()?;
        let mut names = Vec::new();
        // Those of other programs may go while they are listed.
        for map in loaded_maps().filter_map(Result::ok) {
            if ids.iter().flatten().any(|id| *id == map.id()) {
                names.push(map.name_as_str().unwrap_or_default().to_owned());
            }
        }
        Ok(names)
    }

    /// Runs one frame through the program, so many times.
    ///
    /// # Errors
    /// If the kernel refuses to run it.
    pub fn repeat(&mut self, frame: &[u8], times: u32) -> Result<()> {
        self.program().xdp()?.test_run(TestRunOptions {
            data_in: Some(frame),
            repeat: times,
            ..TestRunOptions::new()
        })?;
        Ok(())
    }

    /// Runs one frame of many through the program: nothing is looked at but the verdict.
    ///
    /// # Errors
    /// If the kernel refuses to run it.
    pub fn send(&mut self, frame: &[u8]) -> Result<Action> {
        let mut out = vec![0; frame.len() + GROWTH];
        let result = self.program().xdp()?.test_run(TestRunOptions {
            data_in: Some(frame),
            data_out: Some(&mut out),
            ..TestRunOptions::new()
        })?;
        Action::new(result.return_value)
    }

    fn program(&mut self) -> &mut LoadedProgram {
        self.counters = None;
        let looking = self.looking;
        let Loaded {
            program, observed, ..
        } = &mut *self.loaded;
        match observed {
            Some(observed) if looking => &mut observed.program,
            _ => program,
        }
    }

    /// Runs one frame through the program.
    ///
    /// # Errors
    /// If the kernel refuses to run it.
    pub fn run(&mut self, frame: &[u8]) -> Result<Outcome> {
        let before = match self.counters.take() {
            Some(counters) => counters,
            None => Counters::read(self.store()),
        };
        let (action, frame) = self.run_uncounted(frame)?;
        let counters = Counters::read(self.store());
        let counted = counters.since(&before, self.store());
        self.counters = Some(counters);
        Ok(Outcome {
            action,
            frame,
            counted,
        })
    }

    /// Runs one frame without a look at the counters, which takes longer than the run.
    ///
    /// # Errors
    /// If the kernel refuses to run it.
    pub fn run_uncounted(&mut self, frame: &[u8]) -> Result<(Action, Vec<u8>)> {
        let mut out = vec![0; frame.len() + GROWTH];
        let result = self.program().xdp()?.test_run(TestRunOptions {
            data_in: Some(frame),
            data_out: Some(&mut out),
            ..TestRunOptions::new()
        })?;
        out.truncate(result.data_size_out as usize);
        Ok((Action::new(result.return_value)?, out))
    }
}
