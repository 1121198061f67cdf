//! Reads patch text: finds the sections and hunks between whatever else the text holds.
//! Whether names are safe and hunks fit is asked later; here the text alone is judged.

use super::binary::{self, Binary};
use super::body;
use super::diagnose::{self, Diagnosis};
use super::envelope;
use super::header;
use super::refusal::{Refusal, RefusalCode, Refused, bounded};
use super::section::{FilePatch, Form, LineKind, Operation, Patch};

/// The largest patch text, and the most lines, sections and hunks in it. What they take in memory is some 64 times
/// as much for the shortest lines.
const MAX_TEXT: usize = 128 << 20;
const MAX_LINES: usize = 8_000_000;
const MAX_FILES: usize = 100_000;
const MAX_HUNKS: usize = 2_000_000;

/// Reads a patch text; prose and Markdown fences around its sections are skipped.
pub fn parse(text: &[u8]) -> Result<Patch, Vec<Refusal>> {
    if text.len() > MAX_TEXT {
        return too_large("the patch is larger than 128 MiB");
    }
    if memchr::memchr_iter(b'\n', text).count() > MAX_LINES {
        return too_large("the patch has more than 8 000 000 lines");
    }
    let mut parser = Parser {
        reader: Reader {
            lines: text.split_inclusive(|&byte| byte == b'\n').collect(),
            at: 0,
        },
        patch: Patch { files: Vec::new() },
        open: None,
        mail: 0,
        hunks: 0,
        bytes: 0,
        refusals: Vec::new(),
    };
    parser.run();
    let Parser {
        patch, refusals, ..
    } = parser;
    if (!refusals.is_empty() || patch.files.is_empty()) && diagnose::is_escaped(text) {
        let Diagnosis { code, help } = diagnose::escaped();
        let message = "the patch has `\\n` where its lines should end";
        return Err(vec![*Refusal::new(code, message).help(help)]);
    }
    if !refusals.is_empty() {
        return Err(bounded(refusals));
    }
    if patch.files.is_empty() && diagnose::is_indented(text) {
        let message = "the patch is indented, so none of its lines is where it must be";
        return Err(vec![
            *Refusal::new(RefusalCode::Indented, message)
                .help("begin each line of the patch in the first column"),
        ]);
    }
    if patch.files.is_empty() {
        return Err(vec![
            *Refusal::new(RefusalCode::Empty, "the text holds no patch")
                .help("start each file with `--- a/NAME` and `+++ b/NAME`, and each change with `@@ -LINE,COUNT +LINE,COUNT @@`"),
        ]);
    }
    Ok(patch)
}

fn too_large(message: &str) -> Result<Patch, Vec<Refusal>> {
    let refusal = Refusal::new(RefusalCode::TooLarge, message);
    Err(vec![*refusal.help("split the patch")])
}

/// The lines of the text, each with its line end, and the one to read next.
pub(crate) struct Reader<'a> {
    lines: Vec<&'a [u8]>,
    at: usize,
}

impl<'a> Reader<'a> {
    /// The line that is `ahead` lines away, without its line end.
    pub(crate) fn peek(&self, ahead: usize) -> Option<&'a [u8]> {
        self.lines.get(self.at + ahead).map(|line| bare(line))
    }

    /// The same with its line end.
    pub(crate) fn raw(&self, ahead: usize) -> Option<&'a [u8]> {
        self.lines.get(self.at + ahead).copied()
    }

    pub(crate) fn skip(&mut self, lines: usize) {
        self.at += lines;
    }

    /// The last line of the text has its line end.
    pub(crate) fn ended(&self) -> bool {
        self.lines.last().is_none_or(|line| line.ends_with(b"\n"))
    }

    /// 1-based number of the line to read next.
    pub(crate) fn number(&self) -> usize {
        self.at + 1
    }

    /// A plain section starts `ahead` lines away.
    pub(crate) fn names_at(&self, ahead: usize) -> bool {
        let starts = |ahead, prefix: &[u8]| {
            self.peek(ahead)
                .is_some_and(|line| line.starts_with(prefix))
        };
        starts(ahead, b"--- ") && starts(ahead + 1, b"+++ ")
    }
}

/// A line without its line end.
pub(crate) fn bare(line: &[u8]) -> &[u8] {
    let line = line.strip_suffix(b"\n").unwrap_or(line);
    line.strip_suffix(b"\r").unwrap_or(line)
}

pub(crate) fn is_fence(line: &[u8]) -> bool {
    let line = line.trim_ascii_start();
    line.starts_with(b"```") || line.starts_with(b"~~~")
}

/// A section being read.
pub(crate) struct Open {
    pub(crate) file: FilePatch,
    /// The header lines end in CR LF: the whole text was translated on its way.
    pub(crate) crlf: bool,
    /// The header names a time before all files, which is how `diff -N` says "not there".
    pub(crate) old_epoch: bool,
    pub(crate) new_epoch: bool,
    /// The header says that the content changes, so hunks must follow.
    pub(crate) promised: bool,
}

struct Parser<'a> {
    reader: Reader<'a>,
    patch: Patch,
    open: Option<Open>,
    mail: usize,
    hunks: usize,
    /// What all binary patches hold.
    bytes: usize,
    refusals: Vec<Refusal>,
}

impl Parser<'_> {
    fn run(&mut self) {
        while let Some(line) = self.reader.peek(0) {
            if line.starts_with(b"diff --git ") {
                self.close();
                self.open = header::git(&mut self.reader, self.mail, &mut self.refusals);
            } else if self.reader.names_at(0) {
                self.close();
                self.open = header::plain(&mut self.reader, self.mail, &mut self.refusals);
            } else if line.starts_with(b"@@") && !line.starts_with(b"@@@") {
                self.hunk();
            } else if line.starts_with(b"*** Begin Patch") {
                self.envelope();
            } else if line == b"GIT binary patch" {
                self.binary();
            } else {
                self.other(line);
                self.reader.skip(1);
            }
        }
        self.close();
    }

    /// A line between sections: mostly prose, sometimes a form that must not be skipped in silence.
    fn other(&mut self, line: &[u8]) {
        let number = self.reader.number();
        let refused = if is_mail_start(line) {
            self.close();
            if self
                .patch
                .files
                .last()
                .is_some_and(|file| file.mail == self.mail)
            {
                self.mail += 1;
            }
            return;
        } else if line.starts_with(b"Binary file") && line.ends_with(b" differ") {
            Refusal::new(
                RefusalCode::UnsupportedBinary,
                "the patch says that a binary file differs, and not in what",
            )
            .help("make the patch with `git diff --binary`, or write the file as a whole")
        } else if line.starts_with(b"diff --cc ")
            || line.starts_with(b"diff --combined ")
            || (line.starts_with(b"@@@ ") && self.refusals.is_empty())
        {
            Refusal::new(
                RefusalCode::UnsupportedForm,
                "this is a combined diff of a merge, which cannot be applied",
            )
            .help("make the diff against one parent")
        } else if line.starts_with(b"***************")
            && self
                .reader
                .peek(1)
                .is_some_and(|next| next.starts_with(b"*** "))
        {
            Refusal::new(RefusalCode::UnsupportedForm, "this is a context diff")
                .help("make a unified diff (`diff -u`)")
        } else if self.open.is_some() && self.ends_in_header(line) {
            Refusal::new(
                RefusalCode::CutOff,
                "the text ends in the middle of a header line",
            )
            .help("send the whole patch")
        } else {
            // A header that is not whole still ends the section above: its hunks belong to some other file.
            let heads: [&[u8]; 5] = [b"--- ", b"+++ ", b"diff ", b"Index: ", b"*** "];
            if heads.iter().any(|head| line.starts_with(head)) {
                self.close();
            }
            return;
        };
        self.open = None;
        self.refusals.push(*refused.at(number));
    }

    /// The text stops within the first bytes of something that was to follow.
    fn ends_in_header(&self, line: &[u8]) -> bool {
        let heads: [&[u8]; 4] = [b"@@", b"diff --git ", b"--- ", b"+++ "];
        let begun = |head: &&[u8]| head.starts_with(line) && !line.is_empty();
        self.reader.peek(1).is_none() && !self.reader.ended() && heads.iter().any(begun)
    }

    fn binary(&mut self) {
        let number = self.reader.number();
        let read = binary::read(&mut self.reader);
        let open = self.open.as_mut().map(|open| &mut open.file);
        let open = open.filter(|file| {
            file.form == Form::Git && file.hunks.is_empty() && file.binary.is_none()
        });
        let refusal = match (open, read) {
            (Some(file), Ok(read)) => {
                self.bytes += match &read {
                    Binary::Literal(bytes) | Binary::Delta(bytes) => bytes.len(),
                };
                file.binary = Some(read);
                if self.bytes <= MAX_TEXT {
                    return;
                }
                let message = "the binary patches hold more than 128 MiB";
                Refusal::new(RefusalCode::TooLarge, message).at(number)
            }
            (Some(_), Err(refusal)) => refusal,
            // The refusal of an unsupported section stands for this too.
            (None, _) if !self.refusals.is_empty() => return,
            (None, _) => {
                let message = "no file is named above this binary patch";
                Refusal::new(RefusalCode::HeaderMissing, message)
                    .at(number)
                    .help("put `diff --git a/NAME b/NAME` and the `index` line above it")
            }
        };
        let mut refusal = refusal;
        refusal.file = self.open.take().and_then(|open| header::label(&open.file));
        self.refusals.push(*refusal);
    }

    fn envelope(&mut self) {
        self.close();
        match envelope::read(&mut self.reader, self.mail) {
            Ok(files) => {
                for file in files {
                    self.open = Some(Open {
                        file,
                        crlf: false,
                        old_epoch: false,
                        new_epoch: false,
                        promised: false,
                    });
                    self.close();
                }
            }
            Err(refusal) => {
                self.refusals.push(*refusal);
                // Nothing behind it can be told apart from the rest of the form.
                self.reader.at = self.reader.lines.len();
            }
        }
    }

    fn hunk(&mut self) {
        let number = self.reader.number();
        self.hunks += 1;
        if self.hunks > MAX_HUNKS {
            self.refusals.push(
                *Refusal::new(
                    RefusalCode::TooLarge,
                    "the patch has more than 2 000 000 hunks",
                )
                .at(number)
                .help("split the patch"),
            );
            self.reader.at = self.reader.lines.len();
            return;
        }
        let hunk = body::hunk(&mut self.reader);
        let Some(open) = &mut self.open else {
            // The refusal of an unsupported section stands for its hunks too.
            if self.refusals.is_empty() {
                let refusal = Refusal::new(
                    RefusalCode::HeaderMissing,
                    "no file is named above this hunk",
                );
                self.refusals.push(
                    *refusal
                        .at(number)
                        .help("put `--- a/NAME` and `+++ b/NAME` above it"),
                );
            }
            return;
        };
        match hunk {
            Ok(hunk) => open.file.hunks.push(hunk),
            Err(mut refusal) => {
                refusal.hunk = Some(open.file.hunks.len() + 1);
                refusal.file = header::label(&open.file);
                self.refusals.push(*refusal);
                // Keeps later numbers right; the patch is refused anyway.
                open.file.hunks.push(body::placeholder(number));
            }
        }
    }

    /// Ends the open section: what its hunks say about the whole of it is known now.
    fn close(&mut self) {
        let Some(mut open) = self.open.take() else {
            return;
        };
        if open.crlf {
            body::drop_carriage_returns(&mut open.file.hunks);
        }
        if let [hunk] = open.file.hunks.as_slice() {
            if open.old_epoch && hunk.old_start == Some(0) && hunk.old_lines().next().is_none() {
                open.file.operation = Operation::Create;
            } else if open.new_epoch
                && hunk.new_start == Some(0)
                && hunk.new_lines().next().is_none()
            {
                open.file.operation = Operation::Delete;
            }
        }
        let mut file = open.file;
        // An empty file at the very end of the text may as well be one whose lines were lost.
        let bare_end = file.operation == Operation::Create
            && file.form == Form::Git
            && file.old_blob.is_none()
            && self.reader.peek(0).is_none();
        let lost = file.hunks.is_empty() && file.binary.is_none() && (open.promised || bare_end);
        match file.operation {
            Operation::Create => file.old = None,
            Operation::Delete => file.new = None,
            Operation::Change | Operation::Rename | Operation::Copy => {}
        }
        if self.refusals.is_empty()
            && let Err(refusal) = whole(&file, lost)
        {
            let mut refusal = refusal.at(file.line);
            refusal.file = header::label(&file);
            self.refusals.push(*refusal);
        }
        if self.patch.files.len() == MAX_FILES {
            let message = "the patch has more than 100 000 sections";
            let refusal = Refusal::new(RefusalCode::TooLarge, message).at(file.line);
            self.refusals.push(*refusal.help("split the patch"));
            self.reader.at = self.reader.lines.len();
        }
        self.patch.files.push(file);
    }
}

/// Whether a section makes sense as a whole.
fn whole(file: &FilePatch, lost: bool) -> Result<(), Refused> {
    let nothing = file.hunks.is_empty() && file.new_mode.is_none() && file.binary.is_none();
    let has = |kind| file.hunks.iter().any(|hunk| hunk.count(kind) > 0);
    if lost
        && file.operation != Operation::Delete
        && !(nothing && file.operation == Operation::Change)
    {
        return Err(Refusal::new(
            RefusalCode::CutOff,
            "the hunks that the header promises do not follow",
        )
        .help("send the whole section; an empty new file has the line `index 0000000..e69de29`"));
    }
    if file.binary.is_some() {
        if !file.hunks.is_empty() {
            let message = "the section has both a binary patch and hunks";
            return Err(Refusal::new(RefusalCode::Corrupt, message));
        }
        let whole = |hash: &Option<Vec<u8>>| {
            hash.as_ref().is_some_and(|hash| {
                matches!(hash.len(), 40 | 64) && hash.iter().all(u8::is_ascii_hexdigit)
            })
        };
        if !whole(&file.old_blob) || !whole(&file.new_blob) {
            let message = "a binary patch needs both hashes of the `index` line, in full";
            return Err(Refusal::new(RefusalCode::UnsupportedBinary, message)
                .help("make the patch with `git diff --binary`, which writes them"));
        }
    }
    match file.operation {
        Operation::Change if nothing => {
            return Err(Refusal::new(
                RefusalCode::NoChange,
                "the section names a file and changes nothing in it",
            )
            .help("add the hunks below `+++`, or leave the section out"));
        }
        Operation::Create if nothing => {
            return Err(Refusal::new(
                RefusalCode::NoChange,
                "the section creates a file without saying what is in it",
            )
            .help("for an empty file write `new file mode 100644` below `diff --git`"));
        }
        Operation::Create if has(LineKind::Removed) || has(LineKind::Context) => {
            return Err(Refusal::new(
                RefusalCode::Corrupt,
                "a new file can only have added lines",
            ));
        }
        Operation::Create if file.hunks.len() > 1 => {
            return Err(Refusal::new(
                RefusalCode::Corrupt,
                "a new file can only have one hunk",
            ));
        }
        Operation::Delete if has(LineKind::Added) || has(LineKind::Context) => {
            return Err(Refusal::new(
                RefusalCode::Corrupt,
                "a file that is deleted can only have removed lines",
            ));
        }
        Operation::Change
        | Operation::Create
        | Operation::Delete
        | Operation::Rename
        | Operation::Copy => {}
    }
    Ok(())
}

/// `From 4634fc99c2d85bb1caa5e95fb4247f67271a35b6 Mon Sep 17 00:00:00 2001`
fn is_mail_start(line: &[u8]) -> bool {
    line.strip_prefix(b"From ")
        .and_then(|rest| rest.split_at_checked(40))
        .is_some_and(|(hash, rest)| {
            hash.iter().all(u8::is_ascii_hexdigit) && rest.starts_with(b" ")
        })
}
