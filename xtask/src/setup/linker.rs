//! `bpf-linker`, which turns LLVM bitcode into BPF objects.
//!
//! Its LLVM must be able to read what the compiler's LLVM writes. Built here it is therefore
//! linked with the very library that the compiler itself loads, which every compiler at hand
//! brings along: no LLVM development packages are needed, whichever compiler it is.

use std::{
    ffi::OsString,
    fs,
    ops::RangeInclusive,
    os::unix::fs::symlink,
    path::{Path, PathBuf},
    process::Command,
};

use anyhow::{Context as _, Result, bail};

use super::compiler::{Compiler, at_least};
use crate::{
    process,
    progress::{say, step},
    workspace,
};

/// The version that is built here, and the oldest that is accepted from elsewhere: its published
/// binaries carry the newest LLVM that it knows, which reads the bitcode of older ones.
pub(crate) const VERSION: &str = "0.13.0";

/// The LLVM versions that it knows.
pub(crate) const LLVM: RangeInclusive<u32> = 21..=23;

/// The linker in the toolchain directory if it fits the compiler; else one in PATH.
pub(crate) fn find(dir: &Path, compiler: &Compiler) -> Option<PathBuf> {
    let own = dir.join("bin/bpf-linker");
    if own.exists() && fits(&own, compiler) {
        return Some(own);
    }
    process::find("bpf-linker").filter(|linker| is_usable(linker, compiler))
}

/// Builds the linker for this compiler into the toolchain directory.
pub(crate) fn install(dir: &Path, compiler: &Compiler) -> Result<PathBuf> {
    if process::find("cc").is_none() {
        bail!("missing: cc, a C compiler (Debian: apt-get install gcc libc6-dev)");
    }
    let library = llvm_of(&compiler.rustc, compiler)?;
    let what = format!("building bpf-linker {VERSION} for {compiler} (a minute or two)");
    step(&what, || build(dir, compiler, &library))?;
    let linker = dir.join("bin/bpf-linker");
    if !fits(&linker, compiler) {
        bail!("{} does not run", linker.display());
    }
    Ok(linker)
}

fn build(dir: &Path, compiler: &Compiler, library: &Path) -> Result<()> {
    let prefix = dir.join("llvm");
    offer(library, &prefix.join("lib"))?;
    let mut command = Command::new(workspace::host_cargo());
    for name in [
        "CARGO_TARGET_DIR",
        "CARGO_BUILD_TARGET",
        "CARGO_ENCODED_RUSTFLAGS",
    ] {
        command.env_remove(name);
    }
    command
        .current_dir(dir)
        .env("LLVM_PREFIX", &prefix)
        .env("RUSTFLAGS", run_path(compiler, library))
        // The work is done in LLVM; what is built here need not be the fastest.
        .env("CARGO_PROFILE_RELEASE_DEBUG", "false")
        .env("CARGO_PROFILE_RELEASE_OPT_LEVEL", "1")
        .args(["install", "bpf-linker", "--version", VERSION, "--locked"])
        .args(["--force", "--no-default-features", "--features"])
        .arg(format!("llvm-{}", compiler.llvm()))
        .arg("--root")
        .arg(dir);
    process::run(&mut command)
}

/// Puts the library where the linker's build script looks: `lib/libLLVM.so` in the LLVM prefix.
fn offer(library: &Path, lib: &Path) -> Result<()> {
    fs::create_dir_all(lib).with_context(|| format!("cannot create {}", lib.display()))?;
    let link = lib.join("libLLVM.so");
    if link.symlink_metadata().is_ok() {
        fs::remove_file(&link).with_context(|| format!("cannot remove {}", link.display()))?;
    }
    symlink(library, &link).with_context(|| format!("cannot create {}", link.display()))
}

/// Lets the finished linker find the library, and the library its own companions: for the latter
/// it has to be the old kind of run path, which counts for libraries of libraries too.
fn run_path(compiler: &Compiler, library: &Path) -> OsString {
    let home = library.parent().map(Path::to_owned);
    let mut flags = OsString::from("-Clink-arg=-Wl,--disable-new-dtags");
    for dir in home.iter().chain(&compiler.libraries) {
        flags.push(" -Clink-arg=-Wl,-rpath,");
        flags.push(dir);
    }
    flags
}

/// Whether a linker that was built here still belongs to the compiler: both load the same library.
fn fits(linker: &Path, compiler: &Compiler) -> bool {
    let pair = (
        llvm_of(linker, compiler),
        llvm_of(&compiler.rustc, compiler),
    );
    let (Ok(own), Ok(wanted)) = pair else {
        return false;
    };
    own.file_name() == wanted.file_name()
        && version_of(linker, compiler).as_deref() == Some(VERSION)
}

fn is_usable(linker: &Path, compiler: &Compiler) -> bool {
    let version = version_of(linker, compiler);
    let usable = version.as_deref().is_some_and(|it| at_least(it, VERSION));
    if !usable {
        let version = version.as_deref().unwrap_or("a version that does not run");
        let linker = linker.display();
        say(format_args!(
            "passed over: {linker} is {version}; {VERSION} is needed"
        ));
    }
    usable
}

fn version_of(linker: &Path, compiler: &Compiler) -> Option<String> {
    let mut command = Command::new(linker);
    compiler.apply(&mut command);
    let text = process::capture(command.arg("--version")).ok()?;
    parse_version(&text).map(str::to_owned)
}

/// The LLVM library that a program loads.
fn llvm_of(program: &Path, compiler: &Compiler) -> Result<PathBuf> {
    let mut command = Command::new("ldd");
    compiler.apply(&mut command);
    let text = process::capture(command.arg(program))?;
    let library = parse_ldd(&text).with_context(|| {
        format!(
            "{} loads no shared libLLVM, so that bpf-linker cannot be built for it: install \
             bpf-linker {VERSION} or newer into PATH (`cargo binstall bpf-linker`, or \
             https://github.com/aya-rs/bpf-linker/releases)",
            program.display()
        )
    })?;
    fs::canonicalize(&library).with_context(|| format!("cannot find {}", library.display()))
}

fn parse_ldd(text: &str) -> Option<PathBuf> {
    let line = text
        .lines()
        .find(|line| line.trim_start().starts_with("libLLVM"))?;
    let (_, path) = line.split_once("=> ")?;
    let path = path.rsplit_once(" (").map_or(path, |(path, _)| path);
    path.starts_with('/').then(|| PathBuf::from(path.trim()))
}

fn parse_version(text: &str) -> Option<&str> {
    text.trim().strip_prefix("bpf-linker ")
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_library_is_read_from_ldd() {
        let text = "\tlinux-vdso.so.1 (0x00007f)\n\
                    \tlibLLVM.so.22.1 => /opt/a b/libLLVM.so.22.1 (0x00007f)\n";
        assert_eq!(parse_ldd(text), Some("/opt/a b/libLLVM.so.22.1".into()));
        assert_eq!(parse_ldd("\tlibLLVM.so.22.1 => not found\n"), None);
        assert_eq!(parse_ldd("\tlibc.so.6 => /lib/libc.so.6 (0x1)\n"), None);
    }

    #[test]
    fn the_version_is_read() {
        assert_eq!(parse_version("bpf-linker 0.13.0\n"), Some("0.13.0"));
        assert_eq!(parse_version("something else"), None);
    }
}
