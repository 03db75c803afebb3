//! The addresses that are announced: those of VIPs that are applied and have
//! somebody to serve them. It follows what was applied, never what was wished.

use futures::future::BoxFuture;
use std::{collections::BTreeSet, net::IpAddr};

/// Makes addresses known to the network.
pub trait Announcer: Send {
    /// Announces an address; doing it again is no error.
    fn announce(&mut self, address: IpAddr) -> BoxFuture<'_, Result<(), String>>;

    /// Withdraws an address; one that is not announced is no error.
    fn withdraw(&mut self, address: IpAddr) -> BoxFuture<'_, Result<(), String>>;

    /// Looks whether what is announced still is: somebody else may have ended it.
    fn refresh(&mut self) -> BoxFuture<'_, ()>;

    /// What is announced now, also by an earlier daemon.
    fn announced(&self) -> BTreeSet<IpAddr>;
}

/// What is announced, and what went wrong about it.
pub(super) struct Addresses {
    announcer: Option<Box<dyn Announcer>>,
    problems: Vec<String>,
}

impl Addresses {
    pub(super) fn new(announcer: Option<Box<dyn Announcer>>) -> Self {
        Self {
            announcer,
            problems: Vec::new(),
        }
    }

    /// Withdraws what is announced beyond `wanted`, announces what is missing.
    pub(super) async fn make(&mut self, wanted: &BTreeSet<IpAddr>) {
        let Some(announcer) = &mut self.announcer else {
            return;
        };
        announcer.refresh().await;
        let announced = announcer.announced();
        if announced == *wanted {
            self.problems.clear();
            return;
        }
        let mut problems = Vec::new();
        for address in announced.difference(wanted) {
            match announcer.withdraw(*address).await {
                Ok(()) => tracing::info!(%address, "address withdrawn"),
                Err(why) => problems.push(format!("address {address} not withdrawn: {why}")),
            }
        }
        for address in wanted.difference(&announced) {
            match announcer.announce(*address).await {
                Ok(()) => tracing::info!(%address, "address announced"),
                Err(why) => problems.push(format!("address {address} not announced: {why}")),
            }
        }
        for problem in problems
            .iter()
            .filter(|problem| !self.problems.contains(problem))
        {
            tracing::error!("{problem}");
        }
        self.problems = problems;
    }

    pub(super) fn announced(&self) -> BTreeSet<IpAddr> {
        self.announcer
            .as_ref()
            .map(|announcer| announcer.announced())
            .unwrap_or_default()
    }

    pub(super) fn problems(&self) -> &[String] {
        &self.problems
    }
}
