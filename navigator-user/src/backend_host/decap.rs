//! The decapsulation program: attached, pinned, told its VIPs, taken off.

use super::{BackendError, BackendResult, state::file};
use aya::{
    EbpfLoader,
    maps::{HashMap, Map, MapData, PerCpuArray},
    programs::{
        Xdp,
        links::{FdLink, PinnedLink},
        xdp::{XdpLink, XdpMode},
    },
};
use navigator_common::{
    addr::Addr,
    maps::{ALL, DECAP_COUNTERS, DECAP_VIPS, DecapOutcome, MapSpec, globals, programs},
};
use nix::sys::statfs::{BPF_FS_MAGIC, statfs};
use std::{
    collections::{BTreeMap, BTreeSet},
    error::Error,
    fs, io,
    net::IpAddr,
    path::{Path, PathBuf},
};

/// The BPF object that holds `navigator_decap`.
pub static OBJECT: &[u8] = aya::include_bytes_aligned!(env!("NAVIGATOR_BPF_OBJECT"));

/// The pins of one interface's program.
pub(super) struct Pins(PathBuf);

impl Pins {
    /// Below `root`. The BPF file system allows no dot in a name, and an
    /// interface's name has no colon.
    pub(super) fn new(root: &Path, interface: &str) -> Self {
        Self(root.join(interface.replace('.', ":")))
    }

    /// The pins in a directory that was recorded.
    pub(super) fn at(dir: &Path) -> Self {
        Self(dir.to_owned())
    }

    pub(super) fn dir(&self) -> &Path {
        &self.0
    }

    fn link(&self) -> PathBuf {
        self.0.join("link")
    }

    fn map(&self, spec: MapSpec) -> PathBuf {
        self.0.join(format!("{}_v{}", spec.name, spec.abi))
    }

    /// The program is attached, as far as the pins say.
    pub(super) fn attached(&self) -> bool {
        self.link().exists()
    }

    /// Attaches the program to `interface`, or replaces the one that the pinned
    /// link holds there, and tells it the VIPs and the GUE port. Natively if the driver can.
    pub(super) fn attach(
        &self,
        interface: &str,
        vips: &BTreeSet<IpAddr>,
        gue_port: u16,
    ) -> BackendResult<()> {
        self.make_dir()?;
        let mut loader = EbpfLoader::new();
        loader.override_global(globals::GUE_PORT, &gue_port, true);
        // The object holds the balancer's maps too; they are not used here and go at once.
        for spec in ALL {
            loader.map_max_entries(spec.name, 1);
        }
        for spec in [DECAP_VIPS, DECAP_COUNTERS] {
            loader.map_pin_path(spec.name, self.map(spec));
        }
        let mut object = loader
            .load(OBJECT)
            .map_err(|e| failed("the decapsulation program cannot be read", &e))?;
        // Before the program sees a packet: what it does not know, it passes on wrapped.
        self.set_vips(vips)?;
        let program: &mut Xdp = object
            .program_mut(programs::DECAP)
            .and_then(|p| p.try_into().ok())
            .ok_or_else(|| {
                BackendError::Decap(format!(
                    "the BPF object holds no program {}: build it again",
                    programs::DECAP
                ))
            })?;
        program
            .load()
            .map_err(|e| failed("the kernel refused the decapsulation program", &e))?;
        if !self.replace(program, interface) {
            self.attach_anew(program, interface)?;
        }
        Ok(())
    }

    /// Puts the program into the pinned link. Not if there is none, or if it is
    /// a dead one, of an interface that is gone.
    fn replace(&self, program: &mut Xdp, interface: &str) -> bool {
        let Ok(link) = PinnedLink::from_pin(self.link()) else {
            return false;
        };
        let replaced = XdpLink::try_from(FdLink::from(link))
            .ok()
            .is_some_and(|link| program.attach_to_link(link).is_ok());
        if !replaced {
            tracing::debug!("the link pinned for {interface} is dead; a new one is made");
        }
        replaced
    }

    fn attach_anew(&self, program: &mut Xdp, interface: &str) -> BackendResult<()> {
        remove(&self.link())?;
        let id = program
            .attach(interface, XdpMode::Driver)
            .or_else(|_| program.attach(interface, XdpMode::Skb))
            .map_err(|e| failed(&format!("cannot attach to {interface}"), &e))?;
        let link = program
            .take_link(id)
            .map_err(|e| failed("the new link was lost", &e))?;
        // A link of the old kind would go with this process.
        let link: FdLink = link.try_into().map_err(|_| {
            BackendError::Decap(format!(
                "the kernel has no XDP links that outlive a process on {interface}; Linux 5.18 or later is needed"
            ))
        })?;
        link.pin(self.link())
            .map_err(|e| failed(&format!("cannot pin {}", self.link().display()), &e))?;
        Ok(())
    }

    /// Makes the program unwrap for exactly these VIPs.
    pub(super) fn set_vips(&self, vips: &BTreeSet<IpAddr>) -> BackendResult<()> {
        let bad = |e: &dyn Error| failed("cannot write the decapsulation VIPs", e);
        let data = MapData::from_pin(self.map(DECAP_VIPS)).map_err(|e| bad(&e))?;
        let mut map: HashMap<_, [u64; 2], u64> =
            Map::HashMap(data).try_into().map_err(|e| bad(&e))?;
        let wanted: BTreeSet<_> = vips.iter().map(|ip| key(*ip)).collect();
        let present: Result<Vec<_>, _> = map.keys().collect();
        for key in &wanted {
            map.insert(key, 1, 0).map_err(|e| bad(&e))?;
        }
        for key in present.map_err(|e| bad(&e))? {
            if !wanted.contains(&key) {
                map.remove(&key).map_err(|e| bad(&e))?;
            }
        }
        Ok(())
    }

    /// Packets by outcome.
    pub(super) fn counters(&self) -> BackendResult<BTreeMap<String, u64>> {
        let bad = |e: &dyn Error| failed("cannot read the decapsulation counters", e);
        let data = MapData::from_pin(self.map(DECAP_COUNTERS)).map_err(|e| bad(&e))?;
        let map: PerCpuArray<_, u64> = Map::PerCpuArray(data).try_into().map_err(|e| bad(&e))?;
        DecapOutcome::ALL
            .iter()
            .map(|outcome| {
                let values = map.get(&(*outcome as u32), 0).map_err(|e| bad(&e))?;
                Ok((outcome.name().to_owned(), values.iter().sum()))
            })
            .collect()
    }

    /// Takes the program off and removes the pins, and their directories where
    /// nothing else is in them.
    pub(super) fn detach(&self) -> BackendResult<()> {
        // Held open over the removal: the last close then detaches before it returns.
        let link = PinnedLink::from_pin(self.link());
        remove(&self.link())?;
        drop(link);
        for spec in [DECAP_VIPS, DECAP_COUNTERS] {
            remove(&self.map(spec))?;
        }
        for dir in [Some(self.0.as_path()), self.0.parent()]
            .into_iter()
            .flatten()
        {
            match fs::remove_dir(dir) {
                Err(e) if e.kind() == io::ErrorKind::NotFound => {}
                Ok(()) => {}
                // In use by another interface, or the file system's own root.
                Err(_) => break,
            }
        }
        Ok(())
    }

    fn make_dir(&self) -> BackendResult<()> {
        let existing = self.0.ancestors().find(|dir| dir.exists());
        let on_bpffs = existing
            .and_then(|dir| statfs(dir).ok())
            .is_some_and(|fs| fs.filesystem_type() == BPF_FS_MAGIC);
        if !on_bpffs {
            return Err(BackendError::Decap(format!(
                "{} is not on a BPF file system: mount -t bpf bpf /sys/fs/bpf, or give --pins a directory on one",
                self.0.display()
            )));
        }
        fs::create_dir_all(&self.0).map_err(|e| file(&self.0, e))
    }
}

fn key(ip: IpAddr) -> [u64; 2] {
    let addr = Addr::from(ip);
    [addr.hi, addr.lo]
}

fn remove(path: &Path) -> BackendResult<()> {
    match fs::remove_file(path) {
        Err(e) if e.kind() != io::ErrorKind::NotFound => Err(file(path, e)),
        _ => Ok(()),
    }
}

/// An error with all its causes, in one line.
fn failed(what: &str, error: &dyn Error) -> BackendError {
    let mut text = format!("{what}: {error}");
    let mut cause = error.source();
    while let Some(error) = cause {
        let error_text = error.to_string();
        if !text.ends_with(&error_text) {
            text = format!("{text}: {error_text}");
        }
        cause = error.source();
    }
    BackendError::Decap(text)
}
