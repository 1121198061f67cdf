//! Workspaces, as programs read them.

use serde::Serialize;
use std::collections::BTreeMap;

/// A workspace: of `create`, `status`, `update`, `start`, `stop`, and `reset`.
#[derive(Debug, Clone, PartialEq, Serialize)]
#[cfg_attr(test, derive(schemars::JsonSchema))]
pub struct WorkspacePayload {
    /// 12 hex digits.
    pub workspace_id: String,
    /// Not unique.
    pub name: Option<String>,
    /// Sorted by key.
    pub labels: BTreeMap<String, String>,
    /// As it is shown.
    pub environment: String,
    /// Of an environment that has one.
    pub environment_version: Option<String>,
    /// Processors.
    pub vcpu_count: u32,
    /// Memory.
    pub mem_mib: u32,
    /// How long it lives after the last activity.
    pub ttl_seconds: u64,
    /// When it was made.
    pub created_at: f64,
    /// When it was last used.
    pub last_activity_at: f64,
    /// When it is stopped unless something happens in it.
    pub expires_at: f64,
    /// `creating`, `started`, `stopped` or `deleting`.
    pub state: String,
    /// `off`, `egress`, ...
    pub network_policy: String,
    /// Whether the policy is another than `off`.
    pub network_enabled: bool,
    /// Always false: pyro runs nothing on the bare host.
    pub allow_host_compat: bool,
    /// Of a machine that has one.
    pub guest_ip: Option<String>,
    /// Of a machine that has one.
    pub tap_name: Option<String>,
    /// `namespace`, `firecracker`, ...
    pub execution_mode: String,
    /// `/workspace`.
    pub workspace_path: String,
    /// What it was filled from.
    pub workspace_seed: SeedPayload,
    /// Never what they are.
    pub secrets: Vec<SecretPayload>,
    /// Since the last reset.
    pub command_count: u64,
    /// Since the last reset.
    pub last_command: Option<LastCommandPayload>,
    /// How often it was reset.
    pub reset_count: u64,
    /// When, the last time.
    pub last_reset_at: Option<f64>,
    /// Services that it knows.
    pub service_count: u64,
    /// Services that run.
    pub running_service_count: u64,
    /// What machines have to say.
    pub metadata: BTreeMap<String, String>,
    /// What went wrong last.
    pub last_error: Option<String>,
    /// How many are inside at a terminal (`enter`); of `status` alone.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub inside_count: Option<u32>,
    /// What a `reset` restored; of nothing else.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub workspace_reset: Option<ResetPayload>,
}

/// The seed of a workspace.
#[derive(Debug, Clone, PartialEq, Eq, Serialize)]
#[cfg_attr(test, derive(schemars::JsonSchema))]
pub struct SeedPayload {
    /// `empty`, `directory` or `tar_archive`.
    pub mode: String,
    /// On the host.
    pub seed_path: Option<String>,
    /// `/workspace`.
    pub destination: String,
    /// Files, directories and links.
    pub entry_count: u64,
    /// In files.
    pub bytes_written: u64,
}

/// A secret: that it is there.
#[derive(Debug, Clone, PartialEq, Eq, Serialize)]
#[cfg_attr(test, derive(schemars::JsonSchema))]
pub struct SecretPayload {
    /// Its name.
    pub name: String,
    /// `literal`, `file` or `env`.
    pub source_kind: String,
}

/// The last command of a workspace.
#[derive(Debug, Clone, PartialEq, Eq, Serialize)]
#[cfg_attr(test, derive(schemars::JsonSchema))]
pub struct LastCommandPayload {
    /// Its place in the history.
    pub sequence: u64,
    /// What ran.
    pub command: String,
    /// Where.
    pub cwd: String,
    /// Null where it was interrupted.
    pub exit_code: Option<i32>,
    /// Null where it was interrupted.
    pub duration_ms: Option<u64>,
    /// In what it ran.
    pub execution_mode: String,
}

/// What a reset restored.
#[derive(Debug, Clone, PartialEq, Eq, Serialize)]
#[cfg_attr(test, derive(schemars::JsonSchema))]
pub struct ResetPayload {
    /// `baseline`, or the name of a snapshot.
    pub snapshot_name: String,
    /// `baseline` or `named`.
    pub kind: String,
    /// `/workspace`.
    pub destination: String,
    /// Files, directories and links.
    pub entry_count: u64,
    /// In files.
    pub bytes_written: u64,
}

/// All workspaces.
#[derive(Debug, Clone, PartialEq, Serialize)]
#[cfg_attr(test, derive(schemars::JsonSchema))]
pub struct WorkspaceListPayload {
    /// Of `workspaces`.
    pub count: u64,
    /// The one used last first.
    pub workspaces: Vec<ListedPayload>,
    /// Those of which something cannot be understood. They can be deleted.
    #[serde(skip_serializing_if = "Vec::is_empty")]
    pub damaged: Vec<DamagedPayload>,
}

/// A workspace in a list.
#[derive(Debug, Clone, PartialEq, Serialize)]
#[cfg_attr(test, derive(schemars::JsonSchema))]
pub struct ListedPayload {
    /// 12 hex digits.
    pub workspace_id: String,
    /// Not unique.
    pub name: Option<String>,
    /// Sorted by key.
    pub labels: BTreeMap<String, String>,
    /// As it is shown.
    pub environment: String,
    /// `creating`, `started`, `stopped` or `deleting`.
    pub state: String,
    /// When it was made.
    pub created_at: f64,
    /// When it was last used.
    pub last_activity_at: f64,
    /// When it is stopped unless something happens in it.
    pub expires_at: f64,
    /// Since the last reset.
    pub command_count: u64,
    /// Services that it knows.
    pub service_count: u64,
    /// Services that run.
    pub running_service_count: u64,
}

/// A workspace that cannot be understood.
#[derive(Debug, Clone, PartialEq, Eq, Serialize)]
#[cfg_attr(test, derive(schemars::JsonSchema))]
pub struct DamagedPayload {
    /// 12 hex digits, unless that is what is damaged.
    pub workspace_id: String,
    /// What about it.
    pub why: String,
}

/// That a workspace is gone.
#[derive(Debug, Clone, PartialEq, Eq, Serialize)]
#[cfg_attr(test, derive(schemars::JsonSchema))]
pub struct WorkspaceDeletePayload {
    /// Which.
    pub workspace_id: String,
    /// Always true.
    pub deleted: bool,
    /// `explicit_delete`, or `expired` of one that `prune` deleted.
    pub reason: String,
}
