//! Address first, then protocol and port: many VIPs, changing ones, removed ones.

use crate::world::{PORT, TCP, UDP, key, packet};
use anyhow::{Result, ensure};
use navigator_common::{addr::Addr, maps::ADDR_BUCKETS, reason::Reason, vip::addr_buckets};
use navigator_core::model::{ForwardMode, UnservedPolicy};
use navigator_tests::packet::{
    Family,
    bed::{self, Bed, Role},
    expect::{dropped, l2, passed},
    row::row,
};
use navigator_user::dataplane::{Dataplane as _, VipSettings};
use std::net::{IpAddr, Ipv4Addr, Ipv6Addr, SocketAddr};

#[test]
fn many_ports_of_one_address() -> Result<()> {
    let mut bed = Bed::new()?;
    let mut rows = Vec::new();
    for family in Family::BOTH {
        let backend = family.backend(1, PORT);
        let ports = [
            1, 2, 3, 22, 53, 80, 443, 8080, 0x5000, 32_768, 65_534, 65_535,
        ];
        for port in ports {
            for protocol in [TCP, UDP] {
                let vip = family.vip(1, port);
                let settings = VipSettings {
                    slots: 7,
                    ..bed::vip(vip, protocol, ForwardMode::L2)
                };
                bed.serve(&settings, &[(backend, Role::Active)])?;
                rows.push(row(
                    format!("{vip}/{protocol}"),
                    packet(protocol, vip, b"hello"),
                    l2(key(vip, protocol), backend),
                ));
            }
            let next = port.wrapping_add(1);
            if next != 0 && !ports.contains(&next) {
                let vip = family.vip(1, next);
                rows.push(row(
                    format!("{vip} is not served"),
                    packet(TCP, vip, b"hello"),
                    dropped(Reason::DropUnserved),
                ));
            }
        }
    }
    bed.check(&rows)
}

/// Addresses of one bucket of the address table.
fn neighbours(like: IpAddr) -> impl Iterator<Item = IpAddr> {
    let bucket = |ip: IpAddr| addr_buckets(Addr::from(ip), ADDR_BUCKETS).0;
    let wanted = bucket(like);
    let nth = move |n: u32| match like {
        IpAddr::V4(_) => IpAddr::from(Ipv4Addr::from(0xc612_0000 + n)),
        IpAddr::V6(_) => IpAddr::from(Ipv6Addr::from((0x2001_0db8_u128 << 96) + 1 + u128::from(n))),
    };
    (0..).map(nth).filter(move |ip| bucket(*ip) == wanted)
}

/// More than a bucket of the address table holds, so that some live in their second one.
#[test]
fn many_addresses_of_one_bucket() -> Result<()> {
    for family in Family::BOTH {
        let mut bed = Bed::new()?;
        let backend = family.backend(1, PORT);
        let mut all = neighbours(family.vip(1, PORT).ip()).map(|ip| SocketAddr::new(ip, PORT));
        let vips: Vec<_> = all.by_ref().take(9).collect();
        let stranger = all.next();
        let settings = |vip| bed::vip(vip, TCP, ForwardMode::L2);
        let served = |vip: &SocketAddr| {
            row(
                format!("{vip} is a VIP"),
                packet(TCP, *vip, b"hello"),
                l2(key(*vip, TCP), backend),
            )
        };
        let unknown = |vip: &SocketAddr| {
            row(
                format!("{vip} is none"),
                packet(TCP, *vip, b"hello"),
                passed(Reason::PassNotVip),
            )
        };
        for vip in &vips {
            bed.serve(&settings(*vip), &[(backend, Role::Active)])?;
        }
        let mut rows: Vec<_> = vips.iter().map(served).collect();
        rows.extend(stranger.iter().map(unknown));
        ensure!(rows.len() == 10);
        bed.check(&rows)?;

        let (gone, left) = vips.split_at(6);
        for vip in gone {
            bed.plane().remove(&key(*vip, TCP))?;
        }
        let mut rows: Vec<_> = left.iter().map(served).collect();
        rows.extend(gone.iter().map(unknown));
        bed.check(&rows)?;
    }
    Ok(())
}

#[test]
fn a_vip_comes_and_goes() -> Result<()> {
    let mut bed = Bed::new()?;
    for family in Family::BOTH {
        let backend = family.backend(1, PORT);
        let (one, two) = (family.vip(1, PORT), family.vip(1, 443));
        let served = |vip| {
            row(
                format!("{vip}"),
                packet(TCP, vip, b"a"),
                l2(key(vip, TCP), backend),
            )
        };
        let left = |vip, reason| {
            let expect = |frame: &[u8]| match reason {
                Reason::PassNotVip => passed(reason)(frame),
                _ => dropped(reason)(frame),
            };
            row(format!("{vip}"), packet(TCP, vip, b"a"), expect)
        };
        let active = [(backend, Role::Active)];
        bed.check(&[left(one, Reason::PassNotVip), left(two, Reason::PassNotVip)])?;
        bed.serve(&bed::vip(one, TCP, ForwardMode::L2), &active)?;
        bed.check(&[served(one), left(two, Reason::DropUnserved)])?;
        bed.serve(&bed::vip(two, TCP, ForwardMode::L2), &active)?;
        bed.check(&[served(one), served(two)])?;
        bed.plane().remove(&key(one, TCP))?;
        bed.check(&[left(one, Reason::DropUnserved), served(two)])?;
        bed.plane().remove(&key(two, TCP))?;
        bed.check(&[left(one, Reason::PassNotVip), left(two, Reason::PassNotVip)])?;
        bed.serve(&bed::vip(one, TCP, ForwardMode::L2), &active)?;
        bed.check(&[served(one), left(two, Reason::DropUnserved)])?;
    }
    Ok(())
}

#[test]
fn the_policy_for_unserved_ports_changes_with_the_vip() -> Result<()> {
    let mut bed = Bed::new()?;
    for family in Family::BOTH {
        let active = [(family.backend(1, PORT), Role::Active)];
        let unserved = packet(TCP, family.vip(1, 22), b"ssh");
        for policy in [
            UnservedPolicy::Drop,
            UnservedPolicy::Pass,
            UnservedPolicy::Drop,
        ] {
            let vip = VipSettings {
                unserved: policy,
                ..bed::vip(family.vip(1, PORT), TCP, ForwardMode::L2)
            };
            bed.serve(&vip, &active)?;
            let expect = |frame: &[u8]| match policy {
                UnservedPolicy::Drop => dropped(Reason::DropUnserved)(frame),
                UnservedPolicy::Pass => passed(Reason::PassUnserved)(frame),
            };
            bed.check(&[row(
                format!("{family:?}, {policy:?}"),
                unserved.clone(),
                expect,
            )])?;
        }
    }
    Ok(())
}

/// What a backend is counted for is counted under its VIP.
#[test]
fn vips_that_share_a_backend_have_their_own_counters() -> Result<()> {
    let mut bed = Bed::new()?;
    let mut rows = Vec::new();
    for family in Family::BOTH {
        let backend = family.backend(1, PORT);
        for number in 1..=4 {
            let vip = family.vip(number, PORT);
            bed.serve(
                &bed::vip(vip, TCP, ForwardMode::L2),
                &[(backend, Role::Active)],
            )?;
            rows.push(row(
                format!("{vip}"),
                packet(TCP, vip, b"hello"),
                l2(key(vip, TCP), backend),
            ));
        }
    }
    bed.check(&rows)
}
