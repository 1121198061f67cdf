//! What `workspace pull` answers.

use crate::receipt::{PathVersion, PulledHow, StepReport, Text};
use serde::Serialize;
use std::collections::BTreeMap;

/// Of a patch as data, in bytes; the command without `--json` prints all of it.
const MAX_PATCH: usize = 1 << 20;

/// What was brought home from a workspace, or would be.
#[derive(Debug, Clone, PartialEq, Serialize)]
#[cfg_attr(test, derive(schemars::JsonSchema))]
pub struct PullPayload {
    /// 12 hex digits.
    pub workspace_id: String,
    /// `namespace`, `firecracker`, ...
    pub execution_mode: String,
    /// The host directory, absolute.
    pub directory: String,
    /// Nothing was written: it is what would be.
    pub dry_run: bool,
    /// Whether there is anything in `entries`.
    pub changed: bool,
    /// How many paths were `added`, `modified`, `merged`, `deleted`, and in `total`.
    pub summary: BTreeMap<String, u64>,
    /// How many paths that changed in the workspace were the same on the host already.
    pub already: u64,
    /// The paths of the host that were changed, sorted.
    pub entries: Vec<PulledPayload>,
    /// Of a dry run: what would be changed, as a unified diff; its first MiB.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub patch: Option<String>,
    /// The exact bytes, where `patch` lost something.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub patch_base64: Option<String>,
    /// Whether there is more of the patch.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub patch_truncated: Option<bool>,
    /// For people.
    #[serde(skip_serializing_if = "Vec::is_empty")]
    pub notes: Vec<String>,
}

/// A path of the host that was changed.
#[derive(Debug, Clone, PartialEq, Serialize)]
#[cfg_attr(test, derive(schemars::JsonSchema))]
pub struct PulledPayload {
    /// Relative to the directory.
    pub path: String,
    /// The exact bytes, where `path` lost something.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub path_base64: Option<String>,
    /// `added`, `modified`, `merged` or `deleted`.
    pub status: PulledHow,
    /// On the host; null where it is new.
    pub before: Option<PathVersion>,
    /// On the host; null where it is gone.
    pub after: Option<PathVersion>,
}

impl PullPayload {
    /// From the report of the step; nothing where it has none.
    pub fn of(workspace_id: &str, execution_mode: &str, step: &StepReport) -> Option<Self> {
        let pull = step.pull.as_ref()?;
        let mut summary: BTreeMap<String, u64> = ["added", "modified", "merged", "deleted"]
            .into_iter()
            .map(|word| (word.to_owned(), 0))
            .collect();
        for change in &pull.changes {
            *summary.entry(change.how.as_str().to_owned()).or_default() += 1;
        }
        summary.insert("total".to_owned(), super::convert::count(&pull.changes));
        let entries = pull.changes.iter().map(|change| PulledPayload {
            path: change.path.text.clone(),
            path_base64: change.path.base64.clone(),
            status: change.how,
            before: change.before.clone(),
            after: change.after.clone(),
        });
        let bytes = step.text.as_ref().map(Text::bytes);
        let shown = bytes.as_deref().map(|bytes| match bytes.get(..MAX_PATCH) {
            Some(head) => &head[..memchr::memrchr(b'\n', head).map_or(0, |end| end + 1)],
            None => bytes,
        });
        let cut = bytes.as_ref().map(Vec::len) > shown.map(<[u8]>::len);
        let patch = shown.map(Text::from);
        Some(Self {
            workspace_id: workspace_id.to_owned(),
            execution_mode: execution_mode.to_owned(),
            directory: pull.directory.text.clone(),
            dry_run: pull.dry_run,
            changed: !pull.changes.is_empty(),
            summary,
            already: pull.already,
            entries: entries.collect(),
            patch: patch.as_ref().map(|patch| patch.text.clone()),
            patch_base64: patch.and_then(|patch| patch.base64),
            patch_truncated: cut.then_some(true),
            notes: step.notes.clone(),
        })
    }
}
