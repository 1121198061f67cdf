//! `patch`: parsed once, and applied to the expected files to show what will come of it.

use super::draft::Draft;
use super::files::{missing, moved_section, section, text_key};
use super::planner::Planner;
use super::tree::{Contents, FileNode, Node, guest_path};
use super::{Certainty, PlannedAction, PlannedPatch, PlannedRefusal, Problem, ProblemCode, text};
use crate::patch::{self, Applied, Match, Patch, Refusal};
use crate::preflight::MAX_FILE;
use crate::request::{Content, Digest, GuestPath, PatchMatch, PatchStep, Pointer};

pub(super) fn plan(
    planner: &mut Planner<'_>,
    step: &PatchStep,
    draft: &mut Draft,
) -> PlannedAction {
    let PatchStep {
        patch: content,
        matching,
        base,
    } = step;
    let mut place = draft.pointer.at("patch");
    let bytes = draft.content(content, &planner.facts.from, &place);
    let file = match content {
        Content::From(path) => {
            place = place.at("from");
            Some(path.as_str())
        }
        Content::Text(_) | Content::Bytes(_) => None,
    };
    let Some(bytes) = bytes else {
        return refused(Vec::new());
    };
    if draft.is_late(&place) {
        draft.certainty = Certainty::Unknown;
        check_base(planner, step, draft);
        return PlannedAction::Patch(Box::new(PlannedPatch {
            patch: Patch { files: Vec::new() },
            policy: *matching,
            base: base.clone(),
            predicted: None,
            diff: Vec::new(),
        }));
    }
    let patch = match patch::parse(&bytes) {
        Ok(patch) => patch,
        Err(refusals) => {
            let reasons: Vec<_> = (refusals.iter())
                .map(|refusal| problem(refusal, file, &place))
                .collect();
            // Whatever commands do, this text will not become a patch.
            reasons
                .iter()
                .cloned()
                .for_each(|reason| draft.host(reason));
            return refused(reasons);
        }
    };
    check_base(planner, step, draft);
    let unknown = unknown_file(planner, &patch, &place, draft);
    let applied = match (&unknown, draft.is_refused()) {
        (None, false) => patch::apply(&patch, policy(*matching), &planner.tree)
            .map_err(|mut refusals| {
                patch::suggest_names(&mut refusals, &planner.tree.files());
                for refusal in &refusals {
                    draft.tree(problem(refusal, file, &place));
                }
            })
            .ok(),
        (Some(_), _) | (None, true) => None,
    };
    if let Some(path) = unknown {
        draft.certainty = Certainty::Unknown;
        draft.note(format!(
            "what {path} holds is known only when this step runs"
        ));
    }
    let diff = applied
        .as_ref()
        .map(|applied| show(planner, applied, draft))
        .unwrap_or_default();
    match &applied {
        Some(applied) if draft.takes_effect() => take_effect(planner, applied),
        Some(_) | None if draft.expect_fails => {}
        Some(_) | None => {
            for path in patch::candidate_names(&patch) {
                planner.tree.forget(&guest_path(&path));
            }
        }
    }
    PlannedAction::Patch(Box::new(PlannedPatch {
        patch,
        policy: *matching,
        base: base.clone(),
        predicted: applied,
        diff,
    }))
}

fn refused(reasons: Vec<Problem>) -> PlannedAction {
    PlannedAction::Refused(PlannedRefusal {
        verb: "patch",
        reasons,
    })
}

fn policy(matching: PatchMatch) -> Match {
    match matching {
        PatchMatch::Unique => Match::Unique,
        PatchMatch::Exact => Match::Exact,
    }
}

fn check_base(planner: &Planner<'_>, step: &PatchStep, draft: &mut Draft) {
    for (path, wanted) in &step.base {
        let place = draft.pointer.at("base").at(text_key(path));
        match planner.tree.lookup(path) {
            Node::File(FileNode {
                contents: Contents::Known(bytes),
                ..
            }) => {
                let found = Digest::of(bytes);
                if found != *wanted {
                    draft.tree(
                        Problem::new(
                            ProblemCode::BaseMismatch,
                            place,
                            format!("`{path}` is not the file that this patch was made for"),
                        )
                        .note(format!("expected {wanted}"))
                        .note(format!("found    {found}"))
                        .help("make the patch anew for this file, and write its digest here"),
                    );
                }
            }
            Node::Absent => draft.tree(
                missing(path, place)
                    .help("take it out of `base`, or name the file as it is called"),
            ),
            Node::Directory | Node::Symlink(_) => draft.tree(
                Problem::new(
                    ProblemCode::PathKind,
                    place,
                    format!("`{path}` is not a file"),
                )
                .help("name a regular file"),
            ),
            Node::File(_) | Node::Unknown => {}
        }
    }
}

/// A file of the patch that cannot be told beforehand.
fn unknown_file(
    planner: &Planner<'_>,
    patch: &Patch,
    place: &Pointer,
    draft: &mut Draft,
) -> Option<GuestPath> {
    let mut unknown = None;
    for path in patch::candidate_names(patch) {
        let path = guest_path(&path);
        match planner.tree.lookup(&path) {
            Node::File(FileNode {
                contents: Contents::TooLarge,
                size,
                ..
            }) => draft.tree(
                Problem::new(
                    ProblemCode::TooLarge,
                    place.clone(),
                    format!(
                        "`{path}` has {}, more than can be patched",
                        text::bytes(size)
                    ),
                )
                .help(format!(
                    "patch files of at most {}; change this one by a command",
                    text::bytes(MAX_FILE)
                )),
            ),
            Node::Unknown
            | Node::File(FileNode {
                contents: Contents::NotRead,
                ..
            }) => unknown = unknown.or(Some(path)),
            Node::File(_) | Node::Absent | Node::Directory | Node::Symlink(_) => {}
        }
    }
    unknown
}

/// The predicted change as a diff, with a note on each hunk that lands elsewhere.
fn show(planner: &Planner<'_>, applied: &Applied, draft: &mut Draft) -> Vec<u8> {
    let mut diff = Vec::new();
    let known = |path: &[u8]| match planner.tree.lookup(&guest_path(path)) {
        Node::File(FileNode {
            contents: Contents::Known(bytes),
            mode,
            ..
        }) => Some((bytes, mode)),
        Node::File(_) | Node::Absent | Node::Directory | Node::Symlink(_) | Node::Unknown => None,
    };
    let goes = |path: &[u8]| {
        let mut changes = applied.files.iter();
        changes.any(|change| change.path == path && change.after.is_none())
    };
    let moved = |path: &[u8]| {
        let mut changes = applied.files.iter();
        goes(path)
            && changes.any(|change| change.from.as_deref() == Some(path) && change.before.is_none())
    };
    for change in &applied.files {
        let new = (change.after.as_ref()).map(|(bytes, mode)| (bytes.as_slice(), *mode));
        let source = change.from.as_deref().filter(|_| change.before.is_none());
        let source = source.and_then(|from| Some((from, known(from)?)));
        match (source, new) {
            (Some((from, old)), Some(new)) => {
                let how = patch::Moved {
                    from,
                    copied: !goes(from),
                    similarity: None,
                };
                diff.extend(moved_section(&change.path, how, old, new));
            }
            // Shown where it went.
            (_, None) if moved(&change.path) => {}
            (_, new) => diff.extend(section(&change.path, known(&change.path), new)),
        }
        for hunk in change.hunks.iter().filter(|hunk| hunk.offset != 0) {
            draft.note(format!(
                "hunk {} of {} lands at line {}, {} from where it says: the only place where it fits",
                hunk.hunk,
                guest_path(&change.path),
                text::grouped(hunk.line),
                text::count(hunk.offset.unsigned_abs(), "line", "lines"),
            ));
        }
    }
    diff
}

fn take_effect(planner: &mut Planner<'_>, applied: &Applied) {
    // Deletions first: a file may go where a directory comes.
    for change in applied.files.iter().filter(|change| change.after.is_none()) {
        planner.tree.remove(&guest_path(&change.path));
    }
    for change in &applied.files {
        if let Some((bytes, mode)) = &change.after {
            let path = guest_path(&change.path);
            planner.tree.put(&path, bytes.clone(), Some(*mode));
        }
    }
}

/// The patch engine's reason as ours.
fn problem(refusal: &Refusal, file: Option<&str>, place: &Pointer) -> Problem {
    let message = match file {
        Some(file) => format!("{file}: {refusal}"),
        None => refusal.to_string(),
    };
    let mut problem = Problem::new(ProblemCode::Patch(refusal.code), place.clone(), message);
    if let Some(help) = &refusal.help {
        problem = problem.help(help);
    }
    for line in refusal.comparison() {
        problem = problem.note(line);
    }
    problem.refusal = Some(Box::new(refusal.clone()));
    problem
}
