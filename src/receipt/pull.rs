//! What a `pull` brought home.

use super::{PathVersion, Text};
use crate::request::Digest;
use crate::workspace::pull::Node;
use pyro_protocol::message::Kind;
use serde::{Deserialize, Serialize};

/// What a `pull` brought home, or would.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[cfg_attr(test, derive(schemars::JsonSchema))]
pub struct PullReport {
    /// The host directory, absolute.
    pub directory: Text,
    /// Nothing was written: it is what would be.
    pub dry_run: bool,
    /// The paths of the host that were changed, sorted; none where anything stood against it, unless it is a dry run.
    pub changes: Vec<PulledReport>,
    /// How many paths that changed in the workspace are the same on the host already.
    pub already: u64,
    /// Everything that stood against it, sorted by path.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub conflicts: Vec<PullConflict>,
}

/// A path of the host that was changed.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[cfg_attr(test, derive(schemars::JsonSchema))]
pub struct PulledReport {
    /// Relative to the directory.
    pub path: Text,
    /// How.
    pub how: PulledHow,
    /// What it was on the host; nothing where it is new.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub before: Option<PathVersion>,
    /// What it is on the host; nothing where it is gone.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub after: Option<PathVersion>,
}

/// How a path of the host was changed.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
#[cfg_attr(test, derive(schemars::JsonSchema))]
#[serde(rename_all = "snake_case")]
pub enum PulledHow {
    /// It is new.
    Added,
    /// It became what the workspace has.
    Modified,
    /// It has what was changed on the host as well.
    Merged,
    /// It is gone.
    Deleted,
}

impl PulledHow {
    /// In a word.
    pub fn as_str(self) -> &'static str {
        match self {
            Self::Added => "added",
            Self::Modified => "modified",
            Self::Merged => "merged",
            Self::Deleted => "deleted",
        }
    }
}

/// A path that stands against a pull.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[cfg_attr(test, derive(schemars::JsonSchema))]
pub struct PullConflict {
    /// Relative to the directory.
    pub path: Text,
    /// Why, in a sentence.
    pub reason: String,
}

impl PathVersion {
    /// What is there; nothing where nothing is.
    pub fn of_node(node: &Node) -> Option<Self> {
        let version = |kind, size, mode: u32| Self {
            kind,
            size,
            mode: format!("{mode:04o}"),
            sha256: None,
            target: None,
        };
        Some(match node {
            Node::Absent => return None,
            Node::File { mode, size, sha256 } => Self {
                sha256: Some(*sha256),
                ..version(Kind::File, *size, *mode)
            },
            Node::Link { target } => Self {
                sha256: Some(Digest::of(target)),
                target: Some(Text::from(&target[..])),
                ..version(Kind::Symlink, target.len() as u64, 0o777)
            },
            Node::Directory { mode } => version(Kind::Directory, 0, *mode),
            Node::Other => version(Kind::Other, 0, 0),
        })
    }
}
