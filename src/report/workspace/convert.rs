//! The registry's data becomes payloads.

use super::model::{
    DamagedPayload, LastCommandPayload, ListedPayload, ResetPayload, SecretPayload, SeedPayload,
    WorkspaceDeletePayload, WorkspaceListPayload, WorkspacePayload,
};
use crate::workspace::Timestamp;
use crate::workspace::registry::{
    Damaged, LastCommand, Record, SecretRecord, SeedRecord, SnapshotRecord, WorkspaceId,
};
use std::collections::BTreeMap;

/// Where the files of a workspace are, for whoever works in it.
const PATH: &str = "/workspace";

impl From<&Record> for WorkspacePayload {
    fn from(record: &Record) -> Self {
        Self {
            workspace_id: record.id.to_string(),
            name: record.name.clone(),
            labels: record.labels.clone(),
            environment: record.environment.clone(),
            environment_version: None,
            vcpu_count: record.resources.vcpu_count,
            mem_mib: record.resources.mem_mib,
            ttl_seconds: record.ttl_ms / 1000,
            created_at: seconds(record.created_at),
            last_activity_at: seconds(record.last_activity_at),
            expires_at: seconds(record.expires_at()),
            state: record.state.as_str().to_owned(),
            network_policy: record.network_policy.clone(),
            network_enabled: record.network_policy != "off",
            allow_host_compat: false,
            guest_ip: None,
            tap_name: None,
            execution_mode: record.execution_mode.clone(),
            workspace_path: PATH.to_owned(),
            workspace_seed: (&record.seed).into(),
            secrets: record.secrets.iter().map(Into::into).collect(),
            command_count: record.command_count,
            last_command: record.last_command.as_ref().map(Into::into),
            reset_count: record.reset_count,
            last_reset_at: record.last_reset_at.map(seconds),
            service_count: 0,
            running_service_count: 0,
            metadata: BTreeMap::new(),
            last_error: record.last_error.clone(),
            inside_count: None,
            workspace_reset: None,
        }
    }
}

impl WorkspacePayload {
    /// With what a reset restored: as many entries and bytes as the snapshot has.
    #[must_use]
    pub fn reset_to(self, snapshot: &SnapshotRecord) -> Self {
        let restored = ResetPayload {
            snapshot_name: snapshot.name.clone(),
            kind: snapshot.kind.as_str().to_owned(),
            destination: PATH.to_owned(),
            entry_count: snapshot.entry_count,
            bytes_written: snapshot.bytes,
        };
        Self {
            workspace_reset: Some(restored),
            ..self
        }
    }
}

impl From<&SeedRecord> for SeedPayload {
    fn from(seed: &SeedRecord) -> Self {
        Self {
            mode: seed.mode.as_str().to_owned(),
            seed_path: seed.path.clone(),
            destination: PATH.to_owned(),
            entry_count: seed.entry_count,
            bytes_written: seed.bytes_written,
        }
    }
}

impl From<&SecretRecord> for SecretPayload {
    fn from(secret: &SecretRecord) -> Self {
        Self {
            name: secret.name.clone(),
            source_kind: secret.source_kind.clone(),
        }
    }
}

impl From<&LastCommand> for LastCommandPayload {
    fn from(command: &LastCommand) -> Self {
        Self {
            sequence: command.sequence,
            command: command.command.clone(),
            cwd: command.cwd.clone(),
            exit_code: command.exit_code,
            duration_ms: command.duration_ms,
            execution_mode: command.execution_mode.clone(),
        }
    }
}

impl From<&[Result<Record, Damaged>]> for WorkspaceListPayload {
    fn from(list: &[Result<Record, Damaged>]) -> Self {
        let mut workspaces = Vec::new();
        let mut damaged = Vec::new();
        for found in list {
            match found {
                Ok(record) => workspaces.push(record.into()),
                Err(Damaged { id, why }) => damaged.push(DamagedPayload {
                    workspace_id: id.clone(),
                    why: why.clone(),
                }),
            }
        }
        Self {
            count: count(&workspaces),
            workspaces,
            damaged,
        }
    }
}

impl From<&Record> for ListedPayload {
    fn from(record: &Record) -> Self {
        Self {
            workspace_id: record.id.to_string(),
            name: record.name.clone(),
            labels: record.labels.clone(),
            environment: record.environment.clone(),
            state: record.state.as_str().to_owned(),
            created_at: seconds(record.created_at),
            last_activity_at: seconds(record.last_activity_at),
            expires_at: seconds(record.expires_at()),
            command_count: record.command_count,
            service_count: 0,
            running_service_count: 0,
        }
    }
}

impl WorkspaceDeletePayload {
    /// One that somebody asked to delete.
    pub fn explicit(id: &WorkspaceId) -> Self {
        Self {
            workspace_id: id.to_string(),
            deleted: true,
            reason: "explicit_delete".into(),
        }
    }

    /// One that was deleted because its time was over.
    pub fn expired(id: &WorkspaceId) -> Self {
        Self {
            reason: "expired".into(),
            ..Self::explicit(id)
        }
    }
}

pub(super) fn count<T>(all: &[T]) -> u64 {
    u64::try_from(all.len()).unwrap_or(u64::MAX)
}

/// Exact to the millisecond for as long as anybody keeps time.
pub(super) fn seconds(at: Timestamp) -> f64 {
    at.as_millis() as f64 / 1000.0
}
