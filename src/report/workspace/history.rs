//! What was done to a workspace, as programs read it.

use super::convert::{count, seconds};
use crate::workspace::registry::{HistoryEntry, WorkspaceId};
use serde::Serialize;

/// The commands since the last reset.
#[derive(Debug, Clone, PartialEq, Serialize)]
#[cfg_attr(test, derive(schemars::JsonSchema))]
pub struct LogsPayload {
    /// Of which workspace.
    pub workspace_id: String,
    /// Of `entries`.
    pub count: u64,
    /// In order.
    pub entries: Vec<LogEntryPayload>,
}

/// A command and what it printed.
#[derive(Debug, Clone, PartialEq, Serialize)]
#[cfg_attr(test, derive(schemars::JsonSchema))]
pub struct LogEntryPayload {
    /// Its place in the history.
    pub sequence: u64,
    /// What ran.
    pub command: String,
    /// Where.
    pub cwd: String,
    /// As the receipt spells it, or `interrupted`.
    pub outcome: Option<String>,
    /// Null where it was interrupted.
    pub exit_code: Option<i32>,
    /// Null where it was interrupted.
    pub duration_ms: Option<u64>,
    /// In what it ran.
    pub execution_mode: String,
    /// When it ended, or was found to be interrupted.
    pub recorded_at: f64,
    /// The first 64 KiB.
    pub stdout: String,
    /// The first 64 KiB.
    pub stderr: String,
    /// Whether there was more.
    pub stdout_truncated: bool,
    /// Whether there was more.
    pub stderr_truncated: bool,
    /// Where all of it lies, if that was kept.
    pub stdout_file: Option<String>,
    /// Where all of it lies, if that was kept.
    pub stderr_file: Option<String>,
    /// Where the receipt lies.
    pub receipt: Option<String>,
}

/// Everything that was done to a workspace.
#[derive(Debug, Clone, PartialEq, Serialize)]
#[cfg_attr(test, derive(schemars::JsonSchema))]
pub struct HistoryPayload {
    /// Of which workspace.
    pub workspace_id: String,
    /// Of `entries`.
    pub count: u64,
    /// In order.
    pub entries: Vec<HistoryEntryPayload>,
}

/// Something that was done.
#[derive(Debug, Clone, PartialEq, Serialize)]
#[cfg_attr(test, derive(schemars::JsonSchema))]
pub struct HistoryEntryPayload {
    /// From 1 on, never used twice.
    pub sequence: u64,
    /// How many resets came before it.
    pub epoch: u64,
    /// The run, 12 hex digits.
    pub run: String,
    /// The verb (`exec`, `patch`, `reset`, ...), `apply`, or `enter`.
    pub kind: String,
    /// Of an `exec` and an `enter`.
    pub command: Option<String>,
    /// Of an `exec` and an `enter`.
    pub cwd: Option<String>,
    /// As the receipt spells it, or `interrupted`. Of an `enter`: `ended`, `not_started`, `left`, `hung_up` or `lost`. Null:
    /// it goes on.
    pub outcome: Option<String>,
    /// Of a command that ran to its end.
    pub exit_code: Option<i32>,
    /// Null where it goes on or was interrupted.
    pub duration_ms: Option<u64>,
    /// In what it ran.
    pub execution_mode: String,
    /// When it began.
    pub began_at: f64,
    /// When it ended. Null: it goes on.
    pub ended_at: Option<f64>,
    /// Where the receipt lies.
    pub receipt: Option<String>,
}

impl LogsPayload {
    /// Of [`Registry::logs`](crate::workspace::registry::Registry::logs).
    pub fn new(id: &WorkspaceId, logs: &[HistoryEntry]) -> Self {
        Self {
            workspace_id: id.to_string(),
            count: count(logs),
            entries: logs.iter().map(Into::into).collect(),
        }
    }
}

impl From<&HistoryEntry> for LogEntryPayload {
    fn from(entry: &HistoryEntry) -> Self {
        let command = entry.command.as_ref();
        Self {
            sequence: entry.sequence,
            command: command.map(|it| it.text.clone()).unwrap_or_default(),
            cwd: command.map(|it| it.cwd.clone()).unwrap_or_default(),
            outcome: entry.outcome.clone(),
            exit_code: entry.exit_code,
            duration_ms: entry.duration_ms,
            execution_mode: entry.execution_mode.clone(),
            recorded_at: seconds(entry.ended_at.unwrap_or(entry.began_at)),
            stdout: entry.stdout.text.clone(),
            stderr: entry.stderr.text.clone(),
            stdout_truncated: entry.stdout.truncated,
            stderr_truncated: entry.stderr.truncated,
            stdout_file: entry.stdout.file.clone(),
            stderr_file: entry.stderr.file.clone(),
            receipt: entry.receipt.clone(),
        }
    }
}

impl HistoryPayload {
    /// Of [`Registry::history`](crate::workspace::registry::Registry::history).
    pub fn new(id: &WorkspaceId, history: &[HistoryEntry]) -> Self {
        Self {
            workspace_id: id.to_string(),
            count: count(history),
            entries: history.iter().map(Into::into).collect(),
        }
    }
}

impl From<&HistoryEntry> for HistoryEntryPayload {
    fn from(entry: &HistoryEntry) -> Self {
        let command = entry.command.as_ref();
        Self {
            sequence: entry.sequence,
            epoch: entry.epoch,
            run: entry.run.clone(),
            kind: entry.kind.clone(),
            command: command.map(|it| it.text.clone()),
            cwd: command.map(|it| it.cwd.clone()),
            outcome: entry.outcome.clone(),
            exit_code: entry.exit_code,
            duration_ms: entry.duration_ms,
            execution_mode: entry.execution_mode.clone(),
            began_at: seconds(entry.began_at),
            ended_at: entry.ended_at.map(seconds),
            receipt: entry.receipt.clone(),
        }
    }
}
