//! Where packets are run: the real program over tables that the real writer
//! filled, by BPF_PROG_TEST_RUN.

use super::{LOCAL_MAC, ROUTER_MAC};
use anyhow::{Context, Result, ensure};
use aya::programs::{TestRun as _, TestRunOptions};
use navigator_common::hash::HashKey;
use navigator_core::{
    model::{ForwardMode, Protocol, UdpPolicy, UnservedPolicy, VipKey},
    plan::members::{Member, State},
};
use navigator_user::dataplane::{
    Applied, Dataplane, NOBODY, NextHop, VipPlan, VipSettings,
    kernel::{KernelDataplane, KernelSettings, LoadedProgram},
    store::Sizes,
};
use std::{
    collections::BTreeMap,
    net::{IpAddr, SocketAddr},
};

/// XDP actions, as the kernel numbers them.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
#[repr(u32)]
pub enum Action {
    /// The program could not go on.
    Aborted = 0,
    /// Discarded.
    Drop = 1,
    /// To the host's network stack.
    Pass = 2,
    /// Out of the interface that it came in by.
    Tx = 3,
    /// Out of another interface.
    Redirect = 4,
}

/// What became of a packet.
#[derive(Clone, PartialEq, Eq, Debug)]
pub struct Outcome {
    /// The program's verdict.
    pub action: Action,
    /// The frame afterwards.
    pub frame: Vec<u8>,
    /// Every counter that changed, by how much: `pass_not_vip`, `flow_hit`,
    /// `<backend> packets`, `<backend> bytes`.
    pub counted: BTreeMap<String, u64>,
}

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
        ensure!(
            nix::unistd::geteuid().is_root(),
            "packet tables load BPF programs: run them as root"
        );
        let mut plane = KernelDataplane::open(KernelSettings {
            pins: None,
            interfaces: Vec::new(),
            hash_key: HASH_KEY,
            plan_seed: 1,
            sizes: Sizes {
                slots: 1 << 14,
                backends: 256,
                flow_sets: 64,
            },
        })?;
        let egress = plane.make_interface_for_test(IFINDEX, LOCAL_MAC)?;
        let program = plane.load_program_for_test(LOCAL_MAC, egress)?;
        Ok(Self { plane, program })
    }

    /// Settings of a VIP; change what a test needs otherwise.
    pub fn vip(address: SocketAddr, protocol: Protocol, mode: ForwardMode) -> VipSettings {
        VipSettings {
            key: VipKey {
                address: address.ip(),
                protocol,
                port: address.port(),
            },
            slots: SLOTS,
            mode,
            udp: UdpPolicy::Rehash,
            unserved: UnservedPolicy::Drop,
        }
    }

    /// Applies a table in which every slot belongs to the first active backend.
    ///
    /// # Errors
    /// If the data plane refuses.
    pub fn apply(&mut self, vip: &VipSettings, backends: &[(SocketAddr, Role)]) -> Result<Applied> {
        let members: Vec<_> = backends
            .iter()
            .map(|(address, role)| member(*address, *role))
            .collect();
        let owner = members.iter().position(|member| member.takes_new);
        let owner = owner.map_or(NOBODY, |index| index as u32);
        let table = vec![owner; vip.slots as usize];
        Ok(self.plane.apply(&VipPlan {
            vip: vip.clone(),
            members,
            table,
        })?)
    }

    /// Makes `host` reachable behind `mac` on the program's interface; tunnels to it start at `source`.
    ///
    /// # Errors
    /// If the data plane refuses.
    pub fn reach(&mut self, host: IpAddr, mac: [u8; 6], source: IpAddr) -> Result<()> {
        self.reach_by(host, IFINDEX, mac, source)
    }

    /// As [`Bed::reach`], by another interface, known to [`Bed::plane`].
    ///
    /// # Errors
    /// If the data plane refuses.
    pub fn reach_by(
        &mut self,
        host: IpAddr,
        ifindex: u32,
        mac: [u8; 6],
        source: IpAddr,
    ) -> Result<()> {
        Ok(self.plane.set_next_hop(
            host,
            Some(NextHop {
                mac,
                ifindex,
                source,
            }),
        )?)
    }

    /// The data plane itself.
    pub fn plane(&mut self) -> &mut KernelDataplane {
        &mut self.plane
    }

    /// Runs one frame through the program.
    ///
    /// # Errors
    /// If the kernel refuses to run it.
    pub fn run(&mut self, frame: &[u8]) -> Result<Outcome> {
        let before = self.counters();
        let mut out = vec![0; frame.len() + 256];
        let result = self.program.xdp()?.test_run(TestRunOptions {
            data_in: Some(frame),
            data_out: Some(&mut out),
            ..TestRunOptions::new()
        })?;
        out.truncate(result.data_size_out as usize);
        let mut counted = self.counters();
        counted.retain(|name, count| {
            *count -= before.get(name).copied().unwrap_or(0);
            *count > 0
        });
        Ok(Outcome {
            action: action(result.return_value)?,
            frame: out,
            counted,
        })
    }

    fn counters(&self) -> BTreeMap<String, u64> {
        let figures = self.plane.figures();
        let backends = figures
            .vips
            .iter()
            .flat_map(|vip| &vip.backends)
            .flat_map(|backend| {
                [
                    (format!("{} packets", backend.address), backend.packets),
                    (format!("{} bytes", backend.address), backend.bytes),
                ]
            });
        let named = figures
            .counters
            .iter()
            .map(|(name, packets)| ((*name).to_owned(), *packets));
        named.chain(backends).collect()
    }
}

/// An outcome in which `frame` is left as it was and only `counter` changed.
pub fn untouched(action: Action, frame: &[u8], counter: &str) -> Outcome {
    Outcome {
        action,
        frame: frame.to_vec(),
        counted: BTreeMap::from([(counter.to_owned(), 1)]),
    }
}

/// An outcome in which `frame` leaves for `backend` with `length` bytes counted, and `events` too.
pub fn sent(frame: Vec<u8>, backend: SocketAddr, length: usize, events: &[&str]) -> Outcome {
    let events = events.iter().map(|event| ((*event).to_owned(), 1));
    let traffic = [
        (format!("{backend} packets"), 1),
        (format!("{backend} bytes"), length as u64),
    ];
    Outcome {
        action: Action::Tx,
        frame,
        counted: events.chain(traffic).collect(),
    }
}

/// The MAC address of the backend with this number.
pub const fn backend_mac(number: u8) -> [u8; 6] {
    let [a, b, c, d, ..] = ROUTER_MAC;
    [a, b, c, d, 0x0b, number]
}

fn member(address: SocketAddr, role: Role) -> Member {
    Member {
        address,
        weight: 100,
        state: match role {
            Role::Active => State::Active,
            Role::Draining => State::Draining,
            Role::Dead => State::Unhealthy,
        },
        why: String::new(),
        takes_new: role == Role::Active,
        usable: role != Role::Dead,
    }
}

fn action(value: u32) -> Result<Action> {
    [
        Action::Aborted,
        Action::Drop,
        Action::Pass,
        Action::Tx,
        Action::Redirect,
    ]
    .into_iter()
    .find(|action| *action as u32 == value)
    .with_context(|| format!("the program returned {value}, which is no XDP action"))
}
