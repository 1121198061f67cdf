//! What becomes of one file: its hunks placed and put in, or its creation or deletion checked.

use std::borrow::Cow;

use sha2::{Digest, Sha256};

use super::apply::{Before, Entry, FileChange, Placed, Tree};
use super::header::is_swapped;
use super::nearest::clipped;
use super::place::{Original, stated, with_line_ends};
use super::refusal::{Refusal, RefusalCode, Refused};
use super::section::{FilePatch, Form, Hunk, LineKind, Match};
use super::splice::{Edit, order, splice};

const NEW_FILE: u32 = 0o644;

/// A file before and after its hunks, which may still get another name.
pub(crate) struct Rewrite<'t> {
    pub(crate) before: Option<(Cow<'t, [u8]>, u32)>,
    after: (Vec<u8>, u32),
    hunks: Vec<Placed>,
    added: usize,
    removed: usize,
}

impl Rewrite<'_> {
    pub(crate) fn changes(&self) -> bool {
        let (bytes, mode) = &self.after;
        self.before
            .as_ref()
            .is_none_or(|(old, old_mode)| old.as_ref() != bytes || old_mode != mode)
    }

    pub(crate) fn content(&self) -> &[u8] {
        &self.after.0
    }

    pub(crate) fn before(&self) -> Option<Before> {
        self.before
            .as_ref()
            .map(|(bytes, mode)| digest(bytes, *mode))
    }

    pub(crate) fn into_change(self, path: Vec<u8>) -> FileChange {
        let before = self.before();
        let Self {
            before: _,
            after,
            hunks,
            added,
            removed,
        } = self;
        FileChange {
            path,
            before,
            after: Some(after),
            from: None,
            hunks,
            added,
            removed,
        }
    }

    /// The place that a renamed file leaves.
    pub(crate) fn gone(path: &[u8], before: Option<Before>) -> FileChange {
        FileChange {
            path: path.to_vec(),
            before,
            after: None,
            from: None,
            hunks: Vec::new(),
            added: 0,
            removed: 0,
        }
    }
}

fn digest(bytes: &[u8], mode: u32) -> Before {
    Before {
        sha256: Sha256::digest(bytes).into(),
        size: bytes.len() as u64,
        mode,
    }
}

/// The file at a path, which must be a regular one.
pub(crate) fn regular<'t>(
    path: &[u8],
    tree: &'t dyn Tree,
) -> Result<(Cow<'t, [u8]>, u32), Refused> {
    let what = match tree.entry(path) {
        Entry::File { bytes, mode } => return Ok((bytes, mode)),
        Entry::Missing => {
            return Err(
                Refusal::new(RefusalCode::TargetMissing, "the file does not exist")
                    .file(path)
                    .help("check the name"),
            );
        }
        Entry::Directory => "a directory stands at this path",
        Entry::Symlink => "a symbolic link stands at this path, and links are never followed",
        Entry::Other => "what stands at this path is not a regular file",
    };
    Err(Refusal::new(RefusalCode::NotAFile, what)
        .file(path)
        .help("name the file itself"))
}

/// Permission bits of a mode in a patch, of which git knows two.
fn permissions(mode: u32) -> u32 {
    if mode & 0o100 == 0 { 0o644 } else { 0o755 }
}

/// Places and puts in the hunks of all sections of one file; their numbers are those of the original file.
pub(crate) fn rewrite<'t>(
    path: &[u8],
    sections: &[&FilePatch],
    policy: Match,
    tree: &'t dyn Tree,
) -> Result<Rewrite<'t>, Vec<Refusal>> {
    let (bytes, mode) =
        regular(path, tree).map_err(|refusal| vec![*refusal.at(sections[0].line)])?;
    let original = Original::new(&bytes);
    let binary = sections.iter().find(|section| section.binary.is_some());
    if let Some(section) = binary {
        if sections.len() > 1 {
            let message = "another section of the patch changes this binary file too";
            let refusal = Refusal::new(RefusalCode::Conflict, message).at(section.line);
            return Err(vec![*refusal.file(path)]);
        }
        let after = from_binary(path, section, &original)?;
        return Ok(Rewrite {
            after: (after, mode_after(sections, mode)),
            before: Some((bytes, mode)),
            hunks: Vec::new(),
            added: 0,
            removed: 0,
        });
    }
    let written: Vec<(&FilePatch, usize, &Hunk)> = sections
        .iter()
        .flat_map(|section| {
            section
                .hunks
                .iter()
                .enumerate()
                .map(|(at, hunk)| (*section, at + 1, hunk))
        })
        .collect();
    let hunks: Vec<&Hunk> = written.iter().map(|(_, _, hunk)| *hunk).collect();
    let translated = with_line_ends(&hunks, original.line_end());
    let hunks: Vec<&Hunk> = translated
        .as_ref()
        .map_or(hunks, |hunks| hunks.iter().collect());

    let (mut edits, mut refusals) = (Vec::new(), Vec::new());
    for ((section, number, _), hunk) in written.iter().zip(hunks) {
        match original.place(hunk, policy, section.old_blob.as_deref()) {
            Ok(start) => edits.push(Edit {
                start,
                hunk,
                number: *number,
            }),
            Err(mut refusal) => {
                // `b/` before `a/`, or the hash of the file as it should have been before.
                let reversed = is_swapped(section) || original.is_blob(section.old_blob.as_deref());
                if refusal.code == RefusalCode::AlreadyApplied && reversed {
                    refusal.code = RefusalCode::Reversed;
                    "the patch is the wrong way round: the file has the new lines"
                        .clone_into(&mut refusal.message);
                    let help =
                        "swap the `-` and `+` lines, or make the patch in the other direction";
                    refusal.help = Some(help.to_owned());
                }
                let line = refusal.patch_line.unwrap_or(hunk.line);
                refusals.push(*refusal.at(line).hunk(*number).file(path));
            }
        }
    }
    refusals.extend(
        order(&mut edits)
            .into_iter()
            .map(|refusal| *refusal.file(path)),
    );
    if !refusals.is_empty() {
        return Err(refusals);
    }
    let count = |kind| edits.iter().map(|edit| edit.hunk.count(kind)).sum();
    let placed = edits.iter().map(placed).collect();
    let (added, removed) = (count(LineKind::Added), count(LineKind::Removed));
    let after = if edits.is_empty() {
        bytes.to_vec()
    } else {
        splice(&original, &edits)
    };
    Ok(Rewrite {
        before: Some((bytes, mode)),
        after: (after, mode_after(sections, mode)),
        hunks: placed,
        added,
        removed,
    })
}

/// The permission bits after the last section that says something about them.
fn mode_after(sections: &[&FilePatch], mode: u32) -> u32 {
    let new = sections.iter().rev().find_map(|section| section.new_mode);
    // A mode that says nothing new about the execute bit leaves the others alone.
    new.filter(|new| (new ^ mode) & 0o100 != 0)
        .map_or(mode, permissions)
}

/// The bytes after a binary patch; the hashes decide whether they, and those before, are the right ones.
fn from_binary(
    path: &[u8],
    section: &FilePatch,
    original: &Original<'_>,
) -> Result<Vec<u8>, Vec<Refusal>> {
    let refuse = |code, message: &str, help: &str| {
        let refusal = Refusal::new(code, message).at(section.line).file(path);
        vec![*refusal.help(help)]
    };
    if !original.is_blob(section.old_blob.as_deref()) {
        return Err(if original.is_blob(section.new_blob.as_deref()) {
            refuse(
                RefusalCode::AlreadyApplied,
                "the file is already what the binary patch makes of it",
                "leave the section out",
            )
        } else {
            refuse(
                RefusalCode::BinaryDiffers,
                "the file is not the one that the binary patch was made for",
                "make the patch anew for the file as it is, or write the file as a whole",
            )
        });
    }
    let made = section.binary.as_ref();
    let made = made.and_then(|binary| binary.apply(original.bytes()));
    // A file that goes away has nothing afterwards, and no hash but zeros.
    let gone = |made: &Vec<u8>| {
        let zeros = |hash: &Vec<u8>| hash.iter().all(|digit| *digit == b'0');
        made.is_empty() && section.new_blob.as_ref().is_some_and(zeros)
    };
    made.filter(|made| is_blob(made, section.new_blob.as_deref()) || gone(made))
        .ok_or_else(|| damaged(path, section))
}

/// The bytes have the hash that the `index` line names.
fn is_blob(bytes: &[u8], hex: Option<&[u8]>) -> bool {
    Original::new(bytes).is_blob(hex)
}

fn damaged(path: &[u8], section: &FilePatch) -> Vec<Refusal> {
    let message = "the binary patch does not make the file that its `index` line names";
    let refusal = Refusal::new(RefusalCode::Corrupt, message).at(section.line);
    let help = "send the patch as `git diff --binary` prints it, or write the file as a whole";
    vec![*refusal.file(path).help(help)]
}

fn placed(edit: &Edit<'_>) -> Placed {
    let old = edit.hunk.old_lines().count();
    let number = |line: usize| i64::try_from(line).unwrap_or(i64::MAX);
    Placed {
        hunk: edit.number,
        line: edit.start as u64 + 1,
        offset: stated(edit.hunk, old).map_or(0, |stated| {
            number(edit.start).saturating_sub(number(stated))
        }),
        patch_line: edit.hunk.line,
    }
}

/// A new file, which has nothing but added lines, or the bytes of a binary patch.
pub(crate) fn create(path: &[u8], file: &FilePatch) -> Result<Rewrite<'static>, Vec<Refusal>> {
    let lines = file.hunks.iter().flat_map(|hunk| &hunk.lines);
    let added = lines.clone().count();
    let content = match &file.binary {
        Some(binary) => binary
            .apply(b"")
            .filter(|made| is_blob(made, file.new_blob.as_deref()))
            .ok_or_else(|| damaged(path, file))?,
        None => lines.flat_map(|line| line.text.iter().copied()).collect(),
    };
    let mode = file.new_mode.map_or(NEW_FILE, permissions);
    let placed = |(at, hunk): (usize, &Hunk)| Placed {
        hunk: at + 1,
        line: 1,
        offset: 0,
        patch_line: hunk.line,
    };
    let hunks = file.hunks.iter().enumerate().map(placed).collect();
    Ok(Rewrite {
        before: None,
        after: (content, mode),
        hunks,
        added,
        removed: 0,
    })
}

/// A file goes away only when all of it is what the patch says.
pub(crate) fn delete(
    path: &[u8],
    file: &FilePatch,
    tree: &dyn Tree,
) -> Result<FileChange, Vec<Refusal>> {
    let (bytes, mode) = regular(path, tree).map_err(|refusal| vec![*refusal])?;
    let original = Original::new(&bytes);
    if file.binary.is_some() {
        let left = from_binary(path, file, &original)?;
        if !left.is_empty() {
            return Err(damaged(path, file));
        }
        return Ok(Rewrite::gone(path, Some(digest(&bytes, mode))));
    }
    let hunks: Vec<&Hunk> = file.hunks.iter().collect();
    let translated = with_line_ends(&hunks, original.line_end());
    let hunks: Vec<&Hunk> = translated
        .as_ref()
        .map_or(hunks, |hunks| hunks.iter().collect());
    let expected: Vec<&[u8]> = hunks.iter().flat_map(|hunk| hunk.old_lines()).collect();

    // `git diff -D` leaves the lines out and the hash in.
    // The envelope form names the file and leaves it at that.
    let named = file.form == Form::Envelope || original.is_blob(file.old_blob.as_deref());
    let by_hash = expected.is_empty() && named;
    let last = original.lines.len().saturating_sub(1);
    let same = |at: usize| match (original.lines.get(at), expected.get(at)) {
        (Some(found), Some(expected)) => {
            found == expected || (at == last && expected.strip_suffix(b"\n") == Some(found))
        }
        (None, None) => true,
        (Some(_), None) | (None, Some(_)) => false,
    };
    let longer = original.lines.len().max(expected.len());
    if let Some(at) = (0..longer).find(|at| !same(*at)).filter(|_| !by_hash) {
        let mut refusal = Refusal::new(
            RefusalCode::DeleteDiffers,
            format!(
                "the file to delete is not what the patch says from line {} on",
                at + 1
            ),
        )
        .file(path)
        .help("read the file again; if it is to go as it is, write all of its lines with `-`");
        refusal.file_line = Some(at as u64 + 1);
        let (wanted, there) = (expected.get(at), original.lines.get(at));
        let (wanted_part, there_part) =
            clipped(wanted.copied().unwrap_or_default(), there.copied());
        refusal.expected.extend(wanted.map(|_| wanted_part));
        refusal.found.extend(there_part);
        return Err(vec![*refusal]);
    }
    let placed = |(at, hunk): (usize, &Hunk)| Placed {
        hunk: at + 1,
        line: 1,
        offset: 0,
        patch_line: hunk.line,
    };
    Ok(FileChange {
        hunks: file.hunks.iter().enumerate().map(placed).collect(),
        removed: original.lines.len(),
        ..Rewrite::gone(path, Some(digest(&bytes, mode)))
    })
}
