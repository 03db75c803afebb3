//! Setting a host up, step by step, and putting it back.

use super::{
    BackendError, BackendResult, Decap, DecapChoice, DownReport, Place, UpReport, UpSettings,
    decap::Pins,
    inspect,
    state::{Change, State, Store},
    sysctl,
};
use crate::netlink::{
    Netlink,
    link::{Link, Tunnel},
};
use navigator_common::maps::DECAP_VIP_ENTRIES;
use std::{collections::BTreeSet, net::IpAddr};

/// Sets this host up for `settings`, in the network namespace of the calling
/// thread. Harmless when it is set up already; VIPs and decapsulation follow
/// the new settings. A first run that fails is undone.
pub async fn up(settings: &UpSettings) -> BackendResult<UpReport> {
    require_root("backend up")?;
    check_vips(&settings.vips)?;
    let netlink = Netlink::open()?;
    let link = inspect::interface(&netlink, &settings.place).await?;
    let store = Store::open(&settings.place.state_dir)?;
    let recorded = store.load(&link.name)?;
    let first = recorded.is_none();
    let mut run = Run {
        state: recorded.unwrap_or_else(|| State::new(&link.name)),
        store,
        netlink,
        link,
        done: Vec::new(),
        notes: Vec::new(),
    };
    if let Err(error) = run.up(settings).await {
        if first && let Err(e) = run.undo_all().await {
            tracing::warn!("what was done already could not be undone: {e}");
        }
        return Err(error);
    }
    Ok(UpReport {
        interface: run.state.interface,
        vips: run.state.vips,
        decap: run.state.decap,
        changed: run.done,
        notes: run.notes,
    })
}

/// Undoes what is recorded of an interface, newest change first, and nothing
/// else. `None` if nothing is recorded.
pub async fn down(place: &Place) -> BackendResult<Option<DownReport>> {
    require_root("backend down")?;
    let netlink = Netlink::open()?;
    let interface = inspect::interface_name(&netlink, place).await?;
    let store = Store::open(&place.state_dir)?;
    let Some(state) = store.load(&interface)? else {
        return Ok(None);
    };
    let lo = inspect::loopback(&netlink).await?;
    let link = netlink.link_by_name(&interface).await?.unwrap_or(lo);
    let mut run = Run {
        state,
        store,
        netlink,
        link,
        done: Vec::new(),
        notes: Vec::new(),
    };
    run.undo_all().await?;
    Ok(Some(DownReport {
        interface,
        undone: run.done,
        notes: run.notes,
    }))
}

fn require_root(command: &'static str) -> BackendResult<()> {
    if nix::unistd::geteuid().is_root() {
        return Ok(());
    }
    Err(BackendError::NotRoot(command))
}

fn check_vips(vips: &BTreeSet<IpAddr>) -> BackendResult<()> {
    if vips.is_empty() || vips.len() > DECAP_VIP_ENTRIES as usize {
        return Err(BackendError::VipCount(vips.len(), DECAP_VIP_ENTRIES));
    }
    let bad = vips.iter().find(|ip| match ip {
        IpAddr::V4(ip) => {
            ip.is_unspecified()
                || ip.is_loopback()
                || ip.is_link_local()
                || ip.is_multicast()
                || ip.octets()[0] >= 240
        }
        IpAddr::V6(ip) => {
            ip.is_unspecified()
                || ip.is_loopback()
                || ip.is_unicast_link_local()
                || ip.is_multicast()
                || ip.to_ipv4_mapped().is_some()
        }
    });
    bad.map_or(Ok(()), |ip| Err(BackendError::BadVip(*ip)))
}

/// Whether another interface was set up to use the tunnel device of this setting.
fn relies_on(state: &State, sysctl: &str) -> bool {
    let Decap::Kernel { devices } = &state.decap else {
        return false;
    };
    devices
        .iter()
        .any(|d| sysctl::ipv4(d, "rp_filter") == sysctl)
}

/// One run of `up` or `down`.
struct Run {
    state: State,
    store: Store,
    netlink: Netlink,
    link: Link,
    done: Vec<String>,
    notes: Vec<String>,
}

impl Run {
    async fn up(&mut self, settings: &UpSettings) -> BackendResult<()> {
        let lo = inspect::loopback(&self.netlink).await?;
        if !lo.up {
            return Err(BackendError::LoopbackDown);
        }
        inspect::refuse_vips_elsewhere(&self.netlink, &settings.vips, lo.index).await?;
        let devices = self.tunnel_devices(settings).await?;

        // Silence first: from the moment on that lo has a VIP, the host would answer for it.
        if settings.vips.iter().any(IpAddr::is_ipv4) {
            self.silence_arp()?;
        }
        for interface in [&self.link.name.clone()].into_iter().chain(&devices) {
            self.loosen_rp_filter(interface)?;
        }
        let gone: Vec<_> = self
            .state
            .vips
            .difference(&settings.vips)
            .copied()
            .collect();
        self.state.vips.clone_from(&settings.vips);
        self.store.save(&self.state)?;
        for ip in gone {
            self.release(ip, &lo).await?;
        }
        for ip in &settings.vips {
            self.hold(*ip, &lo).await?;
        }
        self.decapsulate(settings, devices).await
    }

    /// ARP replies only for addresses of the interface itself, and requests only from them.
    fn silence_arp(&mut self) -> BackendResult<()> {
        let name = self.link.name.clone();
        match sysctl::effective(&name, "arp_ignore")? {
            0 => self.set(&sysctl::ipv4(&name, "arp_ignore"), "1")?,
            1 | 2 | 8 => {}
            value => {
                return Err(BackendError::Setting {
                    name: format!("arp_ignore of all or {name}"),
                    value: value.to_string(),
                    effect: "this host would answer ARP for the VIPs on lo",
                    wanted: "1",
                });
            }
        }
        if sysctl::effective(&name, "arp_announce")? < 2 {
            self.set(&sysctl::ipv4(&name, "arp_announce"), "2")?;
        }
        Ok(())
    }

    /// Packets come from clients everywhere; a strict filter drops those that
    /// it would not answer by the same interface.
    fn loosen_rp_filter(&mut self, interface: &str) -> BackendResult<()> {
        if sysctl::effective(interface, "rp_filter")? == 1 {
            self.set(&sysctl::ipv4(interface, "rp_filter"), "2")?;
        }
        Ok(())
    }

    fn set(&mut self, name: &str, new: &str) -> BackendResult<()> {
        let old = sysctl::read(name)?.unwrap_or_default();
        // A second `up` after somebody changed it: the first old value is the one to go back to.
        let known = self.state.changes.iter_mut().find_map(|c| match c {
            Change::Sysctl { name: n, new, .. } if n == name => Some(new),
            _ => None,
        });
        match known {
            Some(recorded) => new.clone_into(recorded),
            None => self.state.changes.push(Change::Sysctl {
                name: name.to_owned(),
                old: old.clone(),
                new: new.to_owned(),
            }),
        }
        self.store.save(&self.state)?;
        sysctl::write(name, new)?;
        self.done.push(format!("set {name} from {old} to {new}"));
        Ok(())
    }

    async fn hold(&mut self, ip: IpAddr, lo: &Link) -> BackendResult<()> {
        let addresses = self.netlink.addresses().await?;
        let found = addresses
            .iter()
            .find(|a| a.ip == ip && a.ifindex == lo.index);
        if found.is_some_and(|a| !a.ours) {
            self.notes.push(format!(
                "{ip} was on lo already; it is used, and left there by `down`"
            ));
            return Ok(());
        }
        self.record(Change::Address { ip })?;
        if found.is_some() {
            return Ok(());
        }
        let disabled = "net/ipv6/conf/lo/disable_ipv6";
        if ip.is_ipv6() && sysctl::read(disabled)?.as_deref() != Some("0") {
            return Err(BackendError::Setting {
                name: disabled.to_owned(),
                value: "1".to_owned(),
                effect: "lo can have no IPv6 address",
                wanted: "0",
            });
        }
        self.netlink.add_address(ip, lo.index, &lo.name).await?;
        self.done.push(format!("put {ip} on lo"));
        Ok(())
    }

    async fn release(&mut self, ip: IpAddr, lo: &Link) -> BackendResult<()> {
        let change = Change::Address { ip };
        if self.state.changes.contains(&change) {
            self.undo(&change, lo).await?;
            self.state.changes.retain(|c| *c != change);
            self.store.save(&self.state)?;
        }
        Ok(())
    }

    /// The kernel's tunnel devices to rely on; none unless they serve all VIPs.
    async fn tunnel_devices(&self, settings: &UpSettings) -> BackendResult<Vec<String>> {
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

    async fn decapsulate(
        &mut self,
        settings: &UpSettings,
        devices: Vec<String>,
    ) -> BackendResult<()> {
        let pins = Pins::new(&settings.place.pins, &self.link.name);
        let by_xdp = settings.decap == DecapChoice::Xdp
            || settings.decap == DecapChoice::Auto && devices.is_empty();
        if by_xdp {
            self.attach(&pins, &settings.vips).await?;
        } else {
            self.detach_recorded()?;
            self.state.decap = if devices.is_empty() {
                Decap::None
            } else {
                Decap::Kernel { devices }
            };
        }
        self.store.save(&self.state)
    }

    async fn attach(&mut self, pins: &Pins, vips: &BTreeSet<IpAddr>) -> BackendResult<()> {
        if let Some(Change::Xdp { pins: other }) = self.recorded_xdp()
            && other != pins.dir()
        {
            self.detach_recorded()?;
        }
        let present = self.current_link().await?.xdp;
        if let Some(xdp) = present
            && !pins.attached()
        {
            return Err(BackendError::Decap(format!(
                "{} has an XDP program already (id {}): take it off with `ip link set {} xdp off`, or use --decap none",
                self.link.name, xdp.program, self.link.name
            )));
        }
        self.record(Change::Xdp {
            pins: pins.dir().to_owned(),
        })?;
        let new = present.is_none();
        pins.attach(&self.link.name, vips)?;
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
                navigator_common::maps::programs::DECAP,
                self.link.name
            ));
        }
        Ok(())
    }

    fn recorded_xdp(&self) -> Option<Change> {
        let xdp = |c: &&Change| matches!(c, Change::Xdp { .. });
        self.state.changes.iter().find(xdp).cloned()
    }

    fn detach_recorded(&mut self) -> BackendResult<()> {
        if let Some(change @ Change::Xdp { .. }) = self.recorded_xdp() {
            self.undo_xdp(&change)?;
            self.state.changes.retain(|c| *c != change);
            self.store.save(&self.state)?;
        }
        Ok(())
    }

    async fn current_link(&self) -> BackendResult<Link> {
        let link = self.netlink.link_by_index(self.link.index).await?;
        link.ok_or_else(|| BackendError::NoInterface(self.link.name.clone()))
    }

    fn record(&mut self, change: Change) -> BackendResult<()> {
        if !self.state.changes.contains(&change) {
            self.state.changes.push(change);
            self.store.save(&self.state)?;
        }
        Ok(())
    }

    async fn undo_all(&mut self) -> BackendResult<()> {
        let lo = inspect::loopback(&self.netlink).await?;
        while let Some(change) = self.state.changes.last().cloned() {
            self.undo(&change, &lo).await?;
            self.state.changes.pop();
            self.store.save(&self.state)?;
        }
        self.store.remove(&self.state.interface)
    }

    async fn undo(&mut self, change: &Change, lo: &Link) -> BackendResult<()> {
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

    fn undo_xdp(&mut self, change: &Change) -> BackendResult<()> {
        if let Change::Xdp { pins } = change {
            let pins = Pins::at(pins);
            let attached = pins.attached();
            pins.detach()?;
            if attached {
                self.done.push(format!(
                    "took {} off {}",
                    navigator_common::maps::programs::DECAP,
                    self.state.interface
                ));
            }
        }
        Ok(())
    }
}
