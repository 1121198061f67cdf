//! The receipt as types, the whole of it first; steps, paths and refusals have files of their own. Field names are the
//! document's; a new field is optional, so that old receipts stay readable.

use super::{ChangeReport, StepReport, Text};
use crate::plan::{LeftOutStep, PlannedLimit, PlannedSeed};
use crate::request::{Combination, Digest};
use crate::workspace::HostFile;
use serde::{Deserialize, Serialize};

/// What happened, from the request to the last host file.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[cfg_attr(test, derive(schemars::JsonSchema))]
pub struct Receipt {
    /// The version of the format: 1.
    pub format_version: u32,
    /// The pyro that wrote it.
    pub pyro_version: String,
    /// The run, 12 hex digits.
    pub run: String,
    /// What was asked.
    pub request: RequestReport,
    /// Of the plan that was executed.
    pub plan_digest: Digest,
    /// RFC 3339, UTC.
    pub started_at: String,
    /// RFC 3339, UTC.
    pub ended_at: String,
    /// From start to end.
    pub duration_ms: u64,
    /// The machine: `namespace`.
    pub execution_mode: String,
    /// How the workspace was kept apart, in words: ids, and what is weaker than usual here.
    pub isolation: Vec<String>,
    /// The system tree.
    pub environment: EnvironmentReport,
    /// The workspace that lives and was used; nothing was made then, and what differs from its baseline was not asked.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub workspace: Option<WorkspaceReport>,
    /// What filled the workspace.
    pub seed: Option<SeedReport>,
    /// Limits in force, each with how it is kept.
    pub limits: Vec<PlannedLimit>,
    /// How it ended.
    pub outcome: Outcome,
    /// What went wrong with the machine, where the outcome is `lost`.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub lost: Option<String>,
    /// Every step of the plan, also those that did not run.
    pub steps: Vec<StepReport>,
    /// Steps of the request that were not part of the run, because others were selected.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub left_out: Vec<LeftOutStep>,
    /// What differs from the baseline at the end, sorted by path.
    pub changes: Vec<ChangeReport>,
    /// Files written on the host, in order.
    pub host_files: Vec<HostFile>,
    /// Of a workspace that was to be kept.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub kept: Option<KeptReport>,
}

/// A workspace that lives.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[cfg_attr(test, derive(schemars::JsonSchema))]
pub struct WorkspaceReport {
    /// 12 hex digits.
    pub id: String,
    /// As it was called.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub name: Option<String>,
}

/// What became of a workspace that was to be kept.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[cfg_attr(test, derive(schemars::JsonSchema))]
pub struct KeptReport {
    /// What was `/workspace`, on the host; absent where it could not be kept.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub path: Option<String>,
    /// RFC 3339, UTC: from then on a later command removes it.
    pub until: String,
    /// On the disk.
    pub bytes: u64,
    /// Why it could not be kept.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub failed: Option<String>,
}

/// What was asked.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[cfg_attr(test, derive(schemars::JsonSchema))]
pub struct RequestReport {
    /// Its name, if it has one.
    pub name: Option<String>,
    /// How it is called in messages.
    pub source: String,
    /// The combination of its matrix, if it has one.
    #[serde(default, skip_serializing_if = "Combination::is_empty")]
    pub matrix: Combination,
    /// Of the request and every host file it takes text from.
    pub digest: Digest,
}

/// The system tree.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[cfg_attr(test, derive(schemars::JsonSchema))]
pub struct EnvironmentReport {
    /// `host` or `dir`.
    pub kind: String,
    /// Of a `dir`.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub path: Option<String>,
    /// Host paths shown read-only inside.
    pub expose: Vec<String>,
}

/// What filled the workspace, or was laid over it.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[cfg_attr(test, derive(schemars::JsonSchema))]
pub struct SeedReport {
    /// Host directory or archive.
    pub path: String,
    /// Files, directories and links that were copied.
    pub entries: u64,
    /// Of all regular files.
    pub bytes: u64,
    /// Paths not carried over, the first ones: devices, sockets, FIFOs, and what the request leaves out.
    pub left_out: Vec<LeftOutReport>,
    /// How many more there are.
    #[serde(default, skip_serializing_if = "is_zero")]
    pub left_out_more: u64,
}

impl SeedReport {
    /// What a plan says of it; nothing was copied yet.
    pub(crate) fn planned(source: &PlannedSeed) -> Self {
        let left_out = source.left_out.iter().map(|left| LeftOutReport {
            path: Text::from(&left.path[..]),
            reason: left.reason.clone(),
        });
        Self {
            path: source.path.display().to_string(),
            entries: 0,
            bytes: 0,
            left_out: left_out.collect(),
            left_out_more: source.left_out_more,
        }
    }
}

/// A path of the seed that was not carried over.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[cfg_attr(test, derive(schemars::JsonSchema))]
pub struct LeftOutReport {
    /// Relative to the seed.
    #[serde(flatten)]
    pub path: Text,
    /// `device`, `socket`, `fifo`, `excluded`, `ignored`.
    #[serde(default)]
    pub reason: String,
}

#[expect(clippy::trivially_copy_pass_by_ref, reason = "serde asks this way")]
fn is_zero(number: &u64) -> bool {
    *number == 0
}

/// How a run ended.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
#[cfg_attr(test, derive(schemars::JsonSchema))]
#[serde(rename_all = "snake_case")]
pub enum Outcome {
    /// Every step did what was expected.
    Passed,
    /// A step failed.
    Failed,
    /// It was interrupted.
    Cancelled,
    /// The machine or its agent died: what the steps after that would have done is unknown.
    Lost,
}

impl Outcome {
    /// As the receipt spells it.
    pub fn as_str(self) -> &'static str {
        match self {
            Self::Passed => "passed",
            Self::Failed => "failed",
            Self::Cancelled => "cancelled",
            Self::Lost => "lost",
        }
    }
}
