//! Opening the file, and the two ways to use it: reading, and one write after the other.

use super::error::{Fault, RegistryError, SqlError, is_damage, told};
use super::repair::Rebuilt;
use super::{repair, schema};
use crate::workspace::StateDir;
use rusqlite::config::DbConfig;
use rusqlite::{Connection, OpenFlags, Transaction, TransactionBehavior};
use std::fs;
use std::io;
use std::os::unix::fs::{MetadataExt as _, PermissionsExt as _};
use std::path::{Path, PathBuf};
use std::time::{Duration, Instant};

/// In the state directory.
const FILE: &str = "registry.sqlite";
/// How long a write waits for others.
const PATIENCE: Duration = Duration::from_secs(30);
/// How often something is tried again after the file was replaced or made anew.
const ATTEMPTS: usize = 4;

/// The registry, open. For one thread; processes and threads open it as often as they like.
#[derive(Debug)]
pub struct Registry {
    pub(super) state: StateDir,
    path: PathBuf,
    db: Connection,
    /// Which file is open: the name may have another by now.
    file: FileId,
    rebuilt: Option<Rebuilt>,
}

/// A file, whatever its name.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) struct FileId {
    device: u64,
    inode: u64,
}

/// What opening found.
#[derive(Debug)]
pub(super) enum Found {
    /// A registry of today.
    Ready(Connection, FileId),
    /// An older one; 0: a database without any version.
    Old(Connection, u32),
    /// Nothing, or an empty file.
    Missing,
    /// What is no database any more.
    Damaged(FileId, rusqlite::Error),
}

impl Registry {
    /// Whether a state directory has one; nothing is opened.
    pub fn is_in(state_dir: &Path) -> bool {
        state_dir.join(FILE).exists()
    }

    /// Opens the registry of a state directory, making it where it is missing. One that is damaged is moved aside and
    /// made anew: see [`rebuilt`](Self::rebuilt).
    ///
    /// # Errors
    /// Where it cannot be opened, or is that of a later pyro.
    pub fn open(state: &StateDir) -> Result<Self, RegistryError> {
        let path = state.path().join(FILE);
        let mut rebuilt = None;
        let (db, file) = ready(state, &path, &mut rebuilt)?;
        Ok(Self {
            state: state.clone(),
            path,
            db,
            file,
            rebuilt,
        })
    }

    /// Where it is.
    pub fn path(&self) -> &Path {
        &self.path
    }

    /// What was made anew since it was opened, or by opening it, if anything: said once. The workspaces in it are all
    /// [stopped](super::State::Stopped) as far as the registry knows, and their history is empty.
    pub fn rebuilt(&mut self) -> Option<Rebuilt> {
        self.rebuilt.take()
    }

    /// Reads. `what` completes "could not ...".
    pub(super) fn read<T>(
        &mut self,
        what: &'static str,
        mut read: impl FnMut(&Connection) -> Result<T, Fault>,
    ) -> Result<T, RegistryError> {
        self.attempt(what, |registry| {
            registry.is_still_it()?;
            read(&registry.db)
        })
    }

    /// Writes, all or nothing. `what` completes "could not ...".
    pub(super) fn write<T>(
        &mut self,
        what: &'static str,
        mut write: impl FnMut(&Transaction<'_>) -> Result<T, Fault>,
    ) -> Result<T, RegistryError> {
        self.attempt(what, |registry| {
            let behavior = TransactionBehavior::Immediate;
            let transaction = Transaction::new_unchecked(&registry.db, behavior)?;
            // Whoever moved it aside did not ask for our lock, which may be what is damaged.
            registry.is_still_it()?;
            let written = write(&transaction)?;
            transaction.commit()?;
            Ok(written)
        })
    }

    fn attempt<T>(
        &mut self,
        what: &'static str,
        mut attempt: impl FnMut(&Self) -> Result<T, Fault>,
    ) -> Result<T, RegistryError> {
        let mut last = None;
        for _ in 0..ATTEMPTS {
            match attempt(self) {
                Ok(done) => return Ok(done),
                Err(Fault::Told(error)) => return Err(error),
                Err(Fault::Sql(error)) if is_damage(&error) => {
                    if let Some(made) = repair::repair(&self.state, &self.path, self.file, &error)?
                    {
                        self.rebuilt = Some(made);
                    }
                    last = Some(error);
                }
                // A file that is gone fails in many ways.
                Err(Fault::Sql(error)) if self.is_still_it().is_ok() => {
                    return Err(told(what, self.path.clone(), error));
                }
                Err(Fault::Sql(_) | Fault::Moved) => {}
            }
            (self.db, self.file) = ready(&self.state, &self.path, &mut self.rebuilt)?;
        }
        let path = self.path.clone();
        Err(match last {
            Some(error) => told(what, path, error),
            None => RegistryError::Io {
                what,
                path,
                source: io::Error::other("it was replaced again and again"),
            },
        })
    }

    fn is_still_it(&self) -> Result<(), Fault> {
        match fs::symlink_metadata(&self.path) {
            Ok(found) if file_id(&found) == self.file => Ok(()),
            Ok(_) => Err(Fault::Moved),
            Err(error) if error.kind() == io::ErrorKind::NotFound => Err(Fault::Moved),
            Err(source) => Err(Fault::Told(RegistryError::Io {
                what: "look at",
                path: self.path.clone(),
                source,
            })),
        }
    }
}

/// Opens it, after making it, bringing it to today's version, or making it anew.
fn ready(
    state: &StateDir,
    path: &Path,
    rebuilt: &mut Option<Rebuilt>,
) -> Result<(Connection, FileId), RegistryError> {
    let mut last = None;
    for _ in 0..ATTEMPTS {
        match open(path)? {
            Found::Ready(db, file) => return Ok((db, file)),
            Found::Missing | Found::Old(..) => {
                let made = repair::make(state, path)?;
                *rebuilt = made.or(rebuilt.take());
            }
            Found::Damaged(file, error) => {
                let made = repair::repair(state, path, file, &error)?;
                *rebuilt = made.or(rebuilt.take());
                last = Some(SqlError(error));
            }
        }
    }
    let (what, path) = ("open", path.to_owned());
    Err(match last {
        Some(source) => RegistryError::Damaged { what, path, source },
        None => RegistryError::Io {
            what,
            path,
            source: io::Error::other("it was replaced again and again"),
        },
    })
}

/// Looks at what is there, and changes nothing but a mode that lets others read.
pub(super) fn open(path: &Path) -> Result<Found, RegistryError> {
    let failed = |what| {
        move |source| RegistryError::Io {
            what,
            path: path.to_owned(),
            source,
        }
    };
    let found = match fs::symlink_metadata(path) {
        Ok(found) => found,
        Err(error) if error.kind() == io::ErrorKind::NotFound => return Ok(Found::Missing),
        Err(error) => return Err(failed("look at")(error)),
    };
    if !found.is_file() {
        let path = path.to_owned();
        return Err(RegistryError::NoFile { path });
    }
    if found.mode() & 0o077 != 0 {
        let mode = fs::Permissions::from_mode(found.mode() & 0o700);
        fs::set_permissions(path, mode).map_err(failed("close to others"))?;
    }
    if found.len() == 0 {
        // Not for SQLite to open: it removes logs beside an empty file, by their names, which may be those of the
        // next one already.
        return Ok(Found::Missing);
    }
    let file = file_id(&found);
    let opened = connect(path).and_then(|db| {
        let version = db.query_one("PRAGMA user_version", (), |row| row.get(0))?;
        Ok((db, version))
    });
    let (db, version): (_, u32) = match opened {
        Ok(opened) => opened,
        Err(error) if is_damage(&error) => return Ok(Found::Damaged(file, error)),
        Err(error) => {
            let now = fs::symlink_metadata(path);
            if now.is_ok_and(|now| file_id(&now) == file) {
                return Err(told("open the registry", path.to_owned(), error));
            }
            // Moved aside under our hands; whoever did that is about to make a new one.
            return Ok(Found::Missing);
        }
    };
    let known = schema::known();
    if version > known {
        return Err(RegistryError::Newer {
            path: path.to_owned(),
            version,
            known,
        });
    }
    Ok(if version == known {
        Found::Ready(db, file)
    } else {
        Found::Old(db, version)
    })
}

/// A connection as all of ours are. It makes no file.
pub(super) fn connect(path: &Path) -> rusqlite::Result<Connection> {
    let flags = OpenFlags::SQLITE_OPEN_READ_WRITE | OpenFlags::SQLITE_OPEN_NO_MUTEX;
    let mut db = Connection::open_with_flags(path, flags)?;
    let mut since = Instant::now();
    // Writes take a fraction of a millisecond, so it is asked more often than SQLite's own handler would, which sleeps
    // up to a tenth of a second.
    db.busy_handler(Some(move |count: i32| {
        if count == 0 {
            since = Instant::now();
        }
        let micros = 200 * u64::from(count.unsigned_abs().min(24) + 1);
        std::thread::sleep(Duration::from_micros(micros));
        since.elapsed() < PATIENCE
    }))?;
    // Otherwise each command that is alone would write the log back and sync it before it ends; and would remove, by
    // its name, the log of a registry that was made anew.
    db.set_db_config(DbConfig::SQLITE_DBCONFIG_NO_CKPT_ON_CLOSE, true)?;
    db.set_db_config(DbConfig::SQLITE_DBCONFIG_ENABLE_FKEY, true)?;
    // The first process after a pause reads the whole log: a megabyte takes it a third of a millisecond.
    db.execute_batch("PRAGMA synchronous = NORMAL; PRAGMA wal_autocheckpoint = 256")?;
    Ok(db)
}

pub(super) fn file_id(found: &fs::Metadata) -> FileId {
    FileId {
        device: found.dev(),
        inode: found.ino(),
    }
}
