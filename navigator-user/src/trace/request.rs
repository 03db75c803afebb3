//! What somebody wants to see.

use navigator_common::{
    addr::Addr,
    reason::{Reason, Verdict},
    trace::{FORWARDED, TraceFilter},
};
use navigator_core::{
    entry::{Cidr, format_duration, parse_duration},
    model::VipKey,
};
use serde::{Deserialize, Serialize};
use std::{
    net::{IpAddr, SocketAddr},
    time::Duration,
};

/// Longest that one may trace before asking again, and how long it is unless told otherwise: a
/// tracer that was forgotten, or that vanished in a way that nobody noticed, ends by itself.
pub const MAX_DURATION: Duration = Duration::from_secs(600);

/// What is wanted, as it is typed and as it stands in a query.
#[derive(Clone, PartialEq, Eq, Debug, Default, Serialize, Deserialize, utoipa::IntoParams)]
#[serde(deny_unknown_fields)]
#[into_params(parameter_in = Query)]
pub struct Query {
    /// Name of a VIP.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub vip: Option<String>,
    /// A client's address or network.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub client: Option<String>,
    /// Names of reasons, or `forwarded`, `passed`, `dropped`, `replied`, with commas between them.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub reason: Option<String>,
    /// A backend's address, with or without its port.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub backend: Option<String>,
    /// `N` or `1/N`: one packet in so many, by chance.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub sample: Option<String>,
    /// For how long, for example `30s`.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub duration: Option<String>,
    /// Whether the packets' first bytes are wanted: `true` or `false`.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub bytes: Option<bool>,
}

/// Why a query cannot be fulfilled: which field, and what to write instead.
#[derive(Clone, PartialEq, Eq, Debug, thiserror::Error)]
#[error("{field}={value}: {why}")]
pub struct BadQuery {
    /// The field.
    pub field: &'static str,
    /// Its value.
    pub value: String,
    /// What is wrong with it, and what to do.
    pub why: String,
}

/// What is wanted.
#[derive(Clone, PartialEq, Eq, Debug)]
pub struct Request {
    /// Packets for this VIP, or dropped at its address before it was clear for which.
    pub vip: Option<VipKey>,
    /// Of a client in this network.
    pub client: Option<Cidr>,
    /// A bit for each outcome.
    pub outcomes: [u64; 2],
    /// Leave out what is none of Navigator's business.
    pub only_vips: bool,
    /// For this backend, and this port of it.
    pub backend: Option<(IpAddr, Option<u16>)>,
    /// One packet in so many.
    pub one_in: u32,
    /// For so long.
    pub duration: Duration,
}

impl Default for Request {
    fn default() -> Self {
        Self {
            vip: None,
            client: None,
            outcomes: [u64::MAX; 2],
            only_vips: true,
            backend: None,
            one_in: 1,
            duration: MAX_DURATION,
        }
    }
}

impl Request {
    /// What a query asks for; `vip` knows the names.
    ///
    /// # Errors
    /// Says which field cannot be, and why.
    pub fn read(
        query: &Query,
        vip: impl FnOnce(&str) -> Result<VipKey, String>,
    ) -> Result<Self, BadQuery> {
        let mut request = Self::default();
        if let Some(name) = &query.vip {
            request.vip = Some(vip(name).map_err(bad("vip", name))?);
        }
        if let Some(text) = &query.client {
            let client = text.parse::<Cidr>().map_err(|error| error.to_string());
            request.client = Some(client.map_err(bad("client", text))?);
        }
        if let Some(text) = &query.reason {
            request.outcomes = outcomes(text).map_err(bad("reason", text))?;
            request.only_vips = false;
        }
        if let Some(text) = &query.backend {
            request.backend = Some(backend(text).map_err(bad("backend", text))?);
        }
        if let Some(text) = &query.sample {
            request.one_in = one_in(text).map_err(bad("sample", text))?;
        }
        if let Some(text) = &query.duration {
            request.duration = duration(text).map_err(bad("duration", text))?;
        }
        Ok(request)
    }

    /// The filter for the program; `id` is the VIP's, if it is in the maps.
    pub fn filter(&self, id: Option<u16>) -> TraceFilter {
        let (client, client_mask) = self
            .client
            .map_or_else(Default::default, |cidr| masked(&cidr));
        let (backend, port) = match self.backend {
            Some((address, port)) => (address.into(), port.unwrap_or(0)),
            None => (Addr::default(), 0),
        };
        let (vip, vip_address) = match self.vip {
            Some(key) => (
                id.map_or(TraceFilter::NO_VIP, u32::from),
                key.address.into(),
            ),
            None => (0, Addr::default()),
        };
        TraceFilter {
            active: 1,
            outcomes: self.outcomes,
            client,
            client_mask,
            backend,
            vip_address,
            vip,
            backend_port: port.into(),
            sample: TraceFilter::one_in(self.one_in),
            flags: if self.only_vips {
                TraceFilter::ONLY_VIPS
            } else {
                0
            },
        }
    }
}

fn bad(field: &'static str, value: &str) -> impl FnOnce(String) -> BadQuery {
    let value = value.to_owned();
    move |why| BadQuery { field, value, why }
}

/// A network as the program compares addresses with it. IPv4 is stored with a prefix of 96
/// bits, all of which count.
fn masked(cidr: &Cidr) -> (Addr, Addr) {
    let network = Addr::from(cidr.network());
    let (prefix, width) = match cidr.network() {
        IpAddr::V4(_) => (96 + u32::from(cidr.prefix()), 128),
        IpAddr::V6(_) => (u32::from(cidr.prefix()), 128),
    };
    let bits = u128::MAX.checked_shl(width - prefix).unwrap_or(0);
    // Words are the address's bytes as loaded natively.
    let bytes = u128::from_ne_bytes(bits.to_be_bytes());
    let mask = Addr {
        hi: bytes as u64,
        lo: (bytes >> 64) as u64,
    };
    (network, mask)
}

/// Verdicts as they can be asked for.
const GROUPS: [(&str, Verdict); 3] = [
    ("passed", Verdict::Pass),
    ("dropped", Verdict::Drop),
    ("replied", Verdict::Reply),
];

fn outcomes(text: &str) -> Result<[u64; 2], String> {
    let mut outcomes = [0; 2];
    let mut add = |number: u32| outcomes[number as usize / 64] |= 1 << (number % 64);
    for name in text.split(',') {
        let group = GROUPS.iter().find(|(group, _)| *group == name);
        let reasons = Reason::ALL.iter().filter(|reason| match group {
            Some((_, verdict)) => reason.verdict() == *verdict,
            None => reason.name() == name,
        });
        let reasons: Vec<_> = reasons.collect();
        if name == "forwarded" {
            add(FORWARDED);
        } else if reasons.is_empty() && group.is_none() {
            return Err(format!(
                "there is no reason {name:?}; `navigator reasons` lists them, and forwarded, passed, dropped or replied stand for all of a kind"
            ));
        }
        reasons.iter().for_each(|reason| add(reason.index()));
    }
    Ok(outcomes)
}

fn backend(text: &str) -> Result<(IpAddr, Option<u16>), String> {
    if let Ok(address) = text.parse::<SocketAddr>() {
        return Ok((address.ip(), Some(address.port())));
    }
    let address = text.parse::<IpAddr>();
    let address = address.map_err(|_| {
        "write an address, such as 10.0.0.5, 10.0.0.5:80 or [2001:db8::5]:80".to_owned()
    })?;
    Ok((address, None))
}

fn one_in(text: &str) -> Result<u32, String> {
    let number = text.strip_prefix("1/").unwrap_or(text);
    match number.parse() {
        Ok(n @ 1..) => Ok(n),
        _ => Err("write 1/N, with N from 1 to 4294967295".to_owned()),
    }
}

fn duration(text: &str) -> Result<Duration, String> {
    let duration = parse_duration(text).map_err(|error| error.to_string())?;
    if duration.is_zero() || duration > MAX_DURATION {
        return Err(format!("use 1ms to {}", format_duration(MAX_DURATION)));
    }
    Ok(duration)
}
