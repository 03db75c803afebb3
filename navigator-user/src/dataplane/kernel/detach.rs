//! Taking everything out of the kernel again.

use super::{
    attach,
    error::OpenError,
    pins::{PinDir, link_interface, map_version},
    sys,
};
use std::{fmt, fs, path::Path};

/// What was taken out.
#[derive(Clone, PartialEq, Eq, Debug, Default)]
pub struct Detached {
    /// Interfaces that the program was detached from.
    pub interfaces: Vec<String>,
    /// Maps that were unpinned.
    pub maps: Vec<String>,
    /// Files in the pin directory that are not Navigator's; they and it are left there.
    pub foreign: Vec<String>,
    /// The directory was removed.
    pub directory: bool,
}

impl fmt::Display for Detached {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        if *self == Self::default() {
            return f.write_str("nothing is pinned there: nothing to detach");
        }
        let interfaces = if self.interfaces.is_empty() {
            "no interface".to_owned()
        } else {
            self.interfaces.join(", ")
        };
        write!(
            f,
            "detached from {interfaces}; removed {} maps",
            self.maps.len()
        )?;
        if !self.foreign.is_empty() {
            write!(f, "; left alone: {}", self.foreign.join(", "))?;
        }
        Ok(())
    }
}

/// Pins that no daemon uses, and none can begin to use while this lives.
pub struct Detacher(PinDir);

impl Detacher {
    /// Locks the pins; `None` if there are none. Refused while a daemon uses them.
    pub fn lock(pins: &Path) -> Result<Option<Self>, OpenError> {
        Ok(PinDir::lock(pins)?.map(Self))
    }

    /// Interfaces that a pinned link is on.
    pub fn interfaces(&self) -> Result<Vec<String>, OpenError> {
        Ok(self
            .0
            .names()?
            .iter()
            .filter_map(|name| link_interface(name))
            .collect())
    }

    /// Detaches the program from every interface and removes the maps, of whatever version.
    pub fn remove(self) -> Result<Detached, OpenError> {
        remove_all(&self.0)
    }
}

/// [`Detacher::remove`] for all that is pinned in a directory.
pub fn detach(pins: &Path) -> Result<Detached, OpenError> {
    Detacher::lock(pins)?.map_or_else(|| Ok(Detached::default()), Detacher::remove)
}

/// Removes everything from a directory that is ours.
pub(super) fn remove_all(dir: &PinDir) -> Result<Detached, OpenError> {
    let mut detached = Detached::default();
    let (links, others): (Vec<_>, Vec<_>) = dir
        .names()?
        .into_iter()
        .partition(|name| link_interface(name).is_some());
    for name in links {
        remove_link(dir, &name)?;
        detached.interfaces.extend(link_interface(&name));
    }
    for name in others {
        let path = dir.path().join(&name);
        if map_version(&name).is_none() {
            detached.foreign.push(name);
            continue;
        }
        fs::remove_file(&path)
            .map_err(|error| OpenError::from_io(format!("remove {}", path.display()), error))?;
        detached.maps.push(name);
    }
    if detached.foreign.is_empty() {
        fs::remove_dir(dir.path()).map_err(|error| {
            OpenError::from_io(format!("remove {}", dir.path().display()), error)
        })?;
        detached.directory = true;
    }
    Ok(detached)
}

/// Detaches and unpins one link.
pub(super) fn remove_link(dir: &PinDir, name: &str) -> Result<(), OpenError> {
    let path = dir.path().join(name);
    let failed = |error| OpenError::from_io(format!("detach {}", path.display()), error);
    let link = sys::open_pin(&path).map_err(failed)?;
    attach::remove(&link, &path).map_err(failed)
}
