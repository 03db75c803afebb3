//! Floods while every slot is at risk: what is established and remembered stays where it is.
//!
//! The cache of the tables has 256 entries; a flood has thousands of flows.

use anyhow::{Context, Result, ensure};
use navigator_common::reason::Event::{FlowHit, FlowRemembered};
use navigator_core::model::{ForwardMode, Protocol, UdpPolicy};
use navigator_tests::packet::{
    Family,
    Tcp::{Ack, Syn},
    bed::{
        self, Bed,
        Role::{Active, Draining},
        SIZES,
    },
    expect, flow, frame,
    row::row,
};
use navigator_user::dataplane::VipSettings;
use rand::{RngExt as _, SeedableRng as _, rngs::StdRng};
use std::{collections::HashMap, net::SocketAddr};

const PORT: u16 = 443;
const FLOOD: usize = 5_000;
/// Established flows: half of them older than the window, half of them new.
const FLOWS: usize = 100;

struct Scene {
    bed: Bed,
    family: Family,
    vip: VipSettings,
    flows: Vec<(SocketAddr, SocketAddr)>,
    random: StdRng,
}

impl Scene {
    /// Every slot is at risk, from the first to the second backend, and the flows are remembered.
    fn new(family: Family) -> Result<Self> {
        let mut bed = Bed::new()?;
        let vip = bed::vip(family.vip(1, PORT), Protocol::Tcp, ForwardMode::L2);
        let (old, new) = (family.backend(1, PORT), family.backend(2, PORT));
        bed.serve(&vip, &[(old, Active)])?;
        bed.serve(&vip, &[(new, Active), (old, Draining)])?;
        let sticky = VipSettings {
            udp: UdpPolicy::Sticky,
            ..bed::vip(family.vip(1, PORT), Protocol::Udp, ForwardMode::L2)
        };
        bed.serve(&sticky, &[(old, Active)])?;
        let mut scene = Self {
            bed,
            family,
            vip,
            flows: Vec::new(),
            random: StdRng::seed_from_u64(7),
        };
        scene.establish(old, new)?;
        Ok(scene)
    }

    /// At most two flows fall into a set of eight.
    fn establish(&mut self, old: SocketAddr, new: SocketAddr) -> Result<()> {
        let mut of_set: HashMap<u64, u32> = HashMap::new();
        let family = self.family;
        let clients = (1024..=u16::MAX).map(|port| family.client(1, port));
        for client in clients {
            let set = flow::hash(client, self.target(), 6) & u64::from(SIZES.flow_sets - 1);
            let crowd = of_set.entry(set).or_default();
            if *crowd == 2 {
                continue;
            }
            *crowd += 1;
            let to = if self.flows.len().is_multiple_of(2) {
                old
            } else {
                new
            };
            let first = if to == old { Ack } else { Syn };
            self.expect(client, first, to, FlowRemembered)?;
            self.expect(client, Ack, to, FlowHit)?;
            self.flows.push((client, to));
            if self.flows.len() == FLOWS {
                return Ok(());
            }
        }
        ensure!(false, "the clients have no {FLOWS} flows");
        Ok(())
    }

    fn target(&self) -> SocketAddr {
        self.family.vip(1, PORT)
    }

    fn expect(
        &mut self,
        client: SocketAddr,
        flags: navigator_tests::packet::Tcp,
        to: SocketAddr,
        event: navigator_common::reason::Event,
    ) -> Result<()> {
        let packet = frame::tcp(client, self.target(), flags, b"segment");
        let want = |packet: &[u8]| expect::l2(self.vip.key, to)(packet).with(&[event]);
        let row = row(format!("{client}: {flags:?}"), packet, want);
        self.bed.check(&[row])
    }

    fn stranger(&mut self) -> SocketAddr {
        self.family.client(
            self.random.random_range(2..250),
            self.random.random_range(1024..u16::MAX),
        )
    }

    fn all_are_where_they_were(&mut self) -> Result<()> {
        for (client, to) in self.flows.clone() {
            self.expect(client, Ack, to, FlowHit)?;
        }
        Ok(())
    }
}

fn flood(name: &str, packets: impl Fn(SocketAddr, SocketAddr) -> Vec<Vec<u8>>) -> Result<()> {
    for family in Family::BOTH {
        let mut scene = Scene::new(family)?;
        for _ in 0..FLOOD {
            let (client, vip) = (scene.stranger(), scene.target());
            for packet in packets(client, vip) {
                scene.bed.send(&packet)?;
            }
        }
        scene
            .all_are_where_they_were()
            .with_context(|| format!("{family:?}, after {FLOOD} of {name}"))?;
    }
    Ok(())
}

#[test]
fn a_syn_flood_moves_no_established_flow() -> Result<()> {
    flood("SYN", |client, vip| vec![frame::tcp(client, vip, Syn, b"")])
}

#[test]
fn an_ack_flood_moves_no_established_flow() -> Result<()> {
    flood("ACK", |client, vip| vec![frame::tcp(client, vip, Ack, b"")])
}

/// Two packets of a flow make it established: the cache fills up for good.
#[test]
fn a_flood_that_looks_established_moves_no_established_flow() -> Result<()> {
    flood("SYN and ACK", |client, vip| {
        [Syn, Ack]
            .map(|flags| frame::tcp(client, vip, flags, b""))
            .into()
    })
}

/// A sticky UDP VIP shares the cache.
#[test]
fn a_udp_flood_moves_no_established_flow() -> Result<()> {
    flood("UDP", |client, vip| {
        vec![frame::udp(client, vip, b"datagram")]
    })
}

#[test]
fn a_udp_flood_of_pairs_moves_no_established_flow() -> Result<()> {
    flood("UDP, twice", |client, vip| {
        vec![frame::udp(client, vip, b"datagram"); 2]
    })
}
