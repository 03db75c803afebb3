//! Where packets are run: the real program over tables that the real writer
//! filled, by BPF_PROG_TEST_RUN.

use super::{
    addresses::{Family, LOCAL_MAC, host_mac},
    counters::Counters,
    expect::{Action, Outcome},
};
use anyhow::{Result, ensure};
use aya::programs::{TestRun as _, TestRunOptions};
use navigator_common::hash::HashKey;
use navigator_core::{
    model::{ForwardMode, Protocol, UdpPolicy, UnservedPolicy, VipKey},
    plan::members::{Member, State},
};
use navigator_user::dataplane::{
    Applied, Dataplane, NOBODY, NextHop, VipPlan, VipSettings,
    kernel::{KernelDataplane, KernelSettings, KernelStore, LoadedProgram},
    nat::NatSettings,
    store::Sizes,
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
    }
}

/// The data plane and a program on it.
pub struct Bed {
    plane: KernelDataplane,
    program: LoadedProgram,
}

impl Bed {
    /// An empty one.
    ///
    /// # Errors
    /// Without root or BPF.
    pub fn new() -> Result<Self> {
        Self::with_nat(NatSettings::default(), SIZES)
    }

    /// An empty one that does NAT, with tables of other sizes.
    ///
    /// # Errors
    /// Without root or BPF.
    pub fn with_nat(nat: NatSettings, sizes: Sizes) -> Result<Self> {
        ensure!(
            nix::unistd::geteuid().is_root(),
            "packet tables load BPF programs: run them as root"
        );
        let mut plane = KernelDataplane::open(KernelSettings {
            pins: None,
            interfaces: Vec::new(),
            hash_key: HASH_KEY,
            plan_seed: 1,
            sizes,
            nat,
        })?;
        let egress = plane.make_interface_for_test(IFINDEX, LOCAL_MAC)?;
        let program = plane.load_program_for_test(LOCAL_MAC, egress)?;
        Ok(Self { plane, program })
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
        Ok(self.plane.apply(&VipPlan {
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
        let hop = NextHop {
            mac: host_mac(host),
            ifindex,
            source: Family::of(host).local(),
            on_link: true,
            mtu: 0,
        };
        Ok(self.plane.set_next_hop(host, Some(hop))?)
    }

    /// Forgets the way to a host.
    ///
    /// # Errors
    /// If the data plane refuses.
    pub fn lose(&mut self, host: IpAddr) -> Result<()> {
        Ok(self.plane.set_next_hop(host, None)?)
    }

    /// The data plane itself.
    pub const fn plane(&mut self) -> &mut KernelDataplane {
        &mut self.plane
    }

    /// The program.
    ///
    /// # Errors
    /// It is not loaded.
    pub fn program_fd(&mut self) -> Result<BorrowedFd<'_>> {
        Ok(self.program.xdp()?.fd()?.as_fd())
    }

    /// The words of the tables.
    pub const fn store(&self) -> &KernelStore {
        self.plane.store()
    }

    /// Flows in the cache that are alive.
    pub fn remembered(&self) -> u64 {
        let tables = self.plane.figures().tables;
        let mut flows = tables.iter().filter(|(name, ..)| *name == "flows");
        flows.next().map_or(0, |(_, used, _)| *used)
    }

    /// Runs one frame through the program.
    ///
    /// # Errors
    /// If the kernel refuses to run it.
    pub fn run(&mut self, frame: &[u8]) -> Result<Outcome> {
        let before = Counters::read(self.plane.store());
        let (action, out) = self.run_uncounted(frame)?;
        let store = self.plane.store();
        Ok(Outcome {
            action,
            frame: out,
            counted: Counters::read(store).since(&before, store),
        })
    }

    /// Runs one frame without a look at the counters, which takes longer than the run.
    ///
    /// # Errors
    /// If the kernel refuses to run it.
    pub fn run_uncounted(&mut self, frame: &[u8]) -> Result<(Action, Vec<u8>)> {
        let mut out = vec![0; frame.len() + GROWTH];
        let result = self.program.xdp()?.test_run(TestRunOptions {
            data_in: Some(frame),
            data_out: Some(&mut out),
            ..TestRunOptions::new()
        })?;
        out.truncate(result.data_size_out as usize);
        Ok((Action::new(result.return_value)?, out))
    }
}
