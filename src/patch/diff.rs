//! Makes patches: one section in git's form for a file that became another, which `parse` and `apply`, and
//! `git apply`, take back. Lines end at `\n` alone; bytes need not be text in any encoding.

use sha2::{Digest, Sha256};
use similar::{DiffOp, group_diff_ops};

use super::blob::git_blob_hex;
use super::common::{self, Run};
use super::name::quote;

/// Lines around each change.
pub(super) const CONTEXT: usize = 3;
/// A NUL among the first bytes makes a file binary, as in git.
const BINARY: usize = 8000;

/// One side of a change.
#[derive(Debug, Clone, Copy)]
pub struct Side<'a> {
    /// The content; the target of a symbolic link.
    pub bytes: &'a [u8],
    /// The mode as in `st_mode`; without type bits it is a regular file's. Git tells apart links,
    /// files, and files that their owner may execute; so does a patch.
    pub mode: u32,
}

impl<'a> Side<'a> {
    fn shown(self) -> Shown<'a> {
        Shown {
            content: Content::Whole(self.bytes),
            mode: git_mode(self.mode),
        }
    }
}

/// One side of a change whose content is not at hand, or too large to be shown.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Named {
    /// Bytes in it.
    pub size: u64,
    /// Of its content, where it is known.
    pub sha256: Option<[u8; 32]>,
    /// As in [`Side`].
    pub mode: u32,
}

impl Named {
    fn shown(self) -> Shown<'static> {
        Shown {
            content: Content::Named(self.size, self.sha256),
            mode: git_mode(self.mode),
        }
    }
}

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Content<'a> {
    Whole(&'a [u8]),
    Named(u64, Option<[u8; 32]>),
}

#[derive(Debug, Clone, Copy)]
struct Shown<'a> {
    content: Content<'a>,
    mode: u32,
}

impl Shown<'_> {
    fn is_same_content(self, other: Self) -> bool {
        // What is not known may differ.
        self.content == other.content && !matches!(self.content, Content::Named(_, None))
    }
}

const LINK: u32 = 0o120_000;

/// A mode as git has it.
pub(super) fn git_mode(mode: u32) -> u32 {
    match (mode & 0o170_000, mode & 0o100) {
        (LINK, _) => LINK,
        (_, 0) => 0o100_644,
        (_, _) => 0o100_755,
    }
}

pub(super) fn is_binary(bytes: &[u8]) -> bool {
    bytes[..bytes.len().min(BINARY)].contains(&0)
}

/// How a file came to its name.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Moved<'a> {
    /// The name it had.
    pub from: &'a [u8],
    /// Whether the file of that name stays.
    pub copied: bool,
    /// Hundredths of the content that are the same, where that was looked at.
    pub similarity: Option<u32>,
}

/// The change of one file as a section of a patch in git's form; empty when there is none to tell.
///
/// A binary file gets a note with sizes and digests. It is worded so that `git apply` and [`super::parse`]
/// refuse it, rather than making an empty file or leaving it out in silence.
pub fn unified(path: &[u8], old: Option<Side<'_>>, new: Option<Side<'_>>) -> Vec<u8> {
    sections(path, old.map(Side::shown), new.map(Side::shown))
}

/// The change of a file that is too large to be shown: a note as for a binary file.
pub fn named(path: &[u8], old: Option<Named>, new: Option<Named>) -> Vec<u8> {
    sections(path, old.map(Named::shown), new.map(Named::shown))
}

/// The section of a file that was renamed or copied, and may have changed on the way.
pub fn moved(path: &[u8], how: Moved<'_>, old: Side<'_>, new: Side<'_>) -> Vec<u8> {
    section(path, Some(how), Some(old.shown()), Some(new.shown()))
}

/// The section of a file whose content only moved.
pub fn moved_whole(path: &[u8], how: Moved<'_>, old_mode: u32, new_mode: u32) -> Vec<u8> {
    let side = |bytes, mode| Side { bytes, mode }.shown();
    section(
        path,
        Some(how),
        Some(side(b"", old_mode)),
        Some(side(b"", new_mode)),
    )
}

fn sections(path: &[u8], old: Option<Shown<'_>>, new: Option<Shown<'_>>) -> Vec<u8> {
    if let (Some(before), Some(after)) = (old, new) {
        if before.mode == after.mode && before.is_same_content(after) {
            return Vec::new();
        }
        // A link cannot become a file by changing lines: one goes, the other comes.
        if (before.mode == LINK) != (after.mode == LINK) {
            return [
                section(path, None, old, None),
                section(path, None, None, new),
            ]
            .concat();
        }
    }
    section(path, None, old, new)
}

fn section(
    path: &[u8],
    how: Option<Moved<'_>>,
    old: Option<Shown<'_>>,
    new: Option<Shown<'_>>,
) -> Vec<u8> {
    let mut out = Vec::new();
    let from = how.map_or(path, |how| how.from);
    let a = written(&[b"a/", from].concat());
    let b = written(&[b"b/", path].concat());
    match (old, new) {
        (Some(old), Some(new)) if old.mode != new.mode => {
            out.extend(format!("old mode {:o}\nnew mode {:o}\n", old.mode, new.mode).bytes());
        }
        (Some(old), None) => out.extend(format!("deleted file mode {:o}\n", old.mode).bytes()),
        (None, Some(new)) => {
            out.extend(format!("new file mode {:o}\n", new.mode).bytes());
            // Without hunks to follow, the hash tells a whole section from one that was cut off.
            if new.content == Content::Whole(b"") {
                out.extend(b"index 0000000..e69de29\n");
            }
        }
        (Some(_), Some(_)) => {}
        (None, None) => return Vec::new(),
    }
    if let Some(how) = how {
        if let Some(similarity) = how.similarity {
            out.extend(format!("similarity index {similarity}%\n").bytes());
        }
        let verb: &[u8] = if how.copied { b"copy" } else { b"rename" };
        for (word, name) in [(b" from ".as_slice(), from), (b" to ", path)] {
            out.extend([verb, word, &written(name), b"\n"].concat());
        }
    }
    let (Some(old_text), Some(new_text)) = (text(old), text(new)) else {
        let same = matches!((old, new), (Some(old), Some(new)) if old.is_same_content(new));
        if !same {
            out.extend(before_a_note(old, new));
            let [a, b] = [(old, &a), (new, &b)].map(|(side, name)| identity(side, name));
            out.extend([b"Binary files ", a.as_slice(), b" and ", &b, b" differ\n"].concat());
        }
        return headed(&in_quotes(&a), &in_quotes(&b), out);
    };
    let hunks = hunks(old_text, new_text);
    if hunks.is_empty() {
        return headed(&in_quotes(&a), &in_quotes(&b), out);
    }
    if !hunks.is_empty() {
        // As in git and GNU diff: a tab ends a name that a reader might otherwise cut at a blank.
        let name = |side: Option<Shown<'_>>, path: &[u8], name: &[u8]| match side {
            Some(_) if path.contains(&b' ') && !name.starts_with(b"\"") => [name, b"\t\n"].concat(),
            Some(_) => [name, b"\n"].concat(),
            None => b"/dev/null\n".to_vec(),
        };
        let (from, to) = (name(old, from, &a), name(new, path, &b));
        out.extend([&b"--- "[..], &from, b"+++ ", &to, &hunks].concat());
    }
    headed(&a, &b, out)
}

fn headed(a: &[u8], b: &[u8], section: Vec<u8>) -> Vec<u8> {
    [b"diff --git ", a, b" ", b, b"\n", &section].concat()
}

/// A name as git writes it. One that ends with a blank is quoted, too: GNU patch would not see the blank. Nor does it
/// see where a name with blanks ends on a line that holds two, if there are no others to tell.
fn written(name: &[u8]) -> Vec<u8> {
    let written = quote(name);
    if written.ends_with(b" ") {
        return in_quotes(&written);
    }
    written
}

/// In quotes, where it has blanks and is not quoted yet.
fn in_quotes(written: &[u8]) -> Vec<u8> {
    if written.starts_with(b"\"") || !written.contains(&b' ') {
        return written.to_vec();
    }
    [b"\"", written, b"\""].concat()
}

/// The content to show, of no file none; nothing where it is not to be shown.
fn text(side: Option<Shown<'_>>) -> Option<&[u8]> {
    match side.map(|side| side.content) {
        None => Some(&[]),
        Some(Content::Whole(bytes)) if !is_binary(bytes) => Some(bytes),
        Some(Content::Whole(_) | Content::Named(..)) => None,
    }
}

/// A line that makes git see the section: without one, it would pass over the note and take the rest of the patch.
fn before_a_note(old: Option<Shown<'_>>, new: Option<Shown<'_>>) -> Vec<u8> {
    let (Some(old), Some(new)) = (old, new) else {
        return Vec::new();
    };
    if old.mode != new.mode {
        return Vec::new();
    }
    let mode = old.mode;
    match (old.content, new.content) {
        (Content::Whole(old), Content::Whole(new)) => {
            let [old, new] = [old, new].map(git_blob_hex);
            format!("index {old:.7}..{new:.7} {mode:o}\n").into_bytes()
        }
        (Content::Whole(_) | Content::Named(..), _) => {
            format!("old mode {mode:o}\nnew mode {mode:o}\n").into_bytes()
        }
    }
}

/// `a/logo.png (12 bytes sha256:0123456789ab)`
fn identity(side: Option<Shown<'_>>, name: &[u8]) -> Vec<u8> {
    let (size, digest) = match side.map(|side| side.content) {
        None => return b"/dev/null".to_vec(),
        Some(Content::Whole(bytes)) => (bytes.len() as u64, Some(Sha256::digest(bytes).into())),
        Some(Content::Named(size, digest)) => (size, digest),
    };
    let digest = digest.map_or_else(
        || "unknown".to_owned(),
        |digest: [u8; 32]| {
            digest[..6]
                .iter()
                .map(|byte| format!("{byte:02x}"))
                .collect()
        },
    );
    [name, format!(" ({size} bytes sha256:{digest})").as_bytes()].concat()
}

/// How many lines come and go from one text to the other.
pub fn added_removed(old: &[u8], new: &[u8]) -> (usize, usize) {
    let mut counts = (0, 0);
    for op in operations(&split(old), &split(new)) {
        let (_, old, new) = op.as_tag_tuple();
        if !matches!(op, DiffOp::Equal { .. }) {
            counts.0 += new.len();
            counts.1 += old.len();
        }
    }
    counts
}

/// The differences of two texts, `-` for lines of `expected` and `+` for lines of `actual`: hunks without names.
/// Empty when the texts are the same.
pub fn lines(expected: &[u8], actual: &[u8]) -> Vec<u8> {
    hunks(expected, actual)
}

fn split(bytes: &[u8]) -> Vec<&[u8]> {
    bytes.split_inclusive(|&byte| byte == b'\n').collect()
}

fn operations(old: &[&[u8]], new: &[&[u8]]) -> Vec<DiffOp> {
    let end = Run {
        old: old.len(),
        new: new.len(),
        len: 0,
    };
    let mut ops = Vec::new();
    let (mut x, mut y) = (0, 0);
    for run in common::runs(old, new).into_iter().chain([end]) {
        let (old_len, new_len) = (run.old - x, run.new - y);
        match (old_len, new_len) {
            (0, 0) => {}
            (_, 0) => ops.push(DiffOp::Delete {
                old_index: x,
                old_len,
                new_index: y,
            }),
            (0, _) => ops.push(DiffOp::Insert {
                old_index: x,
                new_index: y,
                new_len,
            }),
            (_, _) => ops.push(DiffOp::Replace {
                old_index: x,
                old_len,
                new_index: y,
                new_len,
            }),
        }
        if run.len > 0 {
            ops.push(DiffOp::Equal {
                old_index: run.old,
                new_index: run.new,
                len: run.len,
            });
        }
        (x, y) = (run.old + run.len, run.new + run.len);
    }
    ops
}

fn hunks(old: &[u8], new: &[u8]) -> Vec<u8> {
    let (old, new) = (split(old), split(new));
    let mut out = Vec::new();
    for group in group_diff_ops(operations(&old, &new), CONTEXT) {
        let (Some(first), Some(last)) = (group.first(), group.last()) else {
            continue;
        };
        let old_range = first.old_range().start..last.old_range().end;
        let new_range = first.new_range().start..last.new_range().end;
        out.extend(format!("@@ -{} +{} @@\n", range(&old_range), range(&new_range)).bytes());
        for op in group {
            match op {
                DiffOp::Equal { .. } => print(&mut out, b' ', &old[op.old_range()]),
                DiffOp::Delete { .. } | DiffOp::Insert { .. } | DiffOp::Replace { .. } => {
                    print(&mut out, b'-', &old[op.old_range()]);
                    print(&mut out, b'+', &new[op.new_range()]);
                }
            }
        }
    }
    out
}

/// A start and a count; where there are no lines, the start is the line above.
fn range(lines: &std::ops::Range<usize>) -> String {
    match lines.len() {
        0 => format!("{},0", lines.start),
        1 => format!("{}", lines.start + 1),
        count => format!("{},{count}", lines.start + 1),
    }
}

fn print(out: &mut Vec<u8>, sign: u8, lines: &[&[u8]]) {
    for line in lines {
        out.push(sign);
        out.extend_from_slice(line);
        if !line.ends_with(b"\n") {
            out.extend_from_slice(b"\n\\ No newline at end of file\n");
        }
    }
}
