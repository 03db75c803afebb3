//! The initramfs: a directory with what the machine runs, and an archive of it.

use std::{
    collections::BTreeSet,
    fs::{self, File},
    os::unix::fs::{PermissionsExt as _, symlink},
    path::{Path, PathBuf},
    process::{Command, Stdio},
};

use anyhow::{Context as _, Result, bail};

use super::{
    init::{self, TESTS},
    kernel::Kernel,
    modules,
    payload::Payload,
};
use crate::process;

/// Programs of this system that the tests, the lab and the script run.
const PROGRAMS: [&str; 15] = [
    "sh", "cat", "sleep", "mkdir", "mount", "insmod", "ip", "ethtool", "setpriv", "unshare",
    "nginx", "curl", "grep", "tcpdump", "kill",
];

/// Directories that are mounted over, or written to.
const DIRECTORIES: [&str; 9] = [
    "proc",
    "sys",
    "dev",
    "tmp",
    "run",
    "var/lib",
    "var/log/nginx",
    "etc",
    "root",
];

/// Files of `/etc` that programs look for.
const ETC: [(&str, &str); 3] = [
    ("passwd", "root:x:0:0:root:/root:/bin/sh\n"),
    ("group", "root:x:0:\n"),
    (
        "nsswitch.conf",
        "passwd: files\ngroup: files\nhosts: files\n",
    ),
];

/// Packs the image for a kernel; what is passed on to the tests stands in it.
///
/// # Errors
/// A program is missing here, the kernel lacks a module, or a file cannot be written.
pub(crate) fn pack(
    dir: &Path,
    kernel: &Kernel,
    payload: &Payload,
    extra: &[String],
) -> Result<PathBuf> {
    let mut tree = Tree::new(dir.join("image"))?;
    for name in DIRECTORIES {
        tree.directory(Path::new(name))?;
    }
    for (name, text) in ETC {
        tree.write(&Path::new("etc").join(name), text)?;
    }
    for name in PROGRAMS {
        let file = process::find(name)
            .with_context(|| format!("{name} is not installed: run `cargo xtask setup`"))?;
        tree.program(&file, &Path::new("usr/local/bin").join(name))?;
    }
    tree.link("usr/local/bin/sh", "bin/sh")?;
    for (name, file) in &payload.tests {
        tree.built(file, name)?;
    }
    tree.built(&payload.navigator, "navigator")?;

    let files = modules::files(kernel)?;
    let mut inside = Vec::new();
    for file in &files {
        let path = Path::new("modules").join(file.file_name().unwrap_or_default());
        tree.copy(file, &path)?;
        inside.push(Path::new("/").join(path));
    }
    let inside: Vec<_> = inside.iter().map(PathBuf::as_path).collect();
    let tests: Vec<_> = payload.tests.iter().map(|(name, _)| *name).collect();
    tree.write(Path::new("init"), &init::script(&inside, &tests, extra))?;
    tree.executable(Path::new("init"))?;

    let archive = dir.join(format!("initramfs-{}", kernel.release));
    archive_of(&tree.root, &archive)?;
    Ok(archive)
}

/// A root directory in the making.
struct Tree {
    root: PathBuf,
    /// Shared libraries that are in it.
    libraries: BTreeSet<PathBuf>,
}

impl Tree {
    fn new(root: PathBuf) -> Result<Self> {
        if root.exists() {
            fs::remove_dir_all(&root)
                .with_context(|| format!("cannot remove {}", root.display()))?;
        }
        Ok(Self {
            root,
            libraries: BTreeSet::new(),
        })
    }

    fn directory(&self, path: &Path) -> Result<()> {
        let path = self.root.join(path);
        fs::create_dir_all(&path).with_context(|| format!("cannot create {}", path.display()))
    }

    fn write(&self, path: &Path, text: &str) -> Result<()> {
        let path = self.root.join(path);
        fs::write(&path, text).with_context(|| format!("cannot write {}", path.display()))
    }

    fn executable(&self, path: &Path) -> Result<()> {
        let path = self.root.join(path);
        fs::set_permissions(&path, fs::Permissions::from_mode(0o755))
            .with_context(|| format!("cannot make {} executable", path.display()))
    }

    fn link(&self, to: &str, path: &str) -> Result<()> {
        let path = self.root.join(path);
        if let Some(parent) = path.parent() {
            fs::create_dir_all(parent)
                .with_context(|| format!("cannot create {}", parent.display()))?;
        }
        symlink(Path::new("/").join(to), &path)
            .with_context(|| format!("cannot make {}", path.display()))
    }

    fn copy(&self, from: &Path, path: &Path) -> Result<()> {
        let to = self.root.join(path);
        if let Some(parent) = to.parent() {
            fs::create_dir_all(parent)
                .with_context(|| format!("cannot create {}", parent.display()))?;
        }
        fs::copy(from, &to)
            .with_context(|| format!("cannot copy {} to {}", from.display(), to.display()))?;
        Ok(())
    }

    /// A program with the libraries that it is linked with.
    fn program(&mut self, from: &Path, path: &Path) -> Result<()> {
        self.copy(from, path)?;
        self.libraries_of(from)
    }

    /// A program of this workspace, without what debuggers read: the image lives in memory.
    fn built(&mut self, from: &Path, name: &str) -> Result<()> {
        let path = Path::new(TESTS).join(name);
        let path = path.strip_prefix("/").unwrap_or(&path);
        self.copy(from, path)?;
        let mut strip = Command::new("strip");
        process::run(strip.arg("--strip-all").arg(self.root.join(path)))?;
        self.libraries_of(from)
    }

    fn libraries_of(&mut self, program: &Path) -> Result<()> {
        let Ok(text) = process::capture(Command::new("ldd").arg(program)) else {
            // Not linked with anything.
            return Ok(());
        };
        for library in parse_ldd(&text)? {
            if self.libraries.insert(library.clone()) {
                let path = library.strip_prefix("/").unwrap_or(&library);
                self.copy(&library, path)?;
            }
        }
        Ok(())
    }
}

/// Paths in the lines of `ldd`: `NAME => PATH (ADDRESS)`, or `PATH (ADDRESS)` for the loader.
fn parse_ldd(text: &str) -> Result<Vec<PathBuf>> {
    let mut libraries = Vec::new();
    for line in text.lines() {
        let file = line.split_once("=>").map_or(line, |(_, file)| file).trim();
        if file == "not found" {
            bail!("a library is missing: {}", line.trim());
        }
        let path = file.split(" (").next().unwrap_or(file);
        if path.starts_with('/') {
            libraries.push(PathBuf::from(path));
        }
    }
    Ok(libraries)
}

/// In the format that kernels unpack, with everything owned by root.
fn archive_of(tree: &Path, archive: &Path) -> Result<()> {
    let file =
        File::create(archive).with_context(|| format!("cannot create {}", archive.display()))?;
    let mut list = Command::new("find")
        .arg(".")
        .current_dir(tree)
        .stdout(Stdio::piped())
        .spawn()
        .context("cannot start `find`")?;
    let names = list.stdout.take().context("find has no output")?;
    let status = Command::new("cpio")
        .args(["--create", "--format=newc", "--owner=0:0", "--quiet"])
        .current_dir(tree)
        .stdin(names)
        .stdout(file)
        .status()
        .context("cannot start `cpio`: run `cargo xtask setup`")?;
    let listed = list.wait().context("cannot wait for `find`")?;
    if !status.success() || !listed.success() {
        bail!("cpio could not pack {} ({status})", tree.display());
    }
    Ok(())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn libraries_are_read_from_ldd() {
        let text = "\tlinux-vdso.so.1 (0x00007ffc)\n\
                    \tlibc.so.6 => /lib/x86_64-linux-gnu/libc.so.6 (0x00007f)\n\
                    \t/lib64/ld-linux-x86-64.so.2 (0x00007f)\n";
        let expected = [
            "/lib/x86_64-linux-gnu/libc.so.6",
            "/lib64/ld-linux-x86-64.so.2",
        ];
        assert!(matches!(parse_ldd(text), Ok(found) if found == expected.map(PathBuf::from)));
        assert!(parse_ldd("\tlibz.so.1 => not found\n").is_err());
        assert!(matches!(parse_ldd("\tstatically linked\n"), Ok(found) if found.is_empty()));
    }
}
