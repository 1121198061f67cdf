//! Making the registry, bringing it to today's version, and making it anew after it was damaged. All of it happens
//! under the lock of the state directory, so that of two processes that see the same, one acts.

use super::about::{self, Beside};
use super::error::{Fault, RegistryError, is_damage, told};
use super::open::{FileId, Found, connect, file_id, open};
use super::record::{Record, WorkspaceId};
use super::schema::STEPS;
use super::{row, snapshots};
use crate::workspace::{StateDir, Timestamp};
use rusqlite::config::DbConfig;
use rusqlite::{Connection, Transaction, TransactionBehavior, params};
use std::fs;
use std::io;
use std::os::unix::fs::OpenOptionsExt as _;
use std::path::{Path, PathBuf};

/// That the registry was made anew, from what lies beside the workspaces.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Rebuilt {
    /// Where the damaged one is now. None: there was none, or an empty file.
    pub moved_to: Option<PathBuf>,
    /// The workspaces that were found.
    pub workspaces: Vec<WorkspaceId>,
}

/// Makes the registry where there is none, and brings an old one to today's version.
pub(super) fn make(state: &StateDir, path: &Path) -> Result<Option<Rebuilt>, RegistryError> {
    let _lock = state.lock()?;
    make_locked(state, path)
}

/// Moves a damaged registry aside and makes a new one, unless somebody else did that meanwhile, or it turns out to be
/// sound.
pub(super) fn repair(
    state: &StateDir,
    path: &Path,
    seen: FileId,
    error: &rusqlite::Error,
) -> Result<Option<Rebuilt>, RegistryError> {
    let _lock = state.lock()?;
    match fs::symlink_metadata(path) {
        Ok(found) if file_id(&found) == seen => {}
        Ok(_) => return Ok(None),
        Err(error) if error.kind() == io::ErrorKind::NotFound => return make_locked(state, path),
        Err(error) => return Err(failed("look at", path)(error)),
    }
    if is_sound(path) {
        return Ok(None);
    }
    // A name for people; nothing depends on it.
    let stamp = Timestamp::now().compact();
    let beside = |end: &str| with_end(path, end);
    let moved_to = (0..)
        .map(|n| match n {
            0 => beside(&format!(".damaged-{stamp}")),
            n => beside(&format!(".damaged-{stamp}-{n}")),
        })
        .find(|to| !to.exists());
    let Some(moved_to) = moved_to else {
        return Ok(None);
    };
    log::warn!(
        "the registry {} is damaged ({error}); it is moved to {}",
        path.display(),
        moved_to.display()
    );
    // The file first: SQLite drops a log that has no file.
    fs::rename(path, &moved_to).map_err(failed("move aside", path))?;
    for end in ["-wal", "-shm"] {
        let from = beside(end);
        match fs::rename(&from, with_end(&moved_to, end)) {
            Ok(()) => {}
            Err(error) if error.kind() == io::ErrorKind::NotFound => {}
            Err(error) => return Err(failed("move aside", &from)(error)),
        }
    }
    let made = make_locked(state, path)?;
    Ok(Some(Rebuilt {
        moved_to: Some(moved_to),
        workspaces: made.map(|made| made.workspaces).unwrap_or_default(),
    }))
}

/// A second look, by a connection of its own.
fn is_sound(path: &Path) -> bool {
    let check = |db: Connection| {
        db.query_one("PRAGMA integrity_check(1)", (), |row| {
            row.get::<_, String>(0)
        })
    };
    match connect(path).and_then(check) {
        Ok(said) => said == "ok",
        // Whatever else is wrong is no reason to move it away.
        Err(error) => !is_damage(&error),
    }
}

fn make_locked(state: &StateDir, path: &Path) -> Result<Option<Rebuilt>, RegistryError> {
    match open(path)? {
        // Somebody else was quicker, or what is there is seen to by whoever called.
        Found::Ready(..) | Found::Damaged(..) => return Ok(None),
        Found::Old(mut db, version @ 1..) => {
            migrate(&mut db, STEPS, version, &[]).map_err(|fault| tell(fault, path))?;
            return Ok(None);
        }
        Found::Old(db, 0) => {
            let tables = "SELECT count(*) FROM sqlite_schema";
            let tables: u64 = db
                .query_one(tables, (), |row| row.get(0))
                .map_err(sql(path))?;
            if tables > 0 {
                let path = path.to_owned();
                return Err(RegistryError::Foreign { path });
            }
        }
        Found::Missing => {}
    }
    let found = about::all(state)?;
    // Under another name: SQLite finds logs and journals by name, and whoever looked at this name a moment ago would
    // take those of the new file for his.
    let new = with_end(path, ".new");
    remove_all(&new)?;
    fill(&new, &found)?;
    remove_logs(path)?;
    fs::rename(&new, path).map_err(failed("put in place", &new))?;
    if found.is_empty() {
        return Ok(None);
    }
    let workspaces = found.into_iter().map(|found| found.record.id);
    Ok(Some(Rebuilt {
        moved_to: None,
        workspaces: workspaces.collect(),
    }))
}

/// Makes a registry that is one file, without a log beside it.
fn fill(path: &Path, found: &[Beside]) -> Result<(), RegistryError> {
    fs::OpenOptions::new()
        .write(true)
        .create_new(true)
        .mode(0o600)
        .open(path)
        .map_err(failed("make", path))?;
    let mut db = connect(path).map_err(sql(path))?;
    // Both stay with the file. What a workspace took is given back when it goes.
    db.execute_batch("PRAGMA auto_vacuum = INCREMENTAL")
        .map_err(sql(path))?;
    // Where the file system has no shared memory, SQLite leaves it at a journal, which is slower and as safe.
    db.query_one("PRAGMA journal_mode = WAL", (), |_| Ok(()))
        .map_err(sql(path))?;
    migrate(&mut db, STEPS, 0, found).map_err(|fault| tell(fault, path))?;
    db.set_db_config(DbConfig::SQLITE_DBCONFIG_NO_CKPT_ON_CLOSE, false)
        .map_err(sql(path))?;
    db.close().map_err(|(_, error)| sql(path)(error))
}

/// All steps in one transaction, so that no half of them is ever seen.
pub(super) fn migrate(
    db: &mut Connection,
    steps: &[&str],
    version: u32,
    found: &[Beside],
) -> Result<(), Fault> {
    let mut transaction = Transaction::new(db, TransactionBehavior::Immediate)?;
    let done = usize::try_from(version).unwrap_or(usize::MAX);
    for step in steps.iter().skip(done) {
        transaction.execute_batch(step)?;
    }
    for found in found {
        let savepoint = transaction.savepoint()?;
        if take_in(&savepoint, found).is_ok() {
            savepoint.commit()?;
            continue;
        }
        drop(savepoint);
        // It says of itself what cannot be. That is for its owner, and hides no other.
        let Record { id, created_at, .. } = &found.record;
        let mut bare = about::bare(id.clone(), *created_at);
        bare.record.state = found.record.state;
        bare.next_sequence = found.next_sequence;
        take_in(&transaction, &bare)?;
    }
    transaction.pragma_update(None, "user_version", steps.len())?;
    transaction.commit()?;
    Ok(())
}

fn take_in(db: &Connection, found: &Beside) -> Result<(), Fault> {
    let id = &found.record.id;
    row::insert(db, &found.record, &found.request)?;
    let go_on = "UPDATE workspace SET next_sequence = ?2 WHERE id = ?1";
    db.execute(go_on, params![id, found.next_sequence])?;
    for snapshot in &found.snapshots {
        snapshots::insert(db, id, snapshot)?;
    }
    Ok(())
}

fn remove_all(path: &Path) -> Result<(), RegistryError> {
    remove_logs(path)?;
    remove(path)
}

fn remove_logs(path: &Path) -> Result<(), RegistryError> {
    for end in ["-wal", "-shm", "-journal"] {
        remove(&with_end(path, end))?;
    }
    Ok(())
}

fn remove(path: &Path) -> Result<(), RegistryError> {
    match fs::remove_file(path) {
        Err(error) if error.kind() != io::ErrorKind::NotFound => Err(failed("remove", path)(error)),
        Ok(()) | Err(_) => Ok(()),
    }
}

fn with_end(path: &Path, end: &str) -> PathBuf {
    let mut name = path.as_os_str().to_owned();
    name.push(end);
    name.into()
}

fn failed(what: &'static str, path: &Path) -> impl FnOnce(io::Error) -> RegistryError {
    let path = path.to_owned();
    move |source| RegistryError::Io { what, path, source }
}

fn sql(path: &Path) -> impl Fn(rusqlite::Error) -> RegistryError {
    let path = path.to_owned();
    move |error| told("make the registry", path.clone(), error)
}

fn tell(fault: Fault, path: &Path) -> RegistryError {
    match fault {
        Fault::Sql(error) => sql(path)(error),
        Fault::Told(error) => error,
        // Nobody moves it while we have the lock.
        Fault::Moved => failed("keep", path)(io::ErrorKind::NotFound.into()),
    }
}
