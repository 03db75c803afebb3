//! Loading the object that this binary carries, over maps that are pinned.

use super::{
    error::OpenError,
    pins::{entries, map_pin},
};
use crate::dataplane::{figures::FLOW_LIFETIME_SECONDS, nat::NatSettings, store::Sizes};
use aya::{
    Ebpf, EbpfError, EbpfLoader,
    maps::MapError,
    programs::{ProgramError, Xdp},
};
use aya_log::{LEVEL, Level};
use navigator_common::{
    addr::Addr,
    flow::coarse_seconds,
    hash::HashKey,
    mac,
    maps::{ALL, globals, programs},
    nat::NAT_SOURCES,
};
use std::{error::Error as _, io, path::Path};

static OBJECT: &[u8] = aya::include_bytes_aligned!(env!("NAVIGATOR_BPF_OBJECT"));

/// The verifier's log can have megabytes; its end says what is wrong.
const LOG_LINES: usize = 40;

/// What a program is told when it is loaded.
pub(super) struct Globals<'a> {
    pub(super) local_mac: [u8; 6],
    pub(super) local_egress: u8,
    pub(super) hash_key: HashKey,
    /// Keep the lines that log drops in the program.
    pub(super) log_drops: bool,
    /// How NAT is done; nothing of it matters while maps are made.
    pub(super) nat: Option<&'a NatSettings>,
}

/// What the program is told of NAT.
#[derive(Default)]
struct NatGlobals {
    v4: [Addr; NAT_SOURCES],
    v6: [Addr; NAT_SOURCES],
    counts: [u32; 2],
    ports: [u32; 2],
}

impl NatGlobals {
    fn new(nat: &NatSettings) -> Self {
        let mut globals = Self {
            ports: [nat.ports.0.into(), nat.port_count()],
            ..Self::default()
        };
        let families = [&mut globals.v4, &mut globals.v6];
        for ((places, count), v4) in families
            .into_iter()
            .zip(&mut globals.counts)
            .zip([true, false])
        {
            for (place, source) in places.iter_mut().zip(nat.of_family(v4)) {
                *place = source.into();
                *count += 1;
            }
        }
        globals
    }
}

/// Addresses as the words that they are made of.
fn words(addresses: &[Addr; NAT_SOURCES]) -> [u64; 2 * NAT_SOURCES] {
    let mut words = [0; 2 * NAT_SOURCES];
    for (pair, addr) in words.chunks_mut(2).zip(addresses) {
        pair.copy_from_slice(&[addr.hi, addr.lo]);
    }
    words
}

/// A program in the kernel, not attached to anything.
pub struct LoadedProgram {
    ebpf: Ebpf,
}

impl LoadedProgram {
    pub(super) fn ebpf(&mut self) -> &mut Ebpf {
        &mut self.ebpf
    }

    /// The program, to be run by `BPF_PROG_TEST_RUN` or attached.
    pub fn xdp(&mut self) -> Result<&mut Xdp, ProgramError> {
        let program = self.ebpf.program_mut(programs::NAVIGATOR);
        program.ok_or(ProgramError::NotLoaded)?.try_into()
    }
}

/// Makes the maps that are not pinned in `dir` yet, and pins them.
pub(super) fn make_maps(dir: &Path, sizes: &Sizes) -> Result<(), OpenError> {
    load_object(dir, sizes, None).map(drop)
}

/// Loads the program over the maps that are pinned in `dir`.
pub(super) fn load(
    dir: &Path,
    sizes: &Sizes,
    globals: &Globals<'_>,
) -> Result<LoadedProgram, OpenError> {
    let ebpf = load_object(dir, sizes, Some(globals))?;
    let mut program = LoadedProgram { ebpf };
    program
        .xdp()
        .and_then(Xdp::load)
        .map_err(|error| refused(EbpfError::ProgramError(error)))?;
    Ok(program)
}

fn load_object(
    dir: &Path,
    sizes: &Sizes,
    globals: Option<&Globals<'_>>,
) -> Result<Ebpf, OpenError> {
    let zero = Globals {
        local_mac: [0; 6],
        local_egress: 0,
        hash_key: HashKey::from_words([0; 5]),
        log_drops: false,
        nat: None,
    };
    let globals = globals.unwrap_or(&zero);
    let local_mac = mac::to_word(globals.local_mac);
    let local_egress = u32::from(globals.local_egress);
    let hash_key = globals.hash_key.words();
    let flow_set_mask = sizes.flow_sets - 1;
    let flow_lifetime = coarse_seconds(FLOW_LIFETIME_SECONDS);
    // At level 0 the verifier takes all logging out of the program.
    let log_level = if globals.log_drops {
        Level::Info as u8
    } else {
        0
    };

    let nat = globals.nat.map(NatGlobals::new).unwrap_or_default();
    let (v4, v6) = (words(&nat.v4), words(&nat.v6));

    let mut loader = EbpfLoader::new();
    loader
        .btf(None)
        .override_global(globals::LOCAL_MAC, &local_mac, true)
        .override_global(globals::LOCAL_EGRESS, &local_egress, true)
        .override_global(globals::HASH_KEY, &hash_key, true)
        .override_global(globals::FLOW_SET_MASK, &flow_set_mask, true)
        .override_global(globals::FLOW_LIFETIME, &flow_lifetime, true)
        .override_global(globals::NAT_SOURCES_V4, &v4, true)
        .override_global(globals::NAT_SOURCES_V6, &v6, true)
        .override_global(globals::NAT_SOURCE_COUNTS, &nat.counts, true)
        .override_global(globals::NAT_PORTS, &nat.ports, true)
        .override_global(LEVEL, &log_level, true);
    for &spec in ALL {
        loader.map_pin_path(spec.name, dir.join(map_pin(spec)));
        loader.map_max_entries(spec.name, entries(spec, sizes));
    }
    loader.load(OBJECT).map_err(refused)
}

fn refused(error: EbpfError) -> OpenError {
    let (what, io_error, log) = match &error {
        EbpfError::ProgramError(ProgramError::LoadError {
            io_error,
            verifier_log,
        }) => (
            format!("the program `{}`", programs::NAVIGATOR),
            Some(io_error),
            verifier_log.to_string(),
        ),
        EbpfError::MapError(MapError::CreateError { name, io_error }) => {
            (format!("map {name}"), Some(io_error), String::new())
        }
        _ => (
            "the BPF object".to_owned(),
            root_cause(&error),
            String::new(),
        ),
    };
    let code = io_error.and_then(io::Error::raw_os_error);
    let why = match (code, io_error) {
        (Some(libc::EPERM | libc::EACCES), _) if log.is_empty() => {
            return OpenError::NotPermitted {
                action: format!("load {what}"),
            };
        }
        (Some(libc::ENOSYS), _) => {
            return OpenError::NoBpf {
                action: format!("load {what}"),
            };
        }
        (Some(libc::ENOMEM | libc::E2BIG), Some(io_error)) => {
            format!("{io_error}: not enough memory; lower [limits]")
        }
        (_, Some(io_error)) => io_error.to_string(),
        (_, None) => error.to_string(),
    };
    OpenError::Load {
        what,
        why: format!("{why}{}", last_lines(&log)),
    }
}

fn root_cause(error: &EbpfError) -> Option<&io::Error> {
    let mut cause = error.source();
    while let Some(error) = cause {
        if let Some(io_error) = error.downcast_ref() {
            return Some(io_error);
        }
        cause = error.source();
    }
    None
}

fn last_lines(log: &str) -> String {
    let lines: Vec<&str> = log.lines().filter(|line| !line.trim().is_empty()).collect();
    let first = lines.len().saturating_sub(LOG_LINES);
    let shown = lines[first..].iter().map(|line| format!("\n  {line}"));
    shown.collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn of_a_long_log_the_end_is_shown() {
        let log: String = (0..1000).map(|i| format!("line {i}\n")).collect();
        let shown = last_lines(&log);
        assert_eq!(shown.lines().count(), LOG_LINES + 1);
        assert!(shown.ends_with("line 999"));
        assert_eq!(last_lines(""), "");
    }
}
