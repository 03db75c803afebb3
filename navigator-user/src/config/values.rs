//! What one value of a configuration may be.

use super::problem::{Complaint, near_miss};
use hyper::{Uri, http::uri::PathAndQuery};
use navigator_core::{
    entry::{BadCidr, Cidr, format_duration, parse_duration, parse_endpoint},
    model::ServiceName,
};
use std::{
    net::{IpAddr, SocketAddr},
    ops::RangeInclusive,
    path::PathBuf,
    time::Duration,
};
use toml::de::DeValue;

type Parsed<T> = Result<T, Complaint>;

/// A text.
pub(super) fn text(value: &DeValue<'_>) -> Parsed<String> {
    let text = value.as_str().ok_or_else(|| {
        Complaint::new(
            format!("{}, not a text", a(value.type_str())),
            "put it in quotation marks",
        )
    })?;
    Ok(text.to_owned())
}

/// A whole number within bounds.
pub(super) fn number(bounds: RangeInclusive<u32>) -> impl Fn(&DeValue<'_>) -> Parsed<u32> {
    move |value| {
        let cure = || {
            format!(
                "use a whole number from {} to {}",
                bounds.start(),
                bounds.end()
            )
        };
        let Some(number) = value.as_integer() else {
            let what = format!("{}, not a whole number", a(value.type_str()));
            return Err(Complaint::new(what, cure()));
        };
        u32::from_str_radix(number.as_str(), number.radix())
            .ok()
            .filter(|number| bounds.contains(number))
            .ok_or_else(|| Complaint::new("out of bounds", cure()))
    }
}

/// One of a few words.
pub(super) fn choice<T: Copy>(choices: &[(&'static str, T)]) -> impl Fn(&DeValue<'_>) -> Parsed<T> {
    move |value| {
        let word = text(value)?;
        if let Some((_, choice)) = choices.iter().find(|(name, _)| *name == word) {
            return Ok(*choice);
        }
        let names: Vec<_> = choices.iter().map(|(name, _)| *name).collect();
        let cure = match near_miss(&word, &names) {
            Some(meant) => format!("did you mean {meant:?}?"),
            None => format!("use {}", or(&names)),
        };
        Err(Complaint::new("not known", cure))
    }
}

/// A duration within bounds.
pub(super) fn duration(
    bounds: RangeInclusive<Duration>,
) -> impl Fn(&DeValue<'_>) -> Parsed<Duration> {
    move |value| {
        const CURE: &str = "use a number with ms, s, m or h, for example \"5s\"";
        let Some(text) = value.as_str() else {
            let what = format!("{}, not a duration", a(value.type_str()));
            return Err(Complaint::new(what, format!("{CURE}, in quotation marks")));
        };
        let duration = parse_duration(text).map_err(|_| Complaint::new("not a duration", CURE))?;
        if !bounds.contains(&duration) {
            let [least, most] = [bounds.start(), bounds.end()].map(|d| format_duration(*d));
            let cure = format!("use {least} to {most}");
            return Err(Complaint::new("out of bounds", cure));
        }
        Ok(duration)
    }
}

/// An absolute path of at most `longest` bytes.
pub(super) fn path(longest: usize) -> impl Fn(&DeValue<'_>) -> Parsed<PathBuf> {
    move |value| {
        let text = text(value)?;
        if !text.starts_with('/') || text.trim_end_matches('/').is_empty() || text.contains('\0') {
            let cure = "write it out from the root, for example \"/run/navigator\"";
            return Err(Complaint::new("not an absolute path", cure));
        }
        if text.len() > longest {
            let cure = format!("use at most {longest} bytes");
            return Err(Complaint::new("too long", cure));
        }
        Ok(PathBuf::from(text))
    }
}

/// The name of a network interface, as the kernel would accept it.
pub(super) fn interface(value: &DeValue<'_>) -> Parsed<String> {
    let name = text(value)?;
    let good = (1..=15).contains(&name.len())
        && name != "."
        && name != ".."
        && !name.contains(|c: char| c == '/' || c == ':' || c == '\0' || c.is_whitespace());
    if !good {
        let cure = "use a name that `ip link` shows: 1 to 15 bytes without '/', ':' and spaces";
        return Err(Complaint::new("not an interface name", cure));
    }
    Ok(name)
}

/// Where a member of an etcd cluster listens.
pub(super) fn endpoint(value: &DeValue<'_>) -> Parsed<String> {
    let text = text(value)?;
    let good = text.parse::<Uri>().is_ok_and(|uri| {
        matches!(uri.scheme_str(), Some("http" | "https"))
            && uri.host().is_some_and(|host| !host.is_empty())
            && uri.port_u16().is_some_and(|port| port > 0)
            && uri
                .authority()
                .is_some_and(|name| !name.as_str().contains('@'))
            && matches!(
                uri.path_and_query().map(PathAndQuery::as_str),
                None | Some("" | "/")
            )
    });
    if !good {
        let cure = "use http or https, a host and a port, for example \"http://127.0.0.1:2379\"";
        return Err(Complaint::new("not an endpoint", cure));
    }
    Ok(text)
}

/// The name of a service or a VIP.
pub(super) fn name(value: &DeValue<'_>) -> Parsed<ServiceName> {
    const CURE: &str = "use 1 to 63 of a-z, 0-9 and '-', not starting or ending with '-'";
    let name = text(value)?;
    name.parse()
        .map_err(|_| Complaint::new("not a DNS label", CURE))
}

/// Where an instance listens.
pub(super) fn endpoint_of_instance(value: &DeValue<'_>) -> Parsed<SocketAddr> {
    parse_endpoint(&text(value)?).map_err(|flaw| told(&flaw))
}

/// A network.
pub(super) fn cidr(value: &DeValue<'_>) -> Parsed<Cidr> {
    text(value)?.parse().map_err(|error: BadCidr| told(&error))
}

/// Networks for the outer source of tunnels, at most one of a family; none for `"address"`.
pub(super) fn sources(value: &DeValue<'_>) -> Parsed<Vec<Cidr>> {
    const CURE: &str = "use \"address\", a network such as \"172.16.0.0/16\", or a list of one \
                        network of each family";
    if value.as_str() == Some("address") {
        return Ok(Vec::new());
    }
    let networks: Vec<Cidr> = match value.as_array() {
        Some(list) => list
            .iter()
            .map(|item| source(item.get_ref()))
            .collect::<Parsed<_>>()?,
        None if value.as_str().is_some() => vec![source(value)?],
        None => {
            let what = format!("{}, not a text or a list", a(value.type_str()));
            return Err(Complaint::new(what, CURE));
        }
    };
    let fours = networks.iter().filter(|n| n.network().is_ipv4()).count();
    if fours > 1 || networks.len() - fours > 1 {
        return Err(Complaint::new("two networks of one family", CURE));
    }
    Ok(networks)
}

/// A network whose addresses may stand as sources of packets.
fn source(value: &DeValue<'_>) -> Parsed<Cidr> {
    let network = cidr(value)?;
    let first = network.network();
    let (wide, special) = match first {
        IpAddr::V4(ip) => (network.host_bits() > 24, ip.octets()[0] >= 224),
        IpAddr::V6(ip) => (network.host_bits() > 112, ip.is_multicast()),
    };
    if wide || special || first.is_loopback() || first.is_unspecified() {
        let cure = "use a private network that nothing else uses: at most a /8, or an IPv6 /16";
        return Err(Complaint::new("no network to send from", cure));
    }
    Ok(network)
}

/// The core's complaint of a value; where it stands and what it is are told already.
fn told(error: &dyn std::fmt::Display) -> Complaint {
    let text = error.to_string();
    let (_, cure) = text.rsplit_once(": ").unwrap_or(("", &text));
    Complaint::new(cure, "")
}

/// A type's name with its article.
fn a(kind: &str) -> String {
    let article = if kind.starts_with(['a', 'e', 'i', 'o', 'u']) {
        "an"
    } else {
        "a"
    };
    format!("{article} {kind}")
}

/// `"a", "b" or "c"`.
fn or(names: &[&str]) -> String {
    let quoted: Vec<_> = names.iter().map(|name| format!("{name:?}")).collect();
    match quoted.split_last() {
        Some((last, rest)) if !rest.is_empty() => format!("{} or {last}", rest.join(", ")),
        _ => quoted.concat(),
    }
}
