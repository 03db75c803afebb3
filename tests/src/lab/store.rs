//! Writing to the registry as services do, whichever it is.

use super::{etcd::Etcd, navigator::Navigator};
use anyhow::{Result, ensure};
use serde_json::{Value, json};
use std::net::SocketAddr;

/// A registry that takes entries.
#[derive(Clone, Copy, Debug)]
pub enum Store<'a> {
    /// The daemon's own, by its API.
    Embedded(&'a Navigator<'a>),
    /// etcd, by etcdctl.
    Etcd(&'a Etcd<'a>),
}

/// An instance in the founding form with a weight: checked at `/health`.
pub fn instance(service: &str, address: SocketAddr, weight: u16) -> Value {
    json!({
        "name": service,
        "address": address.ip().to_string(),
        "port": address.port(),
        "health_check_endpoint": "/health",
        "weight": weight,
    })
}

impl Store<'_> {
    /// Registers an instance or changes it.
    ///
    /// # Errors
    /// The registry refuses it.
    pub fn put(self, service: &str, address: SocketAddr, value: &Value) -> Result<()> {
        match self {
            Self::Etcd(etcd) => etcd.put(
                &format!("/services/{service}/{address}"),
                &value.to_string(),
            ),
            Self::Embedded(daemon) => expect_success(daemon.api(
                "PUT",
                &format!("/v1/services/{service}/instances/{}", escaped(address)),
                &value.to_string(),
            )?),
        }
    }

    /// Deregisters an instance.
    ///
    /// # Errors
    /// The registry refuses it.
    pub fn delete(self, service: &str, address: SocketAddr) -> Result<()> {
        match self {
            Self::Etcd(etcd) => etcd
                .ctl(&["del", &format!("/services/{service}/{address}")])
                .map(drop),
            Self::Embedded(daemon) => expect_success(daemon.api(
                "DELETE",
                &format!("/v1/services/{service}/instances/{}", escaped(address)),
                "",
            )?),
        }
    }
}

fn expect_success((status, body): (u16, String)) -> Result<()> {
    ensure!((200..300).contains(&status), "HTTP {status}: {body}");
    Ok(())
}

/// Brackets are not allowed in the path of a URL.
fn escaped(address: SocketAddr) -> String {
    address.to_string().replace('[', "%5B").replace(']', "%5D")
}
