//! Debian's and Ubuntu's package tools.

use std::{path::Path, process::Command};

use anyhow::{Result, bail};

use super::services::Quiet;
use crate::{
    process,
    progress::{say, step},
};

/// Whether this system has them.
pub(crate) fn is_there() -> bool {
    ["apt-get", "apt-cache", "dpkg-deb"]
        .iter()
        .all(|name| process::find(name).is_some())
}

/// The version of a package that could be installed.
pub(crate) fn candidate(package: &str) -> Option<String> {
    let text = process::capture(cache().args(["policy", package])).ok()?;
    parse_candidate(&text)
}

/// Names of packages with this beginning, one a line.
pub(crate) fn names(prefix: &str) -> String {
    process::capture(cache().args(["pkgnames", prefix])).unwrap_or_default()
}

/// What `apt-cache` says the packages need, all the way down.
pub(crate) fn depends(packages: &[&str]) -> Result<String> {
    const HARD: [&str; 7] = [
        "--recurse",
        "--no-recommends",
        "--no-suggests",
        "--no-conflicts",
        "--no-breaks",
        "--no-replaces",
        "--no-enhances",
    ];
    process::capture(cache().arg("depends").args(HARD).args(packages))
}

/// What `apt-get` says that an installation would do.
pub(crate) fn simulate(packages: &[&str]) -> Result<String> {
    let mut command = get();
    command.args(["--simulate", "install", "--no-install-recommends"]);
    process::capture(command.args(packages))
}

/// Downloads packages into a directory; needs no root.
pub(crate) fn download(packages: &[String], dir: &Path) -> Result<()> {
    let mut command = get();
    // As root it would fetch as another user, who may not write to the directory.
    command.args(["-o", "APT::Sandbox::User=root", "-q", "download"]);
    process::run(command.args(packages).current_dir(dir))
}

/// Reads the package lists anew.
///
/// # Errors
/// This is not root, or the archive cannot be reached.
pub(crate) fn update() -> Result<()> {
    if !process::is_root() {
        bail!("the package lists may be old: run `apt-get update` as root, then this again");
    }
    step("reading the package lists anew (apt-get update)", || {
        process::run(get().args(["-q", "update"]))
    })
}

/// Installs packages; services among them are neither started nor enabled.
pub(crate) fn install(packages: &[&str]) -> Result<()> {
    let what = format!("installing {} (apt-get)", packages.join(", "));
    step(&what, || {
        let quiet = Quiet::begin()?;
        let mut command = get();
        command.args(["-q", "-y", "-o", "Dpkg::Use-Pty=0"]);
        command.args(["install", "--no-install-recommends"]);
        let result = process::run(command.args(packages));
        quiet.end(packages);
        result
    })
}

/// The first of several names that can be installed.
pub(crate) fn first_on_offer<'a>(names: &[&'a str]) -> Option<&'a str> {
    let found = names.iter().find(|name| candidate(name).is_some());
    if found.is_none() {
        say(format_args!("no package on offer: {}", names.join(", ")));
    }
    found.copied()
}

fn get() -> Command {
    let mut command = Command::new("apt-get");
    command
        .env("DEBIAN_FRONTEND", "noninteractive")
        .env("LC_ALL", "C")
        // Another installation may be running: wait for it, not for ever.
        .args(["-o", "DPkg::Lock::Timeout=300"]);
    command
}

fn cache() -> Command {
    let mut command = Command::new("apt-cache");
    command.env("LC_ALL", "C");
    command
}

/// The version that `apt-cache policy` names as the one to install.
pub(crate) fn parse_candidate(text: &str) -> Option<String> {
    let version = text
        .lines()
        .find_map(|line| line.trim().strip_prefix("Candidate: "))?;
    let version = version.split_once(':').map_or(version, |(_, rest)| rest);
    (version != "(none)").then(|| version.to_owned())
}

#[cfg(test)]
mod tests {
    use super::parse_candidate;

    #[test]
    fn the_candidate_is_read() {
        let text = "rustc-web:\n  Installed: (none)\n  Candidate: 1.96.0+dfsg1-1\n";
        assert_eq!(parse_candidate(text).as_deref(), Some("1.96.0+dfsg1-1"));
        let text = "llvm:\n  Installed: (none)\n  Candidate: 1:22.1.8-1\n";
        assert_eq!(parse_candidate(text).as_deref(), Some("22.1.8-1"));
        let text = "gone:\n  Installed: (none)\n  Candidate: (none)\n";
        assert_eq!(parse_candidate(text), None);
        assert_eq!(parse_candidate(""), None);
    }
}
