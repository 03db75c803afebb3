//! The UDP ports whose packets the kernel unwraps (`ip fou`), asked over
//! generic netlink.

use super::{NetlinkError, NetlinkResult};
use nix::sys::{
    socket::{
        AddressFamily, MsgFlags, SockFlag, SockProtocol, SockType, recv, send, setsockopt, socket,
        sockopt::ReceiveTimeout,
    },
    time::TimeVal,
};
use std::{
    io,
    os::fd::{AsRawFd, OwnedFd},
};

/// One such port.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub struct FouPort {
    /// Its number.
    pub port: u16,
    /// For IPv6, else for IPv4.
    pub v6: bool,
    /// Packets have a GUE header, not the inner packet directly behind UDP.
    pub gue: bool,
}

/// Netlink: a message's header, a generic one's behind it, types and flags.
const HEADER: usize = 16;
const GENERIC: usize = 4;
const NLMSG_ERROR: u16 = 2;
const NLMSG_DONE: u16 = 3;
const NLM_F_REQUEST: u16 = 0x1;
const NLM_F_DUMP: u16 = 0x300;
const TYPE_MASK: u16 = 0x3fff;

/// The controller, which knows families by name.
const CONTROLLER: u16 = 0x10;
const GET_FAMILY: u8 = 3;
const FAMILY_ID: u16 = 1;
const FAMILY_NAME: u16 = 2;

/// Of the family `fou`.
const FOU_GET: u8 = 3;
const FOU_PORT: u16 = 1;
const FOU_AF: u16 = 2;
const FOU_TYPE: u16 = 4;
const TYPE_GUE: u8 = 2;

/// How long the kernel may take to answer.
const PATIENCE_SECONDS: i64 = 2;
/// Datagrams of one answer that are read at most.
const MOST_DATAGRAMS: usize = 64;

/// The ports of the network namespace of the calling thread; none if the kernel has no `fou`.
///
/// # Errors
/// If the kernel cannot be asked.
pub fn fou_ports() -> NetlinkResult<Vec<FouPort>> {
    ask().map_err(|source| NetlinkError::new("cannot list the ports of `ip fou`", source))
}

fn ask() -> io::Result<Vec<FouPort>> {
    let socket = socket(
        AddressFamily::Netlink,
        SockType::Raw,
        SockFlag::SOCK_CLOEXEC,
        SockProtocol::NetlinkGeneric,
    )?;
    setsockopt(&socket, ReceiveTimeout, &TimeVal::new(PATIENCE_SECONDS, 0))?;
    let name = attribute(FAMILY_NAME, b"fou\0");
    let answers = request(&socket, CONTROLLER, 0, GET_FAMILY, &name)?;
    let family = answers
        .iter()
        .find_map(|answer| number(find(answer, FAMILY_ID)?));
    match family {
        Some(family) => {
            let answers = request(&socket, family, NLM_F_DUMP, FOU_GET, &[])?;
            Ok(answers.iter().filter_map(|answer| port(answer)).collect())
        }
        None => Ok(Vec::new()),
    }
}

/// The attributes of every message of an answer; none if the answer is an error, as that of
/// an unknown family is.
fn request(
    socket: &OwnedFd,
    family: u16,
    flags: u16,
    command: u8,
    attributes: &[u8],
) -> io::Result<Vec<Vec<u8>>> {
    let length = (HEADER + GENERIC + attributes.len()) as u32;
    let message = [
        &length.to_ne_bytes()[..],
        &family.to_ne_bytes(),
        &(NLM_F_REQUEST | flags).to_ne_bytes(),
        &[0; 8],
        &[command, 1, 0, 0],
        attributes,
    ]
    .concat();
    send(socket.as_raw_fd(), &message, MsgFlags::empty())?;
    let mut found = Vec::new();
    let mut datagram = vec![0; 1 << 15];
    for _ in 0..MOST_DATAGRAMS {
        let length = recv(socket.as_raw_fd(), &mut datagram, MsgFlags::empty())?;
        let more = read(datagram.get(..length).unwrap_or_default(), &mut found);
        if !more || flags & NLM_F_DUMP == 0 {
            break;
        }
    }
    Ok(found)
}

/// Takes the messages out of a datagram; whether more are to come.
fn read(mut datagram: &[u8], found: &mut Vec<Vec<u8>>) -> bool {
    while let Some((length, kind)) = head(datagram) {
        if kind == NLMSG_ERROR || kind == NLMSG_DONE || length < HEADER + GENERIC {
            return false;
        }
        let Some(message) = datagram.get(HEADER + GENERIC..length) else {
            return false;
        };
        found.push(message.to_vec());
        datagram = datagram
            .get(length.next_multiple_of(4)..)
            .unwrap_or_default();
    }
    true
}

fn head(datagram: &[u8]) -> Option<(usize, u16)> {
    let length = u32::from_ne_bytes(datagram.get(..4)?.try_into().ok()?);
    Some((length as usize, number(datagram.get(4..6)?)?))
}

fn port(attributes: &[u8]) -> Option<FouPort> {
    let port: [u8; 2] = find(attributes, FOU_PORT)?.try_into().ok()?;
    let family = *find(attributes, FOU_AF)?.first()?;
    let kind = *find(attributes, FOU_TYPE)?.first()?;
    Some(FouPort {
        port: u16::from_be_bytes(port),
        v6: i32::from(family) == libc::AF_INET6,
        gue: kind == TYPE_GUE,
    })
}

fn number(bytes: &[u8]) -> Option<u16> {
    Some(u16::from_ne_bytes(bytes.get(..2)?.try_into().ok()?))
}

/// The value of the first attribute of a type.
fn find(attributes: &[u8], wanted: u16) -> Option<&[u8]> {
    let mut rest = attributes;
    loop {
        let length = usize::from(number(rest)?);
        let kind = number(rest.get(2..)?)? & TYPE_MASK;
        let value = rest.get(4..length)?;
        if kind == wanted {
            return Some(value);
        }
        rest = rest.get(length.next_multiple_of(4)..)?;
    }
}

/// An attribute, padded.
fn attribute(kind: u16, value: &[u8]) -> Vec<u8> {
    let length = (4 + value.len()) as u16;
    let mut bytes = [&length.to_ne_bytes()[..], &kind.to_ne_bytes(), value].concat();
    bytes.resize(bytes.len().next_multiple_of(4), 0);
    bytes
}

#[cfg(test)]
mod tests {
    use super::*;

    /// A message of an answer.
    fn message(kind: u16, attributes: &[u8]) -> Vec<u8> {
        let length = (HEADER + GENERIC + attributes.len()) as u32;
        let mut bytes = length.to_ne_bytes().to_vec();
        bytes.extend(kind.to_ne_bytes());
        bytes.extend([0; HEADER + GENERIC - 6]);
        bytes.extend(attributes);
        bytes
    }

    #[test]
    fn ports_are_read_from_a_dump() {
        let entry = |port: u16, family: i32, kind: u8| {
            let attributes = [
                attribute(FOU_PORT, &port.to_be_bytes()),
                attribute(FOU_AF, &[family as u8]),
                attribute(FOU_TYPE, &[kind]),
            ];
            message(29, &attributes.concat())
        };
        let dump = [
            entry(6080, libc::AF_INET, TYPE_GUE),
            entry(6080, libc::AF_INET6, TYPE_GUE),
            entry(5555, libc::AF_INET, 1),
        ];
        let mut found = Vec::new();
        assert!(read(&dump.concat(), &mut found), "more is to come");
        assert!(!read(&message(NLMSG_DONE, &[0; 4]), &mut found));
        let ports: Vec<_> = found.iter().filter_map(|answer| port(answer)).collect();
        let all = [
            (6080, false, true),
            (6080, true, true),
            (5555, false, false),
        ];
        assert_eq!(ports, all.map(|(port, v6, gue)| FouPort { port, v6, gue }));
    }

    #[test]
    fn nonsense_ends_an_answer() {
        let mut found = Vec::new();
        for datagram in [&[1, 2, 3][..], &[5, 0, 0, 0, 9, 0], &[255; 40]] {
            read(datagram, &mut found);
        }
        assert!(found.is_empty(), "{found:?}");
        assert_eq!(find(&[2, 0, 1, 0], 1), None);
        assert_eq!(port(&attribute(FOU_PORT, &[1])), None);
    }

    #[test]
    fn a_kernel_without_fou_has_no_ports() {
        assert!(fou_ports().is_ok());
    }
}
