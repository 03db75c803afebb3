//! Everything forgotten, under loaded programs: for packet tests, which would otherwise spend most
//! of their time on having the verifier look at the same programs.

use super::{
    KernelDataplane, KernelSettings, error::OpenError, mapping::Mapping, pin_maps,
    store::KernelStore, sys, with_private_pins,
};
use aya::{
    maps::{MapData, MapType},
    util::nr_cpus,
};
use std::{io, num::NonZeroUsize, os::fd::AsFd as _};

impl KernelDataplane {
    /// Empties every map and starts anew with the settings that this was opened with, which must
    /// be without pins. Programs that were loaded for tests stay loaded, on the same maps: no
    /// packet may be at them meanwhile.
    ///
    /// # Errors
    /// The kernel refuses; this is of no use then.
    pub fn wipe_for_test(&mut self, settings: &KernelSettings) -> Result<(), OpenError> {
        self.plane.store_mut().stop();
        let maps = self.plane.store().maps();
        for (spec, map) in maps {
            wipe(map).map_err(|error| OpenError::from_io(format!("empty {}", spec.name), error))?;
        }
        let store = with_private_pins(|dir| {
            pin_maps(maps, dir)?;
            KernelStore::open(dir, settings)
        })?;
        *self = Self::start(settings, store, None)?;
        Ok(())
    }
}

/// Makes a map what it was when it was made.
fn wipe(map: &MapData) -> io::Result<()> {
    let info = map.info().map_err(io::Error::other)?;
    let fd = map.fd().as_fd();
    let words = info.value_size().div_ceil(8) as usize;
    match info.map_type().map_err(io::Error::other)? {
        MapType::Array => {
            let words = NonZeroUsize::new(words * info.max_entries() as usize);
            Mapping::new(fd, words.ok_or(io::ErrorKind::InvalidData)?)?.clear();
        }
        MapType::PerCpuArray => {
            let cpus = nr_cpus().map_err(|(_, error)| error)?;
            let zeros = vec![0; words * cpus];
            for entry in 0..info.max_entries() {
                sys::write_entry(fd, entry, &zeros)?;
            }
        }
        MapType::DevMap => {
            for entry in 0..info.max_entries() {
                sys::delete(fd, &entry.to_ne_bytes())?;
            }
        }
        _ => {
            let mut key = vec![0; info.key_size() as usize];
            while sys::first_key(fd, &mut key)? {
                sys::delete(fd, &key)?;
            }
        }
    }
    Ok(())
}
