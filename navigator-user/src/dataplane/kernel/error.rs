//! Why the data plane could not be opened or taken out. Each message is one
//! line that says what to do, followed by the verifier's log where there is one.

use crate::dataplane::DataplaneError;
use std::{io, path::PathBuf};

/// See the module.
#[derive(Debug, thiserror::Error)]
pub enum OpenError {
    /// The process may not do it.
    #[error(
        "{action}: not permitted; run as root, or with CAP_BPF, CAP_NET_ADMIN and CAP_PERFMON (and CAP_SYS_ADMIN to mount the BPF file system)"
    )]
    NotPermitted {
        /// What was tried.
        action: String,
    },
    /// The kernel has no BPF.
    #[error(
        "{action}: this kernel has no BPF (CONFIG_BPF_SYSCALL); Navigator needs Linux 5.18 or later with it"
    )]
    NoBpf {
        /// What was tried.
        action: String,
    },
    /// Another process uses these pins.
    #[error("the pins in {} are in use by {holder}: stop it first, or set another `pins` directory", pins.display())]
    Locked {
        /// The pin directory.
        pins: PathBuf,
        /// Who it is, as far as it can be told.
        holder: String,
    },
    /// The pins carry another cluster's hash key or table seed. Slots that were made with
    /// one would send flows elsewhere under the other.
    #[error(
        "the pins in {} were made with another hash key or plan seed than the registry has: run `navigator detach` and start again to change over (connections will break), or use the registry that they were made with",
        pins.display()
    )]
    Identity {
        /// The pin directory.
        pins: PathBuf,
    },
    /// A pinned map has a layout of another version.
    #[error(
        "{}: this program knows version {known} of that map; run `navigator detach` and start again (forwarding stops in between), or start the version of Navigator that made it",
        pin.display()
    )]
    OtherAbi {
        /// The pin.
        pin: PathBuf,
        /// The version that this program knows.
        known: u32,
    },
    /// A pinned map is not as it should be.
    #[error(
        "pinned map {name} {found}, the configuration says {wanted}: the new value takes effect after `navigator detach` (forwarding stops); {way_back}"
    )]
    PinnedMap {
        /// The map's name.
        name: &'static str,
        /// What it has.
        found: String,
        /// What it should have.
        wanted: String,
        /// How to go on without a detach.
        way_back: String,
    },
    /// A size cannot be.
    #[error("{0}")]
    Sizes(String),
    /// There is no such interface here.
    #[error(
        "there is no interface {name}: check `interfaces` against `ip link`, in this network namespace"
    )]
    NoInterface {
        /// Its name.
        name: String,
    },
    /// The pin directory is on no BPF file system.
    #[error("{} is on no BPF file system ({why}): mount one with `mount -t bpf bpf /sys/fs/bpf`, or set `pins` to a directory on one", pins.display())]
    BpfFs {
        /// The pin directory.
        pins: PathBuf,
        /// Why none could be mounted.
        why: String,
    },
    /// The kernel refused the program or a map of it.
    #[error("the kernel refused to load {what}: {why}")]
    Load {
        /// The program or map.
        what: String,
        /// Why, and the end of the verifier's log if there is one.
        why: String,
    },
    /// The program could not be attached.
    #[error("cannot attach to {interface}: {why}")]
    Attach {
        /// The interface.
        interface: String,
        /// Why, and what to do.
        why: String,
    },
    /// Something else went wrong.
    #[error("{action}: {source}")]
    Io {
        /// What was tried.
        action: String,
        /// Why it failed.
        source: io::Error,
    },
    /// The tables refused.
    #[error(transparent)]
    Dataplane(#[from] DataplaneError),
}

impl OpenError {
    /// The error of a system call.
    pub(super) fn from_io(action: impl Into<String>, source: io::Error) -> Self {
        let action = action.into();
        match source.raw_os_error() {
            Some(libc::EPERM | libc::EACCES) => Self::NotPermitted { action },
            Some(libc::ENOSYS) => Self::NoBpf { action },
            _ => Self::Io { action, source },
        }
    }
}

/// Whether this kernel is older than the first that knows XDP in frames of several buffers.
pub(super) fn kernel_is_too_old() -> bool {
    std::fs::read_to_string("/proc/sys/kernel/osrelease").is_ok_and(|release| predates(&release))
}

fn predates(release: &str) -> bool {
    const FIRST: (u32, u32) = (5, 18);
    let mut numbers = release.split(|c: char| !c.is_ascii_digit());
    let mut next = || numbers.next()?.parse().ok();
    matches!((next(), next()), (Some(major), Some(minor)) if (major, minor) < FIRST)
}

#[cfg(test)]
mod tests {
    use super::predates;

    #[test]
    fn old_kernels_are_known_by_their_release() {
        for old in ["5.17.0-1035-oem", "5.10.0-46-cloud-amd64\n", "4.19.1"] {
            assert!(predates(old), "{old}");
        }
        for new in [
            "5.18.0",
            "5.19.0-50-generic\n",
            "6.1.0-56",
            "10.0",
            "unknown",
        ] {
            assert!(!predates(new), "{new}");
        }
    }
}
