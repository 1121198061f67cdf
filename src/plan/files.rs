//! `write`, `delete`, `read`, `list` and `diff`, against the expected tree.

use super::draft::Draft;
use super::planner::Planner;
use super::tree::{Contents, FileNode, Lead, Node, Obstacle};
use super::{
    Certainty, PlannedAction, PlannedDelete, PlannedDiff, PlannedList, PlannedRead, PlannedWrite,
    PlannedWriteFile, Problem, ProblemCode, expect, points, text, workspace,
};
use crate::exclude;
use crate::patch;
use crate::request::{
    Base, Delete, Diff, Digest, Expect, GuestPath, List, Missing, Pointer, Read, Size, Write,
};
use std::collections::BTreeSet;

const MAX_READ: Size = Size::from_bytes(64 << 10);
/// Larger texts are named in a plan, not shown: nobody reads them there.
const MAX_DIFF: usize = 1 << 20;
const NEW_FILE: u32 = 0o644;

pub(super) fn write(planner: &mut Planner<'_>, write: &Write, draft: &mut Draft) -> PlannedAction {
    let place = draft.pointer.at("write");
    let (mut files, mut wholes) = (Vec::new(), Vec::new());
    draft.idle = planner.commands.is_empty();
    for (path, file) in &write.files {
        let place = place.at(text_key(path));
        if file.mode.is_some_and(|mode| mode > 0o777) {
            draft.input(
                Problem::new(
                    ProblemCode::OutOfRange,
                    place.at("mode"),
                    "only permission bits can be given, up to 0777",
                )
                .help("write a mode such as \"0755\""),
            );
        }
        let above = ancestors(path).find(|parent| write.files.contains_key(parent));
        if let Some(parent) = above {
            draft.input(
                Problem::new(
                    ProblemCode::PathKind,
                    place.clone(),
                    format!("this step writes `{parent}` as a file, so nothing can lie below it"),
                )
                .help("rename one of the two"),
            );
        } else if let Some(obstacle) = planner.tree.obstacle(path) {
            draft.tree(blocked(&obstacle, path, place.clone()));
        }
        let Some(bytes) = draft.content(&file.content, &planner.facts.from, &place) else {
            continue;
        };
        let old = planner.tree.lookup(path);
        check_base(old, path, write, draft);
        let after = match file.append {
            true => appended(old, &bytes),
            false => Some(bytes.clone()),
        };
        let after = after.filter(|_| !draft.is_late(&place));
        draft.idle &= after
            .as_ref()
            .is_some_and(|after| is_there(old, after, file.mode));
        let diff = match &after {
            Some(after) => diff_of(old, path, after, file.mode, draft),
            None => {
                draft.certainty = Certainty::Unknown;
                Vec::new()
            }
        };
        wholes.push(after);
        files.push(PlannedWriteFile {
            path: path.clone(),
            diff,
            bytes,
            append: file.append,
            mode: file.mode,
        });
    }
    for path in write
        .base
        .keys()
        .filter(|path| !write.files.contains_key(*path))
    {
        draft.input(
            Problem::new(
                ProblemCode::BaseMismatch,
                draft.pointer.at("base").at(text_key(path)),
                format!("this step does not write `{path}`"),
            )
            .help("name files that are written, or take it out"),
        );
    }
    if draft.takes_effect() {
        for (file, after) in files.iter().zip(wholes) {
            match after {
                Some(after) => planner.tree.put(&file.path, after, file.mode),
                None => planner.tree.forget(&file.path),
            }
        }
    } else if !draft.expect_fails {
        write
            .files
            .keys()
            .for_each(|path| planner.tree.forget(path));
    }
    PlannedAction::Write(PlannedWrite {
        files,
        base: write.base.clone(),
    })
}

/// What a file holds once something was added at its end; nothing where nobody can say.
fn appended(old: Node<'_>, more: &[u8]) -> Option<Vec<u8>> {
    match old {
        Node::File(FileNode {
            contents: Contents::Known(bytes),
            ..
        }) => Some([bytes, more].concat()),
        Node::Absent => Some(more.to_vec()),
        Node::File(_) | Node::Directory | Node::Symlink(_) | Node::Unknown => None,
    }
}

/// Says where a file is surely not what the step was made for.
fn check_base(old: Node<'_>, path: &GuestPath, write: &Write, draft: &mut Draft) {
    let Some(wanted) = write.base.get(path) else {
        return;
    };
    let found = match (wanted, old) {
        (_, Node::Unknown) | (Base::Absent, Node::Absent) => return,
        (Base::Digest(wanted), Node::File(file)) => match file.contents {
            Contents::Known(bytes) if Digest::of(bytes) != *wanted => Digest::of(bytes).to_string(),
            Contents::Known(_) | Contents::TooLarge | Contents::NotRead => return,
        },
        (Base::Absent, Node::File(file)) => match file.contents {
            Contents::Known(bytes) => Digest::of(bytes).to_string(),
            Contents::TooLarge | Contents::NotRead => "a file".to_owned(),
        },
        (Base::Digest(_), Node::Absent) => "nothing".to_owned(),
        (_, Node::Directory) => "a directory".to_owned(),
        (_, Node::Symlink(_)) => "a link".to_owned(),
    };
    draft.tree(
        Problem::new(
            ProblemCode::BaseMismatch,
            draft.pointer.at("base").at(text_key(path)),
            format!("`{path}` is not what this step was made for"),
        )
        .note(format!("expected {wanted}"))
        .note(format!("found    {found}"))
        .help("look at what is there now; if it may be replaced, write its digest here"),
    );
}

/// Whether a file is known to be what is to be written.
fn is_there(old: Node<'_>, new: &[u8], mode: Option<u32>) -> bool {
    match old {
        Node::File(FileNode {
            contents: Contents::Known(bytes),
            mode: kept,
            ..
        }) => bytes == new && mode.is_none_or(|mode| mode == kept),
        Node::File(_) | Node::Absent | Node::Directory | Node::Symlink(_) | Node::Unknown => false,
    }
}

/// The expected change of one written file.
fn diff_of(
    old: Node<'_>,
    path: &GuestPath,
    new: &[u8],
    mode: Option<u32>,
    draft: &mut Draft,
) -> Vec<u8> {
    let old = match old {
        Node::File(FileNode {
            contents: Contents::Known(bytes),
            mode,
            ..
        }) => Some((bytes, mode)),
        Node::File(file) => {
            let size = text::bytes(file.size);
            draft.note(format!(
                "{path} replaces a file of {size}, which is not compared"
            ));
            return Vec::new();
        }
        Node::Absent | Node::Directory | Node::Symlink(_) | Node::Unknown => None,
    };
    let kept = old.map_or(NEW_FILE, |(_, mode)| mode);
    let new = (new, mode.unwrap_or(kept));
    section(path.as_bytes(), old, Some(new))
}

/// One file's section of a diff; where the texts are too large to be shown, a note in its place.
pub(super) fn section(
    path: &[u8],
    old: Option<(&[u8], u32)>,
    new: Option<(&[u8], u32)>,
) -> Vec<u8> {
    if is_large(old) || is_large(new) {
        let named = |(bytes, mode): (&[u8], u32)| patch::Named {
            size: bytes.len() as u64,
            sha256: Some(Digest::of(bytes).0),
            mode,
        };
        return patch::named(path, old.map(named), new.map(named));
    }
    patch::unified(path, old.map(side), new.map(side))
}

/// The same for a file that comes from another one.
pub(super) fn moved_section(
    path: &[u8],
    how: patch::Moved<'_>,
    old: (&[u8], u32),
    new: (&[u8], u32),
) -> Vec<u8> {
    if old.0 == new.0 {
        return patch::moved_whole(path, how, old.1, new.1);
    }
    if is_large(Some(old)) || is_large(Some(new)) {
        let gone = (!how.copied).then(|| section(how.from, Some(old), None));
        return [gone.unwrap_or_default(), section(path, None, Some(new))].concat();
    }
    patch::moved(path, how, side(old), side(new))
}

fn is_large(side: Option<(&[u8], u32)>) -> bool {
    side.is_some_and(|(bytes, _)| bytes.len() > MAX_DIFF)
}

fn side((bytes, mode): (&[u8], u32)) -> patch::Side<'_> {
    patch::Side { bytes, mode }
}

pub(super) fn delete(
    planner: &mut Planner<'_>,
    delete: &Delete,
    draft: &mut Draft,
) -> PlannedAction {
    let place = draft.pointer.at("delete");
    let asked: BTreeSet<&GuestPath> = delete.paths.iter().collect();
    let mut paths = Vec::new();
    draft.idle = planner.commands.is_empty();
    for (index, path) in delete.paths.iter().enumerate() {
        let place = place.at(index);
        if path.is_root() {
            draft.input(
                Problem::new(
                    ProblemCode::DeleteRoot,
                    place,
                    "the workspace itself cannot be deleted",
                )
                .help("name the paths in it that shall go"),
            );
            continue;
        }
        // What goes with its directory, or was named before, need not go again.
        if ancestors(path).any(|parent| asked.contains(&parent)) || paths.contains(path) {
            continue;
        }
        let is_absent = match planner.tree.obstacle_above(path) {
            Some(Obstacle::FileParent(_)) => true,
            // Nothing to delete, whatever leads there.
            Some(_)
                if delete.missing == Missing::Ignore
                    && planner.tree.beyond(path) == Some(Node::Absent) =>
            {
                true
            }
            Some(obstacle) => {
                draft.tree(blocked(&obstacle, path, place.clone()));
                false
            }
            None => planner.tree.lookup(path) == Node::Absent,
        };
        draft.idle &= is_absent;
        match (is_absent, delete.missing) {
            (true, Missing::Error) => {
                draft.tree(missing(path, place).help("take it out, or add `missing = \"ignore\"`"))
            }
            (true, Missing::Ignore) => draft.note(format!("{path} is not there")),
            (false, _) if planner.tree.lookup(path) == Node::Directory => {
                let below = planner.tree.below(path);
                let files = below.values().filter(|n| **n != Node::Directory).count();
                let files = text::count(files as u64, "file", "files");
                draft.note(format!("{path} is a directory with {files} in it"));
            }
            (false, _) => {}
        }
        paths.push(path.clone());
    }
    if draft.takes_effect() {
        paths.iter().for_each(|path| planner.tree.remove(path));
    } else if !draft.expect_fails {
        paths.iter().for_each(|path| planner.tree.forget(path));
    }
    PlannedAction::Delete(PlannedDelete {
        paths,
        missing: delete.missing,
    })
}

pub(super) fn read(
    planner: &mut Planner<'_>,
    read: &Read,
    wanted: &Expect,
    draft: &mut Draft,
) -> PlannedAction {
    let place = draft.pointer.at("read");
    let most = read.max_bytes.unwrap_or(MAX_READ);
    let offset = read.offset.unwrap_or(0);
    if most == Size::from_bytes(0) {
        draft.input(
            Problem::new(
                ProblemCode::OutOfRange,
                draft.pointer.at("max_bytes"),
                "of nothing there is nothing to read",
            )
            .help(format!("leave it out for {MAX_READ}, or give more")),
        );
    }
    for (index, path) in read.paths.iter().enumerate() {
        let place = match read.paths.as_slice() {
            [_] => place.clone(),
            _ => place.at(index),
        };
        match reached(planner, path, &place, draft) {
            Node::Directory => draft.tree(
                Problem::new(
                    ProblemCode::PathKind,
                    place,
                    format!("`{path}` is a directory, not a file"),
                )
                .help("use `list`, or name a file in it"),
            ),
            Node::File(file) if file.size > most.as_bytes() => draft.note(match offset {
                0 => format!(
                    "{path} has {}; only the first {most} are read",
                    text::bytes(file.size)
                ),
                offset => format!(
                    "{path} has {}; at most {most} of it are read, from byte {offset} on",
                    text::bytes(file.size)
                ),
            }),
            Node::Absent | Node::File(_) | Node::Symlink(_) | Node::Unknown => {}
        }
    }
    PlannedAction::Read(PlannedRead {
        paths: read.paths.clone(),
        offset,
        max_bytes: most,
        content: expect::text(
            planner,
            wanted.content.as_ref(),
            &draft.pointer.at("expect").at("content"),
            draft,
        ),
    })
}

/// Paths of a list that are told where nobody says how many.
pub(super) const ENTRIES: u64 = 10_000;

pub(super) fn list(
    planner: &mut Planner<'_>,
    list: &List,
    wanted: &Expect,
    draft: &mut Draft,
) -> PlannedAction {
    let place = draft.pointer.at("list");
    reached(planner, &list.path, &place, draft);
    PlannedAction::List(PlannedList {
        path: list.path.clone(),
        recursive: list.recursive,
        max_entries: list.max_entries.unwrap_or(ENTRIES),
        after: list.after.clone(),
        text: expect::text(
            planner,
            wanted.text.as_ref(),
            &draft.pointer.at("expect").at("text"),
            draft,
        ),
    })
}

pub(super) fn diff(
    planner: &mut Planner<'_>,
    diff: &Diff,
    wanted: &Expect,
    always: bool,
    draft: &mut Draft,
) -> PlannedAction {
    if !planner.commands.is_empty() {
        draft.certainty = Certainty::Unknown;
    }
    for (index, pattern) in diff.exclude.iter().enumerate() {
        if let Some(why) = exclude::bad_pattern(pattern) {
            let place = draft.pointer.at("exclude").at(index);
            draft.input(workspace::pattern_invalid(pattern, &why, place));
        }
    }
    let place = draft.pointer.at("diff");
    points::known(planner, &diff.against, &place, always, draft);
    PlannedAction::Diff(PlannedDiff {
        against: diff.against.clone(),
        exclude: diff.exclude.clone(),
        text: expect::text(
            planner,
            wanted.text.as_ref(),
            &draft.pointer.at("expect").at("text"),
            draft,
        ),
    })
}

/// What is at a path that is to be read, links followed; says why where that is nothing.
pub(super) fn reached<'p>(
    planner: &'p Planner<'_>,
    path: &GuestPath,
    place: &Pointer,
    draft: &mut Draft,
) -> Node<'p> {
    let kind = |message: String| {
        Problem::new(ProblemCode::PathKind, place.clone(), message)
            .help("name a path that stays inside /workspace")
    };
    match planner.tree.follow(path) {
        Lead::To(real) => {
            let node = planner.tree.lookup(&real);
            if node == Node::Unknown {
                draft.certainty = Certainty::Unknown;
            }
            return node;
        }
        Lead::Unknown => draft.certainty = Certainty::Unknown,
        Lead::Nowhere if planner.commands.is_empty() => {
            let problem = missing(path, place.clone());
            draft.tree(
                problem.help("name a path that is in the seed or that an earlier step writes"),
            );
        }
        // That is what commands are for.
        Lead::Nowhere => {
            draft.certainty = Certainty::Unknown;
            draft.note(format!(
                "{path} is not there yet; {} would have to make it",
                text::steps(&planner.commands)
            ));
        }
        Lead::FileParent(parent) => draft.tree(
            missing(path, place.clone())
                .help(format!("`{parent}` is a file; nothing lies below it")),
        ),
        Lead::Out(link) => draft.tree(kind(format!(
            "the link `{link}` is absolute or leads out of the workspace, and is not followed"
        ))),
        Lead::Loop => draft.tree(kind(format!("the links of `{path}` lead in a circle"))),
    }
    Node::Unknown
}

pub(super) fn missing(path: &GuestPath, place: Pointer) -> Problem {
    Problem::new(
        ProblemCode::PathMissing,
        place,
        format!("there is no `{path}` in the workspace"),
    )
}

/// Why a path cannot be written.
pub(super) fn blocked(obstacle: &Obstacle, path: &GuestPath, place: Pointer) -> Problem {
    let (message, help) = match obstacle {
        Obstacle::Root => (
            "`/workspace` itself is a directory".to_owned(),
            "name a file in it",
        ),
        Obstacle::Directory => (
            format!("`{path}` is a directory"),
            "name a file in it, or delete it in an earlier step",
        ),
        Obstacle::Link => (
            format!("`{path}` is a link, and nothing is written through links"),
            "name the file that it leads to, or delete the link in an earlier step",
        ),
        Obstacle::LinkedParent(parent) => (
            format!(
                "`{path}` lies behind the link `{parent}`, and nothing is changed through links"
            ),
            "name the path that the link leads to",
        ),
        Obstacle::FileParent(parent) => (
            format!("`{parent}` is a file, so `{path}` cannot lie below it"),
            "name another path, or delete the file in an earlier step",
        ),
    };
    Problem::new(ProblemCode::PathKind, place, message).help(help)
}

fn ancestors(path: &GuestPath) -> impl Iterator<Item = GuestPath> {
    std::iter::successors(path.parent(), GuestPath::parent).filter(|parent| !parent.is_root())
}

/// A path as the key it is in the document.
pub(super) fn text_key(path: &GuestPath) -> String {
    path.to_string()
}
