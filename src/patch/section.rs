//! A patch text as data: sections, hunks, lines. What it means for a tree is decided by `resolve` and `place`.

use std::collections::BTreeSet;

use super::binary::Binary;
use super::name::Name;

/// A whole patch text: one or more file sections, in order.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Patch {
    /// The sections, in the order of the text.
    pub files: Vec<FilePatch>,
}

impl Patch {
    /// How many files it names: a series may come back to one.
    pub fn names(&self) -> usize {
        let name = |file: &FilePatch| file.new.clone().or_else(|| file.old.clone());
        self.files.iter().map(name).collect::<BTreeSet<_>>().len()
    }

    /// How many mails it is; 1 where it is no series.
    pub fn mails(&self) -> usize {
        let mails: BTreeSet<usize> = self.files.iter().map(|file| file.mail).collect();
        mails.len()
    }
}

/// What the patch says about one file.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct FilePatch {
    /// The name behind `---` (or its like); `None` is `/dev/null`.
    pub old: Option<Name>,
    /// The name behind `+++` (or its like); `None` is `/dev/null`.
    pub new: Option<Name>,
    /// What is to happen with the file as a whole.
    pub operation: Operation,
    /// How the section was headed, which decides how its names may be read.
    pub form: Form,
    /// The header shows whether names carry a prefix: `diff --git a/x b/x` does, `diff --git x x` does not.
    pub prefixed: Option<bool>,
    /// The mode which the section gives to the result, as written (`0o100755`).
    pub new_mode: Option<u32>,
    /// The mode which the section says the file had, as written.
    pub old_mode: Option<u32>,
    /// The blob hash of the old file on the `index` line, in hex and possibly shortened.
    pub old_blob: Option<Vec<u8>>,
    /// The blob hash of the new file on the `index` line, in hex and possibly shortened.
    pub new_blob: Option<Vec<u8>>,
    /// What `GIT binary patch` says; then there are no hunks.
    pub binary: Option<Binary>,
    /// The changes, in the order of the text.
    pub hunks: Vec<Hunk>,
    /// 1-based line in the patch text where the section starts.
    pub line: usize,
    /// Which mail of a series the section belongs to, from 0: each builds on the ones before.
    pub mail: usize,
}

/// What a section does to its file as a whole.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Operation {
    /// The file stays where it is; its text, its mode or both change.
    Change,
    /// The file must not exist yet.
    Create,
    /// The file must be what the hunks say, and goes away.
    Delete,
    /// The file moves, and may change on the way.
    Rename,
    /// A second file is made from the first.
    Copy,
}

/// How a section was headed.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Form {
    /// By a `diff --git` line.
    Git,
    /// By `---` and `+++` alone.
    Plain,
    /// By `*** Update File:` and its like, where names are written as they are.
    Envelope,
}

/// One change and the lines around it.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Hunk {
    /// Where the hunk says it starts in the old file; `None` when it does not say.
    pub old_start: Option<u64>,
    /// Where the hunk says it starts in the new file; `None` when it does not say.
    pub new_start: Option<u64>,
    /// The body.
    pub lines: Vec<HunkLine>,
    /// Lines that must come before the hunk, in order (`@@ class Shelf` in an envelope).
    pub anchors: Vec<Vec<u8>>,
    /// The old lines must reach the end of the file (`*** End of File`).
    pub at_end: bool,
    /// 1-based line of the `@@` in the patch text.
    pub line: usize,
}

/// One line of a hunk.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct HunkLine {
    /// What is to happen with it.
    pub kind: LineKind,
    /// The line with its line end, which only `\ No newline at end of file` takes away.
    pub text: Vec<u8>,
}

/// What happens with a line of a hunk.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum LineKind {
    /// Stays.
    Context,
    /// Goes.
    Removed,
    /// Comes.
    Added,
}

/// How far a hunk may be from where it says it is.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub enum Match {
    /// At the stated line, else at the only place where it fits.
    #[default]
    Unique,
    /// At the stated line, to the byte.
    Exact,
}

impl Hunk {
    /// The lines which the file must have.
    pub(crate) fn old_lines(&self) -> impl Iterator<Item = &[u8]> {
        self.side(LineKind::Added)
    }

    /// The lines which the file has afterwards.
    pub(crate) fn new_lines(&self) -> impl Iterator<Item = &[u8]> {
        self.side(LineKind::Removed)
    }

    fn side(&self, without: LineKind) -> impl Iterator<Item = &[u8]> {
        self.lines
            .iter()
            .filter(move |line| line.kind != without)
            .map(|line| line.text.as_slice())
    }

    pub(crate) fn count(&self, kind: LineKind) -> usize {
        self.lines.iter().filter(|line| line.kind == kind).count()
    }

    pub(crate) fn changes(&self) -> bool {
        self.lines.iter().any(|line| line.kind != LineKind::Context)
    }
}
