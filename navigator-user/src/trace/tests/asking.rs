//! Queries: what each field becomes, and what is refused.

use crate::trace::request::{Query, Request};
use navigator_common::{
    addr::Addr,
    reason::{Reason, Verdict},
    trace::{CAPTURE, FORWARDED, TraceFilter},
};
use navigator_core::model::{Protocol, VipKey};
use proptest::prelude::*;
use std::{net::IpAddr, time::Duration};

const WEB: VipKey = VipKey::new(
    IpAddr::V4(std::net::Ipv4Addr::new(192, 0, 2, 1)),
    Protocol::Tcp,
    80,
);

fn read(query: &Query) -> Result<Request, String> {
    let vip = |name: &str| match name {
        "web" => Ok(WEB),
        _ => Err("there is none".to_owned()),
    };
    Request::read(query, vip).map_err(|error| error.to_string())
}

fn text(text: &str) -> Option<String> {
    Some(text.to_owned())
}

#[test]
fn without_a_word_all_that_is_for_vips_is_wanted() -> Result<(), String> {
    let filter = read(&Query::default())?.filter(None);
    assert_eq!(
        filter,
        TraceFilter {
            active: 1,
            outcomes: [u64::MAX; 2],
            sample: TraceFilter::EVERY,
            flags: TraceFilter::ONLY_VIPS,
            ..TraceFilter::default()
        }
    );
    Ok(())
}

#[test]
fn every_field_becomes_a_part_of_the_filter() -> Result<(), String> {
    let request = read(&Query {
        vip: text("web"),
        client: text("10.0.0.0/8"),
        reason: text("drop_unserved,forwarded"),
        backend: text("[2001:db8::5]:8080"),
        sample: text("1/100"),
        duration: text("30s"),
        bytes: Some(true),
    })?;
    assert_eq!(request.duration, Duration::from_secs(30));
    let filter = request.filter(Some(7));
    let unserved = 1 << Reason::DropUnserved.index();
    assert_eq!(filter.outcomes, [unserved, 1 << (FORWARDED - 64)]);
    assert_eq!((filter.vip, filter.vip_address), (7, WEB.address.into()));
    let backend: IpAddr = "2001:db8::5".parse().map_err(|_| "address")?;
    assert_eq!(
        (filter.backend, filter.backend_port),
        (backend.into(), 8080)
    );
    assert_eq!(filter.sample, u32::MAX / 100);
    assert_eq!(
        filter.flags, 0,
        "a reason that is named is wanted wherever it is met"
    );
    assert_eq!(request.filter(None).vip, TraceFilter::NO_VIP);
    Ok(())
}

#[test]
fn a_kind_of_reasons_is_all_of_them() -> Result<(), String> {
    let filter = read(&Query {
        reason: text("dropped"),
        ..Query::default()
    })?
    .filter(None);
    for reason in Reason::ALL {
        let index = reason.index() as usize;
        let asked = filter.outcomes[index / 64] >> (index % 64) & 1 == 1;
        assert_eq!(
            asked,
            reason.verdict() == Verdict::Drop,
            "{}",
            reason.name()
        );
    }
    Ok(())
}

#[test]
fn what_cannot_be_is_refused_with_the_field_the_value_and_the_way_out() {
    let with = |change: fn(&mut Query, Option<String>), value: &str| {
        let mut query = Query::default();
        change(&mut query, text(value));
        read(&query)
            .err()
            .unwrap_or_else(|| format!("{value} is taken"))
    };
    for (error, said) in [
        (with(|q, v| q.vip = v, "api"), "vip=api: there is none"),
        (
            with(|q, v| q.client = v, "10.0.0.1/8"),
            "client=10.0.0.1/8: \"10.0.0.1/8\" has bits set",
        ),
        (with(|q, v| q.client = v, "host"), "client=host: "),
        (
            with(|q, v| q.reason = v, "drop_all"),
            "`navigator reasons` lists them",
        ),
        (
            with(|q, v| q.reason = v, ""),
            "reason=: there is no reason \"\"",
        ),
        (
            with(|q, v| q.backend = v, "web:80"),
            "backend=web:80: write an address",
        ),
        (with(|q, v| q.sample = v, "0"), "sample=0: write 1/N"),
        (with(|q, v| q.sample = v, "1/-3"), "sample=1/-3: write 1/N"),
        (
            with(|q, v| q.duration = v, "0s"),
            "duration=0s: use 1ms to 10m",
        ),
        (
            with(|q, v| q.duration = v, "11m"),
            "duration=11m: use 1ms to 10m",
        ),
        (
            with(|q, v| q.duration = v, "soon"),
            "duration=soon: \"soon\" is no duration",
        ),
    ] {
        assert!(error.contains(said), "{error}");
    }
}

/// The first bytes of a frame from an address, behind so many VLAN tags.
fn frame(from: IpAddr, tags: usize) -> [u8; CAPTURE] {
    let mut frame = vec![0; 12];
    (0..tags).for_each(|_| frame.extend([0x81, 0x00, 0, 1]));
    match from {
        IpAddr::V4(ip) => {
            frame.extend([0x08, 0x00, 0x45]);
            frame.extend([0; 11]);
            frame.extend(ip.octets());
        }
        IpAddr::V6(ip) => {
            frame.extend([0x86, 0xdd, 0x60]);
            frame.extend([0; 7]);
            frame.extend(ip.octets());
        }
    }
    frame.resize(CAPTURE, 0);
    frame.try_into().unwrap_or([0; CAPTURE])
}

proptest! {
    /// What the program compares by words is what the network contains.
    #[test]
    fn the_program_finds_the_clients_of_a_network(v4: bool, network: u128, other: u128, near: u8, prefix in 0u8..=128, tags in 0usize..=2) {
        let most = if v4 { 32 } else { 128 };
        let prefix = prefix % (most + 1);
        // A client that shares some of its first bits with the network.
        let client = network ^ (other.checked_shr(u32::from(near % 129)).unwrap_or(0));
        let address = |bits: u128| -> IpAddr {
            if v4 { IpAddr::V4(((bits >> 96) as u32).into()) } else { IpAddr::V6(bits.into()) }
        };
        let kept = u128::MAX.checked_shl(128 - u32::from(prefix)).unwrap_or(0);
        let (network, client) = (address(network & kept), address(client));
        if let IpAddr::V6(ip) = client { prop_assume!(ip.to_ipv4_mapped().is_none()); }
        if let IpAddr::V6(ip) = network { prop_assume!(ip.to_ipv4_mapped().is_none()); }
        let request = read(&Query { client: Some(format!("{network}/{prefix}")), ..Query::default() });
        let request = request.map_err(TestCaseError::fail)?;
        let filter = request.filter(None);
        let seen = navigator_common::trace::client(&frame(client, tags));
        prop_assert_eq!(seen, Addr::from(client));
        let in_it = seen.hi & filter.client_mask.hi == filter.client.hi
            && seen.lo & filter.client_mask.lo == filter.client.lo;
        let wanted = request.client.is_some_and(|cidr| cidr.contains(client));
        prop_assert_eq!(in_it, wanted);
    }
}
