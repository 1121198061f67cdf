//! Why a request cannot work here. All reasons at once, in the order of the document.

use super::text::escape;
use crate::patch::{Refusal, RefusalCode};
use crate::request::Pointer;
use std::fmt;

/// One reason, with its place in the document and a way out.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Problem {
    /// Stable, for programs.
    pub code: ProblemCode,
    /// The place in the document.
    pub pointer: Pointer,
    /// One sentence.
    pub message: String,
    /// One thing to try.
    pub help: Option<String>,
    /// More to know: the lines expected and found, the other places.
    pub notes: Vec<String>,
    /// What the patch engine said, where it is its reason.
    pub refusal: Option<Box<Refusal>>,
}

impl Problem {
    pub(crate) fn new(code: ProblemCode, pointer: Pointer, message: impl Into<String>) -> Self {
        Self {
            code,
            pointer,
            message: escape(message.into()),
            help: None,
            notes: Vec::new(),
            refusal: None,
        }
    }

    #[must_use]
    pub(crate) fn help(mut self, help: impl Into<String>) -> Self {
        self.help = Some(escape(help.into()));
        self
    }

    #[must_use]
    pub(crate) fn note(mut self, note: impl Into<String>) -> Self {
        self.notes.push(escape(note.into()));
        self
    }
}

impl fmt::Display for Problem {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.message)
    }
}

/// Every reason why a request cannot work here; never empty.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Problems(Vec<Problem>);

impl Problems {
    /// `None` where there is no problem.
    pub fn from_vec(problems: Vec<Problem>) -> Option<Self> {
        (!problems.is_empty()).then_some(Self(problems))
    }

    /// In the order of the document.
    pub fn as_slice(&self) -> &[Problem] {
        &self.0
    }
}

impl IntoIterator for Problems {
    type Item = Problem;
    type IntoIter = std::vec::IntoIter<Problem>;
    fn into_iter(self) -> Self::IntoIter {
        self.0.into_iter()
    }
}

impl<'a> IntoIterator for &'a Problems {
    type Item = &'a Problem;
    type IntoIter = std::slice::Iter<'a, Problem>;
    fn into_iter(self) -> Self::IntoIter {
        self.0.iter()
    }
}

impl fmt::Display for Problems {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self.0.as_slice() {
            [one] => f.write_str(&one.message),
            several => write!(
                f,
                "the request cannot work here, for {} reasons",
                several.len()
            ),
        }
    }
}

impl std::error::Error for Problems {}

macro_rules! codes {
    ($($(#[doc = $doc:literal])+ $variant:ident = $code:literal,)+) => {
        /// What kind of reason; the spelling of [`ProblemCode::as_str`] is stable.
        #[derive(Debug, Clone, Copy, PartialEq, Eq)]
        pub enum ProblemCode {
            $($(#[doc = $doc])+ $variant,)+
            /// The patch engine refused.
            Patch(RefusalCode),
        }

        impl ProblemCode {
            /// Every code of the planner's own, in the order of its work; those of patches are [`RefusalCode::ALL`].
            pub const ALL: &[Self] = &[$(Self::$variant,)+];

            /// The code as it is written in answers and documents.
            pub const fn as_str(self) -> &'static str {
                match self {
                    $(Self::$variant => $code,)+
                    Self::Patch(code) => code.as_str(),
                }
            }
        }
    };
}

codes! {
    /// There is no workspace of that name or id.
    WorkspaceMissing = "workspace-missing",
    /// Several workspaces bear that name.
    WorkspaceAmbiguous = "workspace-ambiguous",
    /// The workspace is stopped.
    WorkspaceStopped = "workspace-stopped",
    /// What the workspace's folder holds cannot be used.
    WorkspaceUnusable = "workspace-unusable",
    /// The environment's directory is not there.
    EnvironmentMissing = "environment-missing",
    /// The environment is something else than a directory.
    EnvironmentNotADirectory = "environment-not-a-directory",
    /// The environment is no root file system, or one that must not be used.
    EnvironmentRefused = "environment-refused",
    /// The environment cannot be looked at.
    EnvironmentUnreadable = "environment-unreadable",
    /// The seed directory is not there.
    SeedMissing = "seed-missing",
    /// The seed is something else than a directory.
    SeedNotADirectory = "seed-not-a-directory",
    /// The seed or something in it cannot be read.
    SeedUnreadable = "seed-unreadable",
    /// The seed is an archive that is damaged, breaks a rule or holds too much.
    SeedArchive = "seed-archive",
    /// The seed has pyro's own state in it.
    SeedContainsState = "seed-contains-state",
    /// What a `sync` step names is not there.
    SyncMissing = "sync-missing",
    /// What a `sync` step names is neither a directory nor an archive.
    SyncNotADirectory = "sync-not-a-directory",
    /// What a `sync` step names, or something in it, cannot be read.
    SyncUnreadable = "sync-unreadable",
    /// What a `sync` step names is an archive that is damaged, breaks a rule or holds too much.
    SyncArchive = "sync-archive",
    /// What a `sync` step names has pyro's own state in it.
    SyncContainsState = "sync-contains-state",
    /// A path to expose is not there.
    ExposeMissing = "expose-missing",
    /// A path that must not be exposed.
    ExposeRefused = "expose-refused",
    /// A path to expose cannot be looked at.
    ExposeUnreadable = "expose-unreadable",
    /// The variable or file that a secret comes from is not there.
    SecretMissing = "secret-missing",
    /// What a secret comes from cannot be read, or holds what cannot be a secret.
    SecretUnusable = "secret-unusable",
    /// The workspace has no secret of that name.
    SecretUnknown = "secret-unknown",
    /// A variable that a secret is to go into is taken.
    SecretTwice = "secret-twice",
    /// A limit, time or mode that cannot be used.
    OutOfRange = "out-of-range",
    /// Two steps have one id.
    IdTwice = "id-twice",
    /// A host file to take text from is not there.
    FromMissing = "from-missing",
    /// A host file to take text from cannot be read.
    FromUnreadable = "from-unreadable",
    /// A file is larger than a plan can hold.
    TooLarge = "too-large",
    /// A command, argument, variable or directory that no program can be started with.
    ExecInvalid = "exec-invalid",
    /// A path of the workspace that is surely not there.
    PathMissing = "path-missing",
    /// A path of the workspace that is surely something else than the step needs.
    PathKind = "path-kind",
    /// Something is at the path that a step gives to something else.
    PathTaken = "path-taken",
    /// The workspace itself cannot be deleted.
    DeleteRoot = "delete-root",
    /// A file is not what `base` says.
    BaseMismatch = "base-mismatch",
    /// The host path of an export is there already.
    ExportExists = "export-exists",
    /// The host path of an export is a link, or lies behind one.
    ExportSymlink = "export-symlink",
    /// The host path of an export cannot be created.
    ExportParent = "export-parent",
    /// Two steps export to one host path.
    ExportTwice = "export-twice",
    /// The host directory of a pull is not there.
    PullMissing = "pull-missing",
    /// The host path of a pull is no directory.
    PullNotADirectory = "pull-not-a-directory",
    /// The host directory of a pull is one that must not, or cannot, be written to.
    PullRefused = "pull-refused",
    /// A golden that does not lie below the request's directory.
    GoldenOutside = "golden-outside",
    /// A golden that cannot be read, or not be written where that is wanted.
    GoldenUnusable = "golden-unusable",
    /// No earlier step makes this snapshot.
    SnapshotMissing = "snapshot-missing",
    /// Two steps make a snapshot of one name.
    SnapshotTwice = "snapshot-twice",
    /// Expectations that cannot hold together, or not for this verb.
    ExpectConflict = "expect-conflict",
    /// A pattern or regular expression that cannot be read.
    PatternInvalid = "pattern-invalid",
}

impl fmt::Display for ProblemCode {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(self.as_str())
    }
}
