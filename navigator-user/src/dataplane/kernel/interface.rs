//! What must be known of an interface, asked over sockets: `/sys` may show
//! another network namespace than the one that we are in.

use super::error::OpenError;
use crate::dataplane::store::WayOut;
use nix::{
    net::if_::if_nametoindex,
    sys::socket::{AddressFamily, MsgFlags, SockFlag, SockProtocol, SockType, recv, send, socket},
};
use std::{io, os::fd::AsRawFd};

/// How the program runs on an interface.
#[derive(Clone, Copy, PartialEq, Eq, Hash, Debug)]
pub enum AttachMode {
    /// In the driver.
    Native,
    /// In the network stack, after a socket buffer was made: slower.
    Generic,
}

impl AttachMode {
    /// `native` or `generic`.
    pub const fn name(self) -> &'static str {
        match self {
            Self::Native => "native",
            Self::Generic => "generic",
        }
    }
}

/// The index of the interface called `name`.
pub(super) fn index(name: &str) -> Result<u32, OpenError> {
    if_nametoindex(name).map_err(|_| OpenError::NoInterface {
        name: name.to_owned(),
    })
}

/// An interface as it is now.
#[derive(Clone, PartialEq, Eq, Debug)]
pub(super) struct Sight {
    pub(super) name: String,
    /// Its MAC address, if it is an Ethernet one.
    pub(super) mac: Option<[u8; 6]>,
    /// The mode in which a program runs on it; `None` if none does.
    pub(super) mode: Option<AttachMode>,
    /// What it is, if it is a VLAN device.
    pub(super) vlan: Option<Vlan>,
}

/// A VLAN device.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub(super) struct Vlan {
    id: u16,
    /// The device below it; `None` if that is in another network namespace.
    device: Option<u32>,
    /// Its tags are 802.1Q ones.
    dot1q: bool,
}

/// The MAC address of an interface, or why it has none.
pub(super) fn mac(ifindex: u32) -> Result<[u8; 6], String> {
    ethernet(&sight(ifindex)?)
}

/// How frames leave by an interface, or why they cannot.
pub(super) fn way_out(ifindex: u32) -> Result<WayOut, String> {
    let top = sight(ifindex)?;
    let mac = ethernet(&top)?;
    let Some(vlan) = top.vlan else {
        return Ok(WayOut {
            device: ifindex,
            vlan: None,
            mac,
        });
    };
    let name = top.name;
    let device = vlan.device.ok_or_else(|| {
        format!("the device below {name} is in another network namespace: attach to {name} itself")
    })?;
    if !vlan.dot1q || sight(device)?.vlan.is_some() {
        return Err(format!(
            "{name} puts a second tag on frames, or one that is not 802.1Q: backends may be \
             reached with one 802.1Q tag"
        ));
    }
    Ok(WayOut {
        device,
        vlan: Some(vlan.id),
        mac,
    })
}

fn sight(ifindex: u32) -> Result<Sight, String> {
    let sight = look(ifindex).map_err(|error| format!("cannot look at it: {error}"))?;
    sight.ok_or_else(|| "it is gone".to_owned())
}

fn ethernet(sight: &Sight) -> Result<[u8; 6], String> {
    sight.mac.ok_or_else(|| {
        format!(
            "{} has no Ethernet address: backends must be reached by an Ethernet interface",
            sight.name
        )
    })
}

/// The mode in which a program runs on an interface; `None` if none does.
pub(super) fn attached(ifindex: u32) -> io::Result<Option<AttachMode>> {
    Ok(look(ifindex)?.and_then(|sight| sight.mode))
}

const RTM_NEWLINK: u16 = 16;
const RTM_GETLINK: u16 = 18;
const NLM_F_REQUEST: u16 = 1;
const ARPHRD_ETHER: u16 = 1;
const IFLA_ADDRESS: u16 = 1;
const IFLA_IFNAME: u16 = 3;
const IFLA_LINK: u16 = 5;
const IFLA_LINKINFO: u16 = 18;
const IFLA_INFO_KIND: u16 = 1;
const IFLA_INFO_DATA: u16 = 2;
const IFLA_VLAN_ID: u16 = 1;
const IFLA_VLAN_PROTOCOL: u16 = 5;
const IFLA_LINK_NETNSID: u16 = 37;
const IFLA_XDP: u16 = 43;
const IFLA_XDP_ATTACHED: u16 = 2;
const XDP_ATTACHED_SKB: u8 = 2;
/// Flags that netlink keeps in the two upper bits of an attribute's type.
const TYPE_MASK: u16 = 0x3fff;
/// Lengths of a netlink header and of what RTM_GETLINK and RTM_NEWLINK begin with.
const HEADERS: usize = 32;

/// An interface as it is now; `None` if there is none with this index.
pub(super) fn look(ifindex: u32) -> io::Result<Option<Sight>> {
    let socket = socket(
        AddressFamily::Netlink,
        SockType::Raw,
        SockFlag::SOCK_CLOEXEC,
        SockProtocol::NetlinkRoute,
    )?;
    let mut request = [0; HEADERS];
    request[0..4].copy_from_slice(&(HEADERS as u32).to_ne_bytes());
    request[4..6].copy_from_slice(&RTM_GETLINK.to_ne_bytes());
    request[6..8].copy_from_slice(&NLM_F_REQUEST.to_ne_bytes());
    request[20..24].copy_from_slice(&ifindex.to_ne_bytes());
    send(socket.as_raw_fd(), &request, MsgFlags::empty())?;
    let mut answer = vec![0; 1 << 16];
    let length = recv(socket.as_raw_fd(), &mut answer, MsgFlags::empty())?;
    Ok(parse(&answer[..length]))
}

fn parse(answer: &[u8]) -> Option<Sight> {
    let word = |at: usize| Some(u16::from_ne_bytes(answer.get(at..at + 2)?.try_into().ok()?));
    if word(4)? != RTM_NEWLINK {
        return None;
    }
    let attributes = answer.get(HEADERS..)?;
    let name = attribute(attributes, IFLA_IFNAME).unwrap_or_default();
    let mac = attribute(attributes, IFLA_ADDRESS).and_then(|mac| mac.try_into().ok());
    Some(Sight {
        name: String::from_utf8_lossy(name)
            .trim_end_matches('\0')
            .to_owned(),
        mac: mac.filter(|mac| word(18) == Some(ARPHRD_ETHER) && *mac != [0; 6]),
        mode: attribute(attributes, IFLA_XDP).and_then(mode),
        vlan: vlan(attributes),
    })
}

fn vlan(link: &[u8]) -> Option<Vlan> {
    const DOT1Q: [u8; 2] = 0x8100_u16.to_be_bytes();
    let info = attribute(link, IFLA_LINKINFO)?;
    if attribute(info, IFLA_INFO_KIND)?.trim_ascii_end() != b"vlan\0" {
        return None;
    }
    let data = attribute(info, IFLA_INFO_DATA)?;
    let here = attribute(link, IFLA_LINK_NETNSID).is_none();
    let device = attribute(link, IFLA_LINK).filter(|_| here);
    Some(Vlan {
        id: u16::from_ne_bytes(attribute(data, IFLA_VLAN_ID)?.try_into().ok()?),
        device: device.and_then(|index| Some(u32::from_ne_bytes(index.try_into().ok()?))),
        dot1q: attribute(data, IFLA_VLAN_PROTOCOL).is_none_or(|protocol| protocol == DOT1Q),
    })
}

fn mode(xdp: &[u8]) -> Option<AttachMode> {
    match *attribute(xdp, IFLA_XDP_ATTACHED)?.first()? {
        0 => None,
        XDP_ATTACHED_SKB => Some(AttachMode::Generic),
        _ => Some(AttachMode::Native),
    }
}

/// The value of the first attribute of a type.
fn attribute(attributes: &[u8], wanted: u16) -> Option<&[u8]> {
    let mut rest = attributes;
    loop {
        let length = u16::from_ne_bytes(rest.get(..2)?.try_into().ok()?) as usize;
        let found = u16::from_ne_bytes(rest.get(2..4)?.try_into().ok()?) & TYPE_MASK;
        let value = rest.get(4..length)?;
        if found == wanted {
            return Some(value);
        }
        rest = rest.get(length.next_multiple_of(4)..)?;
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn attributes_are_found_and_nonsense_is_not() {
        let bytes = [5, 0, 1, 0, 9, 0, 0, 0, 6, 0, 43, 0x80, 7, 8];
        assert_eq!(attribute(&bytes, 1), Some(&[9][..]));
        assert_eq!(attribute(&bytes, 43), Some(&[7, 8][..]));
        assert_eq!(attribute(&bytes, 2), None);
        assert_eq!(attribute(&[0, 0, 0, 0], 1), None);
        assert_eq!(attribute(&[255, 0, 1, 0], 1), None);
    }

    /// An attribute as the kernel sends it.
    fn packed(kind: u16, value: &[u8]) -> Vec<u8> {
        let length = (4 + value.len()) as u16;
        let mut bytes = [length.to_ne_bytes(), kind.to_ne_bytes()].concat();
        bytes.extend(value);
        bytes.resize(bytes.len().next_multiple_of(4), 0);
        bytes
    }

    fn vlan_link(kind: &[u8], protocol: u16, more: &[u8]) -> Vec<u8> {
        let data = [
            packed(IFLA_VLAN_ID, &77_u16.to_ne_bytes()),
            packed(IFLA_VLAN_PROTOCOL, &protocol.to_be_bytes()),
        ];
        let info = [
            packed(IFLA_INFO_KIND, kind),
            packed(IFLA_INFO_DATA, &data.concat()),
        ];
        let link = packed(IFLA_LINK, &9_u32.to_ne_bytes());
        [&link, more, &packed(IFLA_LINKINFO, &info.concat())].concat()
    }

    #[test]
    fn a_vlan_device_tells_its_id_and_the_device_below_it() {
        let found = Vlan {
            id: 77,
            device: Some(9),
            dot1q: true,
        };
        assert_eq!(vlan(&vlan_link(b"vlan\0", 0x8100, &[])), Some(found));
        let stacked = Vlan {
            dot1q: false,
            ..found
        };
        assert_eq!(vlan(&vlan_link(b"vlan\0", 0x88a8, &[])), Some(stacked));
        let elsewhere = Vlan {
            device: None,
            ..found
        };
        let other_namespace = packed(IFLA_LINK_NETNSID, &0_u32.to_ne_bytes());
        assert_eq!(
            vlan(&vlan_link(b"vlan\0", 0x8100, &other_namespace)),
            Some(elsewhere)
        );
        assert_eq!(vlan(&vlan_link(b"macvlan\0", 0x8100, &[])), None);
    }
}
