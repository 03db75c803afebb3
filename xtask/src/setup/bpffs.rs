//! The BPF file system, where maps and links are pinned.

use std::{fs, process::Command};

use anyhow::{Result, bail};

use crate::{process, progress::step};

/// Where it is mounted.
pub(crate) const PATH: &str = "/sys/fs/bpf";

/// Whether it is mounted.
pub(crate) fn is_mounted() -> bool {
    fs::read_to_string("/proc/self/mounts").is_ok_and(|mounts| parse(&mounts))
}

/// Mounts it.
///
/// # Errors
/// It is not mounted, and this is not root or the kernel has none.
pub(crate) fn ensure() -> Result<()> {
    if is_mounted() {
        return Ok(());
    }
    if !process::is_root() {
        bail!("missing: the BPF file system\nTo get it, as root:\n  mount -t bpf bpf {PATH}");
    }
    step(&format!("mounting the BPF file system at {PATH}"), || {
        process::run(Command::new("mount").args(["-t", "bpf", "bpf", PATH]))
    })
}

fn parse(mounts: &str) -> bool {
    mounts.lines().any(|line| {
        let mut fields = line.split(' ').skip(1);
        fields.next() == Some(PATH) && fields.next() == Some("bpf")
    })
}

#[cfg(test)]
mod tests {
    use super::parse;

    #[test]
    fn only_a_bpf_file_system_at_its_place_counts() {
        assert!(parse(
            "sysfs /sys sysfs rw 0 0\nbpf /sys/fs/bpf bpf rw,nosuid 0 0\n"
        ));
        assert!(!parse("sysfs /sys sysfs rw 0 0\n"));
        assert!(!parse("bpf /run/other bpf rw 0 0\n"));
        assert!(!parse("tmpfs /sys/fs/bpf tmpfs rw 0 0\n"));
    }
}
