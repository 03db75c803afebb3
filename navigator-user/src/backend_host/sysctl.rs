//! Settings below `/proc/sys`, of the network namespace of the calling thread.

use super::{BackendResult, state::file};
use std::{fs, io, path::PathBuf};

/// Values of `arp_ignore` with which an interface does not answer for addresses of `lo`.
pub(super) const ARP_SILENT: [u32; 3] = [1, 2, 8];
/// The value of `arp_announce` with which ARP requests name only addresses of the interface.
pub(super) const ARP_ANNOUNCE_OWN: u32 = 2;
/// The value of `rp_filter` that drops what would not be answered the same way.
pub(super) const RP_FILTER_STRICT: u32 = 1;

fn path(name: &str) -> PathBuf {
    PathBuf::from("/proc/sys").join(name)
}

/// The setting's value; `None` if there is no such setting (any more).
pub(super) fn read(name: &str) -> BackendResult<Option<String>> {
    match fs::read_to_string(path(name)) {
        Ok(value) => Ok(Some(value.trim().to_owned())),
        Err(e) if e.kind() == io::ErrorKind::NotFound => Ok(None),
        Err(e) => Err(file(&path(name), e)),
    }
}

/// Writes a setting.
pub(super) fn write(name: &str, value: &str) -> BackendResult<()> {
    fs::write(path(name), value).map_err(|e| file(&path(name), e))
}

/// The path below `/proc/sys` of an IPv4 setting of `interface` (or `all`).
/// Not with dots, as `sysctl` has it: an interface's name may hold some.
pub(super) fn ipv4(interface: &str, setting: &str) -> String {
    format!("net/ipv4/conf/{interface}/{setting}")
}

/// A number that the kernel takes the greater of from `all` and the interface.
pub(super) fn effective(interface: &str, setting: &str) -> BackendResult<u32> {
    let mut highest = 0;
    for place in ["all", interface] {
        let value = read(&ipv4(place, setting))?;
        highest = highest.max(value.and_then(|v| v.parse().ok()).unwrap_or(0));
    }
    Ok(highest)
}
