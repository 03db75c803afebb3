//! `nat`: fragments and IPv6 extension headers, translated in both directions.

use crate::{
    nat::{backend, in_all, later, scene},
    world::{client, payload},
};
use anyhow::{Result, ensure};
use navigator_common::reason::Reason;
use navigator_tests::packet::{
    Family, LOCAL_MAC, ROUTER_MAC,
    addresses::host_mac,
    expect::dropped,
    fragment::{Followed::By, Followed::Nobody, extended, options, part, routing},
    frame::ip_packet,
    nat::rewritten,
};

/// `frame` between other MAC addresses.
fn sent(frame: &[u8], to: [u8; 6]) -> Vec<u8> {
    [&to[..], &LOCAL_MAC, &frame[12..]].concat()
}

#[test]
fn fragments_of_both_directions() -> Result<()> {
    in_all(|family, protocol| {
        let mut scene = scene(family, protocol)?;
        let (client, backend, vip) = (client(family), backend(family, 1), scene.target());
        let source = scene.open(client, backend)?;
        let macs = (LOCAL_MAC, ROUTER_MAC);
        for (number, from, to, new, mac) in [
            (1, client, vip, (source, backend), host_mac(backend.ip())),
            (2, backend, source, (vip, client), ROUTER_MAC),
        ] {
            let whole = later(protocol, from, to, &payload(200));
            let translated = rewritten(&whole, new, macs);
            let end = ip_packet(&whole).len() - family.header();
            for (range, followed) in [(0..24, By), (24..120, By), (120..end, Nobody)] {
                let got = scene.sent(&part(&whole, number, range.clone(), followed))?;
                let want = sent(&part(&translated, number, range.clone(), followed), mac);
                ensure!(
                    got == want,
                    "{from} to {to}, {range:?}: {got:02x?}, not {want:02x?}"
                );
            }
        }
        Ok(())
    })
}

#[test]
fn a_later_fragment_makes_no_flow() -> Result<()> {
    in_all(|family, protocol| {
        let mut scene = scene(family, protocol)?;
        let (client, vip) = (client(family), scene.target());
        let whole = later(protocol, client, vip, &payload(200));
        scene.expect(
            "a later fragment without its first",
            part(&whole, 7, 24..120, By),
            dropped(Reason::DropFragment),
        )
    })
}

#[test]
fn extension_headers_of_both_directions() -> Result<()> {
    in_all(|family, protocol| {
        if family == Family::V4 {
            return Ok(());
        }
        let mut scene = scene(family, protocol)?;
        let (client, backend, vip) = (client(family), backend(family, 1), scene.target());
        let source = scene.open(client, backend)?;
        let macs = (LOCAL_MAC, ROUTER_MAC);
        for extensions in [
            vec![options(0, 0)],
            vec![options(0, 1), routing(0)],
            vec![options(60, 3)],
        ] {
            for (from, to, new, mac) in [
                (client, vip, (source, backend), host_mac(backend.ip())),
                (backend, source, (vip, client), ROUTER_MAC),
            ] {
                let plain = later(protocol, from, to, &payload(33));
                let translated = rewritten(&plain, new, macs);
                let behind =
                    |from: std::net::SocketAddr, to: std::net::SocketAddr, plain: &[u8]| {
                        let transport = &ip_packet(plain)[40..];
                        extended(
                            from.ip(),
                            to.ip(),
                            &extensions,
                            protocol.number(),
                            transport,
                        )
                    };
                let got = scene.sent(&behind(from, to, &plain))?;
                let want = sent(&behind(new.0, new.1, &translated), mac);
                ensure!(got == want, "{extensions:?}: {got:02x?}, not {want:02x?}");
            }
        }
        Ok(())
    })
}
