//! Schemathesis, from PyPI, in a virtual environment of its own: property-based runs against the
//! API's OpenAPI document.

use std::{
    fs,
    path::{Path, PathBuf},
    process::Command,
};

use anyhow::{Context as _, Result, bail};

use super::apt;
use crate::{process, progress::step, workspace::Workspace};

/// The version that the suite runs.
pub(crate) const VERSION: &str = "4.32.5";

/// The program, if it is there in this version.
pub(crate) fn find(workspace: &Workspace) -> Option<PathBuf> {
    let dir = dir(workspace);
    let stamp = fs::read_to_string(stamp(&dir)).ok()?;
    let program = dir.join("bin/schemathesis");
    (stamp.trim() == VERSION && program.exists()).then_some(program)
}

/// Installs it if it is not there.
///
/// # Errors
/// Python, or what makes virtual environments, is missing and cannot be had; or PyPI does not answer.
pub(crate) fn ensure(workspace: &Workspace) -> Result<()> {
    if find(workspace).is_some() {
        return Ok(());
    }
    let what = format!("installing schemathesis {VERSION}");
    step(&what, || install(&dir(workspace)))
}

fn dir(workspace: &Workspace) -> PathBuf {
    workspace.root.join("target/schemathesis")
}

/// Tells which version was installed to the end.
fn stamp(dir: &Path) -> PathBuf {
    dir.join("installed-version")
}

fn install(dir: &Path) -> Result<()> {
    let make = || {
        let mut command = Command::new("python3");
        process::run(command.args(["-m", "venv", "--clear"]).arg(dir))
    };
    if let Err(error) = make() {
        if !(apt::is_there() && process::is_root()) {
            bail!(
                "{error:#}\nschemathesis needs python3 with its module venv (Debian: python3-venv)"
            );
        }
        // Debian has the module in a package of its own.
        apt::install(&["python3-venv"]).or_else(|_| {
            apt::update()?;
            apt::install(&["python3-venv"])
        })?;
        make()?;
    }
    let mut command = Command::new(dir.join("bin/pip"));
    command.args(["install", "--quiet", "--disable-pip-version-check"]);
    process::run(command.arg(format!("schemathesis=={VERSION}")))?;
    let stamp = stamp(dir);
    fs::write(&stamp, VERSION).with_context(|| format!("cannot write {}", stamp.display()))
}
