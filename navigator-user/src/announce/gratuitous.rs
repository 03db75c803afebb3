//! Unasked-for answers: a gratuitous ARP request, or an unsolicited neighbour
//! advertisement, so that neighbours learn at once where an address is.

use navigator_common::checksum;
use nix::sys::socket::{AddressFamily, SockFlag, SockType, socket};
use std::{
    io,
    net::{IpAddr, Ipv4Addr, Ipv6Addr},
    os::fd::{AsRawFd, OwnedFd},
};

const BROADCAST: [u8; 6] = [0xff; 6];
/// The MAC address of ff02::1.
const ALL_NODES_MAC: [u8; 6] = [0x33, 0x33, 0, 0, 0, 1];
const ALL_NODES: Ipv6Addr = Ipv6Addr::new(0xff02, 0, 0, 0, 0, 0, 0, 1);

/// Says on an interface that `ip` is at `mac`. Needs `CAP_NET_RAW`.
pub(super) fn send(ip: IpAddr, mac: [u8; 6], ifindex: u32) -> io::Result<()> {
    let frame = match ip {
        IpAddr::V4(ip) => arp(ip, mac),
        IpAddr::V6(ip) => advertisement(ip, mac),
    };
    let socket = socket(
        AddressFamily::Packet,
        SockType::Raw,
        SockFlag::SOCK_CLOEXEC,
        None,
    )?;
    send_frame(&socket, &frame, ifindex)
}

/// RFC 5227 §3: a request in which sender and target are the address itself.
fn arp(ip: Ipv4Addr, mac: [u8; 6]) -> Vec<u8> {
    let mut frame = ethernet(BROADCAST, mac, 0x0806);
    // Ethernet, IPv4, their address lengths, request.
    frame.extend([0, 1, 8, 0, 6, 4, 0, 1]);
    frame.extend(mac);
    frame.extend(ip.octets());
    frame.extend([0; 6]);
    frame.extend(ip.octets());
    frame
}

/// RFC 4861 §7.2.6: to all nodes, override, with the target's link-layer address.
fn advertisement(ip: Ipv6Addr, mac: [u8; 6]) -> Vec<u8> {
    const OVERRIDE: u8 = 0x20;
    let mut message = vec![136, 0, 0, 0, OVERRIDE, 0, 0, 0];
    message.extend(ip.octets());
    message.extend([2, 1]);
    message.extend(mac);
    let length = u8::try_from(message.len()).unwrap_or_default();

    let mut pseudo = Vec::new();
    pseudo.extend(ip.octets());
    pseudo.extend(ALL_NODES.octets());
    pseudo.extend([0, 0, 0, length, 0, 0, 0, 58]);
    pseudo.extend(&message);
    let sum = pseudo
        .chunks(2)
        .map(|w| u32::from(u16::from_be_bytes([w[0], w[1]])))
        .sum();
    message[2..4].copy_from_slice(&(!checksum::fold(sum)).to_be_bytes());

    let mut frame = ethernet(ALL_NODES_MAC, mac, 0x86dd);
    frame.extend([0x60, 0, 0, 0, 0, length, 58, 255]);
    frame.extend(ip.octets());
    frame.extend(ALL_NODES.octets());
    frame.extend(message);
    frame
}

fn ethernet(to: [u8; 6], from: [u8; 6], ethertype: u16) -> Vec<u8> {
    let mut frame = to.to_vec();
    frame.extend(from);
    frame.extend(ethertype.to_be_bytes());
    frame
}

fn send_frame(socket: &OwnedFd, frame: &[u8], ifindex: u32) -> io::Result<()> {
    let to = libc::sockaddr_ll {
        sll_family: libc::AF_PACKET as u16,
        sll_protocol: 0,
        sll_ifindex: i32::try_from(ifindex).map_err(io::Error::other)?,
        sll_hatype: 0,
        sll_pkttype: 0,
        sll_halen: 6,
        sll_addr: [0; 8],
    };
    // SAFETY: both pointers are to live values of the lengths given; the call
    // keeps neither. No safe wrapper can make this kind of address.
    let sent = unsafe {
        libc::sendto(
            socket.as_raw_fd(),
            frame.as_ptr().cast(),
            frame.len(),
            0,
            (&raw const to).cast(),
            size_of_val(&to) as libc::socklen_t,
        )
    };
    if sent < 0 {
        return Err(io::Error::last_os_error());
    }
    Ok(())
}

#[cfg(test)]
mod tests {
    use super::*;

    const MAC: [u8; 6] = [2, 0, 0, 0, 0, 9];

    #[test]
    fn a_gratuitous_arp_names_the_address_twice() {
        let frame = arp(Ipv4Addr::new(192, 0, 2, 7), MAC);
        let mut want = vec![255, 255, 255, 255, 255, 255, 2, 0, 0, 0, 0, 9, 8, 6];
        want.extend([0, 1, 8, 0, 6, 4, 0, 1]);
        want.extend([2, 0, 0, 0, 0, 9, 192, 0, 2, 7]);
        want.extend([0, 0, 0, 0, 0, 0, 192, 0, 2, 7]);
        assert_eq!(frame, want);
    }

    #[test]
    fn an_advertisement_sums_to_zero_over_its_pseudo_header() {
        let ip = Ipv6Addr::new(0x2001, 0xdb8, 0, 0, 0, 0, 0, 7);
        let frame = advertisement(ip, MAC);
        assert_eq!(frame.len(), 14 + 40 + 32);
        assert_eq!(frame[..6], ALL_NODES_MAC);
        assert_eq!(frame[14 + 40 + 4], 0x20);
        let words = frame[14 + 8..].chunks(2);
        let sum: u32 = words
            .map(|w| u32::from(u16::from_be_bytes([w[0], w[1]])))
            .sum();
        // Upper-layer length and next header complete the pseudo-header.
        assert_eq!(checksum::fold(sum + 32 + 58), 0xffff);
    }
}
