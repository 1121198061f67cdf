//! What the host looks like, as plain data: whoever has these facts needs no disk to plan.

use crate::request::{Digest, HostVariable};
use pyro_protocol::Bytes;
use pyro_protocol::boot::Limits;
use serde::{Deserialize, Serialize};
use std::collections::{BTreeMap, BTreeSet};
use std::path::PathBuf;

/// Files larger than this are not read for a plan.
pub const MAX_FILE: u64 = 64 << 20;

/// Paths that the request leaves out of the seed and that are named.
pub const MAX_LEFT_OUT: usize = 1000;

/// Everything a plan rests on, besides the request.
#[derive(Debug, Clone, PartialEq, Eq, Default, Serialize, Deserialize)]
#[serde(default)]
pub struct Facts {
    /// The host and the caller.
    pub host: HostFacts,
    /// Host variables that the request declares.
    pub variables: BTreeMap<String, HostVariable>,
    /// The seed directory, where the request has one.
    pub seed: Option<SeedFact>,
    /// What `sync` steps lay over the workspace.
    pub syncs: Vec<SyncFact>,
    /// The root file system of a `dir:` environment.
    pub environment: Option<EnvironmentFact>,
    /// Exposed paths, by the request's spelling.
    pub expose: BTreeMap<String, ExposeFact>,
    /// Where secrets come from, by their names.
    #[serde(skip_serializing_if = "BTreeMap::is_empty")]
    pub secrets: BTreeMap<String, SecretFact>,
    /// Files that the request takes text from, by its spelling.
    pub from: BTreeMap<String, FileFact>,
    /// Goldens, by the request's spelling.
    pub goldens: BTreeMap<String, GoldenFact>,
    /// Host paths of the request, by its spelling, that lie outside of the repository it is in (without one: of its
    /// own directory).
    pub outside: BTreeSet<String>,
    /// Host paths that exports become, by the request's spelling.
    pub exports: BTreeMap<String, ExportFact>,
    /// Host directories that pulls go into, by the request's spelling.
    #[serde(skip_serializing_if = "BTreeMap::is_empty")]
    pub pulls: BTreeMap<String, PullFact>,
    /// The workspace that lives, where the request names one.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub existing: Option<ExistingFact>,
}

/// What there is under the name of a workspace that lives.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum ExistingFact {
    /// Nothing; names that come near.
    Missing(Vec<String>),
    /// More than one workspace of that name; their ids.
    Several(Vec<String>),
    /// It cannot be used; why, in words.
    Unusable(String),
    /// This one.
    Found(Box<LivingFact>),
}

/// A workspace that lives. What is in it is not looked at: it may be another thing the next moment.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct LivingFact {
    /// 12 hex digits.
    pub id: String,
    /// As it is called now.
    pub name: Option<String>,
    /// Whether programs can be run in it.
    pub started: bool,
    /// The request as the history of the workspace keeps it: canonical, variables filled in, host paths absolute.
    #[serde(default)]
    pub noted: String,
    /// The names of its secrets.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub secrets: Vec<String>,
    /// The snapshots that there are, besides the baseline.
    pub snapshots: Vec<String>,
    /// How it was made.
    pub made: MadeFact,
}

/// How a workspace that lives was made, as far as a plan for it tells.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct MadeFact {
    /// `host`, `dir:PATH`, as the request said it.
    pub environment: String,
    /// Of a `dir:` environment: absolute.
    pub directory: Option<PathBuf>,
    /// Absolute.
    pub expose: Vec<PathBuf>,
    /// Of the sandbox.
    pub hostname: String,
    /// In force for the whole workspace.
    pub limits: Limits,
    /// The same for people.
    pub limits_shown: Vec<LimitFact>,
}

/// Where the value of a secret comes from. The value itself is no fact: a plan must not know it.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct SecretFact {
    /// Of a file: absolute.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub path: Option<PathBuf>,
    /// The caller holds the value, and what the request says is not looked at.
    #[serde(default, skip_serializing_if = "std::ops::Not::not")]
    pub literal: bool,
    /// Whether it can be used.
    pub state: SecretState,
}

/// Whether the value of a secret can be used.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum SecretState {
    /// It is there.
    Ready,
    /// The variable is not set, or the file not there.
    Missing,
    /// The path begins with `~/`, and the caller has no home.
    NoHome,
    /// It cannot be read; why, in words.
    Unreadable(String),
    /// It cannot be a secret.
    Unfit {
        /// Completes "its value ...".
        why: String,
        /// One thing to try.
        help: String,
    },
    /// It can be read only once, as a pipe can: when it is needed.
    Later,
}

/// A limit, for people.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct LimitFact {
    /// `memory`, `disk`.
    pub name: String,
    /// `4GiB`.
    pub value: String,
    /// `enforced`, `watched`, `not_enforced`.
    pub enforcement: String,
}

/// A host directory that a pull goes into. What is in it is not looked at: it may be another thing when the step runs.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum PullFact {
    /// Nothing is there.
    Missing,
    /// Something else is there.
    NotADirectory,
    /// It cannot be looked at; why, in words.
    Unreadable(String),
    /// It is there.
    Directory {
        /// Absolute, links resolved.
        path: PathBuf,
        /// Whether this user may write to it.
        writable: bool,
        /// Whether pyro's state lies in it, or it in that.
        has_state: bool,
    },
}

/// The host and the caller.
#[derive(Debug, Clone, PartialEq, Eq, Default, Serialize, Deserialize)]
#[serde(default)]
pub struct HostFacts {
    /// Effective user id.
    pub euid: u32,
    /// The caller's home directory.
    pub home: Option<PathBuf>,
    /// Processors that the caller may use.
    pub cores: u64,
    /// Bytes of memory; 0 where it cannot be told.
    pub memory: u64,
    /// Bytes that are free where workspaces live; absent where it cannot be told.
    pub disk_free: Option<u64>,
    /// Control groups that the caller may make.
    pub groups: GroupFacts,
}

/// Control groups that the caller may make: for each resource the group that a new one can go below.
#[derive(Debug, Clone, PartialEq, Eq, Default, Serialize, Deserialize)]
#[serde(default)]
pub struct GroupFacts {
    /// Of the hierarchies below; absent where there are none.
    pub version: Option<GroupVersion>,
    /// For memory.
    pub memory: Option<PathBuf>,
    /// For a share of the processors.
    pub cpu: Option<PathBuf>,
    /// For the number of processes.
    pub processes: Option<PathBuf>,
}

/// The two kinds of control groups that Linux has.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum GroupVersion {
    /// A hierarchy for each controller.
    One,
    /// One for all.
    Two,
}

impl Facts {
    /// What was found where a `sync` step takes its files from.
    pub fn sync(&self, from: &str, exclude: &[String]) -> Option<&SeedFact> {
        let mut known = self.syncs.iter();
        let fact = known.find(|fact| fact.from == from && fact.exclude == exclude)?;
        Some(&fact.found)
    }
}

/// A host directory or archive that a `sync` step names.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct SyncFact {
    /// As the request spells it.
    pub from: String,
    /// What the step leaves out of it.
    #[serde(default)]
    pub exclude: Vec<String>,
    /// The same as of a seed.
    pub found: SeedFact,
}

/// The seed directory, or what a `sync` step names.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum SeedFact {
    /// Nothing is there.
    Missing,
    /// Something else is there.
    NotADirectory,
    /// It cannot be listed; why, in words.
    Unreadable(String),
    /// A file is there, and it is no archive; why, in words.
    NotAnArchive(String),
    /// It is an archive that is not taken; why, in words.
    BadArchive(String),
    /// It was walked, or read through.
    Directory(SeedListing),
}

/// An archive that was read through.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
pub struct ArchiveFact {
    /// Of the file as it lies there.
    pub sha256: Digest,
    /// Of all files in it, those that are left out as well.
    pub bytes: u64,
}

/// A seed directory that was walked, or an archive that was read through.
#[derive(Debug, Clone, PartialEq, Eq, Default, Serialize, Deserialize)]
#[serde(default)]
pub struct SeedListing {
    /// It is an archive, and which.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub archive: Option<ArchiveFact>,
    /// Absolute, links resolved.
    pub path: PathBuf,
    /// All that is below it, sorted by path (bytewise). Links are not followed.
    pub entries: Vec<SeedEntry>,
    /// What the request leaves out, sorted by path: the first [`MAX_LEFT_OUT`] of it. What lies below a directory
    /// that is left out was not looked at.
    #[serde(skip_serializing_if = "Vec::is_empty")]
    pub left_out: Vec<SeedLeftOut>,
    /// How much more there is of it.
    #[serde(skip_serializing_if = "is_zero")]
    pub left_out_more: u64,
    /// The contents of the files that the request's steps name, sorted by path.
    pub contents: Vec<SeedContent>,
    /// pyro's own state lies in it (which was not walked), at this path.
    pub contains_state: Option<Bytes>,
}

/// Something of the seed that the request leaves out.
#[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Ord, Serialize, Deserialize)]
pub struct SeedLeftOut {
    /// Relative to the seed.
    pub path: Bytes,
    /// `excluded`, `ignored`.
    pub reason: String,
    /// It is a directory, and goes with all that is in it.
    pub directory: bool,
}

#[expect(clippy::trivially_copy_pass_by_ref, reason = "serde asks this way")]
fn is_zero(number: &u64) -> bool {
    *number == 0
}

impl SeedListing {
    /// The entry of a path relative to the seed.
    pub fn entry(&self, path: &[u8]) -> Option<&SeedEntry> {
        let index = self
            .entries
            .binary_search_by(|entry| entry.path.0.as_slice().cmp(path))
            .ok()?;
        self.entries.get(index)
    }

    /// The contents of a path, where they were gathered.
    pub fn content(&self, path: &[u8]) -> Option<&FileFact> {
        let index = self
            .contents
            .binary_search_by(|content| content.path.0.as_slice().cmp(path))
            .ok()?;
        self.contents.get(index).map(|content| &content.file)
    }
}

/// One path of the seed.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct SeedEntry {
    /// Relative to the seed.
    pub path: Bytes,
    /// What it is.
    pub kind: EntryKind,
    /// Permission bits.
    #[serde(default)]
    pub mode: u32,
    /// Bytes of contents; 0 for all but files.
    #[serde(default)]
    pub size: u64,
    /// It cannot be read; why, in words.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub error: Option<String>,
}

/// What a path of the seed is.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum EntryKind {
    /// A regular file.
    File,
    /// A directory.
    Directory,
    /// A link, and where it points.
    Symlink(Bytes),
    /// A named pipe.
    Fifo,
    /// A socket.
    Socket,
    /// A device node.
    Device,
    /// It went away or could not be looked at.
    Unknown,
}

/// The contents of one path of the seed.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct SeedContent {
    /// Relative to the seed.
    pub path: Bytes,
    /// What was read.
    pub file: FileFact,
}

/// A host file that was to be read.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum FileFact {
    /// What it holds.
    Content(Bytes),
    /// Nothing is there.
    Missing,
    /// Something else than a regular file is there: `directory`, `fifo`.
    NotAFile(String),
    /// It cannot be read; why, in words.
    Unreadable(String),
    /// It is larger than [`MAX_FILE`]: this many bytes.
    TooLarge(u64),
}

/// The root file system of a `dir:` environment.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum EnvironmentFact {
    /// Nothing is there.
    Missing,
    /// Something else is there.
    NotADirectory,
    /// It cannot be looked at; why, in words.
    Unreadable(String),
    /// It is there.
    Directory {
        /// Absolute, links resolved.
        path: PathBuf,
        /// It has a `bin` or a `usr`.
        has_programs: bool,
        /// It has `bin/sh` or `usr/bin/sh`.
        has_shell: bool,
        /// pyro's own state lies in it.
        contains_state: bool,
    },
}

/// A host path to be shown inside.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum ExposeFact {
    /// It begins with `~/`, and the caller has no home.
    NoHome,
    /// Nothing is there, at this absolute path.
    Missing(PathBuf),
    /// It cannot be looked at; why, in words.
    Unreadable(String),
    /// It is there.
    Found {
        /// Absolute, links resolved.
        path: PathBuf,
        /// pyro's own state lies in it, or it in pyro's state.
        touches_state: bool,
    },
}

/// A host path that an export is to become.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct ExportFact {
    /// Absolute; links in the parents that exist are resolved.
    pub path: PathBuf,
    /// What is there now.
    pub target: TargetFact,
    /// The directory it will lie in.
    pub parent: ParentFact,
    /// The first parent below the request's directory that is a link.
    #[serde(default)]
    pub linked_parent: Option<PathBuf>,
}

/// A host file that holds what a text is to be.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct GoldenFact {
    /// Where it lies, or would be written.
    pub place: ExportFact,
    /// What it holds.
    pub content: FileFact,
}

/// What stands at a host path.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum TargetFact {
    /// Nothing.
    Missing,
    /// A file of this many bytes.
    File(u64),
    /// A directory.
    Directory,
    /// A link, and where it points.
    Symlink(Bytes),
    /// A device, socket or pipe.
    Other,
    /// It cannot be looked at; why, in words.
    Unreadable(String),
}

/// The directory that an export will lie in.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum ParentFact {
    /// It is there, or the nearest parent that is there, is a directory.
    Directory {
        /// The directory itself is there; otherwise it will be created.
        exists: bool,
        /// The caller may write to what is there.
        writable: bool,
    },
    /// This parent is something else.
    NotADirectory(PathBuf),
    /// It cannot be looked at; why, in words.
    Unreadable(String),
}
