//! Where kernels come from: the package archive that this system uses, or Debian's releases.

use std::{
    fs,
    path::{Path, PathBuf},
    process::Command,
};

use anyhow::{Context as _, Result, bail};

use crate::{process, progress::step, setup::apt};

const MIRROR: &str = "http://deb.debian.org";
const KEYS: &str = "/usr/share/keyrings/debian-archive-keyring.gpg";
/// Releases with kernels from 5.10 on, and the newest that Debian has.
const SUITES: [(&str, &str); 8] = [
    ("debian", "bullseye"),
    ("debian-security", "bullseye-security"),
    ("debian", "bookworm"),
    ("debian-security", "bookworm-security"),
    ("debian", "trixie"),
    ("debian-security", "trixie-security"),
    ("debian", "trixie-backports"),
    ("debian", "sid"),
];

/// A package archive, as apt sees it.
pub(crate) struct Archive {
    /// apt's configuration, if not the system's own.
    config: Option<PathBuf>,
}

impl Archive {
    /// The one that this system uses.
    pub(crate) const SYSTEM: Self = Self { config: None };

    /// Debian's releases, with lists and configuration in a directory of ours: the system's stay
    /// as they are.
    ///
    /// # Errors
    /// Debian's keys are missing, or the lists cannot be fetched.
    pub(crate) fn debian(dir: &Path) -> Result<Self> {
        if !Path::new(KEYS).exists() {
            bail!("{KEYS} is missing: install the package debian-archive-keyring");
        }
        let dir = dir.join("apt");
        for inner in ["lists/partial", "cache/archives/partial"] {
            let inner = dir.join(inner);
            fs::create_dir_all(&inner)
                .with_context(|| format!("cannot create {}", inner.display()))?;
        }
        let write = |name: &str, text: &str| {
            let path = dir.join(name);
            fs::write(&path, text).with_context(|| format!("cannot write {}", path.display()))?;
            anyhow::Ok(path)
        };
        write("sources.list", &sources())?;
        write("status", "")?;
        let config = write("apt.conf", &configuration(&dir.display().to_string()))?;
        let archive = Self {
            config: Some(config),
        };
        step("reading the lists of Debian's releases", || {
            process::run(archive.apt("apt-get").args(["-q", "update"]))
        })?;
        Ok(archive)
    }

    /// Names of packages with this beginning.
    pub(crate) fn names(&self, prefix: &str) -> Vec<String> {
        let text = process::capture(self.apt("apt-cache").args(["pkgnames", prefix]));
        let text = text.unwrap_or_default();
        text.lines().map(str::to_owned).collect()
    }

    /// Whether it can be had: apt knows names of packages that are gone, too.
    pub(crate) fn offers(&self, package: &str) -> bool {
        let text = process::capture(self.apt("apt-cache").args(["policy", package]));
        text.is_ok_and(|text| apt::parse_candidate(&text).is_some())
    }

    /// Downloads a package into a directory; needs no root.
    ///
    /// # Errors
    /// The archive does not have it any more, or cannot be reached.
    pub(crate) fn download(&self, package: &str, dir: &Path) -> Result<()> {
        let mut command = self.apt("apt-get");
        // As root it would fetch as another user, who may not write to the directory.
        command.args(["-o", "APT::Sandbox::User=root", "-q", "download", package]);
        process::run(command.current_dir(dir))
    }

    fn apt(&self, program: &str) -> Command {
        let mut command = Command::new(program);
        command.env("LC_ALL", "C");
        if let Some(config) = &self.config {
            command.env("APT_CONFIG", config);
        }
        command
    }
}

fn sources() -> String {
    let line = |(archive, suite): &(&str, &str)| {
        format!("deb [arch=amd64 signed-by={KEYS}] {MIRROR}/{archive} {suite} main\n")
    };
    SUITES.iter().map(line).collect()
}

fn configuration(dir: &str) -> String {
    format!(
        r#"Dir::Etc::SourceList "{dir}/sources.list";
Dir::Etc::SourceParts "/dev/null";
Dir::State::Lists "{dir}/lists";
Dir::State::status "{dir}/status";
Dir::Cache "{dir}/cache";
APT::Architecture "amd64";
APT::Architectures {{ "amd64"; }};
APT::Sandbox::User "root";
Acquire::Languages "none";
# The lists of a release that gets no more updates are never renewed.
Acquire::Check-Valid-Until "false";
"#
    )
}
