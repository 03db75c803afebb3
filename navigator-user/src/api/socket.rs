//! The daemon's socket: who may open it, and what becomes of an old one.

use nix::{
    errno::Errno,
    fcntl::{Flock, FlockArg},
    sys::stat::{Mode, fchmod},
    unistd::{Group, chown, geteuid},
};
use socket2::{Domain, SockAddr, Socket, Type};
use std::{
    fs::{self, DirBuilder, File, Permissions},
    io,
    os::unix::{
        fs::{DirBuilderExt, FileTypeExt, PermissionsExt},
        net,
    },
    path::Path,
};
use tokio::net::UnixListener;

/// The group whose members may use the daemon's socket, if it exists.
pub const GROUP: &str = "navigator";

const BACKLOG: i32 = 1024;

/// Why the daemon's socket could not be opened.
#[derive(Debug, thiserror::Error)]
pub enum BindError {
    /// A daemon answers there.
    #[error(
        "a daemon already answers at {path}: stop it first, or give this one another `socket` and other `pins`"
    )]
    InUse {
        /// The socket.
        path: String,
    },
    /// Something that is no socket has this name.
    #[error("{path} exists and is no socket: remove it, or choose another `socket`")]
    NotASocket {
        /// What stands there.
        path: String,
    },
    /// The system refused.
    #[error("socket {path}: cannot {action}: {source}")]
    Io {
        /// The socket.
        path: String,
        /// What was tried.
        action: &'static str,
        /// Why it failed.
        source: io::Error,
    },
}

/// Opens the daemon's socket: mode 0660, of the group [`GROUP`] if there is one,
/// in a directory that is made with mode 0755 if it is missing. The socket of a dead
/// daemon is replaced, a live daemon's is not.
///
/// Must be called inside a tokio runtime.
pub fn bind(path: &Path) -> Result<UnixListener, BindError> {
    let failed = |action: &'static str| {
        move |source: io::Error| BindError::Io {
            path: path.display().to_string(),
            action,
            source,
        }
    };
    let directory = match path.parent() {
        Some(parent) if !parent.as_os_str().is_empty() => parent,
        _ => Path::new("."),
    };
    make_directory(directory).map_err(failed("make its directory"))?;
    // Of two daemons that start at once, the second sees the first one's live socket.
    let _one_at_a_time = lock(directory).map_err(failed("lock its directory"))?;
    remove_stale(path)?;
    let listener = listen(path).map_err(failed("listen"))?;
    grant_access(path).map_err(failed("set its owner and mode"))?;
    UnixListener::from_std(listener).map_err(failed("listen"))
}

fn make_directory(directory: &Path) -> io::Result<()> {
    if directory.is_dir() {
        return Ok(());
    }
    DirBuilder::new()
        .recursive(true)
        .mode(0o755)
        .create(directory)?;
    // Against a narrower umask: members of the group must get in.
    fs::set_permissions(directory, Permissions::from_mode(0o755))
}

fn lock(directory: &Path) -> io::Result<Flock<File>> {
    let file = File::open(directory)?;
    Flock::lock(file, FlockArg::LockExclusive).map_err(|(_, errno)| errno.into())
}

fn remove_stale(path: &Path) -> Result<(), BindError> {
    let shown = || path.display().to_string();
    let failed = |action, source| BindError::Io {
        path: shown(),
        action,
        source,
    };
    match fs::symlink_metadata(path) {
        Err(error) if error.kind() == io::ErrorKind::NotFound => return Ok(()),
        Err(error) => return Err(failed("look at it", error)),
        Ok(found) if !found.file_type().is_socket() => {
            return Err(BindError::NotASocket { path: shown() });
        }
        Ok(_) => {}
    }
    match connect(path) {
        Ok(()) => Err(BindError::InUse { path: shown() }),
        Err(error) if error.kind() == io::ErrorKind::ConnectionRefused => {
            fs::remove_file(path).map_err(|error| failed("remove the stale one", error))
        }
        // A full backlog: somebody listens.
        Err(error) if error.kind() == io::ErrorKind::WouldBlock => {
            Err(BindError::InUse { path: shown() })
        }
        Err(error) => Err(failed("ask whether a daemon answers", error)),
    }
}

// Without blocking: a daemon that hangs, with a full backlog, would hold up this one for ever.
fn connect(path: &Path) -> io::Result<()> {
    let socket = Socket::new(Domain::UNIX, Type::STREAM, None)?;
    socket.set_nonblocking(true)?;
    socket.connect(&SockAddr::unix(path)?)
}

fn listen(path: &Path) -> io::Result<net::UnixListener> {
    let socket = Socket::new(Domain::UNIX, Type::STREAM, None)?;
    // The file gets the socket's own mode: at no moment can others open it, whatever the umask.
    fchmod(&socket, Mode::S_IRUSR | Mode::S_IWUSR)?;
    socket.bind(&SockAddr::unix(path)?)?;
    socket.listen(BACKLOG)?;
    socket.set_nonblocking(true)?;
    Ok(socket.into())
}

fn grant_access(path: &Path) -> io::Result<()> {
    if geteuid().is_root() {
        let group = Group::from_name(GROUP).unwrap_or_else(|errno| {
            tracing::warn!(
                "group {GROUP} cannot be looked up: {errno}; only root may use the socket"
            );
            None
        });
        if let Some(group) = group {
            chown(path, None, Some(group.gid)).map_err(|errno: Errno| io::Error::from(errno))?;
        }
    }
    fs::set_permissions(path, Permissions::from_mode(0o660))
}
