//! Why something cannot be read from the registry or written to it; each completes "could not ...".

use super::rules::{LabelError, NameError, TtlError};
use super::{Damaged, WorkspaceId};
use crate::workspace::StateError;
use rusqlite::ErrorCode;
use std::io;
use std::path::PathBuf;

/// What SQLite says.
#[derive(Debug, thiserror::Error)]
#[error(transparent)]
pub struct SqlError(pub(super) rusqlite::Error);

/// Why the registry did not do what it was asked for. Nothing was changed then.
#[derive(Debug, thiserror::Error)]
pub enum RegistryError {
    /// The state directory cannot be locked.
    #[error(transparent)]
    State(#[from] StateError),
    /// The operating system refused.
    #[error("{what} {}", path.display())]
    Io {
        /// What was tried.
        what: &'static str,
        /// On what.
        path: PathBuf,
        /// The reason.
        source: io::Error,
    },
    /// Something else bears the registry's name.
    #[error(
        "use {} as the registry of workspaces: it is no plain file (move it away, and pyro makes a new one)",
        path.display()
    )]
    NoFile {
        /// Where.
        path: PathBuf,
    },
    /// A later pyro wrote it.
    #[error(
        "read the registry {}: it has version {version}, and this pyro knows versions up to {known} (use the pyro \
         that wrote it, or name another state directory)",
        path.display()
    )]
    Newer {
        /// Where.
        path: PathBuf,
        /// What it says.
        version: u32,
        /// The last one that we know.
        known: u32,
    },
    /// It is a database, and not pyro's.
    #[error(
        "use {} as the registry of workspaces: it is a database of another program (move it away, and pyro makes a \
         new one)",
        path.display()
    )]
    Foreign {
        /// Where.
        path: PathBuf,
    },
    /// It cannot be written to.
    #[error("{what}: {} is read-only", path.display())]
    ReadOnly {
        /// What was tried.
        what: &'static str,
        /// Where.
        path: PathBuf,
    },
    /// Others had it for too long.
    #[error("{what}: {} was in use by other processes for 30 seconds", path.display())]
    Busy {
        /// What was tried.
        what: &'static str,
        /// Where.
        path: PathBuf,
    },
    /// It is damaged, and making it anew did not help.
    #[error("{what}: {} is damaged", path.display())]
    Damaged {
        /// What was tried.
        what: &'static str,
        /// Where.
        path: PathBuf,
        /// How that shows.
        source: SqlError,
    },
    /// SQLite refused for another reason.
    #[error("{what} ({})", path.display())]
    Sql {
        /// What was tried.
        what: &'static str,
        /// Where.
        path: PathBuf,
        /// The reason.
        source: SqlError,
    },
    /// There is no such workspace, or no longer.
    #[error("find the workspace {0}: it is not there any more")]
    Gone(WorkspaceId),
    /// What is known about this workspace cannot be understood.
    #[error(transparent)]
    Unreadable(#[from] Damaged),
    /// Its id is taken.
    #[error("register the workspace {0}: another one has this id")]
    Taken(WorkspaceId),
    /// The name is not allowed.
    #[error(transparent)]
    Name(#[from] NameError),
    /// A label is not allowed.
    #[error(transparent)]
    Label(#[from] LabelError),
    /// The time to live is not allowed.
    #[error(transparent)]
    Ttl(#[from] TtlError),
    /// The change would leave everything as it is.
    #[error("update the workspace {0}: it already is as you ask, or nothing was asked for")]
    NoChange(WorkspaceId),
    /// The history has no such entry that could still end.
    #[error(
        "end entry {sequence} of the history of {id}: there is none that has not ended already"
    )]
    NoEntry {
        /// Of which workspace.
        id: WorkspaceId,
        /// Which.
        sequence: u64,
    },
    /// The name of a snapshot does not fit the pattern.
    #[error(
        "name a snapshot {name:?}: a name is a small letter, then small letters, digits, `_` or `-`, at most 64 in \
         all, and not `baseline`"
    )]
    SnapshotName {
        /// What was given.
        name: String,
    },
    /// There is one of this name.
    #[error("keep the snapshot `{name}` of {id}: there is one of this name (delete it first)")]
    SnapshotTaken {
        /// Of which workspace.
        id: WorkspaceId,
        /// Which.
        name: String,
    },
    /// There is none of this name.
    #[error(
        "find the snapshot {name:?} of {id}{}",
        near.as_ref().map_or_else(String::new, |near| format!(" (did you mean `{near}`?)"))
    )]
    NoSnapshot {
        /// Of which workspace.
        id: WorkspaceId,
        /// What was given.
        name: String,
        /// The one that was probably meant.
        near: Option<String>,
    },
}

/// Why a name or an id does not say which workspace is meant.
#[derive(Debug, thiserror::Error)]
pub enum FindError {
    /// No workspace is called so.
    #[error(
        "find the workspace {given:?}{}",
        match near.as_slice() {
            [] => String::new(),
            near => format!(" (did you mean `{}`?)", near.join("` or `")),
        }
    )]
    NotFound {
        /// What was given.
        given: String,
        /// Ids that begin so, and the name that comes closest.
        near: Vec<String>,
    },
    /// Several are called so.
    #[error("tell which workspace `{given}` is: {} bear that name (use an id: {})", ids.len(), list(ids))]
    Ambiguous {
        /// What was given.
        given: String,
        /// All of them, the one used last first.
        ids: Vec<WorkspaceId>,
    },
    /// It is there, and what is known about it cannot be understood. It can still be deleted.
    #[error(transparent)]
    Damaged(#[from] Damaged),
    /// The registry cannot be read.
    #[error(transparent)]
    Registry(#[from] RegistryError),
}

fn list(ids: &[WorkspaceId]) -> String {
    let ids: Vec<_> = ids.iter().map(WorkspaceId::as_str).collect();
    ids.join(", ")
}

/// What can go wrong within one attempt at the database.
#[derive(Debug)]
pub(super) enum Fault {
    /// SQLite refuses.
    Sql(rusqlite::Error),
    /// The file that is open is no longer the registry: it was moved aside.
    Moved,
    /// It is for the caller.
    Told(RegistryError),
}

impl From<rusqlite::Error> for Fault {
    fn from(error: rusqlite::Error) -> Self {
        Self::Sql(error)
    }
}

impl From<RegistryError> for Fault {
    fn from(error: RegistryError) -> Self {
        Self::Told(error)
    }
}

impl From<Damaged> for Fault {
    fn from(error: Damaged) -> Self {
        Self::Told(error.into())
    }
}

/// Whether the file itself is at fault.
pub(super) fn is_damage(error: &rusqlite::Error) -> bool {
    matches!(
        error.sqlite_error_code(),
        Some(ErrorCode::DatabaseCorrupt | ErrorCode::NotADatabase)
    )
}

/// What SQLite says, as we tell it.
pub(super) fn told(what: &'static str, path: PathBuf, error: rusqlite::Error) -> RegistryError {
    let code = error.sqlite_error_code();
    let source = SqlError(error);
    if matches!(
        code,
        Some(ErrorCode::DatabaseBusy | ErrorCode::DatabaseLocked)
    ) {
        RegistryError::Busy { what, path }
    } else if code == Some(ErrorCode::ReadOnly) {
        RegistryError::ReadOnly { what, path }
    } else if is_damage(&source.0) {
        RegistryError::Damaged { what, path, source }
    } else {
        RegistryError::Sql { what, path, source }
    }
}
