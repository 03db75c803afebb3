//! The embedded registry's file.

use super::{
    Shared,
    state::{Batch, Saved, Stored},
};
use crate::registry::{RegistryError, RegistryResult};
use redb::{Builder, Database, Error, ReadableTable, TableDefinition, WriteTransaction};
use std::{
    fs::{self, OpenOptions},
    io::ErrorKind,
    os::unix::fs::OpenOptionsExt,
    path::{Path, PathBuf},
    time::Duration,
};

/// Created, modified, lease (0: none), value.
const ENTRIES: TableDefinition<&str, (i64, i64, i64, &[u8])> = TableDefinition::new("entries");
/// Time to live in milliseconds.
const LEASES: TableDefinition<i64, u64> = TableDefinition::new("leases");
const META: TableDefinition<&str, i64> = TableDefinition::new("meta");
const REVISION: &str = "revision";
const FORMAT: &str = "format";
/// Format of the tables above.
const FORMAT_VERSION: i64 = 1;
/// The state is in memory as well: the file needs little more.
const CACHE_BYTES: usize = 4 << 20;

/// The file, locked for this process.
pub(super) struct Store {
    path: PathBuf,
    /// `None` after a failed write: it is opened anew for the next one.
    database: Option<Database>,
}

impl Store {
    /// Opens or creates the file and reads what stands in it.
    pub(super) fn open(path: &Path) -> RegistryResult<(Self, Saved)> {
        create(path).map_err(|error| refused(path, "cannot be created", &error))?;
        let database = database(path).map_err(|error| storage(path, error))?;
        let saved = load(&database, path)?;
        let store = Self {
            path: path.to_owned(),
            database: Some(database),
        };
        Ok((store, saved))
    }

    /// Makes `batch` durable. After a failure nobody knows whether it is in the
    /// file; so the next write begins with all of the state that is in force.
    pub(super) fn write(&mut self, batch: &Batch, in_force: &Shared) -> RegistryResult<()> {
        let written = match self.database.take() {
            Some(database) => write(database, batch, None),
            None => database(&self.path)
                .and_then(|database| write(database, batch, Some(&in_force.read().saved()))),
        };
        self.database = Some(written.map_err(|error| storage(&self.path, error))?);
        Ok(())
    }
}

#[cfg(test)]
impl Store {
    /// As after a write that failed.
    pub(super) fn fail(&mut self) {
        self.database = None;
    }
}

/// Creates directory and file. Only the owner may read it: the cluster's hash key is in it.
fn create(path: &Path) -> std::io::Result<()> {
    if let Some(directory) = path
        .parent()
        .filter(|parent| !parent.as_os_str().is_empty())
    {
        fs::create_dir_all(directory)?;
    }
    let mut options = OpenOptions::new();
    let options = options.read(true).write(true).create(true).truncate(false);
    options.mode(0o600).open(path).map(drop)
}

/// Opens the file; every page of it is checked, so that damage is found now.
fn database(path: &Path) -> Result<Database, Error> {
    Ok(Builder::new()
        .set_cache_size(CACHE_BYTES)
        .set_check_integrity_on_open(true)
        .create(path)?)
}

fn load(database: &Database, path: &Path) -> RegistryResult<Saved> {
    let (format, saved) = read(database).map_err(|error| storage(path, error))?;
    if format == FORMAT_VERSION {
        return Ok(saved);
    }
    Err(RegistryError::Storage {
        path: path.display().to_string(),
        why: format!(
            "has format {format}, this version of navigator reads format {FORMAT_VERSION}: \
             use the version that wrote it, or another state directory"
        ),
    })
}

/// Creates the tables if there are none, and reads them.
fn read(database: &Database) -> Result<(i64, Saved), Error> {
    let transaction = database.begin_write()?;
    let mut saved = Saved::default();
    let format;
    {
        let mut meta = transaction.open_table(META)?;
        let found = meta.get(FORMAT)?.map(|format| format.value());
        format = found.unwrap_or(FORMAT_VERSION);
        if found.is_none() {
            meta.insert(FORMAT, FORMAT_VERSION)?;
        }
        if format == FORMAT_VERSION {
            // etcd, too, starts at revision 1.
            saved.revision = meta.get(REVISION)?.map_or(1, |revision| revision.value());
            read_tables(&transaction, &mut saved)?;
        }
    }
    transaction.commit()?;
    Ok((format, saved))
}

fn read_tables(transaction: &WriteTransaction, saved: &mut Saved) -> Result<(), Error> {
    for row in transaction.open_table(ENTRIES)?.iter()? {
        let (key, row) = row?;
        let (created, modified, lease, value) = row.value();
        let stored = Stored {
            value: value.to_vec(),
            created,
            modified,
            lease,
        };
        saved.entries.insert(key.value().to_owned(), stored);
    }
    for row in transaction.open_table(LEASES)?.iter()? {
        let (id, ttl) = row?;
        let ttl = Duration::from_millis(ttl.value());
        saved.leases.insert(id.value(), ttl);
    }
    Ok(())
}

/// One durable transaction. The database comes back only if it succeeded.
fn write(database: Database, batch: &Batch, all: Option<&Saved>) -> Result<Database, Error> {
    let transaction = database.begin_write()?;
    if let Some(saved) = all {
        transaction.delete_table(ENTRIES)?;
        transaction.delete_table(LEASES)?;
        for (key, stored) in &saved.entries {
            put(&transaction, key, stored)?;
        }
        for (id, ttl) in &saved.leases {
            put_lease(&transaction, *id, *ttl)?;
        }
    }
    write_batch(&transaction, batch)?;
    transaction.commit()?;
    Ok(database)
}

fn write_batch(transaction: &WriteTransaction, batch: &Batch) -> Result<(), Error> {
    for key in &batch.deletes {
        transaction.open_table(ENTRIES)?.remove(key.as_str())?;
    }
    for (key, stored) in &batch.puts {
        put(transaction, key, stored)?;
    }
    for id in &batch.ended_leases {
        transaction.open_table(LEASES)?.remove(id)?;
    }
    if let Some((id, ttl)) = batch.new_lease {
        put_lease(transaction, id, ttl)?;
    }
    let mut meta = transaction.open_table(META)?;
    meta.insert(REVISION, batch.revision)?;
    Ok(())
}

fn put(transaction: &WriteTransaction, key: &str, stored: &Stored) -> Result<(), Error> {
    let row = (
        stored.created,
        stored.modified,
        stored.lease,
        stored.value.as_slice(),
    );
    transaction.open_table(ENTRIES)?.insert(key, row)?;
    Ok(())
}

fn put_lease(transaction: &WriteTransaction, id: i64, ttl: Duration) -> Result<(), Error> {
    let millis = u64::try_from(ttl.as_millis()).unwrap_or(u64::MAX);
    transaction.open_table(LEASES)?.insert(id, millis)?;
    Ok(())
}

fn storage(path: &Path, error: Error) -> RegistryError {
    let why = match error {
        Error::DatabaseAlreadyOpen | Error::LockProtocolMismatch => {
            "is in use by another process: stop the other navigator daemon, or give this one \
             its own state directory (`state` in its configuration)"
                .to_owned()
        }
        Error::Io(error) if error.kind() != ErrorKind::InvalidData => {
            return refused(path, "cannot be read or written", &error);
        }
        damage => format!(
            "is damaged ({damage}): put a copy in its place, or move it away to start with an \
             empty registry (instances with a lease register themselves again; VIPs, orders and \
             static instances must be set again)"
        ),
    };
    RegistryError::Storage {
        path: path.display().to_string(),
        why,
    }
}

fn refused(path: &Path, what: &str, error: &std::io::Error) -> RegistryError {
    let way_out = match error.kind() {
        ErrorKind::PermissionDenied => "run as root, or choose another `state` directory",
        ErrorKind::StorageFull | ErrorKind::QuotaExceeded => "make room on the disk",
        ErrorKind::ReadOnlyFilesystem => "choose a `state` directory that can be written",
        _ => "check the `state` directory of the configuration and the disk",
    };
    RegistryError::Storage {
        path: path.display().to_string(),
        why: format!("{what} ({error}): {way_out}"),
    }
}
