//! A balancer with two interfaces, and hosts that can be unplugged.
//!
//! ```text
//!   c1          lb ── eth1                              VIPs
//!    │     eth0 │      └──────────────────────────┐
//!  ──┴──────────┴── LAN ── router ── far LAN ──┬──┴──────┬──
//!                                            f1 … fn    fc far client
//! ```

use super::{
    Lab,
    host::Host,
    net::{self, CLIENT_MTU, LAN_MTU, Port},
    spelled,
};
use anyhow::Result;

/// Last number of the balancer's addresses on the far LAN.
const BALANCER: u8 = 2;
/// Last number of the far client's addresses.
const CLIENT: u8 = 50;

/// The balancer's second interface; it can send for as long as this lives.
#[derive(Debug)]
pub struct SecondInterface {
    _switch_accepts_xdp: aya::Ebpf,
}

impl Lab {
    /// Gives the balancer an interface `eth1` on the far LAN, which it then reaches by that,
    /// without the router.
    ///
    /// # Errors
    /// `ip` or `ethtool` fails, or the kernel refuses the switch's program.
    pub fn second_interface(&self) -> Result<SecondInterface> {
        self.balancer
            .ip(&["route del 10.78.0.0/24", "route del fd78::/64"])?;
        let port = Port {
            bridge: "farlan",
            host: &self.balancer,
            interface: "eth1",
            mtu: LAN_MTU,
            addresses: &far_addresses(BALANCER),
        };
        net::connect(&self.switch, &port)?;
        Ok(SecondInterface {
            _switch_accepts_xdp: net::accept_xdp(&self.switch, &self.balancer, "eth1")?,
        })
    }

    /// A client on the far LAN that routes the VIPs to the balancer's second interface. The
    /// near backends answer it by way of the router.
    ///
    /// # Errors
    /// The host cannot be made.
    pub fn far_client(&self) -> Result<Host> {
        let client = Host::new("fc", self.scratch.path())?;
        let port = Port {
            bridge: "farlan",
            host: &client,
            interface: "eth0",
            mtu: CLIENT_MTU,
            addresses: &far_addresses(CLIENT),
        };
        net::connect(&self.switch, &port)?;
        client.ip(&[
            "route add 10.77.0.0/24 via 10.78.0.1",
            "route add fd77::/64 via fd78::1",
            &format!("route add 10.77.1.0/24 via 10.78.0.{BALANCER}"),
            &format!("route add fd77:1::/64 via fd78::{:x}", spelled(BALANCER)),
        ])?;
        for backend in &self.backends {
            backend.ip(&[
                "route add 10.78.0.0/24 via 10.77.0.1",
                "route add fd78::/64 via fd77::1",
            ])?;
        }
        Ok(client)
    }

    /// Pulls a far backend's cable out of the switch; its own end keeps its carrier.
    ///
    /// # Errors
    /// `ip` fails.
    pub fn unplug_far(&self, index: usize) -> Result<()> {
        let plug = net::plug(&self.far[index], "eth0");
        self.switch.ip(&[&format!("link set {plug} nomaster")])
    }

    /// Puts it back.
    ///
    /// # Errors
    /// `ip` fails.
    pub fn plug_far(&self, index: usize) -> Result<()> {
        let plug = net::plug(&self.far[index], "eth0");
        self.switch.ip(&[&format!("link set {plug} master farlan")])
    }
}

fn far_addresses(last: u8) -> [String; 2] {
    [
        format!("10.78.0.{last}/24"),
        format!("fd78::{:x}/64", spelled(last)),
    ]
}
