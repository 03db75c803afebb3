//! A Rust compiler with its source from Debian's or Ubuntu's packages, unpacked into a directory
//! of its own: the system stays as it is, and it needs no root.

use std::{
    fs,
    path::{Path, PathBuf},
    process::Command,
};

use anyhow::{Context as _, Result, bail};

use super::{
    apt,
    compiler::{OLDEST, at_least},
};
use crate::{
    process,
    progress::{say, step},
};

/// A compiler's package and its source's.
#[derive(Clone, Debug, PartialEq, Eq)]
struct Family {
    compiler: String,
    source: String,
}

/// The compilers in an unpacked tree: (sysroot, rustc).
pub(crate) fn compilers(root: &Path) -> Vec<(PathBuf, PathBuf)> {
    let usr = root.join("usr");
    // Ubuntu's versioned packages have a sysroot each.
    let versioned = fs::read_dir(usr.join("lib")).into_iter().flatten();
    let versioned = versioned
        .filter_map(|entry| Some(entry.ok()?.path()))
        .filter(|path| {
            let name = path.file_name().unwrap_or_default().to_string_lossy();
            name.starts_with("rust-")
        });
    std::iter::once(usr.clone())
        .chain(versioned)
        .map(|sysroot| (sysroot.clone(), sysroot.join("bin/rustc")))
        .filter(|(_, rustc)| rustc.exists())
        .collect()
}

/// Downloads and unpacks a compiler of at least [`OLDEST`] into `root`.
///
/// # Errors
/// This is no such system, it offers no such compiler, or a download fails.
pub(crate) fn unpack(root: &Path) -> Result<()> {
    if !apt::is_there() {
        bail!("this system has no apt-get and dpkg-deb");
    }
    let family = match choose() {
        Some(family) => family,
        None => {
            apt::update()?;
            choose().with_context(|| format!("no rustc of {OLDEST} or later is on offer"))?
        }
    };
    let packages = closure(&family)?;
    let work = root.with_extension("partial");
    if work.exists() {
        fs::remove_dir_all(&work).with_context(|| format!("cannot remove {}", work.display()))?;
    }
    let debs = work.join("debs");
    fs::create_dir_all(&debs).with_context(|| format!("cannot create {}", debs.display()))?;
    step(&format!("downloading {}", packages.join(", ")), || {
        // Package lists that are older than the archive name files that are gone.
        apt::download(&packages, &debs).or_else(|error| {
            say(format_args!("{error:#}"));
            apt::update()?;
            apt::download(&closure(&family)?, &debs)
        })
    })?;
    step(&format!("unpacking them into {}", root.display()), || {
        extract(&debs, &work.join("root"))
    })?;
    if root.exists() {
        fs::remove_dir_all(root).with_context(|| format!("cannot remove {}", root.display()))?;
    }
    fs::rename(work.join("root"), root)
        .with_context(|| format!("cannot create {}", root.display()))?;
    fs::remove_dir_all(&work).with_context(|| format!("cannot remove {}", work.display()))
}

fn extract(debs: &Path, tree: &Path) -> Result<()> {
    let entries = fs::read_dir(debs).with_context(|| format!("cannot read {}", debs.display()))?;
    for entry in entries {
        let deb = entry?.path();
        process::run(Command::new("dpkg-deb").arg("-x").arg(&deb).arg(tree))?;
    }
    Ok(())
}

fn choose() -> Option<Family> {
    let mut families = vec![
        // Debian's stable releases carry a recent compiler under this name, for browsers.
        family("rustc-web", "rust-web-src"),
        family("rustc", "rust-src"),
    ];
    families.extend(versioned(&apt::names("rustc-1.")));
    families.into_iter().find(|family| {
        fits(
            apt::candidate(&family.compiler),
            apt::candidate(&family.source),
        )
    })
}

fn fits(compiler: Option<String>, source: Option<String>) -> bool {
    compiler.is_some_and(|version| source.is_some() && at_least(&version, OLDEST))
}

/// Ubuntu's `rustc-1.96` and `rust-1.96-src`, the oldest that will do first.
fn versioned(names: &str) -> Vec<Family> {
    let mut versions: Vec<&str> = names
        .lines()
        .filter_map(|name| name.strip_prefix("rustc-"))
        .filter(|version| version.chars().all(|c| c.is_ascii_digit() || c == '.'))
        .filter(|version| at_least(version, OLDEST))
        .collect();
    versions.sort_by_key(|version| (version.len(), *version));
    versions
        .into_iter()
        .map(|version| family(&format!("rustc-{version}"), &format!("rust-{version}-src")))
        .collect()
}

fn family(compiler: &str, source: &str) -> Family {
    Family {
        compiler: compiler.to_owned(),
        source: source.to_owned(),
    }
}

/// Everything to unpack: the compiler's own packages even if this system has them, so that the
/// tree is whole, and of the rest what the system lacks.
fn closure(family: &Family) -> Result<Vec<String>> {
    let wanted = [family.compiler.as_str(), family.source.as_str()];
    let mut packages: Vec<String> = wanted.map(str::to_owned).into();
    packages.extend(parse_depends(&apt::depends(&wanted)?));
    packages.extend(parse_simulation(&apt::simulate(&wanted)?));
    packages.sort();
    packages.dedup();
    Ok(packages)
}

/// The compiler's own packages among the lines of `apt-cache depends --recurse`.
fn parse_depends(text: &str) -> Vec<String> {
    text.lines()
        .filter(|line| line.starts_with("libstd-rust") || line.starts_with("libllvm"))
        .map(str::to_owned)
        .collect()
}

/// What `apt-get --simulate install` would install: `Inst NAME (VERSION …)`.
fn parse_simulation(text: &str) -> Vec<String> {
    text.lines()
        .filter_map(|line| line.strip_prefix("Inst ")?.split_whitespace().next())
        .map(str::to_owned)
        .collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_compiler_needs_its_source_and_its_age() {
        let version = |text: &str| Some(text.to_owned());
        assert!(fits(version("1.96.0+dfsg1-1"), version("1.96.0+dfsg1-1")));
        assert!(!fits(version("1.96.0+dfsg1-1"), None));
        assert!(!fits(version("1.85.0+dfsg3-1"), version("1.85.0+dfsg3-1")));
        assert!(!fits(None, version("1.96.0+dfsg1-1")));
    }

    #[test]
    fn the_oldest_versioned_family_that_will_do_comes_first() {
        let names = "rustc-1.80\nrustc-1.100\nrustc-1.97\nrustc-1.96\nrustc-1.96-dbg\n";
        let found = versioned(names);
        let compilers: Vec<_> = found.iter().map(|family| &family.compiler).collect();
        assert_eq!(compilers, ["rustc-1.96", "rustc-1.97", "rustc-1.100"]);
        assert_eq!(found[0].source, "rust-1.96-src");
    }

    #[test]
    fn packages_are_read_from_apt() {
        let simulation = "Reading package lists...\nInst libllvm22 (1:22.1.8 Debian [amd64])\n\
                          Inst libz3-4 [4.8.11] (4.8.12 Debian [amd64])\nConf libllvm22 (1:22.1.8)\n";
        assert_eq!(parse_simulation(simulation), ["libllvm22", "libz3-4"]);
        let depends = "rustc-web\n  Depends: libc6\n  Depends: libstd-rust-web-dev\nlibc6\n\
                       libstd-rust-web-dev\n<virtual>\nlibllvm22\n";
        assert_eq!(parse_depends(depends), ["libstd-rust-web-dev", "libllvm22"]);
    }
}
