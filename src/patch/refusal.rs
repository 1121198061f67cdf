//! Reasons why a patch cannot be applied. Rendering them is the caller's question.

use std::fmt;

/// One reason why a patch cannot be applied; teaches the writer how to mend it.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Refusal {
    /// Stable, for programs.
    pub code: RefusalCode,
    /// The file, as far as it is known.
    pub file: Option<Vec<u8>>,
    /// 1-based number of the hunk within its section.
    pub hunk: Option<usize>,
    /// 1-based line in the patch text.
    pub patch_line: Option<usize>,
    /// 1-based line in the file: where it would have to fit, or nearly fits.
    pub file_line: Option<u64>,
    /// One sentence, lower case, without the file and the hunk.
    pub message: String,
    /// Lines that the patch expects, with their line ends.
    pub expected: Vec<Vec<u8>>,
    /// Lines that the file has in their place.
    pub found: Vec<Vec<u8>>,
    /// One thing to try, imperative.
    pub help: Option<String>,
}

/// A refusal on its way; boxed because results carry it through many hands.
pub(crate) type Refused = Box<Refusal>;

impl Refusal {
    pub(crate) fn new(code: RefusalCode, message: impl Into<String>) -> Refused {
        Box::new(Self {
            code,
            file: None,
            hunk: None,
            patch_line: None,
            file_line: None,
            message: message.into(),
            expected: Vec::new(),
            found: Vec::new(),
            help: None,
        })
    }

    pub(crate) fn at(mut self: Box<Self>, patch_line: usize) -> Refused {
        self.patch_line = Some(patch_line);
        self
    }

    pub(crate) fn file(mut self: Box<Self>, file: &[u8]) -> Refused {
        self.file = Some(file.to_vec());
        self
    }

    pub(crate) fn hunk(mut self: Box<Self>, hunk: usize) -> Refused {
        self.hunk = Some(hunk);
        self
    }

    pub(crate) fn help(mut self: Box<Self>, help: impl Into<String>) -> Refused {
        self.help = Some(help.into());
        self
    }
}

impl fmt::Display for Refusal {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        if let Some(file) = &self.file {
            write!(f, "{}: ", String::from_utf8_lossy(&super::quote(file)))?;
        }
        if let Some(hunk) = self.hunk {
            write!(f, "hunk {hunk}: ")?;
        }
        f.write_str(&self.message)?;
        if let Some(line) = self.patch_line {
            write!(f, " (patch line {line})")?;
        }
        Ok(())
    }
}

impl std::error::Error for Refusal {}

macro_rules! codes {
    ($($(#[doc = $doc:literal])+ $variant:ident = $code:literal,)+) => {
        /// What kind of reason; the spelling of [`RefusalCode::as_str`] is stable.
        #[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, PartialOrd, Ord)]
        pub enum RefusalCode { $($(#[doc = $doc])+ $variant,)+ }

        impl RefusalCode {
            /// Every code, in the order of the stages that give them.
            pub const ALL: &[Self] = &[$(Self::$variant,)+];

            /// The code as it is written in receipts and documents.
            pub const fn as_str(self) -> &'static str {
                match self { $(Self::$variant => $code,)+ }
            }
        }
    };
}

codes! {
    /// The text holds no patch.
    Empty = "patch-empty",
    /// The text ends, or a fence closes, before the hunk is whole.
    CutOff = "patch-cut-off",
    /// A line in a hunk that can be no part of it, or lines whose place in it is unclear.
    Corrupt = "patch-corrupt",
    /// A hunk without file names above it.
    HeaderMissing = "patch-header-missing",
    /// A section or hunk that changes nothing.
    NoChange = "patch-no-change",
    /// A note that binary files differ, or a binary patch without its whole hashes.
    UnsupportedBinary = "patch-unsupported-binary",
    /// Context diffs and combined diffs.
    UnsupportedForm = "patch-unsupported-form",
    /// Links, submodules, setuid files.
    UnsupportedMode = "patch-unsupported-mode",
    /// Too large, or too repetitive to be searched.
    TooLarge = "patch-too-large",
    /// A name that leaves the workspace, belongs to git or cannot be a file name.
    Path = "patch-path",
    /// A name that may mean two files.
    PathAmbiguous = "patch-path-ambiguous",
    /// The file to change is not there.
    TargetMissing = "patch-target-missing",
    /// The file to create is there.
    TargetExists = "patch-target-exists",
    /// A directory or link stands where a file or a directory has to be.
    NotAFile = "patch-not-a-file",
    /// Two sections that cannot both be meant for one file.
    Conflict = "patch-conflict",
    /// The old lines are not in the file.
    ContextMissing = "patch-context-missing",
    /// The old lines are in the file, yet not at the stated line, and that was asked for.
    NotExact = "patch-not-exact",
    /// The old lines are at several places, and the stated line is none of them.
    Ambiguous = "patch-ambiguous",
    /// The file to delete is not what the patch says.
    DeleteDiffers = "patch-delete-differs",
    /// The file is not the one that the binary patch was made for.
    BinaryDiffers = "patch-binary-differs",
    /// The new lines are in the file already.
    AlreadyApplied = "patch-already-applied",
    /// The patch goes from the new file to the old one.
    Reversed = "patch-reversed",
    /// Two hunks change or need the same lines.
    Overlap = "patch-overlap",
}

impl fmt::Display for RefusalCode {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(self.as_str())
    }
}
