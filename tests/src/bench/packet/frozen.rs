//! The frozen programs: loaded, their maps filled, their cases.

use super::{
    Case, TX, client_of,
    product::{FLOOR_VIP, FLOOR_VIP6},
    runner::program,
};
use crate::packet::{Tcp, tcp};
use anyhow::{Context, Result};
use aya::{
    Ebpf,
    maps::{Array, HashMap, MapData},
};
use std::net::{IpAddr, SocketAddr};

/// Entries of the classic ring; the constant of the same name in `classic_lru.rs`.
const RING: u32 = 65_537;
const BACKENDS: u32 = 100;

static OBJECT: &[u8] = aya::include_bytes_aligned!(env!("NAVIGATOR_BENCH_OBJECT"));

pub(super) fn load() -> Result<Ebpf> {
    Ebpf::load(OBJECT).context("the frozen programs do not load")
}

pub(super) fn cases(object: &mut Ebpf) -> Result<Vec<Case>> {
    fill_classic(object)?;
    let mut case = |name, of: &str, to: SocketAddr, growth| -> Result<Case> {
        let program = program(object, of)?;
        program
            .load()
            .with_context(|| format!("{name} does not load"))?;
        Ok(Case {
            name,
            program: program.fd()?.try_clone()?,
            frame: tcp(client_of(to), to, Tcp::Ack, &[0; 10]),
            growth,
            verdict: TX,
            opening: None,
        })
    };
    Ok(vec![
        case("floor-return", "floor_return", FLOOR_VIP, 0)?,
        case("floor-parse-swap", "floor_parse_swap", FLOOR_VIP, 0)?,
        case("floor-ipip", "floor_ipip", FLOOR_VIP, 20)?,
        case("floor-ip6", "floor_ip6", FLOOR_VIP6, 40)?,
        case("floor-gue", "floor_gue", FLOOR_VIP, 32)?,
        case("floor-nat", "floor_nat", FLOOR_VIP, 0)?,
        case("classic-lru", "classic_lru", FLOOR_VIP, 0)?,
    ])
}

fn fill_classic(object: &mut Ebpf) -> Result<()> {
    let mut key = [0u8; 20];
    if let IpAddr::V4(address) = FLOOR_VIP.ip() {
        key[..4].copy_from_slice(&address.octets());
    }
    key[16..18].copy_from_slice(&FLOOR_VIP.port().to_be_bytes());
    key[18] = 6;
    let map = object
        .map_mut("CLASSIC_VIPS")
        .context("CLASSIC_VIPS is missing")?;
    HashMap::<&mut MapData, [u8; 20], u32>::try_from(map)?.insert(key, 1, 0)?;
    let map = object
        .map_mut("CLASSIC_RING")
        .context("CLASSIC_RING is missing")?;
    let mut ring = Array::<&mut MapData, u32>::try_from(map)?;
    for slot in 0..RING {
        ring.set(slot, slot % BACKENDS, 0)?;
    }
    let map = object
        .map_mut("CLASSIC_BACKENDS")
        .context("CLASSIC_BACKENDS is missing")?;
    let mut backends = Array::<&mut MapData, u64>::try_from(map)?;
    for backend in 0..BACKENDS {
        backends.set(backend, 0x0202_0000_0000 | u64::from(backend), 0)?;
    }
    Ok(())
}
