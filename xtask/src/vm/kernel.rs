//! A kernel of Debian's for cloud machines: small, and with everything that the tests need.

use std::{
    fs,
    path::{Path, PathBuf},
    process::Command,
};

use anyhow::{Context as _, Result, bail};

use super::{archive::Archive, modules};
use crate::{
    process,
    progress::{say, step},
    setup::apt,
};

const PREFIX: &str = "linux-image-";
const FLAVOUR: &str = "-cloud-amd64";

/// A kernel and its modules, unpacked.
pub(crate) struct Kernel {
    /// As `uname -r` says it.
    pub(crate) release: String,
    /// The file to boot.
    pub(crate) image: PathBuf,
    /// The package's files.
    pub(crate) tree: PathBuf,
}

impl Kernel {
    /// The newest one of a version, such as `6.1`; it is kept, and only fetched if there is none.
    ///
    /// # Errors
    /// No archive has it, or it cannot be downloaded.
    pub(crate) fn fetch(dir: &Path, version: &str) -> Result<Self> {
        check(version)?;
        let tree = dir.join("kernels").join(version);
        if let Some(kernel) = Self::open(&tree) {
            say(format_args!("{} is there already", kernel.release));
            return Ok(kernel);
        }
        if !apt::is_there() {
            bail!("Debian's kernels are fetched by apt-get and dpkg-deb, which are missing here");
        }
        let (archive, package) = find(dir, version)?;
        let partial = tree.with_extension("partial");
        if partial.exists() {
            fs::remove_dir_all(&partial)
                .with_context(|| format!("cannot remove {}", partial.display()))?;
        }
        fs::create_dir_all(&partial)
            .with_context(|| format!("cannot create {}", partial.display()))?;
        step(&format!("fetching {package}"), || {
            archive.download(&package, &partial)?;
            unpack(&partial)
        })?;
        modules::index(&partial)?;
        if tree.exists() {
            fs::remove_dir_all(&tree)
                .with_context(|| format!("cannot remove {}", tree.display()))?;
        }
        fs::rename(&partial, &tree).with_context(|| format!("cannot make {}", tree.display()))?;
        Self::open(&tree).with_context(|| format!("{package} holds no kernel"))
    }

    fn open(tree: &Path) -> Option<Self> {
        let entries = fs::read_dir(tree.join("boot")).ok()?;
        let (release, image) = entries.flatten().find_map(|entry| {
            let name = entry.file_name().to_string_lossy().into_owned();
            let release = name.strip_prefix("vmlinuz-")?;
            Some((release.to_owned(), entry.path()))
        })?;
        Some(Self {
            release,
            image,
            tree: tree.to_owned(),
        })
    }
}

/// What is given names a directory and is looked for in package names.
fn check(version: &str) -> Result<()> {
    let parts: Vec<_> = version.split('.').collect();
    let number = |part: &&str| !part.is_empty() && part.chars().all(|c| c.is_ascii_digit());
    if (2..=3).contains(&parts.len()) && parts.iter().all(number) {
        return Ok(());
    }
    bail!("{version:?} is no version of Linux: give two or three numbers, such as 6.1 or 6.12.9")
}

fn find(dir: &Path, version: &str) -> Result<(Archive, String)> {
    if let Some(package) = newest(&Archive::SYSTEM, version) {
        return Ok((Archive::SYSTEM, package));
    }
    say(format_args!(
        "this system's package archive has no Linux {version}"
    ));
    let archive = Archive::debian(dir)?;
    match newest(&archive, version) {
        Some(package) => Ok((archive, package)),
        None => bail!(
            "none of Debian's releases has Linux {version} for cloud machines (they have {})",
            versions(&archive.names(PREFIX)).join(", ")
        ),
    }
}

fn newest(archive: &Archive, version: &str) -> Option<String> {
    let names = candidates(archive.names(&format!("{PREFIX}{version}")), version);
    names.into_iter().find(|name| archive.offers(name))
}

/// Packages of kernels of this version, the newest first.
fn candidates(names: Vec<String>, version: &str) -> Vec<String> {
    let mut names: Vec<_> = names
        .into_iter()
        .filter(|name| release(name).is_some_and(|it| it.starts_with(version)))
        .filter(|name| {
            // 6.1 is neither 6.12 nor the package that only names the newest 6.1.
            let rest = name
                .strip_prefix(PREFIX)
                .and_then(|n| n.strip_prefix(version));
            rest.is_some_and(|rest| rest.starts_with(['.', '-', '+']) && rest != FLAVOUR)
        })
        .collect();
    names.sort_by_key(|name| numbers(name));
    names.reverse();
    names
}

/// `6.1.0-56` of `linux-image-6.1.0-56-cloud-amd64`.
fn release(package: &str) -> Option<&str> {
    package.strip_prefix(PREFIX)?.strip_suffix(FLAVOUR)
}

/// All numbers in a name, to compare by.
fn numbers(name: &str) -> Vec<u64> {
    name.split(|c: char| !c.is_ascii_digit())
        .filter_map(|digits| digits.parse().ok())
        .collect()
}

/// The versions, `6.1` and so on, that packages are of.
fn versions(names: &[String]) -> Vec<String> {
    let mut versions: Vec<_> = names
        .iter()
        .filter_map(|name| match numbers(release(name)?)[..] {
            [major, minor, ..] => Some((major, minor)),
            _ => None,
        })
        .collect();
    versions.sort_unstable();
    versions.dedup();
    let text = versions
        .iter()
        .map(|(major, minor)| format!("{major}.{minor}"));
    text.collect()
}

fn unpack(dir: &Path) -> Result<()> {
    let entries = fs::read_dir(dir).with_context(|| format!("cannot read {}", dir.display()))?;
    for entry in entries {
        let deb = entry?.path();
        process::run(Command::new("dpkg-deb").arg("-x").arg(&deb).arg(dir))?;
        fs::remove_file(&deb).with_context(|| format!("cannot remove {}", deb.display()))?;
    }
    Ok(())
}

#[cfg(test)]
mod tests {
    use super::*;

    fn names(names: &[&str]) -> Vec<String> {
        names.iter().map(|&name| name.to_owned()).collect()
    }

    #[test]
    fn the_newest_of_a_version_comes_first() {
        let all = names(&[
            "linux-image-6.1-cloud-amd64",
            "linux-image-6.1.0-9-cloud-amd64",
            "linux-image-6.1.0-56-cloud-amd64",
            "linux-image-6.1.0-56-cloud-amd64-unsigned",
            "linux-image-6.1.0-56-amd64",
            "linux-image-6.12.117+deb12-cloud-amd64",
        ]);
        let expected = [
            "linux-image-6.1.0-56-cloud-amd64",
            "linux-image-6.1.0-9-cloud-amd64",
        ];
        assert_eq!(candidates(all.clone(), "6.1"), expected);
        let expected = ["linux-image-6.12.117+deb12-cloud-amd64"];
        assert_eq!(candidates(all.clone(), "6.12"), expected);
        assert_eq!(candidates(all.clone(), "6.12.117"), expected);
        assert_eq!(versions(&all), ["6.1", "6.12"]);
    }

    #[test]
    fn a_version_is_two_or_three_numbers() {
        assert!(check("6.1").is_ok() && check("6.12.9").is_ok());
        for wrong in ["", "6", "../6.1", "6.1-rc1", "6..1", "linux"] {
            let error = check(wrong).map_or_else(|error| error.to_string(), |()| String::new());
            assert!(error.contains(&format!("{wrong:?}")), "{error}");
        }
    }
}
