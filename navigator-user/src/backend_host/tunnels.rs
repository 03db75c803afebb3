//! The part of a run that sees to tunnels: by devices of the kernel, or by XDP.

use super::{
    BackendError, BackendResult, Decap, DecapChoice, OuterFamily, UpSettings, apply::Run,
    decap::Pins, state::Change,
};
use crate::netlink::{
    fou::fou_ports,
    link::{Link, Tunnel},
};
use navigator_common::maps::programs;
use std::collections::BTreeSet;

impl Run {
    /// Somebody else's program is not ours to replace.
    pub(super) fn refuse_foreign_xdp(
        &self,
        settings: &UpSettings,
        devices: &[String],
    ) -> BackendResult<()> {
        let ours = self.recorded_xdp().is_some()
            || Pins::new(&settings.place.pins, &self.link.name).attached();
        match self.link.xdp {
            Some(xdp) if by_xdp(settings, devices) && !ours => Err(BackendError::Decap(format!(
                "{name} has an XDP program already (id {}): take it off with `ip link set {name} xdp off`, or use --decap none",
                xdp.program,
                name = self.link.name
            ))),
            _ => Ok(()),
        }
    }

    /// The kernel's tunnel devices to rely on; none unless they serve all VIPs.
    pub(super) async fn tunnel_devices(&self, settings: &UpSettings) -> BackendResult<Vec<String>> {
        if settings.decap != DecapChoice::Auto {
            return Ok(Vec::new());
        }
        let links = self.netlink.links().await?;
        let tunnels = || links.iter().filter(|l| l.up && l.tunnel.is_some());
        let served = settings.vips.iter().all(|vip| {
            tunnels().any(|l| match l.tunnel {
                Some(Tunnel::Ipip) => vip.is_ipv4(),
                Some(Tunnel::Sit) => vip.is_ipv6(),
                Some(Tunnel::Ip6tnl) => true,
                None => false,
            })
        });
        let names = tunnels().filter(|_| served).map(|l| l.name.clone());
        Ok(names.collect())
    }

    pub(super) async fn decapsulate(
        &mut self,
        settings: &UpSettings,
        devices: Vec<String>,
    ) -> BackendResult<()> {
        let pins = Pins::new(&settings.place.pins, &self.link.name);
        if by_xdp(settings, &devices) {
            self.attach(&pins, settings).await?;
        } else {
            self.detach_recorded()?;
            self.state.decap = if devices.is_empty() {
                Decap::None
            } else {
                Decap::Kernel {
                    devices,
                    gue: self.kernel_gue(settings.gue_port)?,
                }
            };
        }
        self.store.save(&self.state)
    }

    /// Outer families whose GUE packets the kernel hands to its tunnel devices.
    fn kernel_gue(&mut self, port: u16) -> BackendResult<BTreeSet<OuterFamily>> {
        let served = gue_families(port)?;
        for (family, option) in [(OuterFamily::V4, ""), (OuterFamily::V6, "-6 ")] {
            if !served.contains(&family) {
                self.notes.push(format!(
                    "GUE packets over {family} are not unwrapped: `ip {option}fou add port {port} gue` does it, if VIPs are served in mode gue"
                ));
            }
        }
        Ok(served)
    }

    async fn attach(&mut self, pins: &Pins, settings: &UpSettings) -> BackendResult<()> {
        if let Some(Change::Xdp { pins: other }) = self.recorded_xdp()
            && other != pins.dir()
        {
            self.detach_recorded()?;
        }
        self.record(Change::Xdp {
            pins: pins.dir().to_owned(),
        })?;
        let new = self.current_link().await?.xdp.is_none();
        pins.attach(&self.link.name, &settings.vips, settings.gue_port)?;
        let Some(xdp) = self.current_link().await?.xdp else {
            return Err(BackendError::Decap(format!(
                "the decapsulation program was attached, but {} shows none: run `backend down`, then `up` again",
                self.link.name
            )));
        };
        self.state.decap = Decap::Xdp { native: xdp.native };
        if !xdp.native {
            self.notes.push(format!(
                "the driver of {} cannot run XDP programs: navigator_decap runs in generic mode, which is slower",
                self.link.name
            ));
        }
        if new {
            self.done.push(format!(
                "attached {} to {}",
                programs::DECAP,
                self.link.name
            ));
        }
        Ok(())
    }

    pub(super) fn recorded_xdp(&self) -> Option<Change> {
        let xdp = |c: &&Change| matches!(c, Change::Xdp { .. });
        self.state.changes.iter().find(xdp).cloned()
    }

    pub(super) fn detach_recorded(&mut self) -> BackendResult<()> {
        if let Some(change @ Change::Xdp { .. }) = self.recorded_xdp() {
            self.undo_xdp(&change)?;
            self.state.changes.retain(|c| *c != change);
            self.store.save(&self.state)?;
        }
        Ok(())
    }

    pub(super) async fn current_link(&self) -> BackendResult<Link> {
        let link = self.netlink.link_by_index(self.link.index).await?;
        link.ok_or_else(|| BackendError::NoInterface(self.link.name.clone()))
    }
}

/// Outer families for which the kernel takes GUE packets to this port out of UDP.
pub(super) fn gue_families(port: u16) -> BackendResult<BTreeSet<OuterFamily>> {
    let ports = fou_ports()?;
    let ours = ports.iter().filter(|fou| fou.gue && fou.port == port);
    Ok(ours
        .map(|fou| {
            if fou.v6 {
                OuterFamily::V6
            } else {
                OuterFamily::V4
            }
        })
        .collect())
}

fn by_xdp(settings: &UpSettings, devices: &[String]) -> bool {
    match settings.decap {
        DecapChoice::Auto => devices.is_empty(),
        DecapChoice::Xdp => true,
        DecapChoice::None => false,
    }
}
