//! The data plane in BPF maps.
//!
//! Maps and links are pinned: whatever becomes of this process, forwarding
//! goes on. Opening finds what is pinned, refuses what it could not
//! understand, takes over the rest and swaps the program of this binary into
//! the links without a gap.

mod attach;
mod counters;
mod detach;
mod drop_log;
mod error;
mod interface;
mod load;
mod mapping;
mod nat;
mod pins;
mod store;
mod sys;
mod tap;
mod tracers;
mod verify;
mod watch;
mod wipe;

pub use attach::{Attach, InterfaceSettings};
pub use counters::PerCpu;
pub use detach::{Detached, Detacher, detach};
pub use error::OpenError;
pub use interface::AttachMode;
pub use load::LoadedProgram;
pub use nat::{KernelEntries, KernelNatTables};
pub use store::KernelStore;
pub use tap::{Filters, Records};
pub use verify::{Verified, verify_programs};

use super::{
    AdoptedVip, Applied, Dataplane, DataplaneResult, Figures, NextHop, VipPlan,
    nat::NatSettings,
    plane::Plane,
    store::{Sizes, Table, put},
    tunnel::TunnelSettings,
};
use crate::trace::hub::Hub;
use aya::maps::{Array, Map, MapData};
use load::Globals;
use navigator_common::{
    hash::HashKey,
    maps::{META, MapSpec, meta},
    slot::MAX_BACKEND,
};
use navigator_core::model::VipKey;
use pins::{PinDir, map_pin};
use std::{
    net::{IpAddr, SocketAddr},
    path::{Path, PathBuf},
    sync::{
        Arc,
        atomic::{AtomicU32, Ordering},
    },
    time::Duration,
};
use watch::Watched;

/// Where and how the data plane is to work.
#[derive(Clone, PartialEq, Eq, Debug)]
pub struct KernelSettings {
    /// Directory for the pins, on a BPF file system. Without one nothing outlives the process.
    pub pins: Option<PathBuf>,
    /// Interfaces that packets for the VIPs come in by.
    pub interfaces: Vec<InterfaceSettings>,
    /// The cluster's hash key.
    pub hash_key: HashKey,
    /// The seed of the cluster's slot tables.
    pub plan_seed: u64,
    /// Sizes of the tables.
    pub sizes: Sizes,
    /// How long a window stays open, and a silent flow is remembered.
    pub window: Duration,
    /// Settings of the tunnel modes.
    pub tunnels: TunnelSettings,
    /// How NAT is done.
    pub nat: NatSettings,
}

/// The data plane in BPF maps.
pub struct KernelDataplane {
    plane: Plane<KernelStore>,
    interfaces: Vec<Watched>,
    hash_key: HashKey,
    gue_port: u16,
    sizes: Sizes,
    window: Duration,
    nat: NatSettings,
    /// Locked for as long as this lives.
    dir: Option<PinDir>,
    /// Who wants to see packets.
    tracers: Option<Arc<Hub>>,
}

impl KernelDataplane {
    /// Takes over what is pinned, or makes everything anew, and attaches the program.
    pub fn open(settings: KernelSettings) -> Result<Self, OpenError> {
        check_sizes(&settings.sizes)?;
        for interface in &settings.interfaces {
            interface::index(&interface.name)?;
        }
        sys::lift_memory_limit();
        match &settings.pins {
            Some(pins) => Self::open_pinned(&settings, PinDir::create(pins)?),
            None => {
                let store = with_private_pins(|dir| {
                    load::make_maps(dir, &settings.sizes)?;
                    KernelStore::open(dir, &settings)
                })?;
                Self::start(&settings, store, None)
            }
        }
    }

    fn open_pinned(settings: &KernelSettings, dir: PinDir) -> Result<Self, OpenError> {
        let found = dir.check_maps(&settings.sizes)?;
        if let Some(pinned) = Self::pinned_identity(dir.path())
            && pinned != (settings.hash_key, settings.plan_seed)
        {
            return Err(OpenError::Identity {
                pins: dir.path().to_owned(),
            });
        }
        let path = dir.path().to_owned();
        let made = load::make_maps(&path, &settings.sizes)
            .and_then(|()| KernelStore::open(&path, settings))
            .and_then(|store| Self::start(settings, store, Some(dir)));
        if made.is_err() && !found {
            // Nothing was there before, so nothing is left: another try may use other sizes.
            if let Err(error) = detach(&path) {
                tracing::warn!("{error}");
            }
        }
        made
    }

    fn start(
        settings: &KernelSettings,
        store: KernelStore,
        dir: Option<PinDir>,
    ) -> Result<Self, OpenError> {
        write_identity(&store, settings);
        let mut dataplane = Self {
            plane: Plane::open(store, settings.window, settings.nat.clone())?
                .with_tunnels(settings.tunnels.clone()),
            interfaces: Vec::new(),
            hash_key: settings.hash_key,
            gue_port: settings.tunnels.gue_port,
            sizes: settings.sizes,
            window: settings.window,
            nat: settings.nat.clone(),
            dir,
            tracers: None,
        };
        for interface in &settings.interfaces {
            dataplane.watch(interface)?;
        }
        dataplane.detach_others()?;
        Ok(dataplane)
    }

    /// Detaches from interfaces that are no longer configured.
    fn detach_others(&self) -> Result<(), OpenError> {
        let Some(dir) = &self.dir else {
            return Ok(());
        };
        for name in dir.names()? {
            let other = pins::link_interface(&name)
                .filter(|name| self.interfaces.iter().all(|known| known.name() != name));
            if let Some(interface) = other {
                detach::remove_link(dir, &name)?;
                tracing::info!("{interface} is no longer configured: detached");
            }
        }
        Ok(())
    }

    fn load(
        &self,
        local_mac: [u8; 6],
        local_egress: u8,
        log_drops: bool,
        traced: bool,
    ) -> Result<LoadedProgram, OpenError> {
        let globals = Globals {
            local_mac,
            local_egress,
            hash_key: self.hash_key,
            window: self.window,
            gue_port: self.gue_port,
            log_drops,
            traced,
            nat: Some(&self.nat),
        };
        match &self.dir {
            Some(dir) => load::load(dir.path(), &self.sizes, &globals),
            None => with_private_pins(|dir| {
                pin_maps(self.plane.store().maps(), dir)?;
                load::load(dir, &self.sizes, &globals)
            }),
        }
    }

    /// The hash key and plan seed that pinned maps were made with, for a start without
    /// the registry. `None` if nothing usable is pinned.
    pub fn pinned_identity(pins: &Path) -> Option<(HashKey, u64)> {
        let map = Map::from_map_data(MapData::from_pin(pins.join(map_pin(META))).ok()?).ok()?;
        let words = Array::<_, u64>::try_from(map).ok()?;
        let word = |index| words.get(&index, 0).ok();
        if word(meta::READY)? != 1 {
            return None;
        }
        let mut key = [0; 5];
        for (place, index) in key.iter_mut().zip(meta::HASH_KEY..) {
            *place = word(index)?;
        }
        Some((HashKey::from_words(key), word(meta::PLAN_SEED)?))
    }

    /// The interfaces with their attach mode.
    pub fn interfaces(&self) -> Vec<(String, AttachMode)> {
        let known = self.interfaces.iter();
        known.map(|i| (i.name().to_owned(), i.mode())).collect()
    }

    /// Loads the program once more, as for an interface with this MAC address and egress
    /// index, without attaching it: for packet tests and benchmarks.
    pub fn load_program_for_test(
        &self,
        local_mac: [u8; 6],
        local_egress: u8,
    ) -> Result<LoadedProgram, OpenError> {
        self.load(local_mac, local_egress, false, false)
    }

    /// The same for the program that writes down packets, with its filters and its records.
    pub fn load_traced_for_test(
        &self,
        local_mac: [u8; 6],
        local_egress: u8,
    ) -> Result<(LoadedProgram, Filters, Records), OpenError> {
        let mut program = self.load(local_mac, local_egress, false, true)?;
        let (filters, records) = tap::take(program.ebpf())?;
        Ok((program, filters, records))
    }

    /// Makes up an interface, which need not exist, and returns its egress index: for packet
    /// tests and benchmarks. Next hops may then name `ifindex`; a packet that would be
    /// redirected there is dropped by the kernel.
    pub fn make_interface_for_test(&mut self, ifindex: u32, mac: [u8; 6]) -> DataplaneResult<u8> {
        self.plane.make_interface(ifindex, mac)
    }

    /// Makes windows and remembered flows older by so many epochs (of about 8.6 s): for tests
    /// that cannot wait for hours.
    pub fn age_for_test(&mut self, epochs: u16) {
        self.plane.age(epochs);
    }

    /// The words of the tables: for tests and benchmarks.
    pub const fn store(&self) -> &KernelStore {
        self.plane.store()
    }
}

impl Dataplane for KernelDataplane {
    fn adopted(&self) -> Vec<AdoptedVip> {
        self.plane.adopted()
    }

    fn apply(&mut self, plan: &VipPlan) -> DataplaneResult<Applied> {
        self.plane.apply(plan)
    }

    fn set_state(&mut self, vip: &VipKey, address: SocketAddr, takes_new: bool, usable: bool) {
        self.plane.set_state(vip, address, takes_new, usable);
    }

    fn remove(&mut self, vip: &VipKey) -> DataplaneResult<()> {
        self.plane.remove(vip)
    }

    fn set_next_hop(&mut self, host: IpAddr, hop: Option<NextHop>) -> DataplaneResult<()> {
        self.plane.set_next_hop(host, hop)
    }

    fn follow_tracers(&mut self) {
        self.follow_hub();
    }

    fn sweep(&mut self) {
        self.follow_interfaces();
        self.plane.sweep();
    }

    fn figures(&self) -> Figures {
        let problems = self.interfaces.iter().filter_map(Watched::problem);
        Figures {
            problems: problems.collect(),
            ..self.plane.figures()
        }
    }
}

fn check_sizes(sizes: &Sizes) -> Result<(), OpenError> {
    let refuse = |why: String| Err(OpenError::Sizes(why));
    let Sizes {
        slots,
        backends,
        flow_sets,
        nat_flows,
    } = *sizes;
    // Regions are computed in 32 bits.
    if !(1..=1 << 30).contains(&slots) {
        return refuse(format!(
            "limits.slots is {slots}: it must be 1 to {}",
            1 << 30
        ));
    }
    if !(2..=MAX_BACKEND).contains(&backends) {
        return refuse(format!(
            "limits.backends is {backends}: it must be 2 to {MAX_BACKEND}"
        ));
    }
    if !flow_sets.is_power_of_two() || flow_sets > 1 << 26 {
        return refuse(format!(
            "limits.flow_sets is {flow_sets}: it must be a power of two, at most {}",
            1 << 26
        ));
    }
    if !(1..=1 << 26).contains(&nat_flows) {
        return refuse(format!(
            "limits.nat_flows is {nat_flows}: it must be 1 to {}",
            1 << 26
        ));
    }
    Ok(())
}

fn write_identity(store: &KernelStore, settings: &KernelSettings) {
    let put = |word: u32, value| put(store, Table::Meta, word as usize, value);
    for (index, word) in (meta::HASH_KEY..).zip(settings.hash_key.words()) {
        put(index, word);
    }
    put(meta::PLAN_SEED, settings.plan_seed);
    put(meta::READY, 1);
}

fn pin_maps(maps: &[(MapSpec, MapData)], dir: &Path) -> Result<(), OpenError> {
    for (spec, map) in maps {
        map.pin(dir.join(map_pin(*spec)))
            .map_err(|error| OpenError::Load {
                what: format!("map {}", spec.name),
                why: error.to_string(),
            })?;
    }
    Ok(())
}

/// Runs `action` with an empty pin directory, and removes it and all pins in it: the
/// loader shares maps between loads by their pins only.
fn with_private_pins<T>(
    action: impl FnOnce(&Path) -> Result<T, OpenError>,
) -> Result<T, OpenError> {
    static NUMBER: AtomicU32 = AtomicU32::new(0);
    let number = NUMBER.fetch_add(1, Ordering::Relaxed);
    let name = format!(
        "/sys/fs/bpf/navigator-private-{}-{number}",
        std::process::id()
    );
    let path = Path::new(&name);
    // What a killed process with our number left behind.
    let _ = detach(path);
    let dir = PinDir::create(path)?;
    let result = action(dir.path());
    let removed = detach::remove_all(&dir);
    drop(dir);
    let value = result?;
    removed?;
    Ok(value)
}
