//! A Rust compiler for the BPF target.
//!
//! No release of Rust carries a ready `core` for BPF, so the compiler must come with the source of
//! the standard library (`rust-src`), from which Cargo builds it. Looked for in this order: a
//! rustup nightly, another rustup toolchain (`RUSTC_BOOTSTRAP` lets it build `core` too), a system
//! compiler, Debian packages unpacked earlier. If there is none, Debian packages are unpacked, or
//! rustup is asked for a nightly.

use std::{
    env::{self, consts::ARCH},
    ffi::OsString,
    fmt, fs,
    path::{Path, PathBuf},
    process::Command,
};

use anyhow::{Context as _, Result, bail};

use super::{debian, linker};
use crate::{
    process,
    progress::{say, step},
    workspace,
};

/// The oldest compiler that builds the BPF crates, as the workspace's `rust-version` has it.
pub(crate) const OLDEST: &str = env!("CARGO_PKG_RUST_VERSION");

/// A compiler that can build for BPF.
pub(crate) struct Compiler {
    /// The compiler itself, not rustup's stand-in for it.
    pub(crate) rustc: PathBuf,
    /// Where it comes from, for messages.
    origin: String,
    /// Where its shared libraries are, if the dynamic linker does not know.
    pub(crate) libraries: Vec<PathBuf>,
    version: Version,
}

/// What `rustc -vV` says.
#[derive(Debug, PartialEq, Eq)]
pub(crate) struct Version {
    /// Such as `1.96.0`.
    pub(crate) release: String,
    /// The major version of its LLVM, which the linker's must match.
    pub(crate) llvm: u32,
}

impl Compiler {
    /// The Cargo that belongs to the compiler; else the one that runs this tool.
    pub(crate) fn cargo(&self) -> PathBuf {
        let own = self.rustc.with_file_name("cargo");
        if own.exists() {
            own
        } else {
            workspace::host_cargo()
        }
    }

    /// Lets a command that runs the compiler or the linker find their shared libraries.
    pub(crate) fn apply(&self, command: &mut Command) {
        if let Some(path) = library_path(&self.libraries) {
            command.env("LD_LIBRARY_PATH", path);
        }
    }

    /// The major version of the compiler's LLVM.
    pub(crate) fn llvm(&self) -> u32 {
        self.version.llvm
    }

    fn inspect(origin: &str, rustc: PathBuf, libraries: Vec<PathBuf>) -> Result<Self> {
        let mut command = Command::new(&rustc);
        if let Some(path) = library_path(&libraries) {
            command.env("LD_LIBRARY_PATH", path);
        }
        let text = process::capture(command.arg("-vV"))?;
        let version = parse_version(&text)
            .with_context(|| format!("{} -vV names no version", rustc.display()))?;
        let compiler = Self {
            rustc,
            origin: origin.to_owned(),
            libraries,
            version,
        };
        compiler.check()?;
        Ok(compiler)
    }

    fn check(&self) -> Result<()> {
        if !at_least(&self.version.release, OLDEST) {
            bail!("{self} is older than {OLDEST}, the oldest that builds the BPF crates");
        }
        if !linker::LLVM.contains(&self.version.llvm) {
            bail!(
                "{self}: bpf-linker {} knows LLVM {} to {} only",
                linker::VERSION,
                linker::LLVM.start(),
                linker::LLVM.end()
            );
        }
        Ok(())
    }
}

impl fmt::Display for Compiler {
    fn fmt(&self, out: &mut fmt::Formatter<'_>) -> fmt::Result {
        let Version { release, llvm } = &self.version;
        write!(out, "rustc {release} (LLVM {llvm}), {}", self.origin)
    }
}

/// The best compiler that is there.
pub(crate) fn find(dir: &Path) -> Option<Compiler> {
    let mut unfit = Vec::new();
    let mut candidates = rustup();
    candidates.extend(system());
    for (origin, rustc) in candidates {
        match Compiler::inspect(&origin, rustc, Vec::new()) {
            Ok(compiler) => return Some(compiler),
            Err(error) => unfit.push(error),
        }
    }
    let found = unpacked(dir);
    if found.is_none() {
        for error in unfit {
            say(format_args!("passed over: {error:#}"));
        }
    }
    found
}

/// Gets a compiler.
pub(crate) fn install(dir: &Path) -> Result<Compiler> {
    let mut reasons = Vec::new();
    match debian::unpack(&dir.join("root")) {
        Ok(()) => match unpacked(dir) {
            Some(compiler) => return Ok(compiler),
            None => reasons.push("the unpacked Debian compiler does not work".to_owned()),
        },
        Err(error) => reasons.push(format!("Debian packages: {error:#}")),
    }
    match install_nightly() {
        Ok(()) => match find(dir) {
            Some(compiler) => return Ok(compiler),
            None => reasons.push("rustup's nightly does not fit".to_owned()),
        },
        Err(error) => reasons.push(format!("rustup: {error:#}")),
    }
    bail!(
        "missing: a Rust compiler with the source of the standard library, to build for BPF\n  {}\n\
         To get it, install rustup (https://rustup.rs) and run\n  {NIGHTLY}",
        reasons.join("\n  ")
    )
}

const NIGHTLY: &str = "rustup toolchain install nightly --profile minimal --component rust-src";

fn install_nightly() -> Result<()> {
    if process::find("rustup").is_none() {
        bail!("not installed");
    }
    step("installing a nightly Rust with rust-src by rustup", || {
        let mut words = NIGHTLY.split(' ');
        let mut command = Command::new(words.next().unwrap_or_default());
        process::run(command.args(words))
    })
}

/// Installed rustup toolchains with the source, nightlies first: (origin, rustc).
fn rustup() -> Vec<(String, PathBuf)> {
    let listed = process::capture(Command::new("rustup").args(["toolchain", "list", "-v"]));
    let mut found: Vec<_> = parse_toolchains(&listed.unwrap_or_default())
        .into_iter()
        .filter(|(_, sysroot)| has_source(sysroot))
        .map(|(name, sysroot)| (format!("rustup's {name}"), sysroot.join("bin/rustc")))
        .collect();
    found.sort_by_key(|(origin, _)| !origin.contains("nightly"));
    found
}

fn system() -> Option<(String, PathBuf)> {
    let rustc = fs::canonicalize("/usr/bin/rustc").ok()?;
    // A rustup from a package puts its own stand-in there; the toolchains behind it are listed above.
    if rustc.file_name().is_none_or(|name| name == "rustup") {
        return None;
    }
    let sysroot = process::capture(Command::new(&rustc).args(["--print", "sysroot"])).ok()?;
    has_source(Path::new(sysroot.trim())).then(|| ("installed on this system".to_owned(), rustc))
}

fn unpacked(dir: &Path) -> Option<Compiler> {
    let root = dir.join("root");
    let (sysroot, rustc) = debian::compilers(&root)
        .into_iter()
        .find(|(sysroot, _)| has_source(sysroot))?;
    let libraries = vec![
        root.join(format!("usr/lib/{ARCH}-linux-gnu")),
        sysroot.join("lib"),
    ];
    let origin = format!("Debian packages unpacked in {}", root.display());
    Compiler::inspect(&origin, rustc, libraries)
        .inspect_err(|error| say(format_args!("passed over: {error:#}")))
        .ok()
}

fn has_source(sysroot: &Path) -> bool {
    sysroot.join("lib/rustlib/src/rust/library").exists()
}

fn library_path(libraries: &[PathBuf]) -> Option<OsString> {
    if libraries.is_empty() {
        return None;
    }
    let inherited = env::var_os("LD_LIBRARY_PATH").unwrap_or_default();
    let inherited = env::split_paths(&inherited).filter(|dir| !dir.as_os_str().is_empty());
    env::join_paths(libraries.iter().cloned().chain(inherited)).ok()
}

/// `rustup toolchain list -v`: name, notes in parentheses, path.
fn parse_toolchains(text: &str) -> Vec<(String, PathBuf)> {
    text.lines()
        .filter_map(|line| {
            let name = line.split_whitespace().next()?;
            let path = line.find('/').map(|start| line[start..].trim())?;
            Some((name.to_owned(), PathBuf::from(path)))
        })
        .collect()
}

fn parse_version(text: &str) -> Option<Version> {
    let field = |name: &str| {
        text.lines()
            .find_map(|line| line.strip_prefix(name)?.strip_prefix(": "))
    };
    let llvm = field("LLVM version")?.split('.').next()?.parse().ok()?;
    Some(Version {
        release: field("release")?.to_owned(),
        llvm,
    })
}

/// Whether a version such as `1.96.0-nightly` or `1.96.0+dfsg1-1` is at least `1.95`.
pub(crate) fn at_least(version: &str, oldest: &str) -> bool {
    numbers(version) >= numbers(oldest)
}

fn numbers(version: &str) -> Vec<u32> {
    version
        .split(|c: char| !c.is_ascii_digit())
        .map_while(|number| number.parse().ok())
        .take(3)
        .collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn versions_are_read_and_compared() {
        let text = "rustc 1.97.0-nightly (e50aa6fba 2026-05-19)\nbinary: rustc\n\
                    release: 1.97.0-nightly\nLLVM version: 22.1.4\n";
        let version = parse_version(text);
        let expected = Version {
            release: "1.97.0-nightly".to_owned(),
            llvm: 22,
        };
        assert_eq!(version, Some(expected));
        assert_eq!(parse_version("rustc 1.97.0\nrelease: 1.97.0\n"), None);
        assert!(at_least("1.97.0-nightly", "1.95"));
        assert!(at_least("1.95.0+dfsg1-1", "1.95"));
        assert!(at_least("2.0.0", "1.95"));
        assert!(!at_least("1.85.0+dfsg3-1~deb12u3", "1.95"));
        assert!(!at_least("1.9.0", "1.95"));
    }

    #[test]
    fn toolchains_are_read() {
        let text = "stable-x86_64-unknown-linux-gnu (active, default) /home/a/stable\n\
                    nightly-x86_64-unknown-linux-gnu /home/a b/nightly\nno toolchain\n";
        let expected = [
            ("stable-x86_64-unknown-linux-gnu", "/home/a/stable"),
            ("nightly-x86_64-unknown-linux-gnu", "/home/a b/nightly"),
        ];
        let expected: Vec<_> = expected
            .map(|(name, path)| (name.to_owned(), PathBuf::from(path)))
            .into();
        assert_eq!(parse_toolchains(text), expected);
    }
}
