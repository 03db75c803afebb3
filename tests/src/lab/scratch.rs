//! A temporary directory of one lab, and what crashed runs left behind.

use anyhow::{Context, Result};
use nix::{errno::Errno, sys::signal::kill, unistd::Pid};
use std::{
    fs,
    path::{Path, PathBuf},
    process,
    sync::atomic::{AtomicU32, Ordering},
};

/// Every lab's directory is called `<PREFIX><pid>-<number>`.
const PREFIX: &str = "nav-lab-";

/// A directory that is removed with its contents when this is dropped.
#[derive(Debug)]
pub struct Scratch {
    path: PathBuf,
}

impl Scratch {
    /// Makes a new one, after removing those of processes that are gone.
    ///
    /// # Errors
    /// The directory cannot be made.
    pub fn new() -> Result<Self> {
        static NEXT: AtomicU32 = AtomicU32::new(0);
        let root = std::env::temp_dir();
        remove_leftovers(&root);
        let number = NEXT.fetch_add(1, Ordering::Relaxed);
        let path = root.join(format!("{PREFIX}{}-{number}", process::id()));
        fs::create_dir(&path).with_context(|| format!("cannot make {}", path.display()))?;
        Ok(Self { path })
    }

    /// Where it is.
    pub fn path(&self) -> &Path {
        &self.path
    }
}

impl Drop for Scratch {
    fn drop(&mut self) {
        let _ = fs::remove_dir_all(&self.path);
    }
}

/// Removes those of this process, before an end in haste.
pub fn remove_own() {
    let own = Pid::this();
    remove(&std::env::temp_dir(), |owner| owner == own);
}

fn remove_leftovers(root: &Path) {
    remove(root, is_gone);
}

fn remove(root: &Path, whose: impl Fn(Pid) -> bool) {
    let Ok(entries) = fs::read_dir(root) else {
        return;
    };
    for entry in entries.flatten() {
        if owner(&entry.file_name().to_string_lossy()).is_some_and(&whose) {
            let _ = fs::remove_dir_all(entry.path());
        }
    }
}

/// The process that made a directory of this name, if it is one of ours.
fn owner(name: &str) -> Option<Pid> {
    let (pid, _) = name.strip_prefix(PREFIX)?.split_once('-')?;
    pid.parse().ok().map(Pid::from_raw)
}

fn is_gone(pid: Pid) -> bool {
    kill(pid, None) == Err(Errno::ESRCH)
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used, reason = "a failed step is a failed test")]
    use super::*;

    #[test]
    fn a_new_scratch_removes_those_of_dead_processes_only() {
        let dead = Pid::from_raw(i32::MAX - 1);
        assert!(is_gone(dead));
        let leftover = std::env::temp_dir().join(format!("{PREFIX}{dead}-0"));
        fs::create_dir_all(leftover.join("inside")).unwrap();
        let first = Scratch::new().unwrap();
        let second = Scratch::new().unwrap();
        assert!(!leftover.exists());
        assert!(first.path().exists());
        let path = second.path().to_owned();
        drop(second);
        assert!(!path.exists());
    }
}
