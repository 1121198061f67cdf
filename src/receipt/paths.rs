//! Paths of the workspace: what a step did with them, what they are, what differs.

use super::Text;
use crate::request::Digest;
use pyro_protocol::message::{Change, FileDigest, Kind, Stat, Version};
use serde::{Deserialize, Serialize};

/// A workspace file that a step handled.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize, Deserialize)]
#[cfg_attr(test, derive(schemars::JsonSchema))]
pub struct FileReport {
    /// Relative to `/workspace`.
    pub path: Text,
    /// Before the step; nothing where it was created.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub before: Option<PathVersion>,
    /// After the step; nothing where it was deleted.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub after: Option<PathVersion>,
    /// Of `patch`: where the hunks landed.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub hunks: Vec<HunkReport>,
    /// Of `read`: the contents, at most `max_bytes`.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub content: Option<Text>,
    /// Of `read`: whether there is more than `content`.
    #[serde(default)]
    pub truncated: bool,
    /// Of `read`: whether secrets were taken out of `content`, which is not what the file holds then.
    #[serde(default, skip_serializing_if = "std::ops::Not::not")]
    pub redacted: bool,
}

/// Where a hunk landed.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[cfg_attr(test, derive(schemars::JsonSchema))]
pub struct HunkReport {
    /// From 1.
    pub hunk: usize,
    /// Line of the file before the patch, from 1.
    pub line: u64,
    /// Lines away from the stated place.
    pub offset: i64,
}

/// A path at one time.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[cfg_attr(test, derive(schemars::JsonSchema))]
pub struct PathVersion {
    /// `file`, `directory`, `symlink` or `other`.
    #[cfg_attr(test, schemars(with = "super::schema::PathKind"))]
    pub kind: Kind,
    /// Bytes.
    pub size: u64,
    /// Four octal digits.
    pub mode: String,
    /// Of the contents.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub sha256: Option<Digest>,
    /// Where a link points.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub target: Option<Text>,
}

impl From<&FileDigest> for PathVersion {
    fn from(digest: &FileDigest) -> Self {
        let FileDigest { size, mode, sha256 } = digest;
        Self {
            kind: Kind::File,
            size: *size,
            mode: format!("{mode:04o}"),
            sha256: Digest::from_hex(sha256),
            target: None,
        }
    }
}

impl From<&Version> for PathVersion {
    fn from(version: &Version) -> Self {
        let Version {
            kind,
            mode,
            size,
            sha256,
            target,
        } = version;
        Self {
            kind: *kind,
            size: *size,
            mode: format!("{mode:04o}"),
            sha256: sha256.as_deref().and_then(Digest::from_hex),
            target: target.as_ref().map(|target| Text::from(&target[..])),
        }
    }
}

/// How much of a tree was handled.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
#[cfg_attr(test, derive(schemars::JsonSchema))]
pub struct CountsReport {
    /// Files, directories and links.
    pub entries: u64,
    /// Of the contents of files.
    pub bytes: u64,
}

/// A path that was listed.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[cfg_attr(test, derive(schemars::JsonSchema))]
pub struct EntryReport {
    /// Relative to `/workspace`.
    pub path: Text,
    /// What is there; a link itself, no digest.
    pub now: PathVersion,
}

impl From<&Stat> for EntryReport {
    fn from(stat: &Stat) -> Self {
        Self {
            path: Text::from(&stat.path[..]),
            now: PathVersion {
                kind: stat.kind,
                size: stat.size,
                mode: format!("{:04o}", stat.mode & 0o7777),
                sha256: None,
                target: stat.target.as_ref().map(|target| Text::from(&target[..])),
            },
        }
    }
}

/// A path that was given another name.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[cfg_attr(test, derive(schemars::JsonSchema))]
pub struct MoveReport {
    /// What it was, relative to `/workspace`.
    pub from: Text,
    /// What it is, relative to `/workspace`.
    pub to: Text,
    /// What is there; a link itself, no digest.
    pub now: PathVersion,
}

/// A path that differs from the baseline.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[cfg_attr(test, derive(schemars::JsonSchema))]
pub struct ChangeReport {
    /// Relative to `/workspace`.
    pub path: Text,
    /// In the baseline; nothing when added.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub before: Option<PathVersion>,
    /// At the end; nothing when deleted.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub after: Option<PathVersion>,
}

impl From<&Change> for ChangeReport {
    fn from(change: &Change) -> Self {
        let Change {
            path,
            before,
            after,
        } = change;
        Self {
            path: Text::from(&path[..]),
            before: before.as_ref().map(PathVersion::from),
            after: after.as_ref().map(PathVersion::from),
        }
    }
}
