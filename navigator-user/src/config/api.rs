//! `[api]`: TLS listeners, who may do what, and limits.

use super::{
    ApiConfig, Face,
    problem::Complaint,
    reader::Section,
    values::{number, path, text},
};
use crate::api::{
    Limits,
    access::{Grant, Principal, Rate, Shows, TokenHash},
    tls::TlsFiles,
};
use navigator_core::model::ServiceName;
use std::{collections::BTreeSet, net::SocketAddr};
use tokio_rustls::rustls::pki_types::DnsName;
use toml::de::DeValue;

/// Bytes of a path.
const PATH: usize = 4096 - 256;
/// Bounds of the limits.
const CONNECTIONS: std::ops::RangeInclusive<u32> = 1..=65_536;
const REQUESTS: std::ops::RangeInclusive<u32> = 1..=1_000_000;

pub(super) fn read(root: &mut Section<'_, '_>) -> ApiConfig {
    let mut api = ApiConfig::default();
    let Some(mut section) = root.table("api") else {
        return api;
    };
    let count = |section: &mut Section<'_, '_>, key, bounds, default: usize| {
        let given = section.read(key, number(bounds));
        given.map_or(default, |given| given as usize)
    };
    let limits = Limits::default();
    api.limits = Limits {
        connections: count(&mut section, "connections", CONNECTIONS, limits.connections),
        per_peer: count(
            &mut section,
            "connections_per_peer",
            CONNECTIONS,
            limits.per_peer,
        ),
    };
    let rate = Rate::default();
    let given = section.read("requests_per_second", number(REQUESTS));
    let per_second = given.unwrap_or(rate.per_second);
    let given = section.read("burst", number(REQUESTS));
    api.rate = Rate {
        per_second,
        burst: given.unwrap_or(rate.burst),
    };
    let listeners = section.tables(
        "listen",
        "write it as a block that begins with [[api.listen]]",
    );
    api.listeners = listeners.into_iter().filter_map(face).collect();
    let access = section.tables(
        "access",
        "write it as a block that begins with [[api.access]]",
    );
    let mut names = BTreeSet::new();
    api.access = access
        .into_iter()
        .filter_map(|section| principal(section, &mut names))
        .collect();
    if api.access.is_empty() && !api.listeners.is_empty() {
        let cure = "add an [[api.access]] block, with a token of `navigator token new`";
        section.warn(
            "listen",
            "nobody is given access, so all calls are refused",
            cure,
        );
    }
    section.unknown_keys();
    api
}

fn face(mut section: Section<'_, '_>) -> Option<Face> {
    let example = |text: &str| serde_json::Value::from(text);
    section.require("address", &example("0.0.0.0:7443"));
    section.require("certificate", &example("/etc/navigator/api.pem"));
    section.require("key", &example("/etc/navigator/api.key"));
    let address = section.read("address", socket);
    let certificate = section.read("certificate", path(PATH));
    let key = section.read("key", path(PATH));
    let client_ca = section.read("client_ca", path(PATH));
    section.unknown_keys();
    Some(Face {
        address: address?,
        files: TlsFiles {
            certificate: certificate?,
            key: key?,
            client_ca,
        },
    })
}

pub(super) fn socket(value: &DeValue<'_>) -> Result<SocketAddr, Complaint> {
    let cure = "write an IP address and a port, for example \"0.0.0.0:7443\" or \"[::]:7443\"";
    text(value)?
        .parse()
        .map_err(|_| Complaint::new("not an address with a port", cure))
}

fn principal(mut section: Section<'_, '_>, names: &mut BTreeSet<String>) -> Option<Principal> {
    section.require("name", &"prometheus".into());
    section.require("roles", &serde_json::json!(["read"]));
    let name = section.read("name", |value| {
        let name: ServiceName = text(value)?.parse().map_err(|_| {
            let cure = "use 1 to 63 of a-z, 0-9 and '-', not starting or ending with '-'";
            Complaint::new("not a name", cure)
        })?;
        Ok(name.to_string())
    });
    if let Some(name) = &name
        && !names.insert(name.clone())
    {
        section.complain("name", "there twice", "give each a name of its own");
    }
    let grants = section.list("roles", |value| {
        let grant: Result<Grant, _> = text(value)?.parse();
        grant.map_err(|_| {
            let cure = "use \"read\", \"operate\" or \"register:PATTERN\" with a service name in which * stands for any characters";
            Complaint::new("no role", cure)
        })
    });
    let token = token(&mut section);
    let certificate = section.read("certificate", |value| {
        let name = text(value)?;
        let cure = "write a DNS name of the client's certificate, for example \"web-1.example\"";
        DnsName::try_from(name.as_str()).map_err(|_| Complaint::new("not a DNS name", cure))?;
        Ok(name)
    });
    match (section.has("token_sha256"), section.has("certificate")) {
        (false, false) => section.complain(
            "token_sha256",
            "missing",
            "add it, as `navigator token new` prints it, or certificate = \"DNS name\"",
        ),
        (true, true) => section.complain(
            "certificate",
            "beside token_sha256",
            "write a block for each of the two",
        ),
        _ => {}
    }
    section.unknown_keys();
    Some(Principal {
        name: name?,
        shows: token.or(certificate.map(Shows::Certificate))?,
        grants: grants?,
    })
}

/// Whatever stands there is not repeated in a message: it may be the token itself.
fn token(section: &mut Section<'_, '_>) -> Option<Shows> {
    let value = section.get("token_sha256")?;
    let hash = value.get_ref().as_str().map(str::parse::<TokenHash>);
    match hash {
        Some(Ok(hash)) => Some(Shows::Token(hash)),
        _ => {
            let cure = "write the 64 hexadecimal digits that `navigator token new` prints, never the token";
            let complaint = Complaint::new("not the hash of a token", cure);
            let name = section.name_of("token_sha256");
            section.reader.bad_key(&name, value.span(), complaint);
            None
        }
    }
}
