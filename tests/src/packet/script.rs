//! Packets and table changes in sequence.
//!
//! All flows of a script fall into one set of the flow cache, which has room
//! for four: what a crowded set does needs no more than five flows.

use super::{
    addresses::Family,
    bed::{self, Bed, EVERYTHING, Role, SIZES, SLOTS},
    diff,
    expect::{self, Outcome},
    flow,
    frame::{self, Tcp},
    icmp, record,
};
use anyhow::{Context, Result, ensure};
use navigator_common::{
    flow::{FlowWord, WAYS, lifetime},
    reason::{Event, Reason},
};
use navigator_core::model::{ForwardMode, Protocol, UdpPolicy};
use navigator_user::dataplane::{
    Dataplane as _, VipSettings,
    store::{Store as _, Table},
};
use std::net::SocketAddr;

/// Units of a flow's time after which a silent flow is forgotten: two hours and ten minutes.
pub const LIFETIME: u32 = lifetime((2 * 60 + 10) * 60);
/// The set of the flow cache that all flows fall into.
const SET: u64 = 7;
/// Sweeps after which another pass through the flow cache is due.
const RESTED: usize = 31;
/// Port of the scripts' VIP and backends.
const PORT: u16 = 443;

/// A backend of a script.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum Backend {
    /// The first.
    A = 1,
    /// The second.
    B = 2,
    /// The third.
    C = 3,
}

/// What a table change leaves behind.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum Slots {
    /// A window is open in all of them.
    AtRisk,
    /// In none.
    AtRest,
}

/// One step of a script.
#[derive(Clone, Debug)]
pub enum Step {
    /// A new table: the first active backend owns every slot.
    Table(Vec<(Backend, Role)>, Slots),
    /// What is known of a backend, before a new table is planned.
    State(Backend, Role),
    /// A packet of the flow with this number, and where it goes.
    Packet {
        /// Its flow.
        flow: u16,
        /// Its flags; `None` for a UDP datagram.
        flags: Option<Tcp>,
        /// The backend that it goes to, or the reason for dropping it.
        to: Result<Backend, Reason>,
        /// What is counted beside.
        events: Vec<Event>,
    },
    /// An ICMP error about the flow with this number, and where it goes.
    Quoted {
        /// The flow that it quotes a packet of.
        flow: u16,
        /// The backend that it goes to.
        to: Backend,
        /// What is counted beside.
        events: Vec<Event>,
    },
    /// As many flows are in the cache.
    Remembered(u64),
    /// All remembered flows are silent for these coarse time units (about a second each).
    Silence(u32),
    /// So many minutes pass, for windows as for remembered flows.
    Minutes(u16),
    /// Windows that are over are closed and what nothing names any more is freed, as after
    /// some seconds.
    Sweep,
    /// The same after half a minute more.
    Rest,
    /// So many slots are tracked although their window is closed.
    Tracked(u32),
}

/// A new table, and what it leaves behind.
pub fn table(members: &[(Backend, Role)], slots: Slots) -> Step {
    Step::Table(members.to_vec(), slots)
}

/// A TCP packet that goes to a backend.
pub fn tcp(flow: u16, flags: Tcp, to: Backend, events: &[Event]) -> Step {
    Step::Packet {
        flow,
        flags: Some(flags),
        to: Ok(to),
        events: events.to_vec(),
    }
}

/// A UDP packet that goes to a backend.
pub fn udp(flow: u16, to: Backend, events: &[Event]) -> Step {
    Step::Packet {
        flow,
        flags: None,
        to: Ok(to),
        events: events.to_vec(),
    }
}

/// An ICMP error that goes to the backend of the flow that it quotes.
pub fn quoted(flow: u16, to: Backend, events: &[Event]) -> Step {
    Step::Quoted {
        flow,
        to,
        events: events.to_vec(),
    }
}

/// A TCP packet that is dropped.
pub fn dropped(flow: u16, flags: Tcp, reason: Reason) -> Step {
    Step::Packet {
        flow,
        flags: Some(flags),
        to: Err(reason),
        events: Vec::new(),
    }
}

/// Plays a script over TCP, once with IPv4 and once with IPv6.
///
/// # Errors
/// Says which step failed, and how.
pub fn play_tcp(steps: &[Step]) -> Result<()> {
    play(Protocol::Tcp, UdpPolicy::Rehash, steps)
}

/// Plays a script over UDP, once with IPv4 and once with IPv6.
///
/// # Errors
/// Says which step failed, and how.
pub fn play_udp(policy: UdpPolicy, steps: &[Step]) -> Result<()> {
    play(Protocol::Udp, policy, steps)
}

fn play(protocol: Protocol, udp: UdpPolicy, steps: &[Step]) -> Result<()> {
    ensure!(!steps.is_empty(), "a script without steps proves nothing");
    play_once(&mut Bed::new()?, protocol, udp, steps)?;
    let mut bed = Bed::new()?;
    bed.observe(&EVERYTHING)?;
    play_once(&mut bed, protocol, udp, steps).context("while somebody looks")
}

fn play_once(bed: &mut Bed, protocol: Protocol, udp: UdpPolicy, steps: &[Step]) -> Result<()> {
    for family in Family::BOTH {
        let vip = VipSettings {
            udp,
            ..bed::vip(family.vip(1, PORT), protocol, ForwardMode::L2)
        };
        let mut scene = Scene { bed, family, vip };
        for (number, step) in steps.iter().enumerate() {
            scene
                .play(step)
                .with_context(|| format!("{family:?}, step {}: {step:?}", number + 1))?;
        }
        scene.forget_flows();
        // A pass, and the pause after it, belong to this family.
        scene.sweep(2 * RESTED);
    }
    Ok(())
}

struct Scene<'a> {
    bed: &'a mut Bed,
    family: Family,
    vip: VipSettings,
}

impl Scene<'_> {
    fn play(&mut self, step: &Step) -> Result<()> {
        match step {
            Step::Table(members, slots) => self.change_table(members, *slots),
            Step::State(backend, role) => {
                let (vip, address) = (self.vip.key, self.backend(*backend));
                let (takes_new, usable) = (*role == Role::Active, *role != Role::Dead);
                self.bed.plane().set_state(&vip, address, takes_new, usable);
                Ok(())
            }
            Step::Packet {
                flow,
                flags,
                to,
                events,
            } => self.send(*flow, *flags, *to, events),
            Step::Quoted { flow, to, events } => self.send_error(*flow, *to, events),
            Step::Remembered(want) => {
                let got = self.bed.remembered();
                ensure!(got == *want, "{got} flows are remembered, not {want}");
                Ok(())
            }
            Step::Silence(units) => {
                self.age_flows(*units);
                Ok(())
            }
            Step::Sweep => {
                // One sweep each for handing flows over, finding none, and freeing.
                self.sweep(3);
                Ok(())
            }
            Step::Rest => {
                self.sweep(RESTED);
                Ok(())
            }
            Step::Minutes(minutes) => {
                // Rounded up to whole epochs of 8.6 s.
                let epochs = (u32::from(*minutes) * 60 * 1000).div_ceil(8590);
                self.bed.plane().age_for_test(epochs as u16);
                Ok(())
            }
            Step::Tracked(want) => {
                let figures = self.bed.plane().figures();
                let vip = figures.vips.iter().find(|vip| vip.key == self.vip.key);
                let got = vip.map_or(0, |vip| vip.tracked);
                ensure!(got == *want, "{got} slots are tracked, not {want}");
                Ok(())
            }
        }
    }

    fn sweep(&mut self, count: usize) {
        (0..count).for_each(|_| self.bed.plane().sweep());
    }

    fn change_table(&mut self, members: &[(Backend, Role)], slots: Slots) -> Result<()> {
        let members = members.iter();
        let members: Vec<_> = members.map(|(b, role)| (self.backend(*b), *role)).collect();
        let at_risk = self.bed.serve(&self.vip, &members)?.at_risk;
        let want = match slots {
            Slots::AtRisk => SLOTS,
            Slots::AtRest => 0,
        };
        ensure!(at_risk == want, "{at_risk} slots are at risk, not {want}");
        Ok(())
    }

    fn send(
        &mut self,
        flow: u16,
        flags: Option<Tcp>,
        to: Result<Backend, Reason>,
        events: &[Event],
    ) -> Result<()> {
        let (client, vip) = (self.client(flow), self.vip());
        let packet = match flags {
            Some(flags) => frame::tcp(client, vip, flags, b"segment"),
            None => frame::udp(client, vip, b"datagram"),
        };
        let want = match to {
            Ok(backend) => expect::l2(self.vip.key, self.backend(backend))(&packet),
            Err(reason) => expect::dropped(reason)(&packet),
        };
        self.run(&packet, &want.with(events))
    }

    fn run(&mut self, packet: &[u8], want: &Outcome) -> Result<()> {
        let got = self.bed.run(packet)?;
        let mut difference = diff::outcomes(want, &got);
        if self.bed.is_observed() {
            difference += &record::untruths(self.bed.records()?, packet, &got);
        }
        ensure!(difference.is_empty(), "\n{difference}");
        Ok(())
    }

    fn send_error(&mut self, flow: u16, to: Backend, events: &[Event]) -> Result<()> {
        let (client, vip) = (self.client(flow), self.vip());
        let quoted = match self.vip.key.protocol {
            Protocol::Tcp => frame::tcp(vip, client, Tcp::Ack, b"segment"),
            Protocol::Udp | Protocol::Both => frame::udp(vip, client, b"datagram"),
        };
        let (kind, code) = match self.family {
            Family::V4 => (3, 4),
            Family::V6 => (2, 0),
        };
        let router = self.family.client(250, 0).ip();
        let quoted = frame::ip_packet(&quoted);
        let packet = icmp::message(router, vip.ip(), kind, code, [0, 0, 5, 20], quoted);
        let want = expect::l2(self.vip.key, self.backend(to))(&packet);
        self.run(&packet, &want.with(events))
    }

    fn vip(&self) -> SocketAddr {
        SocketAddr::new(self.vip.key.address, PORT)
    }

    fn backend(&self, backend: Backend) -> SocketAddr {
        self.family.backend(backend as u8, PORT)
    }

    /// The client of the flow with this number: one whose flow falls into [`SET`].
    fn client(&self, flow: u16) -> SocketAddr {
        let (vip, protocol) = (self.vip(), self.vip.key.protocol.number());
        let in_set = |client: &SocketAddr| {
            flow::hash(*client, vip, protocol) & u64::from(SIZES.flow_sets - 1) == SET
        };
        let clients = (1024..=u16::MAX).map(|port| self.family.client(1, port));
        let mut clients = clients.filter(in_set).skip(flow.into());
        clients
            .next()
            .unwrap_or_else(|| panic!("one client has no {flow} flows of one set"))
    }

    fn age_flows(&self, units: u32) {
        let store = self.bed.store();
        for entry in 0..FLOW_ENTRIES {
            let word = FlowWord(store.load(Table::Flows, entry));
            if word != FlowWord::FREE {
                store.store(Table::Flows, entry, word.aged(units).0);
            }
        }
    }
    fn forget_flows(&self) {
        for entry in 0..FLOW_ENTRIES {
            self.bed
                .store()
                .store(Table::Flows, entry, FlowWord::FREE.0);
        }
    }
}

/// Entries of the flow cache.
const FLOW_ENTRIES: usize = SIZES.flow_sets as usize * WAYS;
