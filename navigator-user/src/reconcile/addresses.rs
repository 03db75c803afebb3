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

    /// Finds out what is announced by now: others may have withdrawn it.
    fn look_again(&mut self) -> BoxFuture<'_, Result<(), String>>;

    /// What is announced, as far as is known; also by an earlier daemon.
    fn announced(&self) -> BTreeSet<IpAddr>;
}

/// What is announced, and what went wrong about it.
pub(super) struct Addresses {
    announcer: Option<Box<dyn Announcer>>,
    problems: Vec<String>,
    /// Why it is not known what is announced; empty if it is.
    blind: String,
}

impl Addresses {
    pub(super) fn new(announcer: Option<Box<dyn Announcer>>) -> Self {
        Self {
            announcer,
            problems: Vec::new(),
            blind: String::new(),
        }
    }

    /// Finds out what is announced by now.
    pub(super) async fn look_again(&mut self) {
        let Some(announcer) = &mut self.announcer else {
            return;
        };
        let blind = announcer.look_again().await.err().unwrap_or_default();
        if !blind.is_empty() && blind != self.blind {
            tracing::error!("held addresses cannot be looked at: {blind}");
        }
        self.blind = blind;
    }

    /// Withdraws what is announced beyond `wanted`, announces what is missing.
    pub(super) async fn make(&mut self, wanted: &BTreeSet<IpAddr>) {
        let Some(announcer) = &mut self.announcer else {
            return;
        };
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

    /// Whether VIPs are held at all.
    pub(super) const fn holds(&self) -> bool {
        self.announcer.is_some()
    }

    pub(super) fn announced(&self) -> BTreeSet<IpAddr> {
        self.announcer
            .as_ref()
            .map(|announcer| announcer.announced())
            .unwrap_or_default()
    }

    pub(super) fn problems(&self) -> impl Iterator<Item = String> {
        let blind = (!self.blind.is_empty())
            .then(|| format!("held addresses cannot be looked at: {}", self.blind));
        self.problems.iter().cloned().chain(blind)
    }
}
