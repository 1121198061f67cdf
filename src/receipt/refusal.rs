//! Why a step was refused.

use super::Text;
use crate::patch::Refusal;
use serde::{Deserialize, Serialize};

/// Why pyro refused a step. Nothing was changed.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[cfg_attr(test, derive(schemars::JsonSchema))]
pub struct RefusalReport {
    /// Kebab-case; see `specs/errors.md`.
    pub code: String,
    /// One sentence; further lines show detail.
    pub message: String,
    /// The way out.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub help: Option<String>,
    /// Of `patch`: every reason, in the order of the patch.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub reasons: Vec<PatchReason>,
}

/// One reason why a patch was refused: what [`Refusal`] says, as data.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize, Deserialize)]
#[cfg_attr(test, derive(schemars::JsonSchema))]
pub struct PatchReason {
    /// Kebab-case; see `specs/errors.md`.
    pub code: String,
    /// One sentence, without file and hunk.
    pub message: String,
    /// The file, as far as it is known.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub file: Option<Text>,
    /// From 1, within the section of the file.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub hunk: Option<usize>,
    /// Line of the patch text, from 1.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub patch_line: Option<usize>,
    /// Line of the file, from 1.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub file_line: Option<u64>,
    /// Where the hunk comes closest.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub nearest: Option<NearestReport>,
    /// Lines of the file where the hunk fits, though it may not be put there.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub places: Vec<u64>,
    /// Files that are there, with names close to the missing one.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub similar: Vec<Text>,
    /// Lines that the patch expects from `file_line` on.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub expected: Vec<Text>,
    /// Lines that the file has there.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub found: Vec<Text>,
    /// The way out.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub help: Option<String>,
}

/// Where a hunk that fits nowhere comes closest.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[cfg_attr(test, derive(schemars::JsonSchema))]
pub struct NearestReport {
    /// Line of the file where the hunk would start, from 1.
    pub line: u64,
    /// Lines away from the stated place, negative upwards; left out where none is stated.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub distance: Option<i64>,
    /// Old lines that are the same there.
    pub equal: usize,
    /// Old lines of the hunk.
    pub of: usize,
}

impl From<&Refusal> for PatchReason {
    fn from(refusal: &Refusal) -> Self {
        let Refusal {
            code,
            file,
            hunk,
            patch_line,
            file_line,
            message,
            nearest,
            places,
            similar,
            expected,
            found,
            help,
        } = refusal;
        let texts = |lines: &[Vec<u8>]| lines.iter().map(|line| Text::from(&line[..])).collect();
        Self {
            code: code.as_str().to_owned(),
            message: message.clone(),
            file: file.as_deref().map(Text::from),
            hunk: *hunk,
            patch_line: *patch_line,
            file_line: *file_line,
            nearest: nearest.map(|near| NearestReport {
                line: near.line,
                distance: near.distance,
                equal: near.equal,
                of: near.of,
            }),
            places: places.clone(),
            similar: texts(similar),
            expected: texts(expected),
            found: texts(found),
            help: help.clone(),
        }
    }
}
