//! The record of what was changed on a host, one JSON file an interface.
//! Written before each change, so that a crash in between can be undone too.

use super::{BackendError, BackendResult, Decap};
use navigator_common::gue;
use nix::fcntl::{Flock, FlockArg};
use serde::{Deserialize, Serialize};
use std::{
    collections::BTreeSet,
    fs::{self, File},
    io::{self, Write},
    net::IpAddr,
    path::{Path, PathBuf},
};

/// Version of the files' layout.
const VERSION: u32 = 1;

/// What is recorded of one interface.
#[derive(Clone, PartialEq, Eq, Debug, Serialize, Deserialize)]
pub struct State {
    /// Version of the layout.
    pub version: u32,
    /// The interface.
    pub interface: String,
    /// The VIPs that were asked for.
    pub vips: BTreeSet<IpAddr>,
    /// How tunnel packets are unwrapped.
    pub decap: Decap,
    /// The UDP port of GUE packets.
    #[serde(default = "default_gue_port")]
    pub gue_port: u16,
    /// What was changed, in order. The last one may not have happened.
    pub changes: Vec<Change>,
}

/// What a file from before there was a choice means.
const fn default_gue_port() -> u16 {
    gue::DEFAULT_PORT
}

/// One change.
#[derive(Clone, PartialEq, Eq, Debug, Serialize, Deserialize)]
#[serde(tag = "kind", rename_all = "lowercase")]
pub enum Change {
    /// An address was put on `lo`.
    Address {
        /// Which.
        ip: IpAddr,
    },
    /// A setting below `/proc/sys` was written.
    Sysctl {
        /// Its path there.
        name: String,
        /// What it was.
        old: String,
        /// What it was set to.
        new: String,
    },
    /// The decapsulation program was attached and pinned.
    Xdp {
        /// The directory of its pins.
        pins: PathBuf,
    },
}

impl State {
    pub(super) fn new(interface: &str) -> Self {
        Self {
            version: VERSION,
            interface: interface.to_owned(),
            vips: BTreeSet::new(),
            decap: Decap::None,
            gue_port: default_gue_port(),
            changes: Vec::new(),
        }
    }
}

/// The state files of one directory, locked against other runs.
pub(super) struct Store {
    dir: PathBuf,
    _lock: Flock<File>,
}

impl Store {
    /// Waits until no other run works on `dir`, which is made if it is missing.
    pub(super) fn open(dir: &Path) -> BackendResult<Self> {
        fs::create_dir_all(dir).map_err(|e| file(dir, e))?;
        let handle = File::open(dir).map_err(|e| file(dir, e))?;
        let lock = Flock::lock(handle, FlockArg::LockExclusive)
            .map_err(|(_, errno)| file(dir, errno.into()))?;
        Ok(Self {
            dir: dir.to_owned(),
            _lock: lock,
        })
    }

    fn path(&self, interface: &str) -> PathBuf {
        self.dir.join(format!("backend-{interface}.json"))
    }

    /// What is recorded of an interface.
    pub(super) fn load(&self, interface: &str) -> BackendResult<Option<State>> {
        read(&self.path(interface))
    }

    /// Replaces the record of an interface; on disk when this returns.
    pub(super) fn save(&self, state: &State) -> BackendResult<()> {
        let path = self.path(&state.interface);
        let json = serde_json::to_vec_pretty(state).map_err(|e| file(&path, e.into()))?;
        let new = path.with_extension("json.new");
        let write = || {
            let mut f = File::create(&new)?;
            f.write_all(&json)?;
            f.sync_all()?;
            fs::rename(&new, &path)
        };
        write().map_err(|e| file(&path, e))
    }

    /// Forgets an interface, if anything is recorded of it.
    pub(super) fn remove(&self, interface: &str) -> BackendResult<()> {
        let path = self.path(interface);
        match fs::remove_file(&path) {
            Err(e) if e.kind() != io::ErrorKind::NotFound => Err(file(&path, e)),
            _ => Ok(()),
        }
    }

    /// The records of all interfaces but `interface`.
    pub(super) fn others(&self, interface: &str) -> BackendResult<Vec<State>> {
        let mut all = list(&self.dir)?;
        all.retain(|state| state.interface != interface);
        Ok(all)
    }
}

/// All records in a directory; none if there is no such directory.
pub(super) fn list(dir: &Path) -> BackendResult<Vec<State>> {
    let entries = match fs::read_dir(dir) {
        Ok(entries) => entries,
        Err(e) if e.kind() == io::ErrorKind::NotFound => return Ok(Vec::new()),
        Err(e) => return Err(file(dir, e)),
    };
    let mut states = Vec::new();
    for entry in entries {
        let name = entry.map_err(|e| file(dir, e))?.file_name();
        let is_state = name
            .to_str()
            .is_some_and(|n| n.starts_with("backend-") && n.ends_with(".json"));
        if is_state {
            states.extend(read(&dir.join(name))?);
        }
    }
    states.sort_by(|a, b| a.interface.cmp(&b.interface));
    Ok(states)
}

fn read(path: &Path) -> BackendResult<Option<State>> {
    let json = match fs::read(path) {
        Ok(json) => json,
        Err(e) if e.kind() == io::ErrorKind::NotFound => return Ok(None),
        Err(e) => return Err(file(path, e)),
    };
    let bad = |why: String| BackendError::BadState {
        path: path.to_owned(),
        why,
    };
    let state: State = serde_json::from_slice(&json).map_err(|e| bad(e.to_string()))?;
    if state.version != VERSION {
        return Err(bad(format!(
            "its version is {}, this program knows {VERSION}",
            state.version
        )));
    }
    Ok(Some(state))
}

pub(super) fn file(path: &Path, source: io::Error) -> BackendError {
    BackendError::File {
        path: path.to_owned(),
        source,
    }
}

#[cfg(test)]
#[allow(clippy::unwrap_used, reason = "a failed set-up is a failed test")]
mod tests {
    use super::*;

    fn state() -> State {
        let mut state = State::new("eth0");
        state.vips.insert([192, 0, 2, 10].into());
        state.decap = Decap::Xdp { native: true };
        state.changes = vec![
            Change::Sysctl {
                name: "net/ipv4/conf/eth0/arp_ignore".to_owned(),
                old: "0".to_owned(),
                new: "1".to_owned(),
            },
            Change::Address {
                ip: [192, 0, 2, 10].into(),
            },
            Change::Xdp {
                pins: "/sys/fs/bpf/x".into(),
            },
        ];
        state
    }

    #[test]
    fn what_is_saved_is_loaded_and_what_is_removed_is_gone() {
        let dir = tempfile::tempdir().unwrap();
        let store = Store::open(dir.path()).unwrap();
        assert_eq!(store.load("eth0").unwrap(), None);
        store.save(&state()).unwrap();
        assert_eq!(store.load("eth0").unwrap(), Some(state()));
        assert_eq!(list(dir.path()).unwrap(), vec![state()]);
        assert_eq!(store.others("eth0").unwrap(), vec![]);
        store.remove("eth0").unwrap();
        assert_eq!(list(dir.path()).unwrap(), vec![]);
    }

    #[test]
    fn a_file_that_makes_no_sense_is_refused_by_name() {
        let dir = tempfile::tempdir().unwrap();
        let store = Store::open(dir.path()).unwrap();
        for text in ["{", "{}", r#"{"version":1}"#] {
            fs::write(store.path("eth0"), text).unwrap();
            let message = store.load("eth0").unwrap_err().to_string();
            assert!(message.contains("backend-eth0.json"), "{message}");
        }
        let newer = State {
            version: 2,
            ..state()
        };
        store.save(&newer).unwrap();
        let message = store.load("eth0").unwrap_err().to_string();
        assert!(message.contains("version is 2"), "{message}");
    }
}
