//! The modules that the tests need, in the order in which they are loaded.

use std::{
    fs,
    os::unix::fs::symlink,
    path::{Path, PathBuf},
    process::Command,
};

use anyhow::{Context as _, Result};

use super::kernel::Kernel;
use crate::process;

/// Cables and LANs, and the devices that backends really have.
const NEEDED: [&str; 8] = [
    "veth",
    "bridge",
    "ipip",
    "sit",
    "ip6_tunnel",
    "fou",
    "fou6",
    "8021q",
];

/// Writes down which module needs which, as an installation of the package would.
///
/// # Errors
/// `depmod` fails.
pub(crate) fn index(tree: &Path) -> Result<()> {
    // Newer packages have all of /lib in /usr/lib, and depmod looks in /lib.
    if !tree.join("lib").exists() {
        symlink("usr/lib", tree.join("lib")).context("cannot make a link to usr/lib")?;
    }
    let modules = tree.join("lib/modules");
    let entries = fs::read_dir(&modules);
    let entries = entries.with_context(|| format!("cannot read {}", modules.display()))?;
    for entry in entries {
        let release = entry?.file_name();
        process::run(Command::new("depmod").arg("-b").arg(tree).arg(&release))?;
    }
    Ok(())
}

/// The files to load, one after the other.
///
/// # Errors
/// The kernel lacks one.
pub(crate) fn files(kernel: &Kernel) -> Result<Vec<PathBuf>> {
    let mut command = Command::new("modprobe");
    command
        .arg("-d")
        .arg(&kernel.tree)
        // What the host's own configuration says is none of this kernel's business.
        .args(["-C", "/dev/null", "-S", &kernel.release])
        .args(["--show-depends", "--all"])
        .args(NEEDED);
    Ok(parse(&process::capture(&mut command)?))
}

/// The files of `insmod FILE` lines, each once; a module may also be built in.
fn parse(text: &str) -> Vec<PathBuf> {
    let mut files = Vec::new();
    for line in text.lines() {
        let file = line
            .strip_prefix("insmod ")
            .map(|it| PathBuf::from(it.trim()));
        files.extend(file.filter(|file| !files.contains(file)));
    }
    files
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn each_module_is_loaded_once_and_after_what_it_needs() {
        let text = "insmod /k/tunnel4.ko \ninsmod /k/ipip.ko \nbuiltin ipv6\n\
                    insmod /k/tunnel4.ko \ninsmod /k/sit.ko \n";
        let expected = ["/k/tunnel4.ko", "/k/ipip.ko", "/k/sit.ko"].map(PathBuf::from);
        assert_eq!(parse(text), expected);
    }
}
