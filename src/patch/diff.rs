//! Makes patches: one section in git's form for a file that became another, which `parse` and `apply`, and
//! `git apply`, take back. Lines end at `\n` alone; bytes need not be text in any encoding.

use std::collections::HashMap;
use std::time::{Duration, Instant};

use sha2::{Digest, Sha256};
use similar::{Algorithm, DiffOp, capture_diff_slices_deadline, group_diff_ops};

use super::name::quote;

const CONTEXT: usize = 3;
/// A NUL among the first bytes makes a file binary, as in git.
const BINARY: usize = 8000;
/// After this the search for a short diff ends, and a longer one is taken.
const DEADLINE: Duration = Duration::from_millis(500);

/// One side of a change.
#[derive(Debug, Clone, Copy)]
pub struct Side<'a> {
    /// The content; the target of a symbolic link.
    pub bytes: &'a [u8],
    /// The mode as in `st_mode`; without type bits it is a regular file's. Git tells apart links,
    /// files, and files that their owner may execute; so does a patch.
    pub mode: u32,
}

impl Side<'_> {
    fn git_mode(self) -> u32 {
        match (self.mode & 0o170_000, self.mode & 0o100) {
            (0o120_000, _) => 0o120_000,
            (_, 0) => 0o100_644,
            (_, _) => 0o100_755,
        }
    }

    fn is_link(self) -> bool {
        self.git_mode() == 0o120_000
    }

    fn is_binary(self) -> bool {
        self.bytes[..self.bytes.len().min(BINARY)].contains(&0)
    }
}

/// The change of one file as a section of a patch in git's form; empty when there is none to tell.
///
/// A binary file gets a note with sizes and digests. It is worded so that `git apply` and [`super::parse`]
/// refuse it, rather than making an empty file or leaving it out in silence.
pub fn unified(path: &[u8], old: Option<Side<'_>>, new: Option<Side<'_>>) -> Vec<u8> {
    if let (Some(before), Some(after)) = (old, new) {
        if before.bytes == after.bytes && before.git_mode() == after.git_mode() {
            return Vec::new();
        }
        // A link cannot become a file by changing lines: one goes, the other comes.
        if before.is_link() != after.is_link() {
            return [unified(path, old, None), unified(path, None, new)].concat();
        }
    }
    let mut out = Vec::new();
    let with = |prefix: &[u8]| quote(&[prefix, path].concat());
    let (a, b) = (with(b"a/"), with(b"b/"));
    out.extend([&b"diff --git "[..], &a, b" ", &b, b"\n"].concat());
    match (old, new) {
        (Some(old), Some(new)) if old.git_mode() != new.git_mode() => {
            out.extend(
                format!(
                    "old mode {:o}\nnew mode {:o}\n",
                    old.git_mode(),
                    new.git_mode()
                )
                .bytes(),
            );
        }
        (Some(old), None) => {
            out.extend(format!("deleted file mode {:o}\n", old.git_mode()).bytes())
        }
        (None, Some(new)) => {
            out.extend(format!("new file mode {:o}\n", new.git_mode()).bytes());
            // Without hunks to follow, the hash tells a whole section from one that was cut off.
            if new.bytes.is_empty() {
                out.extend(b"index 0000000..e69de29\n");
            }
        }
        (Some(_), Some(_)) => {}
        (None, None) => return Vec::new(),
    }
    if [old, new].into_iter().flatten().any(Side::is_binary) {
        if content(old) != content(new) {
            let [a, b] = [(old, &a), (new, &b)].map(|(side, name)| identity(side, name));
            out.extend([b"Binary files ", a.as_slice(), b" and ", &b, b" differ\n"].concat());
        }
        return out;
    }
    let hunks = hunks(content(old), content(new));
    if !hunks.is_empty() {
        // As in git and GNU diff: a tab ends a name that a reader might otherwise cut at a blank.
        let end: &[u8] = if path.contains(&b' ') { b"\t\n" } else { b"\n" };
        let name = |side: Option<Side<'_>>, name: &[u8]| match side {
            Some(_) => [name, end].concat(),
            None => b"/dev/null\n".to_vec(),
        };
        out.extend(
            [
                &b"--- "[..],
                &name(old, &a),
                b"+++ ",
                &name(new, &b),
                &hunks,
            ]
            .concat(),
        );
    }
    out
}

fn content(side: Option<Side<'_>>) -> &[u8] {
    side.map_or(&[], |side| side.bytes)
}

/// `a/logo.png (12 bytes sha256:0123456789ab)`
fn identity(side: Option<Side<'_>>, name: &[u8]) -> Vec<u8> {
    let Some(Side { bytes, .. }) = side else {
        return b"/dev/null".to_vec();
    };
    let digest: String = Sha256::digest(bytes)[..6]
        .iter()
        .map(|byte| format!("{byte:02x}"))
        .collect();
    let identity = format!(" ({} bytes sha256:{digest})", bytes.len());
    [name, identity.as_bytes()].concat()
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

fn operations<'a>(old: &[&'a [u8]], new: &[&'a [u8]]) -> Vec<DiffOp> {
    // Numbers for lines: each line is hashed once, and compared in one step.
    let mut known: HashMap<&[u8], usize> = HashMap::new();
    let mut number = |lines: &[&'a [u8]]| -> Vec<usize> {
        lines
            .iter()
            .map(|line| {
                let next = known.len();
                *known.entry(line).or_insert(next)
            })
            .collect()
    };
    let (old, new) = (number(old), number(new));
    capture_diff_slices_deadline(
        Algorithm::Myers,
        &old,
        &new,
        Some(Instant::now() + DEADLINE),
    )
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
