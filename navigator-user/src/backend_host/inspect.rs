//! Looking at a host without changing it.

use super::{
    BackendError, BackendResult, Decap, Place, Status,
    decap::Pins,
    state::{self, Change, State},
    sysctl,
    tunnels::gue_families,
};
use crate::netlink::{Netlink, link::Link};
use std::{
    collections::{BTreeMap, BTreeSet},
    net::IpAddr,
};

/// What is set up here, for the named interface or for all, and whether it is still true.
pub async fn status(place: &Place) -> BackendResult<Vec<Status>> {
    let netlink = Netlink::open()?;
    let mut states = state::list(&place.state_dir)?;
    if let Some(interface) = &place.interface {
        states.retain(|state| state.interface == *interface);
    }
    let mut all = Vec::new();
    for state in states {
        all.push(compare(&netlink, state).await?);
    }
    Ok(all)
}

/// Compares what was recorded with what is.
async fn compare(netlink: &Netlink, state: State) -> BackendResult<Status> {
    let mut problems = Vec::new();
    let mut packets = BTreeMap::new();
    let link = netlink.link_by_name(&state.interface).await?;
    if link.is_none() {
        problems.push(format!("interface {} is gone", state.interface));
    }
    let lo = loopback(netlink).await?;
    let addresses = netlink.addresses().await?;
    let on_lo = |ip: &IpAddr| {
        addresses
            .iter()
            .any(|a| a.ip == *ip && a.ifindex == lo.index)
    };
    let vips: BTreeMap<_, _> = state.vips.iter().map(|ip| (*ip, on_lo(ip))).collect();
    for (ip, _) in vips.iter().filter(|(_, there)| !**there) {
        problems.push(format!("{ip} is not on lo"));
    }
    if let Err(e) = refuse_vips_elsewhere(netlink, &state.vips, lo.index).await {
        problems.push(e.to_string());
    }
    if link.is_some() {
        problems.extend(wrong_settings(&state)?);
    }
    for change in &state.changes {
        match change {
            Change::Xdp { pins } => {
                if link.as_ref().is_some_and(|l| l.xdp.is_none()) {
                    problems.push("navigator_decap is not attached".to_owned());
                }
                match Pins::at(pins).counters() {
                    Ok(counters) => packets = counters,
                    Err(e) => problems.push(e.to_string()),
                }
            }
            Change::Address { .. } | Change::Sysctl { .. } => {}
        }
    }
    if let Decap::Kernel { devices, gue } = &state.decap {
        for name in devices {
            if !netlink.link_by_name(name).await?.is_some_and(|l| l.up) {
                problems.push(format!("tunnel device {name} is not up"));
            }
        }
        let port = state.gue_port;
        for family in gue.difference(&gue_families(port)?) {
            problems.push(format!(
                "the kernel no longer takes GUE packets over {family} out of UDP port {port}"
            ));
        }
    }
    if !problems.is_empty() {
        problems.push("run `navigator backend up` again to put it right".to_owned());
    }
    Ok(Status {
        interface: state.interface,
        vips,
        decap: state.decap,
        gue_port: state.gue_port,
        packets,
        problems,
    })
}

/// Settings that break what was set up, whoever made them so.
fn wrong_settings(state: &State) -> BackendResult<Vec<String>> {
    let mut wrong = Vec::new();
    let interface = &state.interface;
    if state.vips.iter().any(IpAddr::is_ipv4) {
        let ignore = sysctl::effective(interface, "arp_ignore")?;
        if !sysctl::ARP_SILENT.contains(&ignore) {
            wrong.push(format!(
                "arp_ignore of {interface} is {ignore}: this host answers ARP for the VIPs"
            ));
        }
        let announce = sysctl::effective(interface, "arp_announce")?;
        if announce < sysctl::ARP_ANNOUNCE_OWN {
            wrong.push(format!(
                "arp_announce of {interface} is {announce}: this host's ARP requests may name the VIPs"
            ));
        }
    }
    let devices = match &state.decap {
        Decap::Kernel { devices, .. } => devices.as_slice(),
        Decap::Xdp { .. } | Decap::None => &[],
    };
    for name in devices.iter().chain([interface]) {
        if sysctl::effective(name, "rp_filter")? == sysctl::RP_FILTER_STRICT {
            wrong.push(format!(
                "rp_filter of {name} is strict: clients that are answered another way are dropped"
            ));
        }
    }
    Ok(wrong)
}

/// The interface to work on, which must exist.
pub(super) async fn interface(netlink: &Netlink, place: &Place) -> BackendResult<Link> {
    let name = interface_name(netlink, place).await?;
    let link = netlink.link_by_name(&name).await?;
    link.ok_or(BackendError::NoInterface(name))
}

/// The name of the interface to work on, which may be gone meanwhile.
pub(super) async fn interface_name(netlink: &Netlink, place: &Place) -> BackendResult<String> {
    if let Some(name) = &place.interface {
        return Ok(name.clone());
    }
    let states = state::list(&place.state_dir)?;
    match states.as_slice() {
        [] => {}
        [one] => return Ok(one.interface.clone()),
        several => {
            let names: Vec<_> = several.iter().map(|s| s.interface.as_str()).collect();
            return Err(BackendError::WhichInterface(names.join(", ")));
        }
    }
    let index = netlink
        .default_interface()
        .await?
        .ok_or(BackendError::NoDefaultRoute)?;
    let link = netlink.link_by_index(index).await?;
    link.map(|l| l.name).ok_or(BackendError::NoDefaultRoute)
}

pub(super) async fn loopback(netlink: &Netlink) -> BackendResult<Link> {
    let lo = netlink.link_by_name("lo").await?;
    lo.ok_or_else(|| BackendError::NoInterface("lo".to_owned()))
}

/// A VIP on another interface than lo would be answered for on the LAN.
pub(super) async fn refuse_vips_elsewhere(
    netlink: &Netlink,
    vips: &BTreeSet<IpAddr>,
    lo: u32,
) -> BackendResult<()> {
    let addresses = netlink.addresses().await?;
    let Some(address) = addresses
        .iter()
        .find(|a| a.ifindex != lo && vips.contains(&a.ip))
    else {
        return Ok(());
    };
    let link = netlink.link_by_index(address.ifindex).await?;
    Err(BackendError::VipElsewhere {
        ip: address.ip,
        interface: link.map_or_else(|| address.ifindex.to_string(), |l| l.name),
    })
}
