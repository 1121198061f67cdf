//! Applies a patch to a tree in memory: every hunk of every file is judged, and either all of them land or none.
//! Each mail of a series builds on the one before it; within one mail everything refers to the files as they were.

use std::borrow::Cow;
use std::collections::{BTreeMap, BTreeSet};

use super::mail::Mail;
use super::refusal::{Refusal, RefusalCode, bounded};
use super::section::{FilePatch, Match, Patch};

/// Bytes that all mails of a series may read and write.
const MAX_REWRITTEN: u64 = if cfg!(test) { 64 << 20 } else { 8 << 30 };

/// What is at a path before the patch.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Entry<'a> {
    /// Nothing.
    Missing,
    /// A regular file.
    File {
        /// Its content.
        bytes: Cow<'a, [u8]>,
        /// Its permission bits.
        mode: u32,
    },
    /// A directory.
    Directory,
    /// A symbolic link, wherever it leads.
    Symlink,
    /// A device, a socket, a pipe.
    Other,
}

/// The files before the patch. Links are never followed: what lies below one is not asked for.
pub trait Tree {
    /// What is at a path, which is relative and safe.
    fn entry(&self, path: &[u8]) -> Entry<'_>;
}

impl Tree for BTreeMap<Vec<u8>, (Vec<u8>, u32)> {
    fn entry(&self, path: &[u8]) -> Entry<'_> {
        if let Some((bytes, mode)) = self.get(path) {
            return Entry::File {
                bytes: Cow::Borrowed(bytes),
                mode: *mode,
            };
        }
        let mut below = path.to_vec();
        below.push(b'/');
        match self.range(below.clone()..).next() {
            Some((next, _)) if next.starts_with(&below) => Entry::Directory,
            Some(_) | None => Entry::Missing,
        }
    }
}

/// What a patch makes of a tree.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Applied {
    /// Every file that becomes another, sorted by path.
    pub files: Vec<FileChange>,
}

/// One file before and after.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct FileChange {
    /// Relative to the workspace.
    pub path: Vec<u8>,
    /// What must be there when the change is made; `None` is nothing.
    pub before: Option<Before>,
    /// The bytes and permission bits it gets; `None` when it goes away.
    pub after: Option<(Vec<u8>, u32)>,
    /// The file it was renamed or copied from.
    pub from: Option<Vec<u8>>,
    /// Where its hunks landed, in the order of the file.
    pub hunks: Vec<Placed>,
    /// Lines that came.
    pub added: usize,
    /// Lines that went.
    pub removed: usize,
}

/// The file that a change expects.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Before {
    /// Digest of its content.
    pub sha256: [u8; 32],
    /// Bytes in it.
    pub size: u64,
    /// Its permission bits.
    pub mode: u32,
}

/// Where a hunk landed.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Placed {
    /// 1-based number of the hunk within its section.
    pub hunk: usize,
    /// 1-based line in the old file where its old lines start.
    pub line: u64,
    /// How far that is from where the hunk said it was; 0 as well when it did not say.
    pub offset: i64,
    /// 1-based line of the hunk in the patch text.
    pub patch_line: usize,
}

type Files = BTreeMap<Vec<u8>, Option<(Vec<u8>, u32)>>;

/// The tree with the mails before this one applied.
struct Series<'a> {
    base: &'a dyn Tree,
    written: Files,
}

impl Tree for Series<'_> {
    fn entry(&self, path: &[u8]) -> Entry<'_> {
        match self.written.get(path) {
            Some(Some((bytes, mode))) => {
                return Entry::File {
                    bytes: Cow::Borrowed(bytes),
                    mode: *mode,
                };
            }
            Some(None) => return Entry::Missing,
            None => {}
        }
        let mut below = path.to_vec();
        below.push(b'/');
        let made = self
            .written
            .range(below.clone()..)
            .take_while(|(next, _)| next.starts_with(&below));
        match self.base.entry(path) {
            Entry::Missing if made.into_iter().any(|(_, file)| file.is_some()) => Entry::Directory,
            entry @ (Entry::Missing
            | Entry::File { .. }
            | Entry::Directory
            | Entry::Symlink
            | Entry::Other) => entry,
        }
    }
}

/// Says with the last reason that there are mails behind the one that is refused: they build on it, so what would come of
/// them is not known.
fn before(rest: &[FilePatch], mut refusals: Vec<Refusal>) -> Vec<Refusal> {
    let mails: BTreeSet<usize> = rest.iter().map(|file| file.mail).collect();
    if let (Some(last), more @ 1..) = (refusals.last_mut(), mails.len()) {
        let what = if more == 1 {
            "the mail after this one was not looked at: it builds on it".to_owned()
        } else {
            format!("the {more} mails after this one were not looked at: they build on it")
        };
        last.help = Some(match last.help.take() {
            Some(help) => format!("{help}; {what}"),
            None => what,
        });
    }
    refusals
}

/// Works out what the patch makes of the tree, or every reason why it cannot be applied.
pub fn apply(patch: &Patch, policy: Match, tree: &dyn Tree) -> Result<Applied, Vec<Refusal>> {
    let mut series = Series {
        base: tree,
        written: Files::new(),
    };
    let mut changes: BTreeMap<Vec<u8>, FileChange> = BTreeMap::new();
    let mut rewritten = 0_u64;
    let mut files = patch.files.as_slice();
    while let Some(first) = files.first() {
        let (mail, rest) = files.split_at(
            files
                .iter()
                .take_while(|file| file.mail == first.mail)
                .count(),
        );
        files = rest;
        let judged = Mail::default().judge(mail, policy, &series);
        for change in judged.map_err(|refusals| before(rest, bounded(refusals)))? {
            // A series may change a large file over and over.
            let sizes = [
                change.before.map_or(0, |before| before.size),
                change
                    .after
                    .as_ref()
                    .map_or(0, |(bytes, _)| bytes.len() as u64),
            ];
            rewritten += sizes.iter().sum::<u64>();
            if rewritten > MAX_REWRITTEN {
                let message = "the series reads and writes more than 8 GiB";
                let refusal = Refusal::new(RefusalCode::TooLarge, message).at(first.line);
                return Err(vec![*refusal.help("split the series")]);
            }
            series
                .written
                .insert(change.path.clone(), change.after.clone());
            match changes.get_mut(&change.path) {
                Some(known) => {
                    known.after = change.after;
                    known.from = known.from.take().or(change.from);
                    known.hunks.extend(change.hunks);
                    known.added += change.added;
                    known.removed += change.removed;
                }
                None => {
                    changes.insert(change.path.clone(), change);
                }
            }
        }
    }
    Ok(Applied {
        files: changes
            .into_values()
            .filter(|change| change.before.is_some() || change.after.is_some())
            .collect(),
    })
}
