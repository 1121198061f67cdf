//! States of a workspace that were kept, as programs read them.

use super::convert::{count, seconds};
use crate::workspace::registry::{Record, SnapshotKind, SnapshotRecord, WorkspaceId};
use serde::Serialize;

/// A snapshot.
#[derive(Debug, Clone, PartialEq, Serialize)]
#[cfg_attr(test, derive(schemars::JsonSchema))]
pub struct SnapshotPayload {
    /// Of which workspace.
    pub workspace_id: String,
    /// `baseline`, or as it was called.
    pub snapshot_name: String,
    /// `baseline` or `named`.
    pub kind: String,
    /// When it was kept.
    pub created_at: f64,
    /// Files, directories and links.
    pub entry_count: u64,
    /// In files.
    pub bytes_written: u64,
    /// Whether it may be deleted: all but the baseline.
    pub deletable: bool,
}

/// A snapshot that was just kept.
#[derive(Debug, Clone, PartialEq, Serialize)]
#[cfg_attr(test, derive(schemars::JsonSchema))]
pub struct SnapshotCreatePayload {
    /// Of which workspace.
    pub workspace_id: String,
    /// What was kept.
    pub snapshot: SnapshotPayload,
    /// In what the workspace runs.
    pub execution_mode: String,
}

/// All snapshots of a workspace.
#[derive(Debug, Clone, PartialEq, Serialize)]
#[cfg_attr(test, derive(schemars::JsonSchema))]
pub struct SnapshotListPayload {
    /// Of which workspace.
    pub workspace_id: String,
    /// Of `snapshots`.
    pub count: u64,
    /// The baseline first, then the newest first.
    pub snapshots: Vec<SnapshotPayload>,
}

/// That a snapshot is gone.
#[derive(Debug, Clone, PartialEq, Eq, Serialize)]
#[cfg_attr(test, derive(schemars::JsonSchema))]
pub struct SnapshotDeletePayload {
    /// Of which workspace.
    pub workspace_id: String,
    /// Which.
    pub snapshot_name: String,
    /// Always true.
    pub deleted: bool,
}

impl SnapshotPayload {
    /// A snapshot of a workspace.
    pub fn new(id: &WorkspaceId, snapshot: &SnapshotRecord) -> Self {
        Self {
            workspace_id: id.to_string(),
            snapshot_name: snapshot.name.clone(),
            kind: snapshot.kind.as_str().to_owned(),
            created_at: seconds(snapshot.created_at),
            entry_count: snapshot.entry_count,
            bytes_written: snapshot.bytes,
            deletable: match snapshot.kind {
                SnapshotKind::Baseline => false,
                SnapshotKind::Named => true,
            },
        }
    }
}

impl SnapshotCreatePayload {
    /// A snapshot of a workspace that was just kept.
    pub fn new(record: &Record, snapshot: &SnapshotRecord) -> Self {
        Self {
            workspace_id: record.id.to_string(),
            snapshot: SnapshotPayload::new(&record.id, snapshot),
            execution_mode: record.execution_mode.clone(),
        }
    }
}

impl SnapshotListPayload {
    /// Of [`Registry::snapshots`](crate::workspace::registry::Registry::snapshots).
    pub fn new(id: &WorkspaceId, snapshots: &[SnapshotRecord]) -> Self {
        let all = snapshots.iter();
        Self {
            workspace_id: id.to_string(),
            count: count(snapshots),
            snapshots: all
                .map(|snapshot| SnapshotPayload::new(id, snapshot))
                .collect(),
        }
    }
}

impl SnapshotDeletePayload {
    /// A snapshot that was deleted.
    pub fn new(id: &WorkspaceId, name: &str) -> Self {
        Self {
            workspace_id: id.to_string(),
            snapshot_name: name.to_owned(),
            deleted: true,
        }
    }
}
