//! Addresses held on an interface, as the loop sees them.

use crate::{
    announce::address::{AddressHolder, Hold},
    reconcile::Announcer,
};
use futures::future::BoxFuture;
use std::{
    collections::BTreeSet,
    net::IpAddr,
    time::{Duration, Instant},
};

/// How often the interface is looked at, at most.
const LOOK: Duration = Duration::from_millis(900);

pub(super) struct AddressAnnouncer {
    holder: AddressHolder,
    /// On the interface already, by somebody else's hand: served, never taken away.
    foreign: BTreeSet<IpAddr>,
    looked: Option<Instant>,
}

impl AddressAnnouncer {
    pub(super) fn new(holder: AddressHolder) -> Self {
        Self {
            holder,
            foreign: BTreeSet::new(),
            looked: None,
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

    fn refresh(&mut self) -> BoxFuture<'_, ()> {
        Box::pin(async move {
            if self.looked.is_some_and(|looked| looked.elapsed() < LOOK) {
                return;
            }
            self.looked = Some(Instant::now());
            match self.holder.refresh().await {
                Ok(there) => self.foreign.retain(|ip| there.contains(ip)),
                Err(error) => tracing::debug!("held addresses not looked at: {error}"),
            }
        })
    }

    fn announced(&self) -> BTreeSet<IpAddr> {
        self.holder.held() | &self.foreign
    }
}
