//! Who takes part in a VIP, and why.

use crate::{
    health::Health,
    model::{Instance, OnDown, OnEmpty, Order, Protocol, Vip},
};
use serde::{Deserialize, Serialize};
use std::{net::SocketAddr, time::Duration};

/// What is known of one instance of a VIP's service.
#[derive(Clone, Debug)]
pub struct Candidate {
    /// As it is registered; `None` once it was deregistered.
    pub registered: Option<Instance>,
    /// Where it listens.
    pub address: SocketAddr,
    /// Its last weight, for one that was deregistered.
    pub last_weight: u16,
    /// What its checks say.
    pub health: Health,
    /// Why, in words, when it is not healthy.
    pub health_why: String,
    /// What an operator ordered.
    pub order: Order,
    /// When it began to drain, if it does.
    pub draining_since: Option<Duration>,
}

/// What an instance is to a VIP at the moment.
#[derive(Clone, Copy, PartialEq, Eq, Debug, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum State {
    /// Healthy, takes new flows.
    Active,
    /// Takes new flows though its checks fail, because all do and the VIP fails open.
    FailOpen,
    /// Not checked yet.
    Unknown,
    /// Its checks fail.
    Unhealthy,
    /// Gets no new flows, keeps those that it has for the drain time.
    Draining,
    /// The drain is over.
    Drained,
    /// Discoverable, but this VIP cannot forward to it.
    NotForwardable,
}

/// One instance's part in a VIP.
#[derive(Clone, PartialEq, Eq, Debug, Serialize, Deserialize)]
pub struct Member {
    /// Where it listens.
    pub address: SocketAddr,
    /// Share of new flows, before its state is looked at.
    pub weight: u16,
    /// What it is at the moment.
    pub state: State,
    /// Why, in words; empty for an active one.
    pub why: String,
    /// It may be given new flows.
    pub takes_new: bool,
    /// It can still serve the flows that it has.
    pub usable: bool,
}
