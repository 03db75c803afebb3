//! The kernel's events, reduced to what they make the resolver do.
//!
//! They are read from a socket of their own, whose bounded buffer is in the
//! kernel: a storm that the resolver cannot follow ends in [`Event::Missed`].

use super::judge::Neighbour;
use rtnetlink::{
    MulticastGroup,
    packet_core::{NetlinkMessage, NetlinkPayload},
    packet_route::{
        RouteNetlinkMessage,
        neighbour::{NeighbourAddress, NeighbourAttribute, NeighbourMessage},
    },
    sys::{AsyncSocket, AsyncSocketExt, SocketAddr, TokioSocket, protocols::NETLINK_ROUTE},
};
use std::{io, net::IpAddr};

/// Something happened.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub(super) enum Event {
    /// To this neighbour.
    Neighbour(Neighbour),
    /// To a route, a rule, a link or an address.
    Topology,
    /// The kernel dropped events.
    Missed,
}

/// Groups whose number fits the mask that a socket is bound to.
const GROUPS: [MulticastGroup; 8] = [
    MulticastGroup::Link,
    MulticastGroup::Neigh,
    MulticastGroup::Ipv4Ifaddr,
    MulticastGroup::Ipv4Route,
    MulticastGroup::Ipv4Rule,
    MulticastGroup::Ipv6Ifaddr,
    MulticastGroup::Ipv6Route,
    MulticastGroup::Ipv6Rule,
];

/// Room for events in the kernel, in bytes.
const BUFFER: usize = 1 << 20;

/// A subscription.
pub(super) struct Events(TokioSocket);

impl Events {
    /// Subscribes in the network namespace of the calling thread.
    pub(super) fn subscribe() -> io::Result<Self> {
        let mut socket = TokioSocket::new(NETLINK_ROUTE)?;
        let mask = GROUPS.iter().fold(0, |mask, g| mask | 1 << (*g as u32 - 1));
        let inner = socket.socket_mut();
        inner.set_rx_buf_sz(BUFFER)?;
        inner.bind(&SocketAddr::new(0, mask))?;
        inner.add_membership(MulticastGroup::Nexthop as u32)?;
        Ok(Self(socket))
    }

    /// The next events, never none. Nothing is lost when the future is dropped.
    pub(super) async fn next(&self) -> io::Result<Vec<Event>> {
        loop {
            match self.0.recv_from_full().await {
                Ok((datagram, _)) => {
                    let events = read(&datagram);
                    if !events.is_empty() {
                        return Ok(events);
                    }
                }
                Err(e) if e.raw_os_error() == Some(libc::ENOBUFS) => {
                    return Ok(vec![Event::Missed]);
                }
                Err(e) => return Err(e),
            }
        }
    }
}

/// A message that cannot be understood may have been about anything: it counts as missed.
fn read(mut datagram: &[u8]) -> Vec<Event> {
    let mut events = Vec::new();
    while !datagram.is_empty() {
        let Ok(message) = NetlinkMessage::<RouteNetlinkMessage>::deserialize(datagram) else {
            events.push(Event::Missed);
            break;
        };
        let length = (message.header.length as usize).next_multiple_of(4);
        let event = match message.payload {
            NetlinkPayload::InnerMessage(
                RouteNetlinkMessage::NewNeighbour(message)
                | RouteNetlinkMessage::DelNeighbour(message),
            ) => neighbour(&message).map(Event::Neighbour),
            NetlinkPayload::Overrun(_) => Some(Event::Missed),
            _ => Some(Event::Topology),
        };
        events.extend(event.filter(|e| !events.contains(e)));
        datagram = datagram.get(length..).unwrap_or_default();
    }
    events
}

/// Entries of bridges and the like are keyed by no IP address and none of ours.
fn neighbour(message: &NeighbourMessage) -> Option<Neighbour> {
    let ip = message.attributes.iter().find_map(|a| match a {
        NeighbourAttribute::Destination(NeighbourAddress::Inet(ip)) => Some(IpAddr::V4(*ip)),
        NeighbourAttribute::Destination(NeighbourAddress::Inet6(ip)) => Some(IpAddr::V6(*ip)),
        _ => None,
    })?;
    Some((message.header.ifindex, ip))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_cannot_be_understood_counts_as_missed() {
        assert_eq!(read(&[]), []);
        assert_eq!(read(&[0; 16]), [Event::Missed]);
        assert_eq!(read(&[7; 40]), [Event::Missed]);
    }
}
