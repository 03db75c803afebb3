//! What Navigator asks of the kernel over rtnetlink: links, addresses, routes
//! and neighbours, as plain values.
//!
//! Addresses and neighbour entries that Navigator makes carry [`PROTOCOL`], so
//! that they can be told from anybody else's, also after a restart.

pub mod address;
pub mod fou;
pub mod link;
pub mod neighbour;
pub mod route;

use futures::StreamExt;
use rtnetlink::{
    Handle,
    packet_core::{NLM_F_ACK, NLM_F_DUMP, NLM_F_REQUEST, NetlinkMessage, NetlinkPayload},
    packet_route::{AddressFamily, RouteNetlinkMessage},
};
use std::{io, net::IpAddr};
use tokio::task::JoinHandle;

/// The originator (`proto` in `ip address` and `ip neighbour`) of what
/// Navigator makes. The kernel gives it no meaning; nobody else is known to use it.
pub const PROTOCOL: u8 = 110;

/// What the kernel refused.
#[derive(Debug, thiserror::Error)]
#[error("{action}: {source}")]
pub struct NetlinkError {
    /// What was tried, in words.
    pub action: String,
    /// The kernel's answer.
    pub source: io::Error,
}

impl NetlinkError {
    fn new(action: impl Into<String>, source: io::Error) -> Self {
        Self {
            action: action.into(),
            source,
        }
    }

    /// Whether the kernel answered with this error number.
    pub fn is(&self, errno: i32) -> bool {
        self.source.raw_os_error() == Some(errno)
    }
}

/// Result of a request to the kernel.
pub type NetlinkResult<T> = Result<T, NetlinkError>;

/// A connection to the kernel, in the network namespace of the thread that opened it.
pub struct Netlink {
    handle: Handle,
    driver: JoinHandle<()>,
}

impl Netlink {
    /// Opens a connection. Must be called inside a tokio runtime.
    pub fn open() -> NetlinkResult<Self> {
        let (connection, handle, _) = rtnetlink::new_connection()
            .map_err(|e| NetlinkError::new("cannot open a netlink socket", e))?;
        Ok(Self {
            handle,
            driver: tokio::spawn(connection),
        })
    }

    /// All entries of a table.
    async fn dump(
        &self,
        message: RouteNetlinkMessage,
        action: &str,
    ) -> NetlinkResult<Vec<RouteNetlinkMessage>> {
        self.request(message, NLM_F_DUMP, action).await
    }

    /// The one entry that `message` describes.
    async fn get(
        &self,
        message: RouteNetlinkMessage,
        action: &str,
    ) -> NetlinkResult<Option<RouteNetlinkMessage>> {
        Ok(self.request(message, 0, action).await?.pop())
    }

    /// A change, acknowledged by the kernel.
    async fn change(
        &self,
        message: RouteNetlinkMessage,
        flags: u16,
        action: &str,
    ) -> NetlinkResult<()> {
        self.request(message, flags | NLM_F_ACK, action).await?;
        Ok(())
    }

    async fn request(
        &self,
        message: RouteNetlinkMessage,
        flags: u16,
        action: &str,
    ) -> NetlinkResult<Vec<RouteNetlinkMessage>> {
        let mut request = NetlinkMessage::from(message);
        request.header.flags = NLM_F_REQUEST | flags;
        let mut answers = self
            .handle
            .clone()
            .request(request)
            .map_err(|_| NetlinkError::new(action, io::ErrorKind::ConnectionAborted.into()))?;
        let mut messages = Vec::new();
        while let Some(answer) = answers.next().await {
            match answer.payload {
                NetlinkPayload::InnerMessage(message) => messages.push(message),
                NetlinkPayload::Error(error) if error.code.is_some() => {
                    return Err(NetlinkError::new(action, error.to_io()));
                }
                _ => {}
            }
        }
        Ok(messages)
    }
}

impl Drop for Netlink {
    fn drop(&mut self) {
        self.driver.abort();
    }
}

/// The netlink name of the address's family.
const fn family(ip: IpAddr) -> AddressFamily {
    match ip {
        IpAddr::V4(_) => AddressFamily::Inet,
        IpAddr::V6(_) => AddressFamily::Inet6,
    }
}
