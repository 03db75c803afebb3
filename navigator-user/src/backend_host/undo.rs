//! The part of a run that undoes what is recorded.

use super::{
    BackendResult, Decap,
    apply::Run,
    decap::Pins,
    inspect,
    state::{Change, State},
    sysctl,
};
use crate::netlink::link::Link;
use navigator_common::maps::programs;
use std::net::IpAddr;

impl Run {
    pub(super) async fn undo_all(&mut self) -> BackendResult<()> {
        let lo = inspect::loopback(&self.netlink).await?;
        while let Some(change) = self.state.changes.last().cloned() {
            self.undo(&change, &lo).await?;
            self.state.changes.pop();
            self.store.save(&self.state)?;
        }
        self.store.remove(&self.state.interface)
    }

    pub(super) async fn undo(&mut self, change: &Change, lo: &Link) -> BackendResult<()> {
        match change {
            Change::Address { ip } => self.undo_address(*ip, lo).await,
            Change::Sysctl { name, old, new } => self.undo_sysctl(name, old, new),
            Change::Xdp { .. } => self.undo_xdp(change),
        }
    }

    async fn undo_address(&mut self, ip: IpAddr, lo: &Link) -> BackendResult<()> {
        let others = self.store.others(&self.state.interface)?;
        if let Some(other) = others.iter().find(|s| s.vips.contains(&ip)) {
            self.notes.push(format!(
                "left {ip} on lo, for {} is set up for it too",
                other.interface
            ));
            return Ok(());
        }
        let addresses = self.netlink.addresses().await?;
        let found = addresses
            .iter()
            .find(|a| a.ip == ip && a.ifindex == lo.index);
        match found {
            Some(address) if address.ours => {
                self.netlink.remove_address(ip, lo.index, &lo.name).await?;
                self.done.push(format!("took {ip} off lo"));
            }
            Some(_) => self.notes.push(format!(
                "left {ip} on lo, for somebody else put it there since"
            )),
            None => self.notes.push(format!("{ip} was no longer on lo")),
        }
        Ok(())
    }

    fn undo_sysctl(&mut self, name: &str, old: &str, new: &str) -> BackendResult<()> {
        let others = self.store.others(&self.state.interface)?;
        if let Some(other) = others.iter().find(|s| relies_on(s, name)) {
            self.notes.push(format!(
                "left {name} at {new}, for {} relies on it too",
                other.interface
            ));
            return Ok(());
        }
        match sysctl::read(name)? {
            Some(value) if value == new => {
                sysctl::write(name, old)?;
                self.done.push(format!("set {name} back to {old}"));
            }
            Some(value) if value == old => {}
            Some(value) => self.notes.push(format!(
                "left {name} at {value}, for somebody changed it since; it was {old} before"
            )),
            None => self.notes.push(format!("{name} is gone")),
        }
        Ok(())
    }

    pub(super) fn undo_xdp(&mut self, change: &Change) -> BackendResult<()> {
        if let Change::Xdp { pins } = change {
            let pins = Pins::at(pins);
            let attached = pins.attached();
            pins.detach()?;
            if attached {
                self.done.push(format!(
                    "took {} off {}",
                    programs::DECAP,
                    self.state.interface
                ));
            }
        }
        Ok(())
    }
}

/// Whether another interface was set up to use the tunnel device of this setting.
fn relies_on(state: &State, sysctl: &str) -> bool {
    let Decap::Kernel { devices, .. } = &state.decap else {
        return false;
    };
    devices
        .iter()
        .any(|d| sysctl::ipv4(d, "rp_filter") == sysctl)
}
