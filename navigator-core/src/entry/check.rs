//! The health check that an instance asks for.

use super::{Flaw, RejectReason, format_duration, json::Fields};
use crate::{
    health::MIN_INTERVAL,
    model::{CheckKind, CheckSpec},
};
use serde_json::{Map, Value, json};
use std::time::Duration;

const MAX_PATH: usize = 1024;
const MAX_HEADERS: usize = 32;
const DAY: Duration = Duration::from_secs(86_400);
const DEFAULT_METHOD: &str = "GET";
const DEFAULT_EXPECT: (u16, u16) = (200, 399);

/// The check that `health_check_endpoint` and `check` describe together: the
/// founding format's path asks for HTTP, its absence for TCP; `check` says more.
pub(super) fn parse_check(instance: &Fields<'_>) -> Result<CheckSpec, Flaw> {
    let instance = instance.under(RejectReason::BadCheck);
    let endpoint = instance
        .text("health_check_endpoint")?
        .filter(|path| !path.is_empty());
    if let Some(path) = endpoint {
        check_path(&instance, "health_check_endpoint", path)?;
    }
    let none = Map::new();
    let map = match instance.get("check") {
        None => &none,
        Some(Value::Object(map)) => map,
        Some(other) => {
            return Err(instance.flaw("check", other, "must be an object with a `kind`"));
        }
    };
    let fields = Fields::new(map, "check.", RejectReason::BadCheck);
    let spec = CheckSpec {
        kind: parse_kind(&fields, endpoint)?,
        port: fields.port("port")?,
        interval: fields.duration("interval", MIN_INTERVAL..=DAY)?,
        timeout: fields.duration("timeout", Duration::from_millis(1)..=DAY)?,
        rise: fields.number("rise", 1..=100)?,
        fall: fields.number("fall", 1..=100)?,
    };
    match (spec.timeout, spec.interval) {
        (Some(timeout), Some(interval)) if timeout > interval => {
            let most = format_args!(
                "must be at most the interval, {}",
                format_duration(interval)
            );
            Err(fields.flaw("timeout", format_duration(timeout), most))
        }
        _ => Ok(spec),
    }
}

fn parse_kind(fields: &Fields<'_>, endpoint: Option<&str>) -> Result<CheckKind, Flaw> {
    #[derive(Clone, Copy)]
    enum Kind {
        None,
        Tcp,
        Http,
    }
    let words = [
        ("none", Kind::None),
        ("tcp", Kind::Tcp),
        ("http", Kind::Http),
    ];
    let path = fields.text("path")?;
    if let Some(path) = path {
        check_path(fields, "path", path)?;
    }
    let path = path.or(endpoint);
    let implied = if path.is_some() {
        Kind::Http
    } else {
        Kind::Tcp
    };
    Ok(match fields.choice("kind", &words)?.unwrap_or(implied) {
        Kind::None => CheckKind::None,
        Kind::Tcp => CheckKind::Tcp,
        Kind::Http => CheckKind::Http {
            path: path.unwrap_or("/").to_owned(),
            host: parse_host(fields)?,
            method: parse_method(fields)?,
            expect: parse_expect(fields)?,
            headers: parse_headers(fields)?,
        },
    })
}

fn check_path(fields: &Fields<'_>, name: &str, path: &str) -> Result<(), Flaw> {
    let cure = if path.len() > MAX_PATH {
        "must have at most 1024 bytes"
    } else if path.contains("://") && !path.starts_with('/') {
        "must be a path, not a URL: leave out the scheme and the host"
    } else if !path.starts_with('/') {
        "must start with '/'"
    } else if !path.bytes().all(|c| c.is_ascii_graphic()) {
        "must be printable ASCII without spaces or line breaks: encode the rest as %XX"
    } else {
        return Ok(());
    };
    Err(fields.flaw(name, format_args!("{path:?}"), cure))
}

fn parse_host(fields: &Fields<'_>) -> Result<Option<String>, Flaw> {
    let host = fields.text("host")?;
    let good = |host: &&str| (1..=260).contains(&host.len()) && host.bytes().all(is_host_byte);
    match host {
        Some(host) if !good(&host) => {
            let cure = "must be a host name or an address, with a port if need be";
            Err(fields.flaw("host", format_args!("{host:?}"), cure))
        }
        host => Ok(host.map(str::to_owned)),
    }
}

fn is_host_byte(c: u8) -> bool {
    c.is_ascii_alphanumeric() || b".-_:[]".contains(&c)
}

fn parse_method(fields: &Fields<'_>) -> Result<String, Flaw> {
    let method = fields.text("method")?.unwrap_or(DEFAULT_METHOD);
    let good = (1..=20).contains(&method.len()) && method.bytes().all(|c| c.is_ascii_uppercase());
    if good && method != "CONNECT" {
        return Ok(method.to_owned());
    }
    let cure = "must be an HTTP method that asks one path, such as GET, HEAD or OPTIONS";
    Err(fields.flaw("method", format_args!("{method:?}"), cure))
}

/// A status such as `200`, as a number or a string, or a range such as `"200-399"`.
fn parse_expect(fields: &Fields<'_>) -> Result<(u16, u16), Flaw> {
    let Some(value) = fields.get("expect") else {
        return Ok(DEFAULT_EXPECT);
    };
    let text = match value {
        Value::String(text) => text.clone(),
        other => other.to_string(),
    };
    let (low, high) = text.split_once('-').unwrap_or((&text, &text));
    let status = |text: &str| {
        let digits = text.len() == 3 && text.bytes().all(|c| c.is_ascii_digit());
        text.parse()
            .ok()
            .filter(|code| digits && (100..=599).contains(code))
    };
    match (status(low), status(high)) {
        (Some(low), Some(high)) if low <= high => Ok((low, high)),
        _ => Err(fields.flaw(
            "expect",
            value,
            "must be a status such as 200 or a range such as \"200-399\"",
        )),
    }
}

fn parse_headers(fields: &Fields<'_>) -> Result<Vec<(String, String)>, Flaw> {
    let map = match fields.get("headers") {
        None => return Ok(Vec::new()),
        Some(Value::Object(map)) if map.len() <= MAX_HEADERS => map,
        Some(other) => {
            let cure = "must be an object of at most 32 names and values";
            return Err(fields.flaw("headers", other, cure));
        }
    };
    map.iter()
        .map(|(name, value)| parse_header(fields, name, value))
        .collect()
}

fn parse_header(fields: &Fields<'_>, name: &str, value: &Value) -> Result<(String, String), Flaw> {
    let label = format!("headers.{}", super::json::shorten(name));
    let token = |c: u8| c.is_ascii_alphanumeric() || b"!#$%&'*+-.^_`|~".contains(&c);
    if name.is_empty() || !name.bytes().all(token) {
        return Err(fields.flaw(&label, value, "the name is not one of an HTTP header"));
    }
    let ours = ["host", "connection", "content-length", "transfer-encoding"];
    if ours.iter().any(|own| name.eq_ignore_ascii_case(own)) {
        return Err(fields.flaw(&label, value, "is set by the check itself (see `host`)"));
    }
    match value.as_str() {
        Some(text) if text.bytes().all(|c| (b' '..=b'~').contains(&c)) => {
            Ok((name.to_owned(), text.to_owned()))
        }
        _ => Err(fields.flaw(&label, value, "must be a string of printable ASCII")),
    }
}

/// The fields that [`parse_check`] reads as `check`: `health_check_endpoint`, and `check`
/// where the former does not say it all.
pub(super) fn check_json(check: &CheckSpec) -> (String, Option<Value>) {
    let mut map = Map::new();
    let mut set = |name: &str, value: Value| {
        map.insert(name.to_owned(), value);
    };
    let endpoint = match &check.kind {
        CheckKind::None => {
            set("kind", json!("none"));
            ""
        }
        CheckKind::Tcp => "",
        CheckKind::Http {
            path,
            host,
            method,
            expect,
            headers,
        } => {
            if let Some(host) = host {
                set("host", json!(host));
            }
            if method != DEFAULT_METHOD {
                set("method", json!(method));
            }
            if *expect != DEFAULT_EXPECT {
                set("expect", json!(format!("{}-{}", expect.0, expect.1)));
            }
            if !headers.is_empty() {
                set("headers", headers.iter().cloned().collect());
            }
            path
        }
    };
    let numbers = [
        ("port", check.port.map(u32::from)),
        ("rise", check.rise),
        ("fall", check.fall),
    ];
    for (name, number) in numbers {
        if let Some(number) = number {
            set(name, json!(number));
        }
    }
    for (name, time) in [("interval", check.interval), ("timeout", check.timeout)] {
        if let Some(time) = time {
            set(name, json!(format_duration(time)));
        }
    }
    (
        endpoint.to_owned(),
        (!map.is_empty()).then_some(Value::Object(map)),
    )
}
