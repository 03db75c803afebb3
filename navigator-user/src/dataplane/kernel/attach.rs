//! Links: the program on an interface, pinned, so that it outlives us.

use super::{
    drop_log::DropLog,
    error::OpenError,
    interface::{self, AttachMode},
    load::LoadedProgram,
    sys,
    tracers::Tap,
};
use aya::programs::{
    ProgramError, Xdp, XdpMode,
    links::{FdLink, PinnedLink},
    xdp::{XdpError, XdpLink},
};
use std::{fs, io, path::Path};

/// How the program is to be attached.
#[derive(Clone, Copy, PartialEq, Eq, Hash, Debug, Default)]
pub enum Attach {
    /// Natively, else generic with a warning.
    #[default]
    Auto,
    /// Natively or not at all.
    Native,
    /// Generic.
    Generic,
}

impl Attach {
    const fn allows(self, mode: AttachMode) -> bool {
        matches!(
            (self, mode),
            (Self::Auto, _)
                | (Self::Native, AttachMode::Native)
                | (Self::Generic, AttachMode::Generic)
        )
    }
}

/// Which interface, and how.
#[derive(Clone, PartialEq, Eq, Debug)]
pub struct InterfaceSettings {
    /// Its name.
    pub name: String,
    /// How the program is to be attached.
    pub attach: Attach,
    /// Log every packet that it drops. Slow: for a short look.
    pub log_drops: bool,
}

/// A program that is attached for as long as this, or its pin, is there.
pub(super) struct Attached {
    pub(super) mode: AttachMode,
    /// Reads what the program logs, if it does.
    pub(super) log: Option<DropLog>,
    /// Reads the packets that it writes down, if it does.
    pub(super) tap: Option<Tap>,
    pub(super) _link: FdLink,
}

/// Attaches a program, or swaps it into the link that is pinned, without a gap.
pub(super) fn attach(
    settings: &InterfaceSettings,
    program: &mut LoadedProgram,
    pin: Option<&Path>,
) -> Result<Attached, OpenError> {
    let ifindex = interface::index(&settings.name)?;
    let xdp = program.xdp().map_err(|error| failed(settings, &error))?;
    let pinned = match pin {
        Some(pin) => usable_link(settings, ifindex, pin)?,
        None => None,
    };
    let link = match pinned {
        Some(link) => swap(settings, xdp, link)?,
        None => {
            let link = attach_new(settings, xdp, ifindex)?;
            match pin {
                Some(pin) => link
                    .pin(pin)
                    .map_err(|error| failed(settings, &error))?
                    .into(),
                None => link,
            }
        }
    };
    let mode = interface::attached(ifindex).map_err(|error| failed(settings, &error))?;
    let mode = mode.ok_or_else(|| failed(settings, &"the kernel shows no program there"))?;
    Ok(Attached {
        mode,
        log: None,
        tap: None,
        _link: link,
    })
}

/// The link that is pinned, if it still is of this interface and of a mode that is wanted.
/// Another one is taken out.
fn usable_link(
    settings: &InterfaceSettings,
    ifindex: u32,
    pin: &Path,
) -> Result<Option<FdLink>, OpenError> {
    let link = match sys::open_pin(pin) {
        Ok(link) => link,
        Err(error) if error.kind() == io::ErrorKind::NotFound => return Ok(None),
        Err(error) => return Err(failed(settings, &error)),
    };
    let linked = sys::link_interface(&link).map_err(|error| failed(settings, &error))?;
    let mode = interface::attached(ifindex).map_err(|error| failed(settings, &error))?;
    let wanted = mode.is_some_and(|mode| settings.attach.allows(mode));
    if linked == Some(ifindex) && wanted {
        let link = PinnedLink::from_pin(pin).map_err(|error| failed(settings, &error))?;
        return Ok(Some(link.into()));
    }
    if linked == Some(ifindex) {
        tracing::warn!(
            "{}: attached in another mode than configured; attaching anew, packets pass unbalanced for a moment",
            settings.name
        );
    }
    remove(&link, pin).map_err(|error| failed(settings, &error))?;
    Ok(None)
}

/// Detaches a link and removes its pin.
pub(super) fn remove(link: &std::os::fd::OwnedFd, pin: &Path) -> io::Result<()> {
    // A link whose interface is gone cannot be detached any more, and need not be.
    let _ = sys::detach_link(link);
    fs::remove_file(pin)
}

fn swap(settings: &InterfaceSettings, xdp: &mut Xdp, link: FdLink) -> Result<FdLink, OpenError> {
    let link = XdpLink::try_from(link).map_err(|error| failed(settings, &error))?;
    let id = xdp
        .attach_to_link(link)
        .map_err(|error| failed(settings, &error))?;
    let link = xdp
        .take_link(id)
        .map_err(|error| failed(settings, &error))?;
    FdLink::try_from(link).map_err(|error| failed(settings, &error))
}

fn attach_new(
    settings: &InterfaceSettings,
    xdp: &mut Xdp,
    ifindex: u32,
) -> Result<FdLink, OpenError> {
    match settings.attach {
        Attach::Native => attach_as(settings, xdp, ifindex, XdpMode::Driver),
        Attach::Generic => attach_as(settings, xdp, ifindex, XdpMode::Skb),
        Attach::Auto => match attach_as(settings, xdp, ifindex, XdpMode::Driver) {
            Ok(link) => Ok(link),
            Err(native) => {
                let link = attach_as(settings, xdp, ifindex, XdpMode::Skb)?;
                tracing::warn!("{native}; attached in generic mode, which is slower");
                Ok(link)
            }
        },
    }
}

fn attach_as(
    settings: &InterfaceSettings,
    xdp: &mut Xdp,
    ifindex: u32,
    mode: XdpMode,
) -> Result<FdLink, OpenError> {
    let id = xdp
        .attach_to_if_index(ifindex, mode)
        .map_err(|error| refused(settings, mode, &error))?;
    let link = xdp
        .take_link(id)
        .map_err(|error| failed(settings, &error))?;
    // On a kernel without XDP links the program was attached by netlink instead: nothing that
    // could be pinned. Dropping the link detaches it.
    FdLink::try_from(link).map_err(|_| {
        failed(
            settings,
            &"this kernel has no XDP links; Navigator needs Linux 5.18 or later",
        )
    })
}

fn failed(settings: &InterfaceSettings, why: &dyn std::fmt::Display) -> OpenError {
    OpenError::Attach {
        interface: settings.name.clone(),
        why: why.to_string(),
    }
}

fn refused(settings: &InterfaceSettings, mode: XdpMode, error: &ProgramError) -> OpenError {
    let name = &settings.name;
    let code = match error {
        ProgramError::SyscallError(error) => error.io_error.raw_os_error(),
        _ => None,
    };
    let why = match code {
        Some(libc::EPERM | libc::EACCES) => {
            return OpenError::NotPermitted {
                action: format!("attach to {name}"),
            };
        }
        Some(libc::EBUSY | libc::EEXIST) => format!(
            "it has another XDP program: see `ip link show dev {name}`, remove it with `ip link set dev {name} xdp off` or by its owner"
        ),
        Some(libc::EOPNOTSUPP) if mode == XdpMode::Driver => {
            "its driver has no native XDP; set attach = \"generic\" or \"auto\"".to_owned()
        }
        Some(_) => format!("{mode:?} mode: {}", root(error)),
        None => match error {
            ProgramError::XdpError(XdpError::NetlinkError(error)) => {
                format!("{mode:?} mode: {error}")
            }
            error => format!("{mode:?} mode: {error}"),
        },
    };
    failed(settings, &why)
}

fn root(error: &ProgramError) -> String {
    match error {
        ProgramError::SyscallError(error) => error.io_error.to_string(),
        error => error.to_string(),
    }
}
