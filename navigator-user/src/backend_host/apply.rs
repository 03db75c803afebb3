//! Setting a host up, step by step, and putting it back.

use super::{
    BackendError, BackendResult, DownReport, Place, UpReport, UpSettings, inspect,
    state::{Change, State, Store},
    sysctl,
};
use crate::netlink::{Netlink, link::Link};
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
        gue_port: run.state.gue_port,
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

/// One run of `up` or `down`.
pub(super) struct Run {
    pub(super) state: State,
    pub(super) store: Store,
    pub(super) netlink: Netlink,
    pub(super) link: Link,
    /// What was changed, in words.
    pub(super) done: Vec<String>,
    /// What an operator should know, in words.
    pub(super) notes: Vec<String>,
}

impl Run {
    async fn up(&mut self, settings: &UpSettings) -> BackendResult<()> {
        let lo = inspect::loopback(&self.netlink).await?;
        if !lo.up {
            return Err(BackendError::LoopbackDown);
        }
        inspect::refuse_vips_elsewhere(&self.netlink, &settings.vips, lo.index).await?;
        let devices = self.tunnel_devices(settings).await?;
        self.refuse_foreign_xdp(settings, &devices)?;

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
        self.state.gue_port = settings.gue_port;
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
            value if sysctl::ARP_SILENT.contains(&value) => {}
            0 => self.set(&sysctl::ipv4(&name, "arp_ignore"), "1")?,
            value => {
                return Err(BackendError::Setting {
                    name: format!("arp_ignore of all or {name}"),
                    value: value.to_string(),
                    effect: "this host would answer ARP for the VIPs on lo",
                    wanted: "1",
                });
            }
        }
        if sysctl::effective(&name, "arp_announce")? < sysctl::ARP_ANNOUNCE_OWN {
            self.set(&sysctl::ipv4(&name, "arp_announce"), "2")?;
        }
        Ok(())
    }

    /// Packets come from clients everywhere; a strict filter drops those that
    /// it would not answer by the same interface.
    fn loosen_rp_filter(&mut self, interface: &str) -> BackendResult<()> {
        if sysctl::effective(interface, "rp_filter")? == sysctl::RP_FILTER_STRICT {
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

    pub(super) fn record(&mut self, change: Change) -> BackendResult<()> {
        if !self.state.changes.contains(&change) {
            self.state.changes.push(change);
            self.store.save(&self.state)?;
        }
        Ok(())
    }
}
