//! Lines that a search found.

use super::Text;
use serde::{Deserialize, Serialize};

/// What came of a search.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize, Deserialize)]
#[cfg_attr(test, derive(schemars::JsonSchema))]
pub struct SearchReport {
    /// In the order of whole paths, then of lines.
    pub matches: Vec<MatchReport>,
    /// Files that were looked at, in whole or until it was enough.
    pub files: u64,
    /// Bytes of these files.
    pub bytes: u64,
    /// Whether there may be more: `max_matches` or `max_bytes` was reached.
    #[serde(default)]
    pub truncated: bool,
    /// Where it is truncated: `after` of the search that goes on.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub next_after: Option<Text>,
    /// Where it is truncated in the middle of a file: `after_line` of the search that goes on.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub next_after_line: Option<u64>,
}

/// A line that matches.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[cfg_attr(test, derive(schemars::JsonSchema))]
pub struct MatchReport {
    /// Relative to `/workspace`.
    pub path: Text,
    /// From 1.
    pub line: u64,
    /// The first byte of the first match of the line, from 1.
    pub column: u64,
    /// The line without its end, or a part of it; absent where the file is binary.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub text: Option<Text>,
    /// The column of the first byte of `text`.
    #[serde(default = "one", skip_serializing_if = "is_one")]
    pub start: u64,
    /// Whether `text` is a part of the line only.
    #[serde(default, skip_serializing_if = "is_false")]
    pub cut: bool,
    /// The file is no text: this is its only match that is told.
    #[serde(default, skip_serializing_if = "is_false")]
    pub binary: bool,
}

fn one() -> u64 {
    1
}

#[expect(clippy::trivially_copy_pass_by_ref, reason = "serde asks this way")]
fn is_one(number: &u64) -> bool {
    *number == 1
}

#[expect(clippy::trivially_copy_pass_by_ref, reason = "serde asks this way")]
fn is_false(flag: &bool) -> bool {
    !*flag
}
