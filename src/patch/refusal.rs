//! Reasons why a patch cannot be applied. Rendering them is the caller's question.

use std::fmt;

use super::name::PATH_MAX;

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
    /// The place where a hunk that fits nowhere comes closest.
    pub nearest: Option<NearMiss>,
    /// 1-based lines of the places where a hunk fits that may not be put there; the first of them, if there are many.
    pub places: Vec<u64>,
    /// Files that are there and whose names are close to the one that is not.
    pub similar: Vec<Vec<u8>>,
    /// Lines that the patch expects, with their line ends; very long ones in part.
    pub expected: Vec<Vec<u8>>,
    /// Lines that the file has in their place; fewer, where it ends before.
    pub found: Vec<Vec<u8>>,
    /// One thing to try, imperative.
    pub help: Option<String>,
}

/// Where a hunk comes closest to fitting.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct NearMiss {
    /// 1-based line of the file where the hunk would start.
    pub line: u64,
    /// How far that is from where the hunk says it is, in lines, negative upwards; `None` when it does not say.
    pub distance: Option<i64>,
    /// How many of its old lines stand there,
    pub equal: usize,
    /// and how many it has.
    pub of: usize,
}

impl NearMiss {
    /// `, 3 lines above the stated place`, or nothing.
    pub(crate) fn away(&self) -> String {
        let Some(distance) = self.distance.filter(|distance| *distance != 0) else {
            return String::new();
        };
        let lines = if distance.unsigned_abs() == 1 {
            "line"
        } else {
            "lines"
        };
        let way = if distance < 0 { "above" } else { "below" };
        format!(
            ", {} {lines} {way} the stated place",
            distance.unsigned_abs()
        )
    }
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
            nearest: None,
            places: Vec::new(),
            similar: Vec::new(),
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
        // No path is longer; what is was made to fill a screen.
        self.file = Some(file[..file.len().min(PATH_MAX)].to_vec());
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

impl Refusal {
    /// The lines expected and found, side by side, ready to be shown: what cannot be seen is written as an escape,
    /// and where only blanks differ, spaces are `·` and tabs `→`.
    pub fn comparison(&self) -> Vec<String> {
        let first = self.file_line.unwrap_or(1);
        let pairs = self.expected.len().max(self.found.len());
        let mut out = Vec::new();
        for at in 0..pairs {
            let (expected, found) = (self.expected.get(at), self.found.get(at));
            if expected == found {
                continue;
            }
            let blanks = match (expected, found) {
                (Some(expected), Some(found)) => squeezed(expected) == squeezed(found),
                (Some(_), None) | (None, Some(_)) | (None, None) => false,
            };
            // The line end is told where it is what differs.
            let ended = |line: Option<&Vec<u8>>| line.is_some_and(|line| line.ends_with(b"\n"));
            let ends = blanks && ended(expected) != ended(found);
            let show = |line: Option<&Vec<u8>>, nothing: &str| match line {
                Some(line) => visible(line, blanks) + end_of(line, ends),
                None => nothing.to_owned(),
            };
            let number = format!("line {}", first + at as u64);
            let indent = " ".repeat(number.len());
            let expected = show(expected, "(nothing more)");
            let found = show(found, "(the file ends)");
            out.push(format!("{number} expected | {expected}"));
            out.push(format!("{indent} found    | {found}"));
        }
        out
    }
}

fn squeezed(line: &[u8]) -> Vec<u8> {
    let kept = line.iter().copied();
    kept.filter(|byte| !byte.is_ascii_whitespace()).collect()
}

/// Characters of a line that are shown.
const SHOWN: usize = 160;

/// How a line ends, in words, if that is to be told.
fn end_of(line: &[u8], told: bool) -> &'static str {
    match (told, line.ends_with(b"\n")) {
        (false, _) => "",
        (true, true) => " (and a line end)",
        (true, false) => " (without a line end)",
    }
}

/// A line for people, without its line end.
fn visible(line: &[u8], blanks: bool) -> String {
    let text = line.strip_suffix(b"\n").unwrap_or(line);
    let mut out = String::new();
    let mut shown = 0;
    for chunk in text.utf8_chunks() {
        for c in chunk.valid().chars() {
            match c {
                ' ' if blanks => out.push('·'),
                '\t' if blanks => out.push('→'),
                '\t' => out.push('\t'),
                c if c.is_control() || is_invisible(c) => out.extend(c.escape_default()),
                c => out.push(c),
            }
            shown += 1;
            if shown == SHOWN {
                out.push('…');
                return out;
            }
        }
        for byte in chunk.invalid() {
            out.push_str(&format!("\\x{byte:02x}"));
        }
    }
    out
}

/// Characters that a reader would not see, or would take for an end of the line.
fn is_invisible(c: char) -> bool {
    matches!(c, '\u{a0}' | '\u{ad}' | '\u{200b}'..='\u{200f}' | '\u{2028}'..='\u{202e}' | '\u{2060}'..='\u{2069}' | '\u{feff}')
}

/// The most reasons that are told.
const TOLD: usize = 100;

/// The first reasons, and how many more there are.
pub(crate) fn bounded(mut refusals: Vec<Refusal>) -> Vec<Refusal> {
    if let Some(more) = refusals.len().checked_sub(TOLD).filter(|more| *more > 0) {
        refusals.truncate(TOLD);
        let last = refusals.last_mut().expect("a hundred of them");
        last.message
            .push_str(&format!("; {more} more reasons like it are not told"));
    }
    refusals
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
    /// `...` in place of lines.
    Elided = "patch-elided",
    /// `\\n` in place of line ends.
    Escaped = "patch-escaped",
    /// The whole patch is moved to the right.
    Indented = "patch-indented",
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
    /// A context line of the hunk is not what the file has.
    ContextMissing = "patch-context-missing",
    /// A line to be removed is not what the file has.
    RemovedDiffers = "patch-removed-differs",
    /// Only spaces and tabs differ.
    BlanksDiffer = "patch-blanks-differ",
    /// Line numbers stand before the lines of the hunk.
    LineNumbers = "patch-line-numbers",
    /// Typographic quotes or dashes stand for the file's own.
    Typographic = "patch-typographic",
    /// HTML entities stand for the file's own characters.
    HtmlEscaped = "patch-html-escaped",
    /// Nothing of the hunk is in the file.
    OtherFile = "patch-other-file",
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
    /// Part of the patch is in the tree already, and the rest is not.
    PartlyApplied = "patch-partly-applied",
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
