//! The states of a workspace that were kept.

use super::error::Fault;
use super::open::Registry;
use super::record::WorkspaceId;
use super::{RegistryError, about, workspaces};
use crate::request::{SnapshotName, did_you_mean};
use crate::workspace::Timestamp;
use rusqlite::{Connection, ErrorCode, params};

/// Where a snapshot comes from.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum SnapshotKind {
    /// What the workspace was when it was made. Always there.
    Baseline,
    /// Somebody kept it.
    Named,
}

impl SnapshotKind {
    /// As payloads spell it.
    pub fn as_str(self) -> &'static str {
        match self {
            Self::Baseline => "baseline",
            Self::Named => "named",
        }
    }
}

/// A state of a workspace that was kept.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct SnapshotRecord {
    /// Unique in its workspace.
    pub name: String,
    /// Where it comes from.
    pub kind: SnapshotKind,
    /// When.
    pub created_at: Timestamp,
    /// Files, directories and links.
    pub entry_count: u64,
    /// In files.
    pub bytes: u64,
}

impl SnapshotRecord {
    /// One that somebody kept.
    pub fn named(name: String, created_at: Timestamp, entry_count: u64, bytes: u64) -> Self {
        Self {
            name,
            kind: SnapshotKind::Named,
            created_at,
            entry_count,
            bytes,
        }
    }
}

impl Registry {
    /// Notes a snapshot, and that somebody was active.
    ///
    /// # Errors
    /// Where the name does not fit, or there is one of this name.
    pub fn add_snapshot(
        &mut self,
        id: &WorkspaceId,
        snapshot: &SnapshotRecord,
    ) -> Result<(), RegistryError> {
        if SnapshotName::parse(&snapshot.name).is_none() {
            let name = snapshot.name.clone();
            return Err(RegistryError::SnapshotName { name });
        }
        let state = self.state.clone();
        let touch = "UPDATE workspace SET last_activity_at = ?2 WHERE id = ?1";
        self.write("note the snapshot", |db| {
            workspaces::one(db.execute(touch, params![id, snapshot.created_at])?, id)?;
            insert(db, id, snapshot)?;
            about::write(&state, db, id)
        })
    }

    /// The snapshots of a workspace: the baseline first, then the newest first.
    ///
    /// # Errors
    /// Where it is gone.
    pub fn snapshots(&mut self, id: &WorkspaceId) -> Result<Vec<SnapshotRecord>, RegistryError> {
        self.read("list the snapshots", |db| {
            let record = workspaces::record(db, id)?;
            let baseline = SnapshotRecord {
                name: "baseline".into(),
                kind: SnapshotKind::Baseline,
                created_at: record.created_at,
                entry_count: record.seed.entry_count,
                bytes: record.seed.bytes_written,
            };
            let mut all = vec![baseline];
            all.extend(named(db, id)?);
            Ok(all)
        })
    }

    /// The snapshot of this name, `baseline` included.
    ///
    /// # Errors
    /// Where there is none.
    pub fn snapshot(
        &mut self,
        id: &WorkspaceId,
        name: &str,
    ) -> Result<SnapshotRecord, RegistryError> {
        let mut all = self.snapshots(id)?;
        match all.iter().position(|snapshot| snapshot.name == name) {
            Some(at) => Ok(all.swap_remove(at)),
            None => Err(none(id, name, &all)),
        }
    }

    /// Forgets a snapshot, and notes that somebody was active.
    ///
    /// # Errors
    /// Where there is none of this name.
    pub fn remove_snapshot(
        &mut self,
        id: &WorkspaceId,
        name: &str,
        now: Timestamp,
    ) -> Result<(), RegistryError> {
        let state = self.state.clone();
        let touch = "UPDATE workspace SET last_activity_at = ?2 WHERE id = ?1";
        let delete = "DELETE FROM snapshot WHERE workspace = ?1 AND name = ?2";
        self.write("forget the snapshot", |db| {
            workspaces::one(db.execute(touch, params![id, now])?, id)?;
            if db.execute(delete, params![id, name])? == 0 {
                return Err(none(id, name, &named(db, id)?).into());
            }
            about::write(&state, db, id)
        })
    }
}

fn none(id: &WorkspaceId, name: &str, all: &[SnapshotRecord]) -> RegistryError {
    let names = all.iter().map(|snapshot| snapshot.name.as_str());
    RegistryError::NoSnapshot {
        id: id.clone(),
        name: name.to_owned(),
        near: did_you_mean(name, names).map(str::to_owned),
    }
}

pub(super) fn insert(
    db: &Connection,
    id: &WorkspaceId,
    snapshot: &SnapshotRecord,
) -> Result<(), Fault> {
    let sql = "INSERT INTO snapshot (workspace, name, created_at, entry_count, bytes, number)
        SELECT ?1, ?2, ?3, ?4, ?5, 1 + coalesce(max(number), 0) FROM snapshot WHERE workspace = ?1";
    let SnapshotRecord {
        name,
        created_at,
        entry_count,
        bytes,
        kind: _,
    } = snapshot;
    match db.execute(sql, params![id, name, created_at, entry_count, bytes]) {
        Err(error) if error.sqlite_error_code() == Some(ErrorCode::ConstraintViolation) => {
            let (id, name) = (id.clone(), name.clone());
            Err(RegistryError::SnapshotTaken { id, name }.into())
        }
        inserted => Ok(inserted.map(drop)?),
    }
}

/// Those that somebody kept, the newest first.
pub(super) fn named(db: &Connection, id: &WorkspaceId) -> Result<Vec<SnapshotRecord>, Fault> {
    let sql = "SELECT name, created_at, entry_count, bytes FROM snapshot WHERE workspace = ?1 ORDER BY number DESC";
    let mut statement = db.prepare(sql)?;
    let rows = statement.query_map([id], |row| {
        let (name, created_at) = (row.get(0)?, row.get(1)?);
        Ok(SnapshotRecord::named(
            name,
            created_at,
            row.get(2)?,
            row.get(3)?,
        ))
    })?;
    Ok(rows.collect::<Result<_, _>>()?)
}
