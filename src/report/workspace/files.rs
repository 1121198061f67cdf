//! What commands about files of a workspace answer, as programs read it.

use crate::receipt::{MatchReport, MoveReport, SearchReport, Text};
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

/// Lines that were found in files.
#[derive(Debug, Clone, PartialEq, Eq, Serialize)]
#[cfg_attr(test, derive(schemars::JsonSchema))]
pub struct FileSearchPayload {
    /// Of which workspace.
    pub workspace_id: String,
    /// What was looked for.
    pub regex: String,
    /// Of `matches`.
    pub count: u64,
    /// In the order of whole paths, then of lines.
    pub matches: Vec<MatchPayload>,
    /// Files that were looked at.
    pub files_searched: u64,
    /// Bytes of these files.
    pub bytes_searched: u64,
    /// Whether there may be more.
    pub truncated: bool,
    /// What to give as `--after` for the rest.
    pub next_after: Option<String>,
    /// The exact bytes of `next_after`, where it is no text.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub next_after_base64: Option<String>,
    /// What to give as `--after-line` for the rest.
    pub next_after_line: Option<u64>,
    /// In what the workspace runs.
    pub execution_mode: String,
}

/// A line that matches.
#[derive(Debug, Clone, PartialEq, Eq, Serialize)]
#[cfg_attr(test, derive(schemars::JsonSchema))]
pub struct MatchPayload {
    /// Below `/workspace`.
    pub path: String,
    /// The exact bytes of `path`, where it is no text.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub path_base64: Option<String>,
    /// From 1.
    pub line: u64,
    /// The first byte of the match, from 1.
    pub column: u64,
    /// The line without its end, or a part of it; null where the file is binary.
    pub text: Option<String>,
    /// The exact bytes of `text`, where it is no text.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub text_base64: Option<String>,
    /// The column of the first byte of `text`.
    pub start: u64,
    /// Whether `text` is a part of the line only.
    pub cut: bool,
    /// The file is no text: this is its only match that is told.
    pub binary: bool,
}

impl FileSearchPayload {
    /// What a step found in a workspace.
    pub fn new(
        workspace_id: &str,
        execution_mode: &str,
        regex: &str,
        found: &SearchReport,
    ) -> Self {
        let SearchReport {
            matches,
            files,
            bytes,
            truncated,
            next_after,
            next_after_line,
        } = found;
        Self {
            workspace_id: workspace_id.to_owned(),
            regex: regex.to_owned(),
            count: matches.len() as u64,
            matches: matches.iter().map(Into::into).collect(),
            files_searched: *files,
            bytes_searched: *bytes,
            truncated: *truncated,
            next_after: next_after.as_ref().map(absolute),
            next_after_base64: next_after.as_ref().and_then(|after| after.base64.clone()),
            next_after_line: *next_after_line,
            execution_mode: execution_mode.to_owned(),
        }
    }
}

impl From<&MatchReport> for MatchPayload {
    fn from(found: &MatchReport) -> Self {
        let MatchReport {
            path,
            line,
            column,
            text,
            start,
            cut,
            binary,
        } = found;
        Self {
            path: absolute(path),
            path_base64: path.base64.clone(),
            line: *line,
            column: *column,
            text: text.as_ref().map(|text| text.text.clone()),
            text_base64: text.as_ref().and_then(|text| text.base64.clone()),
            start: *start,
            cut: *cut,
            binary: *binary,
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
