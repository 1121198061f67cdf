//! What commands about files of a workspace answer, as programs read it.

use crate::receipt::{MoveReport, Text};
use pyro_protocol::message::Kind;
use serde::Serialize;

/// A path that has another name now.
#[derive(Debug, Clone, PartialEq, Eq, Serialize)]
#[cfg_attr(test, derive(schemars::JsonSchema))]
pub struct FileMovePayload {
    /// Of which workspace.
    pub workspace_id: String,
    /// What it was, below `/workspace`.
    pub from: String,
    /// The exact bytes of `from`, where it is no text.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub from_base64: Option<String>,
    /// What it is, below `/workspace`.
    pub path: String,
    /// The exact bytes of `path`, where it is no text.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub path_base64: Option<String>,
    /// `file`, `directory`, `symlink` or `other`.
    pub artifact_type: String,
    /// Bytes; of a link, of its target.
    pub size_bytes: u64,
    /// Four octal digits.
    pub mode: String,
    /// Where a link points.
    pub link_target: Option<String>,
    /// In what the workspace runs.
    pub execution_mode: String,
}

impl FileMovePayload {
    /// What a step moved in a workspace.
    pub fn new(workspace_id: &str, execution_mode: &str, moved: &MoveReport) -> Self {
        let MoveReport { from, to, now } = moved;
        Self {
            workspace_id: workspace_id.to_owned(),
            from: absolute(from),
            from_base64: from.base64.clone(),
            path: absolute(to),
            path_base64: to.base64.clone(),
            artifact_type: kind(now.kind).to_owned(),
            size_bytes: now.size,
            mode: now.mode.clone(),
            link_target: now.target.as_ref().map(|target| target.text.clone()),
            execution_mode: execution_mode.to_owned(),
        }
    }
}

/// Below `/workspace`.
pub(crate) fn absolute(path: &Text) -> String {
    match path.text.as_str() {
        "" => "/workspace".to_owned(),
        text => format!("/workspace/{text}"),
    }
}

/// As payloads spell it.
pub(crate) fn kind(kind: Kind) -> &'static str {
    match kind {
        Kind::File => "file",
        Kind::Directory => "directory",
        Kind::Symlink => "symlink",
        Kind::Other => "other",
    }
}
