//! What is at a path of a tree at one time, as far as a pull goes by it.

use crate::request::Digest;
use pyro_protocol::Bytes;
use pyro_protocol::message::{Kind, Version};
use serde::{Deserialize, Serialize};

/// What is at a path.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Node {
    /// Nothing.
    Absent,
    /// A regular file.
    File {
        /// Permission bits, without setuid and its like.
        mode: u32,
        /// Bytes.
        size: u64,
        /// Of the contents.
        sha256: Digest,
    },
    /// A link.
    Link {
        /// Where it points.
        target: Bytes,
    },
    /// A directory.
    Directory {
        /// Permission bits, without setuid and its like.
        mode: u32,
    },
    /// A device, a socket, a pipe; or a file whose contents nobody knows.
    Other,
}

/// The bits that are carried over.
pub(super) const BITS: u32 = 0o777;

impl Node {
    /// In words, with an article.
    pub fn what(&self) -> &'static str {
        match self {
            Self::Absent => "nothing",
            Self::File { .. } => "a file",
            Self::Link { .. } => "a link",
            Self::Directory { .. } => "a directory",
            Self::Other => "neither file, directory nor link",
        }
    }

    /// Whether it is a directory.
    pub fn is_directory(&self) -> bool {
        matches!(self, Self::Directory { .. })
    }
}

impl From<Option<&Version>> for Node {
    fn from(version: Option<&Version>) -> Self {
        let Some(version) = version else {
            return Self::Absent;
        };
        let mode = version.mode & BITS;
        match version.kind {
            Kind::Directory => Self::Directory { mode },
            Kind::Symlink => match &version.target {
                Some(target) => Self::Link {
                    target: target.clone(),
                },
                None => Self::Other,
            },
            Kind::File => match version.sha256.as_deref().and_then(Digest::from_hex) {
                Some(sha256) => Self::File {
                    mode,
                    size: version.size,
                    sha256,
                },
                None => Self::Other,
            },
            Kind::Other => Self::Other,
        }
    }
}
