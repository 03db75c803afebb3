//! Who takes part in a VIP, and why.
//!
//! Four things are kept apart until here: what was registered, what the
//! checks say, what an operator ordered, and what the VIP's mode can reach.
//! [`members`] makes one state of them.

use crate::{
    health::Health,
    model::{ForwardMode, Instance, OnDown, OnEmpty, Order, Vip},
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
    /// Why no packet can be sent to its host, if that is known to be so.
    pub unreachable: Option<String>,
    /// What an operator ordered.
    pub order: Order,
    /// When it began to drain, if it does.
    pub draining_since: Option<Duration>,
}

/// What an instance is to a VIP at the moment.
#[derive(Clone, Copy, PartialEq, Eq, Debug, Serialize, Deserialize, utoipa::ToSchema)]
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
    /// No packet can be sent to its host: no route, or nobody answers ARP or NDP.
    Unreachable,
    /// Gets no new flows, keeps those that it has for the drain time.
    Draining,
    /// The drain is over.
    Drained,
    /// Out of service by an operator's order: neither new flows nor those that it had.
    Maintenance,
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

/// What each candidate is to `vip` at `now`, in the order of the candidates.
/// `now` and the times in the candidates count from the same start.
///
/// Whoever takes new flows is healthy, has a weight above 0, is neither
/// draining, in maintenance nor deregistered, and can be reached, in the VIP's mode and at all.
/// If there is nobody, those whose checks fail take new flows where the VIP fails
/// open; but never an unreachable one.
///
/// Whoever is usable takes new flows, or is draining, or has no verdict yet, or
/// fails its checks, is unreachable or was deregistered under `on_down = keep`. A drain
/// makes usable for the VIP's drain time only; without [`Candidate::draining_since`]
/// it begins now.
pub fn members(vip: &Vip, candidates: &[Candidate], now: Duration) -> Vec<Member> {
    let mut members: Vec<Member> = candidates
        .iter()
        .map(|candidate| member(vip, candidate, now))
        .collect();
    if vip.on_empty == OnEmpty::Open && !members.iter().any(|member| member.takes_new) {
        let failing = |member: &&mut Member| member.state == State::Unhealthy;
        members.iter_mut().filter(failing).for_each(fail_open);
    }
    members
}

fn fail_open(member: &mut Member) {
    member.state = State::FailOpen;
    member.takes_new = true;
    member.usable = true;
    member.why += "; gets new flows all the same, as no backend is healthy (on_empty = open)";
}

fn member(vip: &Vip, candidate: &Candidate, now: Duration) -> Member {
    let own = candidate
        .registered
        .as_ref()
        .map(|instance| instance.weight);
    let weight = candidate
        .order
        .weight
        .or(own)
        .unwrap_or(candidate.last_weight);
    let (state, usable, why) = judge(vip, candidate, weight, now);
    Member {
        address: candidate.address,
        weight,
        state,
        why,
        takes_new: state == State::Active,
        usable,
    }
}

/// State, whether usable, and why.
fn judge(vip: &Vip, candidate: &Candidate, weight: u16, now: Duration) -> (State, bool, String) {
    let obstacle = obstacle(vip, candidate.address);
    let keep = vip.on_down == OnDown::Keep;
    if candidate.order.maintenance {
        let why = "in maintenance by an operator's order; its flows go to other backends";
        return (State::Maintenance, false, why.into());
    }
    if candidate.registered.is_none() {
        if obstacle.is_some() {
            return (State::Drained, false, "deregistered".into());
        }
        if !keep {
            let why = "deregistered; its flows go to other backends (on_down = reset)";
            return (State::Drained, false, why.into());
        }
        return drain(vip, candidate, now, "deregistered", true);
    }
    if let Some(why) = obstacle {
        return (State::NotForwardable, false, why);
    }
    let serves = keep || trouble(candidate).is_none();
    if let Some(cause) = drain_cause(candidate, weight) {
        return drain(vip, candidate, now, cause, serves);
    }
    if let (Some(_), Some(why)) = (&candidate.unreachable, trouble(candidate)) {
        return (State::Unreachable, serves, why);
    }
    match candidate.health {
        Health::Healthy => (State::Active, true, String::new()),
        Health::Unknown => (State::Unknown, true, "not checked yet".into()),
        Health::Unhealthy => (State::Unhealthy, serves, failing(candidate)),
    }
}

fn failing(candidate: &Candidate) -> String {
    match candidate.health_why.as_str() {
        "" => "checks fail".into(),
        why => format!("checks fail: {why}"),
    }
}

/// Why it cannot serve the flows that it has, at the moment.
fn trouble(candidate: &Candidate) -> Option<String> {
    match (&candidate.unreachable, candidate.health) {
        (Some(why), _) => Some(format!("cannot be reached: {why}")),
        (None, Health::Unhealthy) => Some(failing(candidate)),
        (None, Health::Healthy | Health::Unknown) => None,
    }
}

fn drain_cause(candidate: &Candidate, weight: u16) -> Option<&'static str> {
    if candidate.order.drain {
        Some("ordered to drain by an operator")
    } else if weight > 0 {
        None
    } else if candidate.order.weight.is_some() {
        Some("weight set to 0 by an operator")
    } else {
        Some("registered with weight 0")
    }
}

fn drain(
    vip: &Vip,
    candidate: &Candidate,
    now: Duration,
    cause: &str,
    serves: bool,
) -> (State, bool, String) {
    let since = candidate.draining_since.unwrap_or(now);
    let left = vip.drain.saturating_sub(now.saturating_sub(since));
    if left.is_zero() {
        return (State::Drained, false, format!("{cause}; the drain is over"));
    }
    let seconds = left.as_millis().div_ceil(1000);
    let mut why = format!("{cause}; draining, {seconds} s left");
    if let (false, Some(trouble)) = (serves, trouble(candidate)) {
        why = format!("{why}; {trouble}, its flows go to other backends (on_down = reset)");
    }
    (State::Draining, serves, why)
}

/// Why the VIP's mode cannot reach an instance, beginning with the reason's name.
pub fn obstacle(vip: &Vip, address: SocketAddr) -> Option<String> {
    let (ip, port, mode) = (address.ip(), address.port(), vip.mode);
    if ip.is_loopback() {
        return Some(format!(
            "loopback: {ip} is this host itself; register the address that other hosts reach it by"
        ));
    }
    // A packet for one of many ports reaches the instance on that port: its own one, which may
    // be any, then only names where it is checked. Mode nat brings all of them to the instance's.
    if mode != ForwardMode::Nat
        && let Some(own) = vip.key.ports.single().filter(|&own| own != port)
    {
        return Some(format!(
            "port_mismatch: port {port} differs from the VIP's {own}: mode {mode} cannot change \
             ports (nat can); let the instance listen on the VIP's port"
        ));
    }
    let same_family = ip.is_ipv4() == vip.key.address.is_ipv4();
    match mode {
        ForwardMode::L2 | ForwardMode::Nat if !same_family => Some(format!(
            "family_mismatch: {ip} is not of the family of the VIP's {}: mode {mode} cannot cross \
             families (ipip and gue can)",
            vip.key.address
        )),
        ForwardMode::L2 | ForwardMode::Ipip | ForwardMode::Gue | ForwardMode::Nat => None,
    }
}

#[cfg(test)]
mod tests;
