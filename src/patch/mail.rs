//! Judges the sections of one mail (or of a text that is none) together: which files they read and write,
//! and that no two of them want different things of one file.

use std::collections::{BTreeMap, BTreeSet};

use super::apply::{Entry, FileChange, Tree};
use super::refusal::{Refusal, RefusalCode, Refused};
use super::resolve::{Target, parents_but, resolve};
use super::rewrite::{Rewrite, create, delete, regular, rewrite};
use super::section::{FilePatch, Match, Operation};

/// The most bytes that one mail may make.
const MAX_MADE: usize = if cfg!(test) { 1 << 20 } else { 1 << 30 };

/// What the sections want, file by file.
#[derive(Default)]
pub(crate) struct Mail<'p> {
    /// Sections that change a file in its place; those of one file are taken as one.
    changed: BTreeMap<Vec<u8>, Vec<&'p FilePatch>>,
    /// Sections that do something else.
    others: Vec<(&'p FilePatch, Target)>,
    /// Paths that something is written to, and paths that something is taken from.
    made: BTreeSet<Vec<u8>>,
    gone: BTreeSet<Vec<u8>>,
    /// Bytes of results so far: a few lines can ask for many copies of a large file.
    made_bytes: usize,
    refusals: Vec<Refusal>,
}

impl<'p> Mail<'p> {
    pub(crate) fn judge(
        mut self,
        files: &'p [FilePatch],
        policy: Match,
        tree: &dyn Tree,
    ) -> Result<Vec<FileChange>, Vec<Refusal>> {
        for file in files {
            match resolve(file, tree) {
                Ok(target) => self.claim(file, target),
                Err(refusal) => self.refusals.push(*refusal),
            }
        }
        let mut changes: Vec<FileChange> = Vec::new();
        for (path, sections) in std::mem::take(&mut self.changed) {
            match rewrite(&path, &sections, policy, tree) {
                Ok(done) if done.changes() => {
                    self.made_bytes = self.made_bytes.saturating_add(done.content().len());
                    changes.push(done.into_change(path));
                }
                Ok(_) => self.refusals.push(*unchanged(&path, sections[0])),
                Err(refusals) => self.refusals.extend(refusals),
            }
        }
        for (file, target) in std::mem::take(&mut self.others) {
            if self.made_bytes > MAX_MADE {
                break;
            }
            match self.other(file, target, policy, tree) {
                Ok(made) => {
                    let after = made.iter().filter_map(|change| change.after.as_ref());
                    let bytes: usize = after.map(|(bytes, _)| bytes.len()).sum();
                    self.made_bytes = self.made_bytes.saturating_add(bytes);
                    changes.extend(made);
                }
                Err(refusals) => self
                    .refusals
                    .extend(refusals.into_iter().map(|mut refusal| {
                        refusal.patch_line.get_or_insert(file.line);
                        refusal
                    })),
            }
        }
        if self.made_bytes > MAX_MADE {
            let message = "the files that the patch makes have more than 1 GiB together";
            let refusal = Refusal::new(RefusalCode::TooLarge, message).help("split the patch");
            self.refusals.push(*refusal);
        }
        for path in self
            .made
            .iter()
            .filter(|path| above(path).any(|parent| self.made.contains(parent)))
        {
            let message = "another section makes a file of a directory above it";
            self.refusals
                .push(*Refusal::new(RefusalCode::NotAFile, message).file(path));
        }
        if self.refusals.is_empty() {
            return Ok(merged(changes));
        }
        partly(&mut self.refusals, files);
        self.refusals.sort_by_key(|refusal| refusal.patch_line);
        Err(self.refusals)
    }

    /// Notes what a section reads and writes; no two may do so with one file, but for changes in its place.
    fn claim(&mut self, file: &'p FilePatch, target: Target) {
        let conflict = match target.operation {
            Operation::Change => target.source.clone().filter(|path| {
                let known = self.changed.contains_key(path);
                self.gone.contains(path) || !(known || self.made.insert(path.clone()))
            }),
            Operation::Create | Operation::Delete | Operation::Rename | Operation::Copy => {
                let gone = target
                    .source
                    .clone()
                    .filter(|_| target.operation != Operation::Copy);
                let gone = gone.filter(|path| {
                    // Two files may swap their names; nothing else is both written and taken away.
                    let written = self.made.contains(path) && target.operation != Operation::Rename;
                    written || self.changed.contains_key(path) || !self.gone.insert(path.clone())
                });
                gone.or_else(|| {
                    target
                        .target
                        .clone()
                        .filter(|path| !self.made.insert(path.clone()))
                })
            }
        };
        if let Some(path) = conflict {
            let message =
                "another section of the patch creates, deletes, moves or changes this file too";
            let refusal = Refusal::new(RefusalCode::Conflict, message)
                .at(file.line)
                .file(&path);
            self.refusals
                .push(*refusal.help("say in one section what is to become of the file"));
        } else if let (Operation::Change, Some(path)) = (target.operation, target.source.clone()) {
            self.changed.entry(path).or_default().push(file);
        } else {
            self.others.push((file, target));
        }
    }

    fn other(
        &self,
        file: &FilePatch,
        target: Target,
        policy: Match,
        tree: &dyn Tree,
    ) -> Result<Vec<FileChange>, Vec<Refusal>> {
        let Target {
            operation,
            source,
            target,
        } = target;
        match (operation, source, target) {
            (Operation::Create, _, Some(path)) => {
                let made = create(&path, file)?;
                self.vacant(&path, file, Some(made.content()), tree)?;
                Ok(vec![made.into_change(path)])
            }
            (Operation::Delete, Some(path), _) => Ok(vec![delete(&path, file, tree)?]),
            (Operation::Rename | Operation::Copy, Some(source), Some(path)) => {
                let done = rewrite(&source, &[file], policy, tree)?;
                if source == path {
                    let message = "source and target of the rename or copy are one file";
                    return Err(vec![
                        *Refusal::new(RefusalCode::Conflict, message).file(&path),
                    ]);
                }
                self.vacant(&path, file, None, tree)?;
                let left =
                    (operation == Operation::Rename).then(|| Rewrite::gone(&source, done.before()));
                let mut made = done.into_change(path);
                made.before = None;
                made.from = Some(source);
                Ok(left.into_iter().chain([made]).collect())
            }
            (
                Operation::Create
                | Operation::Delete
                | Operation::Rename
                | Operation::Copy
                | Operation::Change,
                _,
                _,
            ) => Err(vec![*Refusal::new(
                RefusalCode::Path,
                "the section names no file",
            )]),
        }
    }

    /// Nothing is at the path, or what is there goes away in this mail.
    fn vacant(
        &self,
        path: &[u8],
        file: &FilePatch,
        content: Option<&[u8]>,
        tree: &dyn Tree,
    ) -> Result<(), Vec<Refusal>> {
        parents_but(path, tree, &self.gone).map_err(|refusal| vec![*refusal.at(file.line)])?;
        if self.gone.contains(path) || matches!(tree.entry(path), Entry::Missing) {
            return Ok(());
        }
        let (bytes, _) = regular(path, tree).map_err(|refusal| vec![*refusal.at(file.line)])?;
        let refusal = if content == Some(bytes.as_ref()) {
            Refusal::new(RefusalCode::AlreadyApplied, "the file is there already, with exactly this content")
                .help("leave the section out; if the file is to be deleted, swap `---` and `+++` and write its lines with `-`")
        } else {
            Refusal::new(
                RefusalCode::TargetExists,
                "the file is there already, with other content",
            )
            .help("write a patch that changes the file, or choose another name")
        };
        Err(vec![*refusal.at(file.line).file(path)])
    }
}

/// Where some of the hunks are in the tree already and the others are not, saying "applied" would be half the truth.
fn partly(refusals: &mut [Refusal], files: &[FilePatch]) {
    let judged: usize = files.iter().map(|file| file.hunks.len().max(1)).sum();
    let there = |refusal: &Refusal| refusal.code == RefusalCode::AlreadyApplied;
    let sections = refusals.iter().filter(|refusal| refusal.hunk.is_none());
    // A refusal without a hunk is one of a whole section, all of whose hunks it stands for.
    let hunks_of = |file: &FilePatch| (Some(file.line), file.hunks.len().max(1));
    let by_line: BTreeMap<_, _> = files.iter().map(hunks_of).collect();
    let of_section = |refusal: &Refusal| by_line.get(&refusal.patch_line).copied().unwrap_or(1);
    let hunks = refusals
        .iter()
        .filter(|refusal| refusal.hunk.is_some())
        .count();
    let refused = hunks + sections.map(of_section).sum::<usize>();
    if refused >= judged && refusals.iter().all(there) {
        return;
    }
    for refusal in refusals.iter_mut().filter(|refusal| there(refusal)) {
        refusal.code = RefusalCode::PartlyApplied;
        refusal
            .message
            .push_str(", and other changes of the patch are not");
        let help = "leave out what is there already and send the rest, or undo it first";
        refusal.help = Some(help.to_owned());
    }
}

fn unchanged(path: &[u8], file: &FilePatch) -> Refused {
    let (code, message) = if file.hunks.is_empty() {
        (
            RefusalCode::AlreadyApplied,
            "the file has this mode already",
        )
    } else {
        (RefusalCode::NoChange, "the hunks leave the file as it is")
    };
    Refusal::new(code, message)
        .at(file.line)
        .file(path)
        .help("leave the section out")
}

/// The paths of the directories above a path.
fn above(path: &[u8]) -> impl Iterator<Item = &[u8]> {
    path.iter()
        .enumerate()
        .filter(|(_, byte)| **byte == b'/')
        .map(|(at, _)| &path[..at])
}

/// One change a path: where one file leaves and another takes its name, both are one.
fn merged(changes: Vec<FileChange>) -> Vec<FileChange> {
    let mut by_path: BTreeMap<Vec<u8>, FileChange> = BTreeMap::new();
    for change in changes {
        match by_path.remove(&change.path) {
            Some(other) => {
                let (left, made) = if change.after.is_some() {
                    (other, change)
                } else {
                    (change, other)
                };
                let made = FileChange {
                    before: left.before,
                    added: left.added + made.added,
                    removed: left.removed + made.removed,
                    ..made
                };
                by_path.insert(made.path.clone(), made);
            }
            None => {
                by_path.insert(change.path.clone(), change);
            }
        }
    }
    by_path.into_values().collect()
}
