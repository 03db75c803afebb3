//! VIPs held on the ingress interface, so that the kernel answers ARP and NDP
//! for them on a plain LAN.
//!
//! What is held is marked in the kernel as Navigator's, so an address that an
//! operator put there is never taken away, and one that an earlier daemon put
//! there is found again.

use super::gratuitous;
use crate::netlink::{Netlink, NetlinkError, link::Link};
use std::{collections::BTreeSet, net::IpAddr};

/// Why an address is not held.
#[derive(Debug, thiserror::Error)]
pub enum AddressError {
    /// There is no such interface.
    #[error(
        "there is no interface {0}: set `interfaces` to names that `ip link` lists, or announce = \"none\""
    )]
    NoInterface(String),
    /// The kernel refused.
    #[error(transparent)]
    Kernel(#[from] NetlinkError),
}

/// What [`AddressHolder::hold`] found or did.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum Hold {
    /// The address was put on the interface.
    Added,
    /// Navigator holds it already, perhaps since an earlier daemon.
    Kept,
    /// Somebody else put it on the interface; it serves, and stays when it is released.
    Foreign,
}

/// Holds addresses on one interface.
pub struct AddressHolder {
    netlink: Netlink,
    interface: String,
    held: BTreeSet<IpAddr>,
}

impl AddressHolder {
    /// A holder for `interface`; knows what an earlier one left there. Must be
    /// called inside a tokio runtime.
    pub async fn new(interface: &str) -> Result<Self, AddressError> {
        let mut holder = Self {
            netlink: Netlink::open()?,
            interface: interface.to_owned(),
            held: BTreeSet::new(),
        };
        holder.look_again().await?;
        Ok(holder)
    }

    /// Finds out what is held by now: the kernel takes IPv6 addresses from an interface
    /// that goes down, and people and programs take what they like. Returns all
    /// addresses of the interface, whoever put them there.
    pub async fn look_again(&mut self) -> Result<BTreeSet<IpAddr>, AddressError> {
        let link = self.link().await?;
        let mut addresses = self.netlink.addresses().await?;
        addresses.retain(|a| a.ifindex == link.index);
        self.held = addresses.iter().filter(|a| a.ours).map(|a| a.ip).collect();
        Ok(addresses.into_iter().map(|a| a.ip).collect())
    }

    /// Holds `ip` and tells the link about it. Harmless when it is held already.
    pub async fn hold(&mut self, ip: IpAddr) -> Result<Hold, AddressError> {
        let link = self.link().await?;
        let addresses = self.netlink.addresses().await?;
        let found = addresses
            .iter()
            .find(|a| a.ip == ip && a.ifindex == link.index);
        let outcome = match found {
            Some(address) if address.ours => Hold::Kept,
            Some(_) => return Ok(Hold::Foreign),
            None => Hold::Added,
        };
        if outcome == Hold::Added {
            self.netlink.add_address(ip, link.index, &link.name).await?;
            announce(ip, &link);
        }
        self.held.insert(ip);
        Ok(outcome)
    }

    /// Lets go of `ip`. An address that is not Navigator's stays where it is.
    pub async fn release(&mut self, ip: IpAddr) -> Result<(), AddressError> {
        let link = self.link().await?;
        let addresses = self.netlink.addresses().await?;
        if addresses
            .iter()
            .any(|a| a.ip == ip && a.ifindex == link.index && a.ours)
        {
            self.netlink
                .remove_address(ip, link.index, &link.name)
                .await?;
        }
        self.held.remove(&ip);
        Ok(())
    }

    /// Lets go of everything that Navigator holds on the interface, also what
    /// this holder was never told of.
    pub async fn release_all(&mut self) -> Result<(), AddressError> {
        let link = self.link().await?;
        for address in self.netlink.addresses().await? {
            if address.ours && address.ifindex == link.index {
                self.netlink
                    .remove_address(address.ip, link.index, &link.name)
                    .await?;
            }
        }
        self.held.clear();
        Ok(())
    }

    /// Tells the link again which MAC address the held addresses are at: what
    /// was said when they were added may have been lost.
    pub async fn announce(&self) -> Result<(), AddressError> {
        let link = self.link().await?;
        for ip in &self.held {
            announce(*ip, &link);
        }
        Ok(())
    }

    /// The addresses that Navigator holds, also those that an earlier daemon left.
    pub fn held(&self) -> &BTreeSet<IpAddr> {
        &self.held
    }

    async fn link(&self) -> Result<Link, AddressError> {
        self.netlink
            .link_by_name(&self.interface)
            .await?
            .ok_or_else(|| AddressError::NoInterface(self.interface.clone()))
    }
}

/// Neighbours that do not hear it find out when their own entry gets old, so
/// a failure is worth a line and no more.
fn announce(ip: IpAddr, link: &Link) {
    let Some(mac) = link.mac else { return };
    if let Err(e) = gratuitous::send(ip, mac, link.index) {
        tracing::warn!("{ip} was not made known on {}: {e}", link.name);
    }
}
