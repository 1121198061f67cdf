//! `write`, `patch`, `delete`, `read` and `list`: each sends at most one write set, so each happens whole or not.

use super::session::{Session, StepError};
use super::{capture, expect};
use crate::patch::{self, Entry, Refusal, Tree};
use crate::plan::{
    PlannedDelete, PlannedList, PlannedMove, PlannedPatch, PlannedRead, PlannedStep, PlannedWrite,
    PlannedWriteFile,
};
use crate::receipt::{
    EntryReport, FileReport, HunkReport, MoveReport, PatchReason, PathVersion, RefusalReport,
    RestReport, StepReport, Text,
};
use crate::request::{Base, CaptureSource, Digest, Missing, PatchMatch};
use pyro_protocol::Bytes;
use pyro_protocol::message::{
    DataReport, Kind, Op, PathMove, Prior, Reply, Stat, WriteAction, WriteEntry, Written,
};
use sha2::Digest as _;
use std::borrow::Cow;
use std::collections::BTreeMap;

/// A file larger than this is not patched.
const MAX_PATCHED: u64 = 64 << 20;
/// A file is hashed in pieces of this size.
const HASHED: u64 = 4 << 20;
/// How often a write is begun anew because somebody else wrote meanwhile.
const TURNS: u32 = 8;

impl Session<'_> {
    pub(super) fn write(
        &mut self,
        write: &PlannedWrite,
        report: &mut StepReport,
    ) -> Result<(), StepError> {
        for turn in 1.. {
            self.check_base(write)?;
            let mut contents = Vec::new();
            let mut entries = Vec::new();
            for file in &write.files {
                let before = contents.len();
                let expect = self.put_contents(write, file, &mut contents)?;
                entries.push(WriteEntry {
                    path: Bytes::from(file.path.as_bytes()),
                    expect,
                    action: WriteAction::File {
                        size: (contents.len() - before) as u64,
                        mode: file.mode,
                    },
                });
            }
            match self.write_set(entries, &contents) {
                Ok(written) => {
                    report.files = written.iter().map(file_report).collect();
                    return Ok(());
                }
                // Somebody was faster: what is there now decides.
                Err(StepError::Refused(refusal))
                    if matches!(&*refusal.code, "conflict" | "exists") && turn < TURNS => {}
                Err(error) => return Err(error),
            }
        }
        Ok(())
    }

    /// Refuses to write where a file is not what `base` says, with the digest of what it is.
    fn check_base(&mut self, write: &PlannedWrite) -> Result<(), StepError> {
        for (path, wanted) in &write.base {
            let found = match self.stat(path.as_bytes())? {
                None => "nothing".to_owned(),
                Some(stat) => match stat.kind {
                    Kind::File => self.digest(path.as_bytes())?.to_string(),
                    Kind::Directory => "a directory".to_owned(),
                    Kind::Symlink => "a link".to_owned(),
                    Kind::Other => "something that is no file".to_owned(),
                },
            };
            let is_right = match wanted {
                Base::Absent => found == "nothing",
                Base::Digest(digest) => found == digest.to_string(),
            };
            if !is_right {
                let message = format!(
                    "{path} is not what `base` says: expected {wanted}, found {found}; nothing was changed"
                );
                return Err(StepError::refused("base-mismatch", message));
            }
        }
        Ok(())
    }

    /// Of the whole file, whatever its size.
    fn digest(&mut self, path: &[u8]) -> Result<Digest, StepError> {
        let mut hasher = sha2::Sha256::new();
        let mut at = 0;
        loop {
            let (bytes, _) = self.read_range(path, at, Some(HASHED))?;
            if bytes.is_empty() {
                return Ok(Digest(hasher.finalize().into()));
            }
            hasher.update(&bytes);
            at += bytes.len() as u64;
        }
    }

    /// Adds what a file shall hold to the contents of a write set, and says what must be there for that.
    fn put_contents(
        &mut self,
        write: &PlannedWrite,
        file: &PlannedWriteFile,
        contents: &mut Vec<u8>,
    ) -> Result<Prior, StepError> {
        let path = file.path.as_bytes();
        let wanted = write.base.get(&file.path);
        let prior = match (file.append, wanted) {
            (_, Some(Base::Absent)) => Prior::Absent,
            (false, Some(Base::Digest(digest))) => Prior::Sha256(digest.hex()),
            (false, None) => Prior::Any,
            (true, _) => match self.stat(path)? {
                None => Prior::Absent,
                Some(stat) if stat.kind == Kind::File && stat.size > MAX_PATCHED => {
                    let message = format!(
                        "{} has {} bytes; at most 64 MiB are added to",
                        file.path, stat.size
                    );
                    return Err(StepError::refused("too-large", message));
                }
                // What is no file, the guest refuses.
                Some(stat) if stat.kind != Kind::File => Prior::Any,
                Some(_) => {
                    let (old, _) = self.read_file(path, None)?;
                    let digest = Digest::of(&old);
                    contents.extend_from_slice(&old);
                    // As `base` says, or somebody was faster since it was looked at.
                    Prior::Sha256(match wanted {
                        Some(Base::Digest(wanted)) => wanted.hex(),
                        Some(Base::Absent) | None => digest.hex(),
                    })
                }
            },
        };
        contents.extend_from_slice(&file.bytes);
        Ok(prior)
    }

    pub(super) fn delete(
        &mut self,
        delete: &PlannedDelete,
        report: &mut StepReport,
    ) -> Result<(), StepError> {
        let mut entries = Vec::new();
        for path in &delete.paths {
            let path = Bytes::from(path.as_bytes());
            if delete.missing == Missing::Ignore && self.stat(&path)?.is_none() {
                report.notes.push(format!("{} was not there", path.lossy()));
                continue;
            }
            entries.push(WriteEntry {
                path,
                expect: Prior::Any,
                action: WriteAction::Remove,
            });
        }
        if !entries.is_empty() {
            let written = self.write_set(entries, &[])?;
            report.files = written.iter().map(file_report).collect();
        }
        Ok(())
    }

    /// One rename, as the guest does it: no program sees both paths or neither.
    pub(super) fn move_path(
        &mut self,
        moving: &PlannedMove,
        report: &mut StepReport,
    ) -> Result<(), StepError> {
        let op = Op::PathMove(PathMove {
            from: Bytes::from(moving.from.as_bytes()),
            to: Bytes::from(moving.to.as_bytes()),
        });
        match self.call(op, None)? {
            (Reply::Stat(stat), _) => {
                let EntryReport { path: to, now } = EntryReport::from(&stat);
                let from = Text::from(moving.from.as_bytes());
                report.moved = Some(MoveReport { from, to, now });
                Ok(())
            }
            (reply, _) => Err(StepError::surprise(&reply)),
        }
    }

    /// Places the patch on the live bytes, with the planner's own code, and writes exactly what comes of it.
    pub(super) fn patch(
        &mut self,
        planned: &PlannedPatch,
        report: &mut StepReport,
    ) -> Result<(), StepError> {
        for (path, wanted) in &planned.base {
            let found = match self.stat(path.as_bytes())? {
                Some(stat) if stat.kind == Kind::File => {
                    Some(Digest::of(&self.read_file(path.as_bytes(), None)?.0))
                }
                Some(_) | None => None,
            };
            if found.as_ref() != Some(wanted) {
                let found = found.map_or_else(|| "no file".to_owned(), |digest| digest.to_string());
                let message = format!(
                    "{path} is not the file that `base` names: expected {wanted}, found {found}"
                );
                return Err(StepError::refused("base-mismatch", message));
            }
        }
        let live = self.live(&planned.patch)?;
        let policy = match planned.policy {
            PatchMatch::Unique => patch::Match::Unique,
            PatchMatch::Exact => patch::Match::Exact,
        };
        let applied = match patch::apply(&planned.patch, policy, &live) {
            Ok(applied) => applied,
            Err(refusals) => return Err(self.refused(refusals)?),
        };
        let mut contents = Vec::new();
        let mut entries = Vec::new();
        for file in &applied.files {
            let expect = file.before.map_or(Prior::Absent, |before| {
                Prior::Sha256(Digest(before.sha256).hex())
            });
            let action = match &file.after {
                Some((bytes, mode)) => {
                    contents.extend_from_slice(bytes);
                    WriteAction::File {
                        size: bytes.len() as u64,
                        mode: Some(*mode & 0o777),
                    }
                }
                None => WriteAction::Remove,
            };
            entries.push(WriteEntry {
                path: Bytes::from(&file.path[..]),
                expect,
                action,
            });
        }
        let written = self.write_set(entries, &contents)?;
        for (written, file) in written.iter().zip(&applied.files) {
            let hunks = file.hunks.iter().map(|hunk| HunkReport {
                hunk: hunk.hunk,
                line: hunk.line,
                offset: hunk.offset,
            });
            report.files.push(FileReport {
                hunks: hunks.collect(),
                ..file_report(written)
            });
        }
        if planned
            .predicted
            .as_ref()
            .is_some_and(|predicted| *predicted != applied)
        {
            report.notes.push(
                "the files were not as planned; each hunk still had exactly one place".to_owned(),
            );
        }
        Ok(())
    }

    /// The refusals as the step's end; where a file is missing, with the names of those that are there.
    fn refused(&mut self, mut refusals: Vec<Refusal>) -> Result<StepError, StepError> {
        let missing = |refusal: &Refusal| refusal.code == patch::RefusalCode::TargetMissing;
        if refusals.iter().any(missing) {
            let all = self.tree_list(b"", true)?.into_iter();
            let files = all.filter(|stat| stat.kind == Kind::File);
            let names: Vec<Vec<u8>> = files.map(|stat| stat.path.to_vec()).collect();
            patch::suggest_names(&mut refusals, &names);
        }
        Ok(refused(&refusals))
    }

    /// What is there now at every name the patch could mean, and at their parents.
    fn live(&mut self, patch: &patch::Patch) -> Result<LiveTree, StepError> {
        let mut tree = BTreeMap::new();
        for name in patch::candidate_names(patch) {
            // A link on the way decides: below it nothing may be looked at.
            let ends = name
                .iter()
                .enumerate()
                .filter(|(_, byte)| **byte == b'/')
                .map(|(index, _)| index);
            for end in ends.chain([name.len()]) {
                let part = &name[..end];
                if tree.contains_key(part) {
                    if matches!(tree.get(part), Some(Live::Directory)) {
                        continue;
                    }
                    break;
                }
                let live = match self.stat(part)? {
                    None => Live::Missing,
                    Some(Stat {
                        kind: Kind::Directory,
                        ..
                    }) => Live::Directory,
                    Some(Stat {
                        kind: Kind::Symlink,
                        ..
                    }) => Live::Symlink,
                    Some(Stat {
                        kind: Kind::Other, ..
                    }) => Live::Other,
                    Some(Stat {
                        kind: Kind::File,
                        size,
                        ..
                    }) if size > MAX_PATCHED => {
                        let name = String::from_utf8_lossy(part).into_owned();
                        return Err(StepError::refused(
                            "too-large",
                            format!("{name} has {size} bytes; at most 64 MiB are patched"),
                        ));
                    }
                    Some(Stat {
                        kind: Kind::File,
                        mode,
                        ..
                    }) => Live::File(self.read_file(part, None)?.0, mode & 0o777),
                };
                let deeper = matches!(live, Live::Directory);
                tree.insert(part.to_vec(), live);
                if !deeper {
                    break;
                }
            }
        }
        Ok(LiveTree(tree))
    }

    pub(super) fn read(
        &mut self,
        step: &PlannedStep,
        read: &PlannedRead,
        report: &mut StepReport,
    ) -> Result<(), StepError> {
        for path in &read.paths {
            let most = read.max_bytes.as_bytes();
            let Piece { bytes, clean, data } =
                self.read_clean(path.as_bytes(), read.offset, most)?;
            let end = read.offset.saturating_add(bytes.len() as u64);
            let truncated = data.size > end;
            let version = PathVersion {
                kind: Kind::File,
                size: data.size,
                mode: format!("{:04o}", data.mode & 0o7777),
                // One of what holds a secret could be tried values against.
                sha256: (!truncated && read.offset == 0 && clean.is_none())
                    .then(|| Digest::of(&bytes)),
                target: None,
            };
            let redacted = clean.is_some();
            let bytes = clean.unwrap_or(bytes);
            report.files.push(FileReport {
                path: Text::from(path.as_bytes()),
                redacted,
                after: Some(version),
                content: Some(Text::from(&bytes[..])),
                truncated,
                ..FileReport::default()
            });
            let missing = data.size.saturating_sub(end);
            let secrets = self.secrets.redaction();
            report
                .failures
                .extend(expect::text("content", &read.content, &bytes, missing));
            let text = (&bytes[..], missing);
            capture::take(step, CaptureSource::Content, text, secrets, report);
            self.goldens(step, "content", &read.content, &bytes, missing, report);
        }
        Ok(())
    }

    /// A piece of a file, and the same without secrets where there are any: also such that only reach into it.
    fn read_clean(&mut self, path: &[u8], offset: u64, most: u64) -> Result<Piece, StepError> {
        let reach = self.secrets.redaction().reach();
        if reach == 0 {
            let (bytes, data) = self.read_range(path, offset, Some(most))?;
            return Ok(Piece {
                bytes,
                clean: None,
                data,
            });
        }
        let from = offset.saturating_sub(reach);
        let length = (offset - from).saturating_add(most).saturating_add(reach);
        let (around, data) = self.read_range(path, from, Some(length))?;
        let index = |bytes: u64| usize::try_from(bytes).unwrap_or(usize::MAX);
        let start = index(offset - from).min(around.len());
        let end = start.saturating_add(index(most)).min(around.len());
        let clean = match self.secrets.redaction().within(&around, start..end) {
            Cow::Owned(clean) => Some(clean),
            Cow::Borrowed(_) => None,
        };
        let bytes = around[start..end].to_vec();
        Ok(Piece { bytes, clean, data })
    }

    pub(super) fn list(
        &mut self,
        step: &PlannedStep,
        list: &PlannedList,
        report: &mut StepReport,
    ) -> Result<(), StepError> {
        let mut text = Vec::new();
        let mut told = 0;
        let found = self.tree_list(list.path.as_bytes(), list.recursive)?;
        let is_new =
            |path: &[u8]| (list.after.as_ref()).is_none_or(|after| after.as_bytes() < path);
        for stat in found.into_iter().filter(|stat| is_new(&stat.path)) {
            if report.entries.len() as u64 == list.max_entries {
                let last = report.entries.last().map(|entry| entry.path.clone());
                let rest = report.rest.get_or_insert(RestReport {
                    entries: 0,
                    next_after: last.unwrap_or_default(),
                });
                rest.entries += 1;
            } else {
                report.entries.push(EntryReport::from(&stat));
            }
            name_in_line(&stat.path, &mut text);
            match (stat.kind, stat.target) {
                (Kind::Directory, _) => text.push(b'/'),
                (Kind::Symlink, Some(target)) => {
                    text.extend_from_slice(b" -> ");
                    name_in_line(&target, &mut text);
                }
                (Kind::File | Kind::Symlink | Kind::Other, _) => {}
            }
            text.push(b'\n');
            if report.rest.is_none() {
                told = text.len();
            }
        }
        if let Some(RestReport {
            entries,
            next_after,
        }) = &report.rest
        {
            let rest = match entries {
                1 => "1 path is".to_owned(),
                more => format!("{more} paths are"),
            };
            let after = &next_after.text;
            let note = format!("{rest} not told: `after = \"{after}\"` goes on");
            report.notes.push(note);
        }
        let dropped = (text.len() - told) as u64;
        text.truncate(told);
        let secrets = self.secrets.redaction();
        let text = secrets.bytes(&text).into_owned();
        report.failures = expect::text("text", &list.text, &text, dropped);
        capture::take(step, CaptureSource::Text, (&text, dropped), secrets, report);
        self.goldens(step, "text", &list.text, &text, dropped, report);
        report.text = Some(Text::from(&text[..]));
        Ok(())
    }
}

/// One name in one line, whatever is in it.
pub(super) fn name_in_line(name: &[u8], text: &mut Vec<u8>) {
    if name.iter().any(u8::is_ascii_control) {
        text.extend_from_slice(&patch::quote(name));
    } else {
        text.extend_from_slice(name);
    }
}

/// A piece of a file.
struct Piece {
    /// As it is.
    bytes: Vec<u8>,
    /// Without secrets, where it has some.
    clean: Option<Vec<u8>>,
    data: DataReport,
}

fn file_report(written: &Written) -> FileReport {
    FileReport {
        path: Text::from(&written.path[..]),
        before: written.before.as_ref().map(PathVersion::from),
        after: written.after.as_ref().map(PathVersion::from),
        ..FileReport::default()
    }
}

/// All refusals of a patch as one.
fn refused(refusals: &[Refusal]) -> StepError {
    let mut message = String::new();
    for refusal in refusals {
        if !message.is_empty() {
            message.push('\n');
        }
        message.push_str(&refusal.to_string());
        for line in refusal.comparison() {
            message.push_str("\n  ");
            message.push_str(&line);
        }
    }
    StepError::Refused(RefusalReport {
        code: refusals
            .first()
            .map_or_else(String::new, |refusal| refusal.code.as_str().to_owned()),
        message,
        help: refusals.iter().find_map(|refusal| refusal.help.clone()),
        reasons: refusals.iter().map(PatchReason::from).collect(),
    })
}

enum Live {
    Missing,
    File(Vec<u8>, u32),
    Directory,
    Symlink,
    Other,
}

/// The files that a patch is about, as they are now.
struct LiveTree(BTreeMap<Vec<u8>, Live>);

impl Tree for LiveTree {
    fn entry(&self, path: &[u8]) -> Entry<'_> {
        match self.0.get(path) {
            None | Some(Live::Missing) => Entry::Missing,
            Some(Live::File(bytes, mode)) => Entry::File {
                bytes: Cow::Borrowed(bytes),
                mode: *mode,
            },
            Some(Live::Directory) => Entry::Directory,
            Some(Live::Symlink) => Entry::Symlink,
            Some(Live::Other) => Entry::Other,
        }
    }
}
