//! `pull`: what changed in the workspace goes home, all of it or nothing.
//!
//! ```text
//!  changes, baseline, what was pulled before, the host --compare--> items, conflicts
//!  items --stage, journal, commit--> the host directory; then it is noted what was pulled
//! ```

mod compare;
mod words;

use super::calls::CallReader;
use super::deliver::{Watched, has_secrets};
use super::session::{Session, StepError};
use crate::patch;
use crate::plan::PlannedPull;
use crate::receipt::{PullReport, StepReport, Text};
use crate::request::Digest;
use crate::workspace::HostFile;
use crate::workspace::pull::{Change, HostTree, Node, PullError, Pulled, Staged, Writer};
use compare::{Item, Todo};
use pyro_protocol::Bytes;
use pyro_protocol::message::{FileRead, Op};
use std::collections::{BTreeMap, BTreeSet};
use words::{conflicting, names, not_brought, refused};

/// Files larger than this are not merged, and their contents not kept for a later merge.
const MAX_MERGED: u64 = 8 << 20;

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

fn is_text(bytes: &[u8]) -> bool {
    !bytes[..bytes.len().min(8000)].contains(&0)
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
