//! Where the project, its build results and its tools lie.

use std::{
    env,
    ffi::OsString,
    path::{Path, PathBuf},
    process::Command,
};

use anyhow::{Context as _, Result};

use crate::process;

/// The environment variable that tells `navigator-user`'s build script, the suites and the
/// benchmarks where the BPF objects are.
const BPF_DIR: &str = "NAVIGATOR_BPF_DIR";

/// The checkout and the directories that this tool writes to.
pub(crate) struct Workspace {
    /// The checkout.
    pub(crate) root: PathBuf,
    /// Cargo's target directory.
    pub(crate) target: PathBuf,
    /// The BPF toolchain, as far as it had to be fetched.
    pub(crate) toolchain: PathBuf,
}

impl Workspace {
    /// Finds the checkout that this tool was built from, and the target directory that Cargo uses
    /// for it (`CARGO_TARGET_DIR` and Cargo's own configuration count).
    pub(crate) fn locate(toolchain: Option<PathBuf>) -> Result<Self> {
        let manifest = env::var_os("CARGO_MANIFEST_DIR")
            .map_or_else(|| PathBuf::from(env!("CARGO_MANIFEST_DIR")), PathBuf::from);
        let root = manifest
            .parent()
            .context("the xtask crate lies in no workspace")?
            .to_owned();
        let target = target_directory(&root)?;
        let toolchain = match toolchain {
            Some(dir) => std::path::absolute(&dir)
                .with_context(|| format!("the toolchain directory {}", dir.display()))?,
            None => target.join("toolchain"),
        };
        Ok(Self {
            root,
            target,
            toolchain,
        })
    }

    /// Where finished BPF objects are put, each under its package's name.
    pub(crate) fn bpf_dir(&self) -> PathBuf {
        self.target.join("bpf")
    }

    /// The Cargo that runs this tool, in the workspace, told where the BPF objects are.
    pub(crate) fn cargo(&self) -> Command {
        let mut command = Command::new(host_cargo());
        command.current_dir(&self.root).env(BPF_DIR, self.bpf_dir());
        for name in own_variables() {
            command.env_remove(name);
        }
        command
    }
}

/// The Cargo that runs this tool.
pub(crate) fn host_cargo() -> PathBuf {
    env::var_os("CARGO").map_or_else(|| PathBuf::from("cargo"), PathBuf::from)
}

/// What Cargo told this tool about itself. Build scripts that watch such variables (ring's does)
/// would else take a build from here and one by plain Cargo for different ones, and run again
/// each time.
fn own_variables() -> impl Iterator<Item = OsString> {
    const OWN: [&str; 4] = [
        "CARGO_MANIFEST_",
        "CARGO_PKG_",
        "CARGO_BIN_",
        "CARGO_CRATE_",
    ];
    let names = env::vars_os().map(|(name, _)| name);
    names.filter(|name| {
        let name = name.to_string_lossy();
        OWN.iter().any(|prefix| name.starts_with(prefix))
    })
}

fn target_directory(root: &Path) -> Result<PathBuf> {
    let text = process::capture(
        Command::new(host_cargo())
            .args(["metadata", "--no-deps", "--offline", "--format-version=1"])
            // A relative CARGO_TARGET_DIR is relative to where the user stands, as for any Cargo
            // command, so the current directory must not change.
            .arg("--manifest-path")
            .arg(root.join("Cargo.toml")),
    )?;
    let metadata: serde_json::Value =
        serde_json::from_str(&text).context("cargo metadata printed no JSON")?;
    let directory = metadata["target_directory"]
        .as_str()
        .context("cargo metadata named no target directory")?;
    Ok(PathBuf::from(directory))
}
