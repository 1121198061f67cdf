//! `workspaces/ID/about.json`: who a workspace is, beside its files, for a registry that has to be made anew.

use super::error::Fault;
use super::record::{Record, Resources, SecretRecord, SeedRecord, State, WorkspaceId};
use super::{RegistryError, SnapshotRecord, snapshots, workspaces};
use crate::workspace::{StateDir, Timestamp, replace_file};
use rusqlite::Connection;
use serde::{Deserialize, Serialize};
use std::collections::BTreeMap;
use std::fs;
use std::io;
use std::os::unix::fs::MetadataExt as _;
use std::path::{Path, PathBuf};

/// No history is as long.
const MOST: u64 = 1 << 48;

/// What lies beside a workspace.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
struct About {
    format_version: u32,
    id: WorkspaceId,
    name: Option<String>,
    labels: BTreeMap<String, String>,
    environment: String,
    seed: SeedRecord,
    resources: Resources,
    ttl_ms: u64,
    network_policy: String,
    execution_mode: String,
    secrets: Vec<SecretRecord>,
    created_at_ms: u64,
    last_activity_at_ms: u64,
    reset_count: u64,
    last_reset_at_ms: Option<u64>,
    snapshots: Vec<AboutSnapshot>,
    next_sequence: u64,
    request: String,
}

#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
struct AboutSnapshot {
    name: String,
    created_at_ms: u64,
    entry_count: u64,
    bytes: u64,
}

/// A workspace that was found by its folder.
#[derive(Debug)]
pub(super) struct Beside {
    pub(super) record: Record,
    /// The oldest first.
    pub(super) snapshots: Vec<SnapshotRecord>,
    pub(super) request: String,
    /// Beyond all that are known to be used.
    pub(super) next_sequence: u64,
}

/// Where the folders of workspaces are.
fn folder(state: &StateDir) -> PathBuf {
    state.path().join("workspaces")
}

fn file(state: &StateDir, id: &WorkspaceId) -> PathBuf {
    folder(state).join(id.as_str()).join("about.json")
}

/// Writes what a transaction is about to make true, so that two writers never leave the older of their words. Where
/// the workspace has no folder (yet), nothing is written.
pub(super) fn write(state: &StateDir, db: &Connection, id: &WorkspaceId) -> Result<(), Fault> {
    let path = file(state, id);
    if !path.parent().is_some_and(Path::is_dir) {
        return Ok(());
    }
    let record = workspaces::record(db, id)?;
    let snapshots = snapshots::named(db, id)?;
    let about = About {
        format_version: 1,
        snapshots: snapshots.iter().rev().map(about_snapshot).collect(),
        next_sequence: workspaces::next_sequence(db, id)?,
        request: workspaces::request(db, id)?,
        id: record.id,
        name: record.name,
        labels: record.labels,
        environment: record.environment,
        seed: record.seed,
        resources: record.resources,
        ttl_ms: record.ttl_ms,
        network_policy: record.network_policy,
        execution_mode: record.execution_mode,
        secrets: record.secrets,
        created_at_ms: record.created_at.as_millis(),
        last_activity_at_ms: record.last_activity_at.as_millis(),
        reset_count: record.reset_count,
        last_reset_at_ms: record.last_reset_at.map(Timestamp::as_millis),
    };
    serde_json::to_vec(&about)
        .map_err(io::Error::from)
        .and_then(|text| replace_file(&path, &text))
        .map_err(|source| {
            Fault::Told(RegistryError::Io {
                what: "write",
                path,
                source,
            })
        })
}

fn about_snapshot(snapshot: &SnapshotRecord) -> AboutSnapshot {
    AboutSnapshot {
        name: snapshot.name.clone(),
        created_at_ms: snapshot.created_at.as_millis(),
        entry_count: snapshot.entry_count,
        bytes: snapshot.bytes,
    }
}

/// Every workspace that has a folder. Of one whose description cannot be read, what can be seen; a folder without a
/// description is one that was never registered.
pub(super) fn all(state: &StateDir) -> Result<Vec<Beside>, RegistryError> {
    let folder = folder(state);
    let unreadable = |source| RegistryError::Io {
        what: "read",
        path: folder.clone(),
        source,
    };
    let entries = match fs::read_dir(&folder) {
        Ok(entries) => entries,
        Err(error) if error.kind() == io::ErrorKind::NotFound => return Ok(Vec::new()),
        Err(error) => return Err(unreadable(error)),
    };
    let mut all = Vec::new();
    for entry in entries {
        let name = entry.map_err(unreadable)?.file_name();
        let Some(id) = name.to_str().and_then(WorkspaceId::parse) else {
            continue;
        };
        let path = file(state, &id);
        let Ok(found) = fs::symlink_metadata(&path) else {
            continue;
        };
        let about = fs::read(&path)
            .ok()
            .and_then(|text| serde_json::from_slice::<About>(&text).ok())
            .filter(|about| about.format_version == 1 && about.id == id);
        let made = state.home(id.as_str()).is_ok_and(|home| home.is_complete());
        let mut one = about.map_or_else(|| bare(id, changed(&found)), beside);
        if !made {
            one.record.state = State::Creating;
        }
        let folder = path.with_file_name("history");
        one.next_sequence = one.next_sequence.max(after_all_in(&folder));
        all.push(one);
    }
    all.sort_by(|a, b| a.record.id.cmp(&b.record.id));
    Ok(all)
}

/// The sequence after the last one that has a folder: the receipt in there is not written over.
fn after_all_in(history: &Path) -> u64 {
    let names = fs::read_dir(history).into_iter().flatten().flatten();
    let numbers = names.filter_map(|entry| entry.file_name().to_str()?.parse::<u64>().ok());
    // Larger ones are none of ours.
    let ours = numbers.filter(|number| *number < MOST);
    ours.max().map_or(1, |last| last + 1)
}

fn beside(about: About) -> Beside {
    let snapshots = about.snapshots.into_iter();
    Beside {
        snapshots: snapshots
            .map(|snapshot| {
                let created_at = Timestamp::from_millis(snapshot.created_at_ms);
                let (entries, bytes) = (snapshot.entry_count, snapshot.bytes);
                SnapshotRecord::named(snapshot.name, created_at, entries, bytes)
            })
            .collect(),
        request: about.request,
        next_sequence: about.next_sequence.min(MOST),
        record: Record {
            id: about.id,
            name: about.name,
            labels: about.labels,
            environment: about.environment,
            seed: about.seed,
            resources: about.resources,
            ttl_ms: about.ttl_ms,
            network_policy: about.network_policy,
            execution_mode: about.execution_mode,
            secrets: about.secrets,
            created_at: Timestamp::from_millis(about.created_at_ms),
            last_activity_at: Timestamp::from_millis(about.last_activity_at_ms),
            state: State::Stopped,
            boot_id: None,
            last_error: None,
            reset_count: about.reset_count,
            last_reset_at: about.last_reset_at_ms.map(Timestamp::from_millis),
            command_count: 0,
            last_command: None,
        },
    }
}

fn changed(found: &fs::Metadata) -> Timestamp {
    let seconds = u64::try_from(found.mtime()).unwrap_or(0);
    Timestamp::from_millis(seconds.saturating_mul(1000))
}

/// A workspace of which nothing is known but its folder.
pub(super) fn bare(id: WorkspaceId, at: Timestamp) -> Beside {
    Beside {
        snapshots: Vec::new(),
        request: "null".into(),
        next_sequence: 1,
        record: Record {
            id,
            name: None,
            labels: BTreeMap::new(),
            environment: "unknown".into(),
            seed: SeedRecord::EMPTY,
            resources: Resources {
                vcpu_count: 1,
                mem_mib: 1024,
            },
            ttl_ms: super::MAX_TTL_MS,
            network_policy: "off".into(),
            execution_mode: "unknown".into(),
            secrets: Vec::new(),
            created_at: at,
            last_activity_at: at,
            state: State::Stopped,
            boot_id: None,
            last_error: Some(
                "the registry was damaged, and so is the description of this workspace".into(),
            ),
            reset_count: 0,
            last_reset_at: None,
            command_count: 0,
            last_command: None,
        },
    }
}
