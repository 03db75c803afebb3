//! `cargo xtask build`: the BPF objects, then the workspace.

use std::{env::consts::ARCH, fs, path::Path, process::Command};

use anyhow::{Context as _, Result};

use crate::{
    process,
    progress::step,
    setup::{self, Scope, Toolchain},
    workspace::Workspace,
};

/// The package of Navigator's own XDP programs.
pub(crate) const NAVIGATOR: &str = "navigator-ebpf";
/// The package of the programs that the packet benchmark compares with.
pub(crate) const BENCH: &str = "navigator-bench-ebpf";

const TARGET: &str = "bpfel-unknown-none";

/// What a user's environment may hold for ordinary builds, and what would break this one.
const FOREIGN: [&str; 8] = [
    "RUSTFLAGS",
    "CARGO_BUILD_RUSTFLAGS",
    "CARGO_TARGET_DIR",
    "CARGO_BUILD_TARGET_DIR",
    "CARGO_BUILD_TARGET",
    "RUSTC_WRAPPER",
    "RUSTC_WORKSPACE_WRAPPER",
    "RUSTUP_TOOLCHAIN",
];

/// Builds everything. The frozen programs go with it, or a later plain `cargo build` of the
/// workspace would miss them.
pub(crate) fn command(workspace: &Workspace, release: bool) -> Result<()> {
    let toolchain = setup::ensure(workspace, Scope::Build)?;
    bpf(workspace, &toolchain, &[NAVIGATOR, BENCH])?;
    step("building the workspace", || {
        let mut cargo = workspace.cargo();
        cargo.arg("build");
        if release {
            cargo.arg("--release");
        }
        process::run(&mut cargo)
    })
}

/// Builds BPF packages and puts their objects into [`Workspace::bpf_dir`].
///
/// # Errors
/// The build fails, or a file cannot be written.
pub(crate) fn bpf(workspace: &Workspace, toolchain: &Toolchain, packages: &[&str]) -> Result<()> {
    step(&format!("building BPF: {}", packages.join(", ")), || {
        let build_dir = workspace.target.join("bpf-build");
        process::run(&mut cargo_bpf(workspace, toolchain, packages, &build_dir))?;
        let built = build_dir.join(TARGET).join("release");
        let dir = workspace.bpf_dir();
        fs::create_dir_all(&dir).with_context(|| format!("cannot create {}", dir.display()))?;
        for package in packages {
            publish(&built.join(package), &dir.join(package))?;
        }
        Ok(())
    })
}

fn cargo_bpf(
    workspace: &Workspace,
    toolchain: &Toolchain,
    packages: &[&str],
    build_dir: &Path,
) -> Command {
    let compiler = &toolchain.compiler;
    let mut command = Command::new(compiler.cargo());
    for name in FOREIGN {
        command.env_remove(name);
    }
    compiler.apply(&mut command);
    command
        .current_dir(&workspace.root)
        .env("RUSTC", &compiler.rustc)
        // `-Z build-std` is for nightly; the flag lets a stable release of the same source do it.
        .env("RUSTC_BOOTSTRAP", "1")
        .env("CARGO_ENCODED_RUSTFLAGS", flags(&toolchain.linker))
        .args(["build", "--release", "--target", TARGET, "-Zbuild-std=core"])
        .arg("--target-dir")
        .arg(build_dir);
    for package in packages {
        command.args(["--package", package]);
    }
    command
}

/// Flags for the BPF target: the host's register layout (for programs that read it), and BTF,
/// which is made from full debug information.
fn flags(linker: &Path) -> String {
    [
        format!("--cfg=bpf_target_arch=\"{ARCH}\""),
        "-Cdebuginfo=2".to_owned(),
        format!("-Clinker={}", linker.display()),
        "-Clink-arg=--btf".to_owned(),
    ]
    .join("\u{1f}")
}

/// Copies an object only if it differs: a newer file makes Cargo build the daemon again.
fn publish(from: &Path, to: &Path) -> Result<()> {
    let new = fs::read(from).with_context(|| format!("cannot read {}", from.display()))?;
    if fs::read(to).is_ok_and(|old| old == new) {
        return Ok(());
    }
    fs::write(to, new).with_context(|| format!("cannot write {}", to.display()))
}
