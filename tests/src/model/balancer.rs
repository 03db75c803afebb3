//! The real tables and the real program. Maps are pinned, so that the daemon's
//! half can be stopped and started again over them.

use super::world::{HOSTS, VIP, address};
use crate::packet::{
    LOCAL_MAC, Tcp,
    bed::HASH_KEY,
    frame::{self, ETH},
};
use anyhow::{Context, Result, bail, ensure};
use aya::programs::{TestRun as _, TestRunOptions};
use navigator_user::dataplane::{
    DEFAULT_WINDOW, Dataplane as _, Figures, NextHop, VipPlan,
    kernel::{KernelDataplane, KernelSettings, LoadedProgram, detach},
    store::Sizes,
};
use std::{
    net::{Ipv4Addr, SocketAddr},
    path::PathBuf,
    sync::atomic::{AtomicU32, Ordering},
};

/// Interface that backends are behind; it need not exist.
const IFINDEX: u32 = 4001;
const TX: u32 = 3;
const DROP: u32 = 1;
/// Four entries a set: room for every flow to find a set that is not full.
const FLOW_SETS: u32 = 1 << 20;

/// Navigator, without a network.
pub struct Balancer {
    plane: Option<KernelDataplane>,
    program: LoadedProgram,
    settings: KernelSettings,
    syn: Vec<u8>,
    ack: Vec<u8>,
}

impl Balancer {
    /// Fresh maps.
    ///
    /// # Errors
    /// Without root or BPF.
    pub fn new() -> Result<Self> {
        static NUMBER: AtomicU32 = AtomicU32::new(0);
        let number = NUMBER.fetch_add(1, Ordering::Relaxed);
        let pins = PathBuf::from(format!(
            "/sys/fs/bpf/navigator-model-{}-{number}",
            std::process::id()
        ));
        let settings = KernelSettings {
            pins: Some(pins),
            interfaces: Vec::new(),
            hash_key: HASH_KEY,
            plan_seed: 1,
            sizes: Sizes {
                slots: 1 << 16,
                backends: 4096,
                flow_sets: FLOW_SETS,
            },
            window: DEFAULT_WINDOW,
        };
        let (plane, program) = start(&settings)?;
        let client = client(0);
        Ok(Self {
            plane: Some(plane),
            program,
            settings,
            syn: frame::tcp(client, VIP, Tcp::Syn, b""),
            ack: frame::tcp(client, VIP, Tcp::Ack, b""),
        })
    }

    fn plane(&mut self) -> Result<&mut KernelDataplane> {
        self.plane.as_mut().context("a restart failed")
    }

    /// Makes a plan true, then lets a second pass.
    ///
    /// # Errors
    /// If the data plane refuses.
    pub fn apply(&mut self, plan: &VipPlan) -> Result<()> {
        let plane = self.plane()?;
        plane.apply(plan)?;
        plane.sweep();
        Ok(())
    }

    /// Stops the daemon's half and starts it again over the pinned maps.
    ///
    /// # Errors
    /// If the data plane refuses.
    pub fn restart(&mut self) -> Result<()> {
        self.plane = None;
        let (plane, program) = start(&self.settings)?;
        (self.plane, self.program) = (Some(plane), program);
        Ok(())
    }

    /// Lets so many epochs (of about 8.6 s) pass, and some sweeps.
    ///
    /// # Errors
    /// After a restart that failed.
    pub fn pass_time(&mut self, epochs: u16) -> Result<()> {
        let plane = self.plane()?;
        plane.age_for_test(epochs);
        (0..2).for_each(|_| plane.sweep());
        Ok(())
    }

    /// What the tables say.
    ///
    /// # Errors
    /// After a restart that failed.
    pub fn figures(&mut self) -> Result<Figures> {
        Ok(self.plane()?.figures())
    }

    /// Sends a packet of a flow; the host that it goes to, or nowhere.
    ///
    /// # Errors
    /// If the program does anything else with it.
    pub fn send(&mut self, flow: u32, opens: bool) -> Result<Option<usize>> {
        let packet = if opens { &mut self.syn } else { &mut self.ack };
        address_from(packet, client(flow));
        let mut out = [0; 128];
        let result = self.program.xdp()?.test_run(TestRunOptions {
            data_in: Some(packet),
            data_out: Some(&mut out),
            ..TestRunOptions::new()
        })?;
        match result.return_value {
            TX => {
                let host = usize::from(u16::from_be_bytes([out[4], out[5]]));
                ensure!(
                    out[..4] == MAC[..4] && host < HOSTS,
                    "flow {flow} left for {:x?}",
                    &out[..6]
                );
                Ok(Some(host))
            }
            DROP => Ok(None),
            other => bail!("flow {flow}: XDP action {other}"),
        }
    }
}

impl Drop for Balancer {
    fn drop(&mut self) {
        self.plane = None;
        if let Some(pins) = &self.settings.pins
            && let Err(error) = detach(pins)
        {
            eprintln!("{error}");
        }
    }
}

/// First octets of the hosts' MAC addresses; the last two are a host's number.
const MAC: [u8; 6] = [2, 0x4e, 0x41, 0x56, 0, 0];

fn start(settings: &KernelSettings) -> Result<(KernelDataplane, LoadedProgram)> {
    let mut plane = KernelDataplane::open(settings.clone())?;
    let egress = plane.make_interface_for_test(IFINDEX, LOCAL_MAC)?;
    for host in 0..HOSTS {
        let mut mac = MAC;
        mac[4..].copy_from_slice(&(host as u16).to_be_bytes());
        let hop = NextHop {
            mac,
            ifindex: IFINDEX,
            source: Ipv4Addr::new(10, 77, 0, 254).into(),
            mtu: 0,
            on_link: false,
        };
        plane.set_next_hop(address(host).ip(), Some(hop))?;
    }
    let program = plane.load_program_for_test(LOCAL_MAC, egress)?;
    Ok((plane, program))
}

/// The client of a flow.
pub fn client(flow: u32) -> SocketAddr {
    const PORTS: u32 = 50_000;
    let ip = Ipv4Addr::from(0x1000_0000 + flow / PORTS);
    SocketAddr::from((ip, 1024 + (flow % PORTS) as u16))
}

/// Lets a TCP packet come from another client.
fn address_from(packet: &mut [u8], client: SocketAddr) {
    let SocketAddr::V4(client) = client else {
        return;
    };
    packet[ETH + 12..ETH + 16].copy_from_slice(&client.ip().octets());
    packet[ETH + 20..ETH + 22].copy_from_slice(&client.port().to_be_bytes());
    packet[ETH + 10..ETH + 12].fill(0);
    let words = packet[ETH..ETH + 20].chunks_exact(2);
    let sum: u32 = words
        .map(|w| u32::from(u16::from_be_bytes([w[0], w[1]])))
        .sum();
    let sum = (sum & 0xffff) + (sum >> 16);
    let checksum = !((sum & 0xffff) + (sum >> 16)) as u16;
    packet[ETH + 10..ETH + 12].copy_from_slice(&checksum.to_be_bytes());
}
