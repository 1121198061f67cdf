//! `pull`: what changed in the workspace goes home, all of it or nothing.
//!
//! ```text
//!  changes, baseline, what was pulled before, the host --compare--> items, conflicts
//!  items --stage, journal, commit--> the host directory; then it is noted what was pulled
//! ```

use super::calls::CallReader;
use super::deliver::{Watched, has_secrets};
use super::session::{Session, StepError};
use crate::exclude::Exclude;
use crate::patch;
use crate::plan::PlannedPull;
use crate::receipt::{
    PathVersion, PullConflict, PullReport, PulledHow, PulledReport, RefusalReport, StepReport, Text,
};
use crate::request::{Digest, PatchMatch};
use crate::workspace::HostFile;
use crate::workspace::pull::{
    Change, Contents, Decision, Found, HostTree, Node, NotBrought, PullError, Pulled, Sides,
    Staged, Writer, decide, is_below,
};
use pyro_protocol::Bytes;
use pyro_protocol::message::{self, FileRead, Kind, Op};
use std::collections::{BTreeMap, BTreeSet};
use std::path::{Component, Path};

/// Files larger than this are not merged, and their contents not kept for a later merge.
const MAX_MERGED: u64 = 8 << 20;
/// How many conflicts the message names; the report has all.
const NAMED: usize = 20;

/// A path that changed in the workspace, and what comes of it.
struct Item {
    path: Vec<u8>,
    /// In the workspace when it was filled.
    baseline: Node,
    theirs: Node,
    ours: Node,
    todo: Todo,
}

enum Todo {
    /// The host has it.
    Already,
    /// The host's becomes what the workspace has.
    Take,
    /// A file with these contents and permission bits; none where they are those of the workspace.
    Merged(Option<Vec<u8>>, u32),
}

/// What a comparison found.
#[derive(Default)]
struct Compared {
    items: Vec<Item>,
    conflicts: Vec<PullConflict>,
    notes: Vec<String>,
}

impl Session<'_> {
    pub(super) fn pull(
        &mut self,
        planned: &PlannedPull,
        report: &mut StepReport,
    ) -> Result<(), StepError> {
        let tree = HostTree::open(&planned.to).map_err(|error| refused(&error))?;
        tree.lock().map_err(|error| refused(&error))?;
        let mut pulled =
            Pulled::open(&self.pulled, &planned.to).map_err(|error| refused(&error))?;
        let changes = self.changes()?;
        let compared = self.compare(&tree, &pulled, &changes, planned)?;
        report.notes.extend(compared.notes);
        let items = compared.items;
        let is_clear = compared.conflicts.is_empty();
        let mut told = PullReport {
            directory: Text::from(planned.to.as_os_str().as_encoded_bytes()),
            dry_run: planned.dry_run,
            changes: Vec::new(),
            already: items.iter().filter(|item| !item.writes()).count() as u64,
            conflicts: compared.conflicts,
        };
        if planned.dry_run {
            told.changes = items.iter().filter_map(Item::report).collect();
            let text = self.shown(&tree, &items)?;
            report.text = Some(Text::from(&text[..]));
        }
        if !is_clear {
            let refusal = conflicting(&told);
            report.pull = Some(told);
            return Err(StepError::Refused(refusal));
        }
        if !planned.dry_run {
            let (stayed, secrets) = self.bring(&tree, &mut pulled, &items)?;
            let secrets: Vec<_> = secrets.into_iter().collect();
            report
                .notes
                .extend(has_secrets(&secrets, "brought home", "a pull"));
            let stays = |path: &Text| stayed.iter().any(|stayed| *stayed == path.bytes());
            told.changes = (items.iter().filter_map(Item::report))
                .filter(|change| !stays(&change.path))
                .collect();
            report.host_files = host_files(&tree, &items);
            if !stayed.is_empty() {
                report.notes.push(format!(
                    "stays on the host, because there is something else in it: {}",
                    names(stayed.iter().map(Vec::as_slice))
                ));
            }
        }
        if told.changes.is_empty() {
            report.notes.push("nothing to bring home".to_owned());
        }
        report.pull = Some(told);
        Ok(())
    }

    /// Looks at every path that changed, on both sides.
    fn compare(
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

    /// The changes of the host as a patch.
    fn shown(&mut self, tree: &HostTree, items: &[Item]) -> Result<Vec<u8>, StepError> {
        let differences: Vec<_> = (items.iter().filter(|item| item.writes()))
            .map(|item| patch::Difference {
                path: item.path.clone(),
                old: named(&item.ours),
                new: named(&item.after()),
            })
            .filter(|difference| difference.old.is_some() || difference.new.is_some())
            .collect();
        let by_path: BTreeMap<&[u8], &Item> =
            items.iter().map(|item| (&item.path[..], item)).collect();
        patch::whole_tree(&differences, &mut |which, difference| {
            let Some(item) = by_path.get(&difference.path[..]) else {
                return Ok(None);
            };
            let (node, merged) = match (which, &item.todo) {
                (patch::Which::Old, _) => (&item.ours, None),
                (patch::Which::New, Todo::Merged(bytes, _)) => (&item.theirs, bytes.as_ref()),
                (patch::Which::New, _) => (&item.theirs, None),
            };
            match (node, merged) {
                (_, Some(bytes)) => Ok(Some(bytes.clone())),
                (Node::Link { target }, None) => Ok(Some(target.to_vec())),
                (Node::File { size, .. }, None) => match which {
                    patch::Which::Old => tree
                        .read(&item.path, *size)
                        .map(Some)
                        .map_err(|error| refused(&error)),
                    patch::Which::New => self
                        .read_file(&item.path, Some(*size))
                        .map(|(bytes, _)| Some(bytes)),
                },
                (Node::Absent | Node::Directory { .. } | Node::Other, None) => Ok(None),
            }
        })
    }

    /// Changes the directory, and notes what was pulled. Returns the directories that stay, and the secrets that are in it
    /// now.
    fn bring(
        &mut self,
        tree: &HostTree,
        pulled: &mut Pulled,
        items: &[Item],
    ) -> Result<(Vec<Vec<u8>>, BTreeSet<String>), StepError> {
        let mut secrets = BTreeSet::new();
        for item in items {
            pulled.set(
                &item.path,
                item.theirs.clone(),
                item.after(),
                &item.baseline,
            );
        }
        if !items.iter().any(Item::writes) {
            if !items.is_empty() {
                keep_already(tree, pulled, items)?;
                let afterwards = pulled.afterwards().map_err(|error| refused(&error))?;
                afterwards.write().map_err(|error| refused(&error))?;
                pulled.thin();
            }
            return Ok((Vec::new(), secrets));
        }
        let (folder, name) = self.run.pull_folder();
        let limit = self.plan.workspace.limits.disk;
        let limit = if limit == 0 { u64::MAX } else { limit };
        let mut writer =
            Writer::begin(tree, folder, &name, limit).map_err(|error| refused(&error))?;
        let staged = match self.stage(tree, pulled, items, &mut writer, &mut secrets) {
            Ok(staged) => staged,
            Err(error) => {
                // For whatever reason: nothing has been changed yet.
                let not = writer.not_brought(PullError::Moved(tree.path().to_owned()));
                return Err(match not.stuck {
                    Some(stuck) => refused(&stuck),
                    None => error,
                });
            }
        };
        let afterwards = keep_already(tree, pulled, items)
            .and_then(|()| pulled.afterwards().map_err(|error| refused(&error)));
        let afterwards = match afterwards {
            Ok(afterwards) => afterwards,
            Err(error) => {
                let _why = writer.not_brought(PullError::Moved(tree.path().to_owned()));
                return Err(error);
            }
        };
        let changes = in_order(items, staged);
        let brought = writer
            .run(&changes, Some(&afterwards))
            .map_err(|not| not_brought(&not))?;
        if let Some(error) = brought.uncleared {
            log::warn!("{}; the next command does", error.in_words());
        }
        pulled.thin();
        Ok((brought.stayed, secrets))
    }

    /// Puts everything new on the stage.
    fn stage(
        &mut self,
        tree: &HostTree,
        pulled: &Pulled,
        items: &[Item],
        writer: &mut Writer<'_>,
        secrets: &mut BTreeSet<String>,
    ) -> Result<BTreeMap<Vec<u8>, Staged>, StepError> {
        let mut all = BTreeMap::new();
        for item in items.iter().filter(|item| item.writes()) {
            let path = &item.path[..];
            let mut stream = self.secrets.redaction().stream();
            let mut watch = |mut bytes: &[u8], writer: &mut Writer<'_>, mode| {
                let watched = Watched {
                    inner: &mut bytes,
                    stream: &mut stream,
                };
                writer.file(path, watched, mode)
            };
            let staged = match (item.after(), &item.todo) {
                (Node::Link { target }, _) => writer.link(path, &target),
                (Node::File { mode, .. }, Todo::Merged(Some(bytes), _)) => {
                    self.keep_theirs(pulled, item)?;
                    watch(bytes, writer, mode)
                }
                (Node::File { mode, size, .. }, _) if size <= MAX_MERGED => {
                    let bytes = self.read_file(path, None)?.0;
                    if is_text(&bytes) {
                        pulled.keep(&bytes).map_err(|error| refused(&error))?;
                    }
                    watch(&bytes, writer, mode)
                }
                (Node::File { mode, .. }, _) => {
                    let op = Op::FileRead(FileRead {
                        path: Bytes::from(path),
                        offset: 0,
                        length: None,
                    });
                    let mut reader = CallReader::new(self, op);
                    let watched = Watched {
                        inner: &mut reader,
                        stream: &mut stream,
                    };
                    let staged = writer.file(path, watched, mode);
                    // Why it broke is known to the call.
                    reader.finish()?;
                    staged
                }
                (Node::Absent | Node::Directory { .. } | Node::Other, _) => continue,
            };
            secrets.extend(stream.seen());
            let staged = staged.map_err(|error| refused(&error))?;
            if staged.node != item.after() {
                return Err(refused(&PullError::Moved(tree.shown(path))));
            }
            all.insert(item.path.clone(), staged);
        }
        Ok(all)
    }

    /// What the workspace has at a path whose change was merged: the base of the next merge.
    fn keep_theirs(&mut self, pulled: &Pulled, item: &Item) -> Result<(), StepError> {
        let Node::File { size, .. } = &item.theirs else {
            return Ok(());
        };
        if *size > MAX_MERGED {
            return Ok(());
        }
        let bytes = self.read_file(&item.path, None)?.0;
        pulled.keep(&bytes).map_err(|error| refused(&error))
    }
}

/// The same of paths that the host has already.
fn keep_already(tree: &HostTree, pulled: &Pulled, items: &[Item]) -> Result<(), StepError> {
    for item in items.iter().filter(|item| !item.writes()) {
        if let Node::File { size, sha256, .. } = &item.theirs
            && *size <= MAX_MERGED
            && let Ok(bytes) = tree.read(&item.path, MAX_MERGED)
            && is_text(&bytes)
            && Digest::of(&bytes) == *sha256
        {
            pulled.keep(&bytes).map_err(|error| refused(&error))?;
        }
    }
    Ok(())
}

impl Item {
    /// What the host has afterwards.
    fn after(&self) -> Node {
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

    fn writes(&self) -> bool {
        self.after() != self.ours
    }

    fn report(&self) -> Option<PulledReport> {
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
    fn makes_way(&self) -> bool {
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

fn is_text(bytes: &[u8]) -> bool {
    !bytes[..bytes.len().min(8000)].contains(&0)
}

fn too_large() -> String {
    "it was changed on both sides, and is too large to be merged".to_owned()
}

/// What goes first, from the deepest on; then what comes, from the top on.
fn in_order(items: &[Item], mut staged: BTreeMap<Vec<u8>, Staged>) -> Vec<Change> {
    let mut out = Vec::new();
    let writes = || items.iter().filter(|item| item.writes());
    for item in writes().rev().filter(|item| item.makes_way()) {
        let path = item.path.clone();
        out.push(match item.ours.is_directory() {
            true => Change::RemoveDirectory {
                path,
                may_stay: item.after() == Node::Absent,
            },
            false => Change::Remove {
                path,
                was: item.ours.clone(),
            },
        });
    }
    for item in writes() {
        let path = item.path.clone();
        if let Node::Directory { mode } = item.after() {
            out.push(match item.ours.is_directory() {
                true => Change::Mode { path, mode },
                false => Change::MakeDirectory { path, mode },
            });
        } else if let Some(staged) = staged.remove(&path) {
            let was = match item.makes_way() {
                true => Node::Absent,
                false => item.ours.clone(),
            };
            out.push(Change::Put { path, staged, was });
        }
    }
    out
}

fn host_files(tree: &HostTree, items: &[Item]) -> Vec<HostFile> {
    let writes = items.iter().filter(|item| item.writes());
    writes
        .filter_map(|item| match item.after() {
            Node::File { size, sha256, .. } => Some(HostFile {
                path: tree.shown(&item.path),
                size,
                sha256,
            }),
            Node::Absent | Node::Link { .. } | Node::Directory { .. } | Node::Other => None,
        })
        .collect()
}

fn named(node: &Node) -> Option<patch::Named> {
    match node {
        Node::File { mode, size, sha256 } => Some(patch::Named {
            size: *size,
            sha256: Some(sha256.0),
            mode: 0o100_000 | mode,
        }),
        Node::Link { target } => Some(patch::Named {
            size: target.len() as u64,
            sha256: Some(Digest::of(target).0),
            mode: 0o120_777,
        }),
        Node::Absent | Node::Directory { .. } | Node::Other => None,
    }
}

fn names<'a>(paths: impl ExactSizeIterator<Item = &'a [u8]>) -> String {
    let more = paths.len().saturating_sub(NAMED);
    let mut names: Vec<_> = paths
        .take(NAMED)
        .map(|path| Text::from(path).text)
        .collect();
    if more > 0 {
        names.push(format!("{more} more"));
    }
    names.join(", ")
}

fn conflicting(told: &PullReport) -> RefusalReport {
    let count = match told.conflicts.len() {
        1 => "1 path does".to_owned(),
        count => format!("{count} paths do"),
    };
    let mut message = format!("{count} not go together with what is on the host");
    for conflict in told.conflicts.iter().take(NAMED) {
        message.push_str(&format!("\n{}: {}", conflict.path.text, conflict.reason));
    }
    if told.conflicts.len() > NAMED {
        message.push_str(&format!("\nand {} more", told.conflicts.len() - NAMED));
    }
    RefusalReport {
        code: "pull-conflict".to_owned(),
        message,
        help: Some(
            "settle it on either side, or leave these paths out (`exclude`); nothing was changed"
                .to_owned(),
        ),
        reasons: Vec::new(),
    }
}

fn not_brought(not: &NotBrought) -> StepError {
    let error = match &not.stuck {
        None => refused(&not.why),
        Some(stuck) => refused(stuck),
    };
    match error {
        StepError::Refused(refusal) if not.left.is_empty() => StepError::Refused(refusal),
        StepError::Refused(mut refusal) => {
            let left: Vec<_> = (not.left.iter().take(NAMED))
                .map(|path| path.display().to_string())
                .collect();
            refusal.message.push_str(&format!(
                "\nsomebody changed meanwhile, and it stays as it is: {}; what was there before is in {}",
                left.join(", "),
                not.stage.display()
            ));
            StepError::Refused(refusal)
        }
        StepError::Cancelled | StepError::Lost(_) => error,
    }
}

fn refused(error: &PullError) -> StepError {
    let (code, help) = match error {
        PullError::Changed(_) | PullError::Moved(_) => (
            "pull-changed",
            Some("try again when nothing writes there any more; nothing was changed"),
        ),
        PullError::Busy(_) => ("pull-busy", Some("try again when the other one is over")),
        PullError::NotTakenBack { .. } => ("pull-failed", None),
        PullError::NotADirectory(_)
        | PullError::Elsewhere(_)
        | PullError::TooLarge { .. }
        | PullError::Host { .. } => ("pull-failed", Some("nothing was changed")),
    };
    StepError::Refused(RefusalReport {
        code: code.to_owned(),
        message: error.in_words(),
        help: help.map(str::to_owned),
        reasons: Vec::new(),
    })
}
