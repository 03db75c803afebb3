//! LANs: bridges in one switch namespace, and veth cables to the hosts.

use super::host::Host;
use anyhow::{Context, Result};
use aya::{
    Ebpf, EbpfLoader,
    programs::{Xdp, xdp::XdpMode},
};
use navigator_common::maps::{self, programs};
use navigator_user::backend_host;

/// MTU of the cables: room for a tunnel header around a full frame.
pub const LAN_MTU: u32 = 1600;
/// MTU of the clients, as on the Internet.
pub const CLIENT_MTU: u32 = 1500;

/// Offloads that must be off at whoever sends into a veth that leads to XDP: a redirected
/// packet would arrive with half a checksum, a large one not at all, a VLAN tag beside the packet.
const NO_OFFLOADS: &str = "tx off tso off gso off txvlan off";

/// One end of a cable.
#[derive(Clone, Copy, Debug)]
pub struct Port<'a> {
    /// The bridge in the switch.
    pub bridge: &'a str,
    /// The host.
    pub host: &'a Host,
    /// The interface's name there.
    pub interface: &'a str,
    /// Its MTU.
    pub mtu: u32,
    /// Its addresses with prefix lengths.
    pub addresses: &'a [String],
}

/// Makes a bridge that forwards from the first packet on.
///
/// # Errors
/// `ip` fails.
pub fn bridge(switch: &Host, name: &str) -> Result<()> {
    switch.ip(&[
        &format!(
            "link add {name} type bridge stp_state 0 forward_delay 0 mcast_snooping 0 \
             nf_call_iptables 0 nf_call_ip6tables 0 nf_call_arptables 0"
        ),
        &format!("link set {name} mtu {LAN_MTU} up"),
    ])
}

/// Connects a host to a bridge by a veth cable, and gives it its addresses.
///
/// # Errors
/// `ip` or `ethtool` fails.
pub fn connect(switch: &Host, port: &Port<'_>) -> Result<()> {
    let Port {
        bridge,
        host,
        interface,
        mtu,
        addresses,
    } = port;
    let plug = plug(host, interface);
    switch.sh(&format!(
        "ip link add {plug} mtu {LAN_MTU} type veth \
             peer name {interface} mtu {mtu} netns {netns}
         ip link set {plug} master {bridge} up
         ethtool -K {plug} {NO_OFFLOADS}",
        netns = host.netns().display(),
    ))?;
    let mut lines = vec![
        format!("ethtool -K {interface} {NO_OFFLOADS}"),
        format!("ip link set {interface} up"),
    ];
    for address in *addresses {
        let nodad = if address.contains(':') { "nodad" } else { "" };
        lines.push(format!("ip address add {address} dev {interface} {nodad}"));
    }
    host.sh(&lines.join("\n")).map(drop)
}

/// The switch's end of a host's cable.
fn plug(host: &Host, interface: &str) -> String {
    format!("{}.{interface}", host.name())
}

/// Lets a host send by XDP_TX through its cable, for as long as the result lives.
///
/// What XDP sends back by a veth is only fetched from there if the peer has an XDP
/// program too. `navigator_decap` without VIPs passes everything, so it will do.
///
/// # Errors
/// The kernel refuses the program.
pub fn accept_xdp(switch: &Host, host: &Host, interface: &str) -> Result<Ebpf> {
    let plug = plug(host, interface);
    switch.enter(move || attach(&plug).with_context(|| format!("no XDP program on {plug}")))
}

fn attach(interface: &str) -> Result<Ebpf> {
    let mut loader = EbpfLoader::new();
    // The load balancer's maps come with the object; here they only cost memory.
    for large in [maps::SLOTS, maps::FLOWS, maps::BACKENDS] {
        loader.map_max_entries(large.name, 1);
    }
    let mut object = loader.load(backend_host::OBJECT)?;
    let program = object.program_mut(programs::DECAP);
    let program: &mut Xdp = program.context("not in the object")?.try_into()?;
    program.load()?;
    program.attach(interface, XdpMode::Driver)?;
    Ok(object)
}
