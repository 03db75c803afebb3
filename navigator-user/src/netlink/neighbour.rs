//! Neighbours: MAC addresses of hosts on the same link.

use super::{Netlink, NetlinkResult, PROTOCOL, family};
use rtnetlink::{
    packet_core::NLM_F_CREATE,
    packet_route::{
        RouteNetlinkMessage,
        neighbour::{
            NeighbourAddress, NeighbourAttribute, NeighbourExtFlags, NeighbourFlags,
            NeighbourMessage, NeighbourState,
        },
        route::RouteProtocol,
    },
};
use std::net::IpAddr;

/// One entry of the neighbour table.
#[derive(Clone, PartialEq, Eq, Debug)]
pub struct Neighbour {
    /// Its MAC address, if it is known and may be used.
    pub mac: Option<[u8; 6]>,
    /// The kernel asked for it and got no answer.
    pub failed: bool,
    /// The kernel keeps it alive by itself.
    pub managed: bool,
    /// An operator or a routing daemon looks after it: not to be touched.
    pub fixed: bool,
}

impl Netlink {
    /// The entry for `ip` on an interface, `None` if there is none.
    pub async fn neighbour(&self, ip: IpAddr, ifindex: u32) -> NetlinkResult<Option<Neighbour>> {
        let answer = self
            .get(
                RouteNetlinkMessage::GetNeighbour(entry(ip, ifindex)),
                &format!("cannot look up neighbour {ip}"),
            )
            .await;
        match answer {
            Ok(Some(RouteNetlinkMessage::NewNeighbour(message))) => Ok(Some(read(&message))),
            Ok(_) => Ok(None),
            Err(e) if e.is(libc::ENOENT) => Ok(None),
            Err(e) => Err(e),
        }
    }

    /// Makes the kernel resolve `ip` now, or confirm what it knows, and keep
    /// it resolved from now on (Linux 5.16; an older one resolves it once).
    /// Not for entries that are [`Neighbour::fixed`]: they would lose that.
    pub async fn keep_neighbour(&self, ip: IpAddr, ifindex: u32) -> NetlinkResult<()> {
        self.use_neighbour(ip, ifindex, true).await
    }

    /// Leaves the entry for `ip` to the kernel's own ways again.
    pub async fn drop_neighbour(&self, ip: IpAddr, ifindex: u32) -> NetlinkResult<()> {
        self.use_neighbour(ip, ifindex, false).await
    }

    /// Leaves all entries that Navigator ever kept to the kernel's own ways again.
    pub async fn drop_all_neighbours(&self) -> NetlinkResult<()> {
        let messages = self
            .dump(
                RouteNetlinkMessage::GetNeighbour(NeighbourMessage::default()),
                "cannot list neighbours",
            )
            .await?;
        for (ip, ifindex) in messages.iter().filter_map(kept_by_us) {
            self.drop_neighbour(ip, ifindex).await?;
        }
        Ok(())
    }

    async fn use_neighbour(&self, ip: IpAddr, ifindex: u32, keep: bool) -> NetlinkResult<()> {
        let mut message = entry(ip, ifindex);
        message.header.flags = NeighbourFlags::Use;
        message
            .attributes
            .push(NeighbourAttribute::Protocol(RouteProtocol::from(PROTOCOL)));
        if keep {
            message
                .attributes
                .push(NeighbourAttribute::ExtFlags(NeighbourExtFlags::Managed));
        }
        let flags = if keep { NLM_F_CREATE } else { 0 };
        let outcome = self
            .change(
                RouteNetlinkMessage::NewNeighbour(message),
                flags,
                &format!("cannot resolve neighbour {ip}"),
            )
            .await;
        match outcome {
            Err(e) if !keep && e.is(libc::ENOENT) => Ok(()),
            other => other,
        }
    }
}

fn entry(ip: IpAddr, ifindex: u32) -> NeighbourMessage {
    let mut message = NeighbourMessage::default();
    message.header.family = family(ip);
    message.header.ifindex = ifindex;
    message
        .attributes
        .push(NeighbourAttribute::Destination(ip.into()));
    message
}

fn read(message: &NeighbourMessage) -> Neighbour {
    let (mut mac, mut managed) = (None, false);
    for attribute in &message.attributes {
        match attribute {
            NeighbourAttribute::LinkLayerAddress(bytes) => {
                mac = <[u8; 6]>::try_from(bytes.as_slice()).ok();
            }
            NeighbourAttribute::ExtFlags(flags) => {
                managed = flags.contains(NeighbourExtFlags::Managed);
            }
            _ => {}
        }
    }
    let state = message.header.state;
    let usable = matches!(
        state,
        NeighbourState::Reachable
            | NeighbourState::Stale
            | NeighbourState::Delay
            | NeighbourState::Probe
            | NeighbourState::Permanent
            | NeighbourState::Noarp
    );
    let fixed = matches!(state, NeighbourState::Permanent | NeighbourState::Noarp)
        || message.header.flags.contains(NeighbourFlags::ExtLearned);
    Neighbour {
        mac: mac.filter(|m| usable && *m != [0; 6]),
        failed: state == NeighbourState::Failed,
        managed,
        fixed,
    }
}

fn kept_by_us(message: &RouteNetlinkMessage) -> Option<(IpAddr, u32)> {
    let RouteNetlinkMessage::NewNeighbour(message) = message else {
        return None;
    };
    let (mut ip, mut ours) = (None, false);
    for attribute in &message.attributes {
        match attribute {
            NeighbourAttribute::Destination(NeighbourAddress::Inet(v4)) => ip = Some((*v4).into()),
            NeighbourAttribute::Destination(NeighbourAddress::Inet6(v6)) => ip = Some((*v6).into()),
            NeighbourAttribute::Protocol(protocol) => ours = u8::from(*protocol) == PROTOCOL,
            _ => {}
        }
    }
    let kept = ours && read(message).managed;
    Some((ip?, message.header.ifindex)).filter(|_| kept)
}
