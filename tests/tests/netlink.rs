//! Next hops and held addresses against a real kernel, in network namespaces:
//! a balancer and a peer on one link, 10.0.0.0/24 and fd00::/64.

mod netns;

use anyhow::{Context, Result, bail};
use navigator_user::{
    announce::address::{AddressError, AddressHolder, Hold},
    dataplane::{
        NextHop,
        neighbours::{HopChange, Resolver, release_neighbours},
    },
};
use netns::Namespace;
use std::{collections::BTreeSet, net::IpAddr, time::Duration};
use tokio::time::{sleep, timeout};

/// Longer than any wait that is right: the kernel gives up on a neighbour
/// after 3 s, twice over where a known one is lost.
const LONG: Duration = Duration::from_secs(15);

/// A balancer (`a0`, .1) and a peer (`b0`, .2).
fn pair() -> Result<(Namespace, Namespace)> {
    let (a, b) = (Namespace::new("a")?, Namespace::new("b")?);
    a.join("a0", &b, "b0")?;
    a.ip("addr add 10.0.0.1/24 dev a0")?;
    b.ip("addr add 10.0.0.2/24 dev b0")?;
    a.ip("addr add fd00::1/64 dev a0 nodad")?;
    b.ip("addr add fd00::2/64 dev b0 nodad")?;
    Ok((a, b))
}

fn ip(text: &str) -> IpAddr {
    text.parse().unwrap_or(IpAddr::from([0, 0, 0, 0]))
}

fn watch(resolver: &Resolver, hosts: &[&str]) {
    let hosts: BTreeSet<_> = hosts.iter().map(|h| ip(h)).collect();
    resolver.hosts.send_replace(hosts);
}

async fn next(resolver: &mut Resolver) -> Result<HopChange> {
    let change = timeout(LONG, resolver.changes.recv()).await;
    change
        .context("nothing was reported")?
        .context("the resolver ended")
}

async fn quiet(resolver: &mut Resolver, time: Duration) -> Result<()> {
    match timeout(time, resolver.changes.recv()).await {
        Err(_) => Ok(()),
        Ok(change) => bail!("unexpected: {change:?}"),
    }
}

fn found(host: &str, mac: [u8; 6], ifindex: u32, source: &str) -> HopChange {
    HopChange {
        host: ip(host),
        hop: Some(NextHop {
            mac,
            ifindex,
            source: ip(source),
            on_link: true,
            mtu: 1500,
        }),
        why: String::new(),
    }
}

/// By way of a router.
fn routed(mut change: HopChange) -> HopChange {
    if let Some(hop) = &mut change.hop {
        hop.on_link = false;
    }
    change
}

fn ifindex(namespace: &Namespace, interface: &str) -> Result<u32> {
    let text = namespace.ip(&format!("-o link show {interface}"))?;
    let number = text.split(':').next().context("no index")?;
    Ok(number.parse()?)
}

#[test]
fn neighbours_of_both_families_are_found_without_traffic() -> Result<()> {
    let (a, b) = pair()?;
    let (mac, index) = (b.mac("b0")?, ifindex(&a, "a0")?);
    a.run(|| async {
        let mut resolver = Resolver::start()?;
        watch(&resolver, &["10.0.0.2", "fd00::2"]);
        let mut changes = vec![next(&mut resolver).await?, next(&mut resolver).await?];
        changes.sort_by_key(|c| c.host);
        assert_eq!(
            changes,
            [
                found("10.0.0.2", mac, index, "10.0.0.1"),
                found("fd00::2", mac, index, "fd00::1")
            ]
        );
        quiet(&mut resolver, Duration::from_millis(300)).await
    })?;
    let entries = a.ip("neigh show dev a0")?;
    assert_eq!(entries.matches("managed").count(), 2, "{entries}");
    a.run(|| async { Ok(release_neighbours().await?) })?;
    let entries = a.ip("neigh show dev a0")?;
    assert_eq!(entries.matches("managed").count(), 0, "{entries}");
    Ok(())
}

#[test]
fn a_new_mac_address_is_reported() -> Result<()> {
    let (a, b) = pair()?;
    b.sysctl("net/ipv4/conf/b0/arp_notify", "1")?;
    let (mac, index) = (b.mac("b0")?, ifindex(&a, "a0")?);
    a.run(|| async {
        let mut resolver = Resolver::start()?;
        watch(&resolver, &["10.0.0.2"]);
        let first = next(&mut resolver).await?;
        assert_eq!(first, found("10.0.0.2", mac, index, "10.0.0.1"));
        // The kernel ignores a second answer within a second of the first.
        sleep(Duration::from_millis(1200)).await;
        b.ip("link set b0 address 02:00:00:00:00:33")?;
        let second = next(&mut resolver).await?;
        let new = [2, 0, 0, 0, 0, 0x33];
        assert_eq!(second, found("10.0.0.2", new, index, "10.0.0.1"));
        Ok(())
    })
}

#[test]
fn a_dead_link_loses_its_hops_and_a_live_one_brings_them_back() -> Result<()> {
    let (a, b) = pair()?;
    let (mac, index) = (b.mac("b0")?, ifindex(&a, "a0")?);
    a.run(|| async {
        let mut resolver = Resolver::start()?;
        watch(&resolver, &["10.0.0.2"]);
        let there = found("10.0.0.2", mac, index, "10.0.0.1");
        assert_eq!(next(&mut resolver).await?, there);
        b.ip("link set b0 down")?;
        let lost = next(&mut resolver).await?;
        assert_eq!((lost.hop, lost.why.as_str()), (None, "a0 is down"));
        b.ip("link set b0 up")?;
        assert_eq!(next(&mut resolver).await?, there);
        Ok(())
    })
}

#[test]
fn routers_on_the_way_are_followed() -> Result<()> {
    let (a, b) = pair()?;
    let (mac, index) = (b.mac("b0")?, ifindex(&a, "a0")?);
    a.ip("route add 198.51.100.0/24 via 10.0.0.2")?;
    a.ip("route add 2001:db8:9::/64 via fd00::2")?;
    a.ip("route add 203.0.113.0/24 via inet6 fd00::2")?;
    a.run(|| async {
        let mut resolver = Resolver::start()?;
        for (host, source) in [
            ("198.51.100.7", "10.0.0.1"),
            ("2001:db8:9::7", "fd00::1"),
            ("203.0.113.7", "10.0.0.1"),
        ] {
            watch(&resolver, &[host]);
            let change = next(&mut resolver).await?;
            assert_eq!(change, routed(found(host, mac, index, source)));
        }
        a.ip("route del 203.0.113.0/24")?;
        let lost = next(&mut resolver).await?;
        assert_eq!(lost.hop, None);
        assert_eq!(lost.why, "there is no route to 203.0.113.7");
        a.ip("route add default via 10.0.0.2")?;
        let back = next(&mut resolver).await?;
        assert_eq!(back, routed(found("203.0.113.7", mac, index, "10.0.0.1")));
        Ok(())
    })
}

#[test]
fn the_longest_packet_of_a_way_is_that_of_its_interface_or_its_route() -> Result<()> {
    let (a, _b) = pair()?;
    a.ip("route add 198.51.100.0/24 via 10.0.0.2 mtu 1400")?;
    a.run(|| async {
        let mut resolver = Resolver::start()?;
        let mtu = |change: HopChange| change.hop.map(|hop| (hop.mtu, hop.on_link));
        for (host, way) in [("10.0.0.2", (1500, true)), ("198.51.100.7", (1400, false))] {
            watch(&resolver, &[host]);
            assert_eq!(mtu(next(&mut resolver).await?), Some(way));
        }
        a.ip("route change 198.51.100.0/24 via 10.0.0.2 mtu 1300")?;
        assert_eq!(mtu(next(&mut resolver).await?), Some((1300, false)));
        a.ip("link set a0 mtu 1280")?;
        assert_eq!(mtu(next(&mut resolver).await?), Some((1280, false)));
        Ok(())
    })
}

#[test]
fn what_cannot_be_reached_is_said_with_its_reason() -> Result<()> {
    let (a, _b) = pair()?;
    a.ip("route add unreachable 198.51.100.9")?;
    a.ip("route add blackhole 198.51.100.10")?;
    a.run(|| async {
        let mut resolver = Resolver::start()?;
        for (host, why) in [
            ("10.0.0.1", "10.0.0.1 is this host itself"),
            ("127.0.0.1", "127.0.0.1 is this host itself"),
            ("fd00::1", "fd00::1 is this host itself"),
            ("10.0.0.255", "10.0.0.255 is not the address of a host"),
            ("198.51.100.7", "there is no route to 198.51.100.7"),
            ("198.51.100.9", "there is no route to 198.51.100.9"),
            ("198.51.100.10", "there is no route to 198.51.100.10"),
            ("2001:db8:9::7", "there is no route to 2001:db8:9::7"),
            ("10.0.0.77", "10.0.0.77 does not answer on a0"),
            ("fd00::77", "fd00::77 does not answer on a0"),
        ] {
            watch(&resolver, &[host]);
            let change = next(&mut resolver).await?;
            assert_eq!(
                (change.host, change.hop, change.why.as_str()),
                (ip(host), None, why)
            );
        }
        Ok(())
    })
}

#[test]
fn a_neighbour_is_lost_only_when_it_does_not_answer_again() -> Result<()> {
    let (a, b) = pair()?;
    let (mac, index) = (b.mac("b0")?, ifindex(&a, "a0")?);
    a.run(|| async {
        let mut resolver = Resolver::start()?;
        watch(&resolver, &["10.0.0.2"]);
        let there = found("10.0.0.2", mac, index, "10.0.0.1");
        assert_eq!(next(&mut resolver).await?, there);

        a.ip("neigh del 10.0.0.2 dev a0")?;
        quiet(&mut resolver, Duration::from_secs(2)).await?;
        let entry = a.ip("neigh show 10.0.0.2 dev a0")?;
        assert!(entry.contains("lladdr"), "not asked for again: {entry}");

        b.ip("addr del 10.0.0.2/24 dev b0")?;
        a.ip("neigh del 10.0.0.2 dev a0")?;
        let lost = next(&mut resolver).await?;
        assert_eq!(lost.why, "10.0.0.2 does not answer on a0");
        assert_eq!(lost.hop, None);

        b.ip("addr add 10.0.0.2/24 dev b0")?;
        assert_eq!(next(&mut resolver).await?, there);
        Ok(())
    })
}

#[test]
fn an_operators_permanent_entry_serves_and_stays() -> Result<()> {
    let (a, _b) = pair()?;
    let index = ifindex(&a, "a0")?;
    a.ip("neigh add 10.0.0.9 lladdr 02:00:00:00:00:99 dev a0 nud permanent")?;
    a.run(|| async {
        let mut resolver = Resolver::start()?;
        watch(&resolver, &["10.0.0.9"]);
        let mac = [2, 0, 0, 0, 0, 0x99];
        let change = next(&mut resolver).await?;
        assert_eq!(change, found("10.0.0.9", mac, index, "10.0.0.1"));
        watch(&resolver, &[]);
        quiet(&mut resolver, Duration::from_millis(300)).await
    })?;
    let entry = a.ip("neigh show 10.0.0.9 dev a0")?;
    assert!(entry.contains("PERMANENT"), "{entry}");
    Ok(())
}

#[test]
fn a_host_that_matters_no_more_is_the_kernels_own_again() -> Result<()> {
    let (a, _b) = pair()?;
    a.run(|| async {
        let mut resolver = Resolver::start()?;
        watch(&resolver, &["10.0.0.2", "fd00::2"]);
        next(&mut resolver).await?;
        next(&mut resolver).await?;
        watch(&resolver, &["fd00::2"]);
        quiet(&mut resolver, Duration::from_millis(300)).await
    })?;
    let entry = a.ip("neigh show 10.0.0.2 dev a0")?;
    assert!(!entry.contains("managed"), "{entry}");
    let entry = a.ip("neigh show fd00::2 dev a0")?;
    assert!(entry.contains("managed"), "{entry}");
    Ok(())
}

#[test]
fn vips_are_held_found_again_and_released() -> Result<()> {
    let (a, b) = pair()?;
    a.ip("addr add 192.0.2.50/32 dev a0")?;
    let before = a.ip("-o addr show dev a0")?;
    let (v4, v6, foreign) = (ip("192.0.2.10"), ip("2001:db8::10"), ip("192.0.2.50"));
    a.run(|| async {
        let mut holder = AddressHolder::new("a0").await?;
        assert!(holder.held().is_empty());
        assert_eq!(holder.hold(v4).await?, Hold::Added);
        assert_eq!(holder.hold(v6).await?, Hold::Added);
        assert_eq!(holder.hold(v6).await?, Hold::Kept);
        assert_eq!(holder.hold(foreign).await?, Hold::Foreign);
        assert_eq!(*holder.held(), BTreeSet::from([v4, v6]));
        Ok(())
    })?;
    let line = a.ip("-o addr show dev a0 to 2001:db8::10")?;
    assert!(line.contains("2001:db8::10/128"), "{line}");
    assert!(
        line.contains("deprecated") && line.contains("nodad"),
        "{line}"
    );
    b.ip("route add 192.0.2.10 dev b0")?;
    b.ip("route add 2001:db8::10 dev b0")?;
    let (mac, index) = (a.mac("a0")?, ifindex(&b, "b0")?);
    b.run(|| async {
        let mut peer = Resolver::start()?;
        for (vip, source) in [("192.0.2.10", "10.0.0.2"), ("2001:db8::10", "fd00::2")] {
            watch(&peer, &[vip]);
            assert_eq!(next(&mut peer).await?, found(vip, mac, index, source));
        }
        Ok(())
    })?;

    a.run(|| async {
        let mut holder = AddressHolder::new("a0").await?;
        assert_eq!(*holder.held(), BTreeSet::from([v4, v6]));
        holder.release(v4).await?;
        holder.release(v4).await?;
        holder.release(foreign).await?;
        assert_eq!(*holder.held(), BTreeSet::from([v6]));
        holder.hold(v4).await?;
        AddressHolder::new("a0").await?.release_all().await?;
        Ok(())
    })?;
    assert_eq!(a.ip("-o addr show dev a0")?, before);
    Ok(())
}

#[test]
fn a_vip_that_somebody_took_off_is_held_no_longer() -> Result<()> {
    let (a, _b) = pair()?;
    a.ip("addr add 192.0.2.50/32 dev a0")?;
    let (v4, v6, foreign) = (ip("192.0.2.10"), ip("2001:db8::10"), ip("192.0.2.50"));
    a.run(|| async {
        let mut holder = AddressHolder::new("a0").await?;
        holder.hold(v4).await?;
        holder.hold(v6).await?;
        let there = holder.look_again().await?;
        assert!([v4, v6, foreign].iter().all(|ip| there.contains(ip)));

        // The kernel takes IPv6 addresses off an interface that goes down.
        a.ip("link set a0 down")?;
        a.ip("link set a0 up")?;
        a.ip("addr del 192.0.2.50/32 dev a0")?;
        let there = holder.look_again().await?;
        assert_eq!(*holder.held(), BTreeSet::from([v4]));
        assert!(!there.contains(&foreign));
        assert_eq!(holder.hold(v6).await?, Hold::Added);

        a.ip("link del a0")?;
        assert!(holder.look_again().await.is_err());
        assert!(holder.held().is_empty());
        Ok(())
    })
}

#[test]
fn neighbours_learn_at_once_where_a_vip_is() -> Result<()> {
    let (a, b) = pair()?;
    let mac = "02:00:00:00:00:99";
    for vip in ["192.0.2.10", "2001:db8::10"] {
        b.ip(&format!("neigh add {vip} lladdr {mac} dev b0 nud stale"))?;
    }
    a.run(|| async {
        // The kernel ignores an answer within a second of the last.
        sleep(Duration::from_millis(1200)).await;
        let mut holder = AddressHolder::new("a0").await?;
        holder.hold(ip("192.0.2.10")).await?;
        holder.hold(ip("2001:db8::10")).await?;
        sleep(Duration::from_millis(100)).await;
        Ok(())
    })?;
    let entries = b.ip("neigh show dev b0")?;
    assert!(!entries.contains(mac), "{entries}");
    Ok(())
}

#[test]
fn an_interface_that_is_not_there_is_named() -> Result<()> {
    let (a, _b) = pair()?;
    a.run(|| async {
        for name in ["nope0", "", "much-too-long-for-an-interface"] {
            match AddressHolder::new(name).await {
                Err(AddressError::NoInterface(named)) => assert_eq!(named, name),
                Err(e) => bail!("{e}"),
                Ok(_) => bail!("{name} was accepted"),
            }
        }
        Ok(())
    })
}
