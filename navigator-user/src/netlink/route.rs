//! Routes: which way a packet for an address would leave this host.

use super::{Netlink, NetlinkResult, family};
use rtnetlink::packet_route::{
    AddressFamily, RouteNetlinkMessage,
    route::{RouteAddress, RouteAttribute, RouteMessage, RouteMetric, RouteType, RouteVia},
};
use std::net::IpAddr;

/// What the kernel would do with a packet for an address.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum Route {
    /// Send it out of an interface.
    Out {
        /// Index of the interface.
        ifindex: u32,
        /// The neighbour that gets it: a router, or the destination itself.
        neighbour: IpAddr,
        /// The source address that it would get, if there is one.
        source: Option<IpAddr>,
        /// The longest packet, if the route says so; else it is the interface's.
        mtu: Option<u32>,
    },
    /// Keep it: the address is this host's own.
    Local,
    /// There is no host behind it: broadcast, multicast, anycast.
    NotUnicast,
    /// Nothing: there is no route, or one that refuses.
    None,
}

impl Netlink {
    /// The route to `ip`.
    pub async fn route(&self, ip: IpAddr) -> NetlinkResult<Route> {
        let mut message = RouteMessage::default();
        message.header.address_family = family(ip);
        message.header.destination_prefix_length = if ip.is_ipv4() { 32 } else { 128 };
        message
            .attributes
            .push(RouteAttribute::Destination(ip.into()));
        let answer = self
            .get(
                RouteNetlinkMessage::GetRoute(message),
                &format!("cannot look up the route to {ip}"),
            )
            .await;
        match answer {
            Ok(Some(RouteNetlinkMessage::NewRoute(message))) => Ok(read(&message, ip)),
            Ok(_) => Ok(Route::None),
            Err(e) if NO_ROUTE.iter().any(|&errno| e.is(errno)) => Ok(Route::None),
            Err(e) => Err(e),
        }
    }

    /// Index of the interface that the default route leads out of; that of
    /// IPv4 if there is one, else that of IPv6. The lowest metric wins.
    pub async fn default_interface(&self) -> NetlinkResult<Option<u32>> {
        for family in [AddressFamily::Inet, AddressFamily::Inet6] {
            let mut message = RouteMessage::default();
            message.header.address_family = family;
            let routes = self
                .dump(RouteNetlinkMessage::GetRoute(message), "cannot list routes")
                .await?;
            let best = routes.iter().filter_map(default_route).min();
            if let Some((_, ifindex)) = best {
                return Ok(Some(ifindex));
            }
        }
        Ok(None)
    }
}

/// What the kernel answers for no route, and for routes of type `unreachable`,
/// `prohibit` and `blackhole`.
const NO_ROUTE: [i32; 4] = [
    libc::ENETUNREACH,
    libc::EHOSTUNREACH,
    libc::EACCES,
    libc::EINVAL,
];

fn read(message: &RouteMessage, destination: IpAddr) -> Route {
    match message.header.kind {
        RouteType::Unicast => {}
        RouteType::Local => return Route::Local,
        RouteType::Broadcast | RouteType::Multicast | RouteType::Anycast => {
            return Route::NotUnicast;
        }
        _ => return Route::None,
    }
    let (mut interface, mut neighbour, mut source, mut mtu) = (None, destination, None, None);
    for attribute in &message.attributes {
        match attribute {
            RouteAttribute::Oif(index) => interface = Some(*index),
            RouteAttribute::Gateway(RouteAddress::Inet(ip)) => neighbour = (*ip).into(),
            RouteAttribute::Gateway(RouteAddress::Inet6(ip)) => neighbour = (*ip).into(),
            RouteAttribute::Via(RouteVia::Inet(ip)) => neighbour = (*ip).into(),
            RouteAttribute::Via(RouteVia::Inet6(ip)) => neighbour = (*ip).into(),
            RouteAttribute::PrefSource(RouteAddress::Inet(ip)) => source = Some((*ip).into()),
            RouteAttribute::PrefSource(RouteAddress::Inet6(ip)) => source = Some((*ip).into()),
            RouteAttribute::Metrics(metrics) => {
                mtu = metrics.iter().find_map(|metric| match metric {
                    RouteMetric::Mtu(mtu) if *mtu > 0 => Some(*mtu),
                    _ => None,
                });
            }
            _ => {}
        }
    }
    interface.map_or(Route::None, |ifindex| Route::Out {
        ifindex,
        neighbour,
        source,
        mtu,
    })
}

/// Metric and interface of a default route of the main table.
fn default_route(message: &RouteNetlinkMessage) -> Option<(u32, u32)> {
    let RouteNetlinkMessage::NewRoute(message) = message else {
        return None;
    };
    let header = &message.header;
    if header.destination_prefix_length != 0
        || header.kind != RouteType::Unicast
        || header.table != rtnetlink::packet_route::route::RouteHeader::RT_TABLE_MAIN
    {
        return None;
    }
    let (mut metric, mut interface) = (0, None);
    for attribute in &message.attributes {
        match attribute {
            RouteAttribute::Priority(priority) => metric = *priority,
            RouteAttribute::Oif(index) => interface = Some(*index),
            RouteAttribute::MultiPath(hops) => {
                interface = hops.first().map(|hop| hop.interface_index);
            }
            _ => {}
        }
    }
    Some((metric, interface?))
}
