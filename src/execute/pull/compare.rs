//! What comes of each path that changed in the workspace, and what stands in its way.

use super::MAX_MERGED;
use super::words::{names, refused};
use crate::exclude::Exclude;
use crate::execute::session::{Session, StepError};
use crate::patch;
use crate::plan::PlannedPull;
use crate::receipt::{PathVersion, PullConflict, PulledHow, PulledReport, Text};
use crate::request::{Digest, PatchMatch};
use crate::workspace::pull::{
    Contents, Decision, Found, HostTree, Node, PullError, Pulled, Sides, decide, is_below,
};
use pyro_protocol::Bytes;
use pyro_protocol::message::{self, Kind};
use std::collections::{BTreeMap, BTreeSet};
use std::path::{Component, Path};

/// A path that changed in the workspace, and what comes of it.
pub(super) struct Item {
    pub(super) path: Vec<u8>,
    /// In the workspace when it was filled.
    pub(super) baseline: Node,
    pub(super) theirs: Node,
    pub(super) ours: Node,
    pub(super) todo: Todo,
}

pub(super) enum Todo {
    /// The host has it.
    Already,
    /// The host's becomes what the workspace has.
    Take,
    /// A file with these contents and permission bits; none where they are those of the workspace.
    Merged(Option<Vec<u8>>, u32),
}

/// What a comparison found.
#[derive(Default)]
pub(super) struct Compared {
    pub(super) items: Vec<Item>,
    pub(super) conflicts: Vec<PullConflict>,
    pub(super) notes: Vec<String>,
}

impl Session<'_> {
    /// Looks at every path that changed, on both sides.
    pub(super) fn compare(
        &mut self,
        tree: &HostTree,
        pulled: &Pulled,
        changes: &[message::Change],
        planned: &PlannedPull,
    ) -> Result<Compared, StepError> {
        let exclude = Exclude::new(&planned.exclude, false);
        let changed: BTreeMap<&[u8], &message::Change> = (changes.iter())
            .map(|change| (&change.path[..], change))
            .collect();
        let paths: BTreeSet<&[u8]> = changed.keys().copied().chain(pulled.paths()).collect();
        let mut compared = Compared::default();
        let mut left_out = Vec::new();
        let mut special = Vec::new();
        let mut of_git = 0;
        // Files and links of the host that become directories.
        let mut opened = BTreeSet::new();
        for path in paths {
            if !is_below(path) {
                let path = String::from_utf8_lossy(path).into_owned();
                return Err(StepError::refused(
                    "pull-failed",
                    format!("the workspace names a path that is none: {path:?}"),
                ));
            }
            let change = changed.get(path);
            let baseline = self.baseline_node(path);
            let theirs = match change {
                Some(change) => Node::from(change.after.as_ref()),
                None => baseline.clone(),
            };
            let unchanged = (baseline.clone(), baseline.clone());
            let (base, left) = pulled.get(path).unwrap_or(&unchanged);
            if theirs == *base {
                continue;
            }
            if is_gits(path) {
                of_git += 1;
                continue;
            }
            let is_directory = theirs.is_directory() || base.is_directory();
            if exclude.names(path, is_directory) {
                left_out.push(path);
                continue;
            }
            if theirs == Node::Other && *base == Node::Absent {
                special.push(path);
                continue;
            }
            let ours = match tree.find(path).map_err(|error| refused(&error))? {
                Found::Node(node) => node,
                Found::Blocked(above, _) if opened.contains(&above) || theirs == Node::Absent => {
                    Node::Absent
                }
                Found::Blocked(above, there) => {
                    let above = Text::from(&above[..]).text;
                    let reason = format!("`{above}` is {} on the host", there.what());
                    compared.against(path, reason);
                    continue;
                }
            };
            let sides = Sides {
                base,
                left,
                theirs: &theirs,
                ours: &ours,
            };
            let todo = match decide(sides, planned.matching == PatchMatch::Unique) {
                Decision::Nothing => continue,
                Decision::Already => Todo::Already,
                Decision::Take => Todo::Take,
                Decision::Conflict(reason) => {
                    compared.against(path, reason);
                    continue;
                }
                Decision::Merge { contents, mode } => {
                    match self.merged(tree, pulled, path, sides, contents)? {
                        Ok(bytes) => Todo::Merged(bytes, mode),
                        Err(reason) => {
                            compared.against(path, reason);
                            continue;
                        }
                    }
                }
            };
            if matches!(todo, Todo::Take) && theirs.is_directory() {
                opened.insert(path.to_vec());
            }
            compared.items.push(Item {
                path: path.to_vec(),
                baseline,
                theirs,
                ours,
                todo,
            });
        }
        compared.must_be_empty(tree)?;
        compared.note(&left_out, &special, of_git);
        Ok(compared)
    }

    fn baseline_node(&self, path: &[u8]) -> Node {
        let Some(entry) = self.baseline.entry(path) else {
            return Node::Absent;
        };
        let mode = entry.mode & 0o777;
        match entry.kind {
            Kind::File => Node::File {
                mode,
                size: entry.size,
                sha256: Digest(entry.sha256),
            },
            Kind::Directory => Node::Directory { mode },
            Kind::Symlink => match self.baseline.contents(path) {
                Ok(target) => Node::Link {
                    target: Bytes::from(&target[..]),
                },
                Err(_) => Node::Other,
            },
            Kind::Other => Node::Other,
        }
    }

    /// The contents of a file that was changed on both sides, or why there are none; nothing where they are those of the
    /// workspace.
    fn merged(
        &mut self,
        tree: &HostTree,
        pulled: &Pulled,
        path: &[u8],
        sides: Sides<'_>,
        contents: Contents,
    ) -> Result<Result<Option<Vec<u8>>, String>, StepError> {
        let ours = match (contents, sides.ours) {
            (Contents::Theirs, _) => return Ok(Ok(None)),
            (_, Node::File { size, .. }) if *size > MAX_MERGED => return Ok(Err(too_large())),
            (_, _) => tree
                .read(path, MAX_MERGED)
                .map_err(|error| refused(&error))?,
        };
        if contents == Contents::Ours {
            return Ok(Ok(Some(ours)));
        }
        let (
            Node::File {
                sha256: base_digest,
                ..
            },
            Node::File { sha256, size, .. },
        ) = (sides.base, sides.theirs)
        else {
            return Ok(Err("it is no file".to_owned()));
        };
        if *size > MAX_MERGED {
            return Ok(Err(too_large()));
        }
        let kept = pulled.contents(base_digest);
        let base = kept.or_else(|_| self.baseline.contents(path));
        let Some(base) = base.ok().filter(|base| Digest::of(base) == *base_digest) else {
            return Ok(Err(
                "it was changed on both sides, and what it was before is not known any more"
                    .to_owned(),
            ));
        };
        let theirs = self.read_file(path, None)?.0;
        if Digest::of(&theirs) != *sha256 {
            return Err(refused(&PullError::Moved(tree.shown(path))));
        }
        Ok(patch::merge(&base, &theirs, &ours)
            .map(Some)
            .map_err(|why| format!("it was changed on the host as well: {why}")))
    }
}

impl Item {
    /// What the host has afterwards.
    pub(super) fn after(&self) -> Node {
        match &self.todo {
            Todo::Already => self.ours.clone(),
            Todo::Take => self.theirs.clone(),
            Todo::Merged(bytes, mode) => match (bytes, &self.theirs) {
                (Some(bytes), _) => Node::File {
                    mode: *mode,
                    size: bytes.len() as u64,
                    sha256: Digest::of(bytes),
                },
                (None, Node::File { size, sha256, .. }) => Node::File {
                    mode: *mode,
                    size: *size,
                    sha256: *sha256,
                },
                (None, theirs) => theirs.clone(),
            },
        }
    }

    pub(super) fn writes(&self) -> bool {
        self.after() != self.ours
    }

    pub(super) fn report(&self) -> Option<PulledReport> {
        let after = self.after();
        let how = match (&self.ours, &after) {
            _ if !self.writes() => return None,
            (Node::Absent, _) => PulledHow::Added,
            (_, Node::Absent) => PulledHow::Deleted,
            _ if after != self.theirs => PulledHow::Merged,
            _ if matches!(self.todo, Todo::Merged(..)) => PulledHow::Merged,
            (_, _) => PulledHow::Modified,
        };
        Some(PulledReport {
            path: Text::from(&self.path[..]),
            how,
            before: PathVersion::of_node(&self.ours),
            after: PathVersion::of_node(&after),
        })
    }

    /// A directory makes way for something else, or the reverse.
    pub(super) fn makes_way(&self) -> bool {
        let after = self.after();
        after == Node::Absent
            || self.ours != Node::Absent && after.is_directory() != self.ours.is_directory()
    }
}

impl Compared {
    fn against(&mut self, path: &[u8], reason: String) {
        self.conflicts.push(PullConflict {
            path: Text::from(path),
            reason,
        });
    }

    /// A directory of the host that becomes something else has nothing in it but what goes as well.
    fn must_be_empty(&mut self, tree: &HostTree) -> Result<(), StepError> {
        let goes: BTreeSet<&[u8]> = (self.items.iter())
            .filter(|item| item.after() == Node::Absent)
            .map(|item| &item.path[..])
            .collect();
        let mut found = Vec::new();
        let replaced = self.items.iter().filter(|item| {
            item.writes() && item.ours.is_directory() && item.after() != Node::Absent
        });
        for item in replaced.filter(|item| !item.after().is_directory()) {
            let mut waiting = vec![item.path.clone()];
            while let Some(folder) = waiting.pop() {
                for name in tree.names(&folder).map_err(|error| refused(&error))? {
                    let path = [&folder[..], b"/", &name].concat();
                    if !goes.contains(&path[..]) {
                        let there = Text::from(&path[..]).text;
                        let reason = format!(
                            "it is no directory any more in the workspace, and the host has more in it: {there}"
                        );
                        found.push((item.path.clone(), reason));
                        break;
                    }
                    if let Ok(Found::Node(Node::Directory { .. })) = tree.find(&path) {
                        waiting.push(path);
                    }
                }
            }
        }
        for (path, reason) in found {
            self.against(&path, reason);
        }
        Ok(())
    }

    /// Says what does not come along, and what to look at.
    fn note(&mut self, left_out: &[&[u8]], special: &[&[u8]], of_git: usize) {
        let notes = &mut self.notes;
        match of_git {
            0 => {}
            1 => notes.push("1 changed path of `.git` stays in the workspace".to_owned()),
            more => notes.push(format!(
                "{more} changed paths of `.git` stay in the workspace"
            )),
        }
        if !left_out.is_empty() {
            let names = names(left_out.iter().copied());
            notes.push(format!("excluded, and stays in the workspace: {names}"));
        }
        if !special.is_empty() {
            let names = names(special.iter().copied());
            notes.push(format!(
                "stays in the workspace, being neither file, directory nor link: {names}"
            ));
        }
        let leading_out = self.items.iter().filter(|item| match &item.theirs {
            Node::Link { target } => item.writes() && leads_out(&item.path, target),
            Node::Absent | Node::File { .. } | Node::Directory { .. } | Node::Other => false,
        });
        let leading_out: Vec<_> = leading_out.map(|item| &item.path[..]).collect();
        if !leading_out.is_empty() {
            notes.push(format!(
                "a link that leads out of the directory: {}",
                names(leading_out.into_iter())
            ));
        }
    }
}

/// Whether a link at a path of the directory leads out of it, by its spelling.
fn leads_out(path: &[u8], target: &[u8]) -> bool {
    use std::os::unix::ffi::OsStrExt as _;
    let mut depth = path.iter().filter(|byte| **byte == b'/').count();
    for part in Path::new(std::ffi::OsStr::from_bytes(target)).components() {
        match part {
            Component::RootDir | Component::Prefix(_) => return true,
            Component::CurDir => {}
            Component::Normal(_) => depth += 1,
            Component::ParentDir => match depth.checked_sub(1) {
                Some(above) => depth = above,
                None => return true,
            },
        }
    }
    false
}

/// What git keeps for itself, by whatever case the host's file system takes for the same.
fn is_gits(path: &[u8]) -> bool {
    path.split(|byte| *byte == b'/')
        .any(|part| part.eq_ignore_ascii_case(b".git"))
}

fn too_large() -> String {
    "it was changed on both sides, and is too large to be merged".to_owned()
}
