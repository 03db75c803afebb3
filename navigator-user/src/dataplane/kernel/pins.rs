//! The pin directory: that it is on a BPF file system, that only one process
//! uses it, that what is pinned there is what this program expects.

use super::error::OpenError;
use crate::dataplane::store::{Sizes, Table};
use aya::maps::{MapInfo, MapType};
use navigator_common::{
    maps::{
        ALL, BACKEND_COUNTERS, EGRESS_DEVS, EGRESS_ENTRIES, LIMITS, MapSpec, NAT_FORWARD,
        NAT_REVERSE, PREFIX_ENTRIES, QUIC_ENTRIES, QUIC_SERVERS, REASON_COUNTERS, VIP_PREFIXES,
    },
    quic::QuicKey,
};
use nix::{
    errno::Errno,
    fcntl::{Flock, FlockArg},
    sys::statfs::{BPF_FS_MAGIC, statfs},
};
use std::{
    fs::{self, DirBuilder, File},
    io,
    os::unix::fs::{DirBuilderExt, MetadataExt},
    path::{Path, PathBuf},
};

const STANDARD_MOUNT: &str = "/sys/fs/bpf";
const MMAPABLE: u32 = 1 << 10;
const NO_PREALLOC: u32 = 1;
/// The kernel sets this for device maps by itself.
const READ_ONLY_FOR_PROGRAMS: u32 = 1 << 7;

/// A pin directory that is ours as long as this lives.
pub(super) struct PinDir {
    path: PathBuf,
    _lock: Flock<File>,
}

impl PinDir {
    /// Makes and locks the directory.
    pub(super) fn create(path: &Path) -> Result<Self, OpenError> {
        ensure_bpf_fs(path)?;
        let make = || {
            DirBuilder::new()
                .recursive(true)
                .mode(0o700)
                .create(path)
                .map_err(|error| OpenError::from_io(format!("make {}", path.display()), error))
        };
        loop {
            make()?;
            // A `navigator detach` that ended in between may have removed it again.
            if let Some(dir) = Self::lock(path)? {
                return Ok(dir);
            }
        }
    }

    /// Locks the directory; `None` if there is none.
    pub(super) fn lock(path: &Path) -> Result<Option<Self>, OpenError> {
        let action = || format!("lock {}", path.display());
        let file = match File::open(path) {
            Ok(file) => file,
            Err(error) if error.kind() == io::ErrorKind::NotFound => return Ok(None),
            Err(error) => return Err(OpenError::from_io(action(), error)),
        };
        let inode = file.metadata().map_or(0, |metadata| metadata.ino());
        let lock = match Flock::lock(file, FlockArg::LockExclusiveNonblock) {
            Ok(lock) => lock,
            Err((_, Errno::EWOULDBLOCK)) => {
                return Err(OpenError::Locked {
                    pins: path.to_owned(),
                    holder: holder(inode),
                });
            }
            Err((_, errno)) => return Err(OpenError::from_io(action(), errno.into())),
        };
        let still_there = fs::metadata(path).is_ok_and(|metadata| metadata.ino() == inode);
        Ok(still_there.then(|| Self {
            path: path.to_owned(),
            _lock: lock,
        }))
    }

    pub(super) fn path(&self) -> &Path {
        &self.path
    }

    /// The pin of the link of an interface.
    pub(super) fn link(&self, interface: &str) -> PathBuf {
        self.path.join(link_pin(interface))
    }

    /// Everything in the directory.
    pub(super) fn names(&self) -> Result<Vec<String>, OpenError> {
        let failed = |error| OpenError::from_io(format!("read {}", self.path.display()), error);
        let mut names = Vec::new();
        for entry in fs::read_dir(&self.path).map_err(failed)? {
            names.push(
                entry
                    .map_err(failed)?
                    .file_name()
                    .to_string_lossy()
                    .into_owned(),
            );
        }
        names.sort();
        Ok(names)
    }

    /// Refuses maps of other versions or sizes; whether any of ours is there.
    pub(super) fn check_maps(&self, sizes: &Sizes) -> Result<bool, OpenError> {
        for name in self.names()? {
            let spec = map_version(&name).and_then(|(map, version)| {
                ALL.iter()
                    .find(|spec| spec.name == map && spec.abi != version)
            });
            if let Some(spec) = spec {
                return Err(OpenError::OtherAbi {
                    pin: self.path.join(name),
                    known: spec.abi,
                });
            }
        }
        let mut found = false;
        for &spec in ALL {
            let pin = self.path.join(map_pin(spec));
            if is_nat(spec) && pin.exists() {
                drop_unused(&pin, sizes)?;
            }
            if pin.exists() {
                check_map(spec, &pin, sizes)?;
                found = true;
            }
        }
        Ok(found)
    }
}

/// The name of a map's pin.
pub(super) fn map_pin(spec: MapSpec) -> String {
    format!("{}_v{}", spec.name, spec.abi)
}

/// The map and version that a pin's name stands for.
pub(super) fn map_version(pin: &str) -> Option<(&str, u32)> {
    let (name, version) = pin.rsplit_once("_v")?;
    let upper = |c: u8| c.is_ascii_uppercase() || c == b'_';
    (!name.is_empty() && name.bytes().all(upper)).then_some((name, version.parse().ok()?))
}

/// The name of a link's pin. A BPF file system takes no dots in names, interfaces have them.
pub(super) fn link_pin(interface: &str) -> String {
    let escaped = interface.replace('%', "%25").replace('.', "%2E");
    format!("link_{escaped}")
}

/// The interface that a pin's name stands for.
pub(super) fn link_interface(pin: &str) -> Option<String> {
    let escaped = pin.strip_prefix("link_")?;
    Some(escaped.replace("%2E", ".").replace("%25", "%"))
}

/// Entries that a map of ours has.
pub(super) fn entries(spec: MapSpec, sizes: &Sizes) -> u32 {
    if spec == BACKEND_COUNTERS {
        return sizes.backends;
    }
    if spec == REASON_COUNTERS {
        return navigator_common::reason::COUNTERS;
    }
    if spec == VIP_PREFIXES {
        return PREFIX_ENTRIES;
    }
    if spec == QUIC_SERVERS {
        return QUIC_ENTRIES;
    }
    if spec == LIMITS {
        return navigator_common::limit::BUCKETS;
    }
    if is_nat(spec) {
        return sizes.nat_flows;
    }
    let table = Table::ALL.iter().find(|table| table.spec() == spec);
    table.map_or(EGRESS_ENTRIES, |table| table.entries(sizes))
}

/// Unpins a NAT table that was made, or is wanted now, for a data plane that does no NAT: its
/// size may change without a detach.
fn drop_unused(pin: &Path, sizes: &Sizes) -> Result<(), OpenError> {
    let failed = |error| OpenError::from_io(format!("replace {}", pin.display()), error);
    let info = MapInfo::from_pin(pin).map_err(|error| failed(io::Error::other(error)))?;
    let found = info.max_entries();
    if found != sizes.nat_flows && (found == 1 || sizes.nat_flows == 1) {
        fs::remove_file(pin).map_err(failed)?;
    }
    Ok(())
}

fn is_nat(spec: MapSpec) -> bool {
    spec == NAT_FORWARD || spec == NAT_REVERSE
}

fn check_map(spec: MapSpec, pin: &Path, sizes: &Sizes) -> Result<(), OpenError> {
    let info = MapInfo::from_pin(pin).map_err(|error| {
        OpenError::from_io(format!("open {}", pin.display()), io::Error::other(error))
    })?;
    let differs = |found: String, wanted: String, way_back: &str| OpenError::PinnedMap {
        name: spec.name,
        found,
        wanted,
        way_back: way_back.to_owned(),
    };
    let key_size = if spec == VIP_PREFIXES {
        // A trie's key has the number of leading bits in front.
        20
    } else if spec == QUIC_SERVERS {
        size_of::<QuicKey>() as u32
    } else if is_nat(spec) {
        8
    } else {
        4
    };
    let (map_type, flags, value_sizes) = if spec == VIP_PREFIXES {
        (MapType::LpmTrie, NO_PREALLOC, [spec.value_size; 2])
    } else if spec == QUIC_SERVERS {
        (MapType::Hash, NO_PREALLOC, [spec.value_size; 2])
    } else if is_nat(spec) {
        (MapType::Hash, 0, [spec.value_size; 2])
    } else if spec == EGRESS_DEVS {
        // Kernels that can chain a program to a device have a longer value.
        (MapType::DevMap, READ_ONLY_FOR_PROGRAMS, [4, 8])
    } else if [BACKEND_COUNTERS, REASON_COUNTERS, LIMITS].contains(&spec) {
        (MapType::PerCpuArray, 0, [spec.value_size; 2])
    } else {
        (MapType::Array, MMAPABLE, [spec.value_size; 2])
    };
    let wanted = entries(spec, sizes);
    if info.max_entries() != wanted {
        let way_back = match limit(spec) {
            Some(limit) => format!("or put limits.{limit} back"),
            None => "or start the version that made it".to_owned(),
        };
        let found = format!("has {} entries", info.max_entries());
        return Err(differs(found, wanted.to_string(), &way_back));
    }
    let same = info.map_type().is_ok_and(|found| found == map_type)
        && info.key_size() == key_size
        && value_sizes.contains(&info.value_size())
        && info.map_flags() & !READ_ONLY_FOR_PROGRAMS == flags & !READ_ONLY_FOR_PROGRAMS;
    if same {
        return Ok(());
    }
    let found = format!(
        "has type {:?}, keys of {} and values of {} bytes, flags {:#x}",
        info.map_type().ok(),
        info.key_size(),
        info.value_size(),
        info.map_flags()
    );
    let wanted = format!(
        "type {map_type:?}, keys of {key_size} and values of {} bytes, flags {flags:#x}",
        spec.value_size
    );
    Err(differs(found, wanted, "or start the version that made it"))
}

/// The setting that a map's size comes from.
fn limit(spec: MapSpec) -> Option<&'static str> {
    match spec.name {
        "SLOTS" => Some("slots"),
        "BACKENDS" | "BACKEND_COUNTERS" => Some("backends"),
        "FLOWS" => Some("flow_sets"),
        "NAT_FORWARD" | "NAT_REVERSE" => Some("nat_flows"),
        _ => None,
    }
}

/// Makes sure that `path` is, or will be, on a BPF file system.
pub(super) fn ensure_bpf_fs(path: &Path) -> Result<(), OpenError> {
    let on_bpf_fs = || {
        let existing = path.ancestors().find(|ancestor| ancestor.exists());
        existing
            .and_then(|existing| statfs(existing).ok())
            .is_some_and(|fs| fs.filesystem_type() == BPF_FS_MAGIC)
    };
    if on_bpf_fs() {
        return Ok(());
    }
    let refuse = |why: String| OpenError::BpfFs {
        pins: path.to_owned(),
        why,
    };
    let standard = Path::new(STANDARD_MOUNT);
    if !path.starts_with(standard) {
        return Err(refuse("it is elsewhere".to_owned()));
    }
    super::sys::mount_bpf(standard).map_err(|error| match error.raw_os_error() {
        Some(libc::EPERM) => OpenError::from_io(format!("mount {STANDARD_MOUNT}"), error),
        _ => refuse(format!("mounting {STANDARD_MOUNT} failed: {error}")),
    })?;
    tracing::info!("mounted the BPF file system on {STANDARD_MOUNT}");
    if on_bpf_fs() {
        Ok(())
    } else {
        Err(refuse("it is elsewhere".to_owned()))
    }
}

/// The process that holds a lock on this inode, as `/proc/locks` tells.
fn holder(inode: u64) -> String {
    let locks = fs::read_to_string("/proc/locks").unwrap_or_default();
    let pid = locks.lines().find_map(|line| {
        // 1: FLOCK  ADVISORY  WRITE 1234 00:1f:5678 0 EOF
        let mut words = line
            .split_whitespace()
            .skip_while(|word| *word != "FLOCK")
            .skip(3);
        let pid = words.next()?.parse::<u32>().ok()?;
        let locked = words.next()?.rsplit(':').next()?.parse::<u64>().ok()?;
        (locked == inode).then_some(pid)
    });
    match pid {
        Some(pid) => {
            let name = fs::read_to_string(format!("/proc/{pid}/comm")).unwrap_or_default();
            format!("process {pid} ({})", name.trim())
        }
        None => "another process".to_owned(),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn names_of_pins_tell_what_they_are() {
        assert_eq!(map_version("VIP_ADDRS_v12"), Some(("VIP_ADDRS", 12)));
        assert_eq!(map_version("link_v1"), None);
        assert_eq!(map_version("_v"), None);
        for interface in ["eth0", "eth0.100", "a%2Eb", "x%y.z"] {
            let pin = link_pin(interface);
            assert!(!pin.contains('.'), "{pin}");
            assert_eq!(link_interface(&pin).as_deref(), Some(interface));
        }
    }
}
