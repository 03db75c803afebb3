//! LANs: bridges in one switch namespace, and veth cables to the hosts.

use super::host::Host;
use anyhow::Result;

/// MTU of the cables: room for a tunnel header around a full frame.
pub const LAN_MTU: u32 = 1600;
/// MTU of the clients, as on the Internet.
pub const CLIENT_MTU: u32 = 1500;

/// Offloads that must be off at whoever sends into a veth that leads to XDP:
/// a redirected packet would arrive with half a checksum, a large one not at all.
const NO_OFFLOADS: &str = "tx off tso off gso off";

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
    let plug = format!("{}.{interface}", host.name());
    switch.sh(&format!(
        "ip link add {plug} mtu {LAN_MTU} type veth \
             peer name {interface} mtu {mtu} netns {netns}
         ip link set {plug} master {bridge} up
         ethtool -K {plug} {NO_OFFLOADS} gro on",
        netns = host.netns().display(),
    ))?;
    let mut lines = vec![
        format!("ethtool -K {interface} {NO_OFFLOADS} gro on"),
        format!("ip link set {interface} up"),
    ];
    for address in *addresses {
        let nodad = if address.contains(':') { "nodad" } else { "" };
        lines.push(format!("ip address add {address} dev {interface} {nodad}"));
    }
    host.sh(&lines.join("\n")).map(drop)
}
