//! Addresses on interfaces.

use super::{Netlink, NetlinkError, NetlinkResult, PROTOCOL, family};
use rtnetlink::{
    packet_core::{NLM_F_CREATE, NLM_F_EXCL},
    packet_route::{
        RouteNetlinkMessage,
        address::{
            AddressAttribute, AddressFlags, AddressHeaderFlags, AddressMessage, AddressProtocol,
            CacheInfo,
        },
    },
};
use std::{io, net::IpAddr};

/// One address of one interface.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub struct Address {
    /// The address.
    pub ip: IpAddr,
    /// Index of the interface that has it.
    pub ifindex: u32,
    /// Navigator put it there.
    pub ours: bool,
}

impl Netlink {
    /// All addresses of all interfaces.
    pub async fn addresses(&self) -> NetlinkResult<Vec<Address>> {
        let messages = self
            .dump(
                RouteNetlinkMessage::GetAddress(AddressMessage::default()),
                "cannot list addresses",
            )
            .await?;
        Ok(messages.into_iter().filter_map(read).collect())
    }

    /// Puts `ip` on an interface as a single host (/32 or /128), marked as
    /// Navigator's. IPv6 ones are usable at once (no duplicate detection: the
    /// same VIP is on several hosts) and deprecated, so that this host never
    /// picks one as the source of its own connections. `name` is for messages.
    pub async fn add_address(&self, ip: IpAddr, ifindex: u32, name: &str) -> NetlinkResult<()> {
        let action = format!("cannot put {ip} on {name}");
        self.change(
            RouteNetlinkMessage::NewAddress(host_address(ip, ifindex)),
            NLM_F_CREATE | NLM_F_EXCL,
            &action,
        )
        .await?;
        let marked = self.addresses().await?.contains(&Address {
            ip,
            ifindex,
            ours: true,
        });
        if marked {
            return Ok(());
        }
        self.remove_address(ip, ifindex, name).await?;
        Err(NetlinkError::new(
            action,
            io::Error::other(
                "this kernel cannot mark addresses as Navigator's; Linux 5.18 or later is needed",
            ),
        ))
    }

    /// Takes `ip` off an interface; nothing happens if it is not there.
    pub async fn remove_address(&self, ip: IpAddr, ifindex: u32, name: &str) -> NetlinkResult<()> {
        let mut message = AddressMessage::default();
        address_header(&mut message, ip, ifindex);
        let outcome = self
            .change(
                RouteNetlinkMessage::DelAddress(message),
                0,
                &format!("cannot take {ip} off {name}"),
            )
            .await;
        match outcome {
            Err(e) if e.is(libc::EADDRNOTAVAIL) => Ok(()),
            other => other,
        }
    }
}

fn address_header(message: &mut AddressMessage, ip: IpAddr, ifindex: u32) {
    message.header.family = family(ip);
    message.header.prefix_len = if ip.is_ipv4() { 32 } else { 128 };
    message.header.index = ifindex;
    message.attributes.push(AddressAttribute::Local(ip));
    message.attributes.push(AddressAttribute::Address(ip));
}

fn host_address(ip: IpAddr, ifindex: u32) -> AddressMessage {
    let mut message = AddressMessage::default();
    address_header(&mut message, ip, ifindex);
    message
        .attributes
        .push(AddressAttribute::Protocol(AddressProtocol::Other(PROTOCOL)));
    if ip.is_ipv6() {
        message.header.flags = AddressHeaderFlags::Nodad;
        message
            .attributes
            .push(AddressAttribute::Flags(AddressFlags::Nodad));
        let mut lifetime = CacheInfo::default();
        lifetime.ifa_preferred = 0;
        lifetime.ifa_valid = u32::MAX;
        message
            .attributes
            .push(AddressAttribute::CacheInfo(lifetime));
    }
    message
}

fn read(message: RouteNetlinkMessage) -> Option<Address> {
    let RouteNetlinkMessage::NewAddress(message) = message else {
        return None;
    };
    let (mut local, mut address, mut ours) = (None, None, false);
    for attribute in &message.attributes {
        match attribute {
            AddressAttribute::Local(ip) => local = Some(*ip),
            AddressAttribute::Address(ip) => address = Some(*ip),
            AddressAttribute::Protocol(protocol) => ours = u8::from(*protocol) == PROTOCOL,
            _ => {}
        }
    }
    Some(Address {
        // On a point-to-point link the plain address is the peer's.
        ip: local.or(address)?,
        ifindex: message.header.index,
        ours,
    })
}
