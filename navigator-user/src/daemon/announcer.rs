//! Addresses held on an interface, as the loop sees them.

use crate::{
    announce::address::{AddressHolder, Hold},
    reconcile::Announcer,
};
use futures::future::BoxFuture;
use std::{collections::BTreeSet, net::IpAddr};

pub(super) struct AddressAnnouncer {
    holder: AddressHolder,
    /// On the interface already, by somebody else's hand: served, never taken away.
    foreign: BTreeSet<IpAddr>,
}

impl AddressAnnouncer {
    pub(super) fn new(holder: AddressHolder) -> Self {
        Self {
            holder,
            foreign: BTreeSet::new(),
        }
    }
}

impl Announcer for AddressAnnouncer {
    fn announce(&mut self, address: IpAddr) -> BoxFuture<'_, Result<(), String>> {
        Box::pin(async move {
            let outcome = self
                .holder
                .hold(address)
                .await
                .map_err(|error| error.to_string())?;
            if outcome == Hold::Foreign {
                self.foreign.insert(address);
            }
            Ok(())
        })
    }

    fn withdraw(&mut self, address: IpAddr) -> BoxFuture<'_, Result<(), String>> {
        Box::pin(async move {
            if self.foreign.remove(&address) {
                return Ok(());
            }
            self.holder
                .release(address)
                .await
                .map_err(|error| error.to_string())
        })
    }

    fn look_again(&mut self) -> BoxFuture<'_, Result<(), String>> {
        Box::pin(async move {
            let there = self.holder.look_again().await;
            let there = there.map_err(|error| error.to_string())?;
            self.foreign.retain(|address| there.contains(address));
            Ok(())
        })
    }

    fn announced(&self) -> BTreeSet<IpAddr> {
        self.holder.held() | &self.foreign
    }
}
