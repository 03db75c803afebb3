//! Links: which interfaces there are and what state they are in.

use super::{Netlink, NetlinkError, NetlinkResult};
use rtnetlink::packet_route::{
    RouteNetlinkMessage,
    link::{
        InfoData, InfoIpTunnel, InfoKind, LinkAttribute, LinkFlags, LinkInfo, LinkLayerType,
        LinkMessage, LinkXdp, XdpAttached,
    },
};
use std::net::IpAddr;

/// One interface.
#[derive(Clone, PartialEq, Eq, Debug)]
pub struct Link {
    /// Index.
    pub index: u32,
    /// Name.
    pub name: String,
    /// It is switched on.
    pub up: bool,
    /// It has a carrier.
    pub carrier: bool,
    /// Its MAC address, if it is an Ethernet one.
    pub mac: Option<[u8; 6]>,
    /// The longest IP packet that it takes.
    pub mtu: u32,
    /// The tunnel that it is, if it unwraps IP in IP from any sender.
    pub tunnel: Option<Tunnel>,
    /// The XDP program on it.
    pub xdp: Option<Xdp>,
}

/// Kinds of tunnel devices that can unwrap what a balancer sends.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum Tunnel {
    /// `ipip`: IPv4 in IPv4.
    Ipip,
    /// `sit`: IPv6 in IPv4.
    Sit,
    /// `ip6tnl`: either family in IPv6.
    Ip6tnl,
}

/// The XDP program on an interface.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub struct Xdp {
    /// Id of the program; 0 if the kernel did not say.
    pub program: u32,
    /// It runs in the driver, not on socket buffers.
    pub native: bool,
}

impl Netlink {
    /// The interface with this name, `None` if there is none.
    pub async fn link_by_name(&self, name: &str) -> NetlinkResult<Option<Link>> {
        // The kernel answers a name that no interface can have with ERANGE or EINVAL.
        if name.is_empty() || name.len() >= libc::IFNAMSIZ {
            return Ok(None);
        }
        let mut message = LinkMessage::default();
        message
            .attributes
            .push(LinkAttribute::IfName(name.to_owned()));
        self.link(message, &format!("cannot look up interface {name}"))
            .await
    }

    /// The interface with this index, `None` if there is none.
    pub async fn link_by_index(&self, index: u32) -> NetlinkResult<Option<Link>> {
        let mut message = LinkMessage::default();
        message.header.index = index;
        self.link(message, &format!("cannot look up interface {index}"))
            .await
    }

    /// All interfaces.
    pub async fn links(&self) -> NetlinkResult<Vec<Link>> {
        let messages = self
            .dump(
                RouteNetlinkMessage::GetLink(LinkMessage::default()),
                "cannot list interfaces",
            )
            .await?;
        Ok(messages.into_iter().filter_map(read).collect())
    }

    async fn link(&self, message: LinkMessage, action: &str) -> NetlinkResult<Option<Link>> {
        match self
            .get(RouteNetlinkMessage::GetLink(message), action)
            .await
        {
            Ok(answer) => Ok(answer.and_then(read)),
            Err(e) if is_no_such_link(&e) => Ok(None),
            Err(e) => Err(e),
        }
    }
}

fn is_no_such_link(error: &NetlinkError) -> bool {
    error.is(libc::ENODEV) || error.is(libc::ENOENT) || error.is(libc::EINVAL)
}

fn read(message: RouteNetlinkMessage) -> Option<Link> {
    let RouteNetlinkMessage::NewLink(message) = message else {
        return None;
    };
    let mut link = Link {
        index: message.header.index,
        name: String::new(),
        up: message.header.flags.contains(LinkFlags::Up),
        carrier: message.header.flags.contains(LinkFlags::LowerUp),
        mac: None,
        mtu: 0,
        tunnel: None,
        xdp: None,
    };
    let ethernet = message.header.link_layer_type == LinkLayerType::Ether;
    for attribute in message.attributes {
        match attribute {
            LinkAttribute::IfName(name) => link.name = name,
            LinkAttribute::Address(mac) if ethernet => link.mac = mac.try_into().ok(),
            LinkAttribute::Mtu(mtu) => link.mtu = mtu,
            LinkAttribute::LinkInfo(info) => link.tunnel = tunnel(&info),
            LinkAttribute::Xdp(xdp) => link.xdp = attached(&xdp),
            _ => {}
        }
    }
    Some(link)
}

/// A device with a fixed remote end takes packets from that one alone, so it is none of ours.
fn tunnel(info: &[LinkInfo]) -> Option<Tunnel> {
    let kind = info.iter().find_map(|i| match i {
        LinkInfo::Kind(InfoKind::IpIp) => Some(Tunnel::Ipip),
        LinkInfo::Kind(InfoKind::SitTun) => Some(Tunnel::Sit),
        LinkInfo::Kind(InfoKind::Ip6Tnl) => Some(Tunnel::Ip6tnl),
        _ => None,
    })?;
    let fixed = info.iter().any(|i| match i {
        LinkInfo::Data(InfoData::IpTunnel(data)) => data.iter().any(|d| match d {
            InfoIpTunnel::Remote(IpAddr::V4(ip)) => !ip.is_unspecified(),
            InfoIpTunnel::Remote(IpAddr::V6(ip)) => !ip.is_unspecified(),
            _ => false,
        }),
        _ => false,
    });
    (!fixed).then_some(kind)
}

fn attached(xdp: &[LinkXdp]) -> Option<Xdp> {
    let native = xdp.iter().find_map(|x| match x {
        LinkXdp::Attached(XdpAttached::None) => None,
        LinkXdp::Attached(mode) => Some(*mode != XdpAttached::SocketBuffer),
        _ => None,
    })?;
    let program = xdp.iter().find_map(|x| match x {
        LinkXdp::ProgId(id) => Some(*id),
        _ => None,
    });
    Some(Xdp {
        program: program.unwrap_or(0),
        native,
    })
}
