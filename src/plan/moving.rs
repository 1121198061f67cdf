//! `move`, against the expected tree.

use super::draft::Draft;
use super::files::{blocked, missing};
use super::planner::Planner;
use super::tree::{Node, Obstacle};
use super::{Certainty, PlannedAction, PlannedMove, Problem, ProblemCode, text};
use crate::request::{GuestPath, Move, Pointer};

pub(super) fn plan(planner: &mut Planner<'_>, wanted: &Move, draft: &mut Draft) -> PlannedAction {
    let Move { from, to } = wanted;
    let place = draft.pointer.at("move");
    if from.is_root() {
        let message = "the workspace itself cannot be moved";
        draft.input(
            Problem::new(ProblemCode::PathKind, place.clone(), message)
                .help("name the paths in it that shall have another name"),
        );
    }
    let never = never(from, to, &draft.pointer);
    let is_possible = never.is_none();
    never.into_iter().for_each(|problem| draft.host(problem));
    match planner.tree.obstacle_above(from) {
        Some(Obstacle::FileParent(parent)) => draft.tree(
            missing(from, place).help(format!("`{parent}` is a file; nothing lies below it")),
        ),
        Some(obstacle) => draft.tree(blocked(&obstacle, from, place)),
        None => match planner.tree.lookup(from) {
            Node::Absent => draft.tree(
                missing(from, place)
                    .help("name a path that is in the seed or that an earlier step makes"),
            ),
            Node::Unknown => draft.certainty = Certainty::Unknown,
            Node::Directory => {
                let below = planner.tree.below(from);
                let files = below.values().filter(|n| **n != Node::Directory).count();
                let files = text::count(files as u64, "file", "files");
                draft.note(format!("{from} is a directory with {files} in it"));
            }
            Node::File(_) | Node::Symlink(_) => {}
        },
    }
    let place = draft.pointer.at("to");
    if !is_possible {
        // Said already.
    } else if let Some(obstacle) = planner.tree.obstacle_above(to) {
        draft.tree(blocked(&obstacle, to, place));
    } else {
        let there = match planner.tree.lookup(to) {
            Node::Absent => None,
            Node::Unknown => {
                draft.certainty = Certainty::Unknown;
                None
            }
            Node::Directory => Some("a directory"),
            Node::File(_) => Some("a file"),
            Node::Symlink(_) => Some("a link"),
        };
        if let Some(kind) = there {
            let message = format!("`{to}` is {kind} already, and nothing is moved over anything");
            draft.tree(
                Problem::new(ProblemCode::PathTaken, place, message)
                    .help("name another path, or delete what is there in an earlier step"),
            );
        }
    }
    if draft.takes_effect() {
        planner.tree.relocate(from, to);
    } else if !draft.expect_fails && is_possible {
        planner.tree.forget(from);
        planner.tree.forget(to);
    }
    PlannedAction::Move(PlannedMove {
        from: from.clone(),
        to: to.clone(),
    })
}

/// What speaks against a move whatever is there.
fn never(from: &GuestPath, to: &GuestPath, step: &Pointer) -> Option<Problem> {
    let is_below = |path: &GuestPath, above: &GuestPath| {
        let rest = path.as_bytes().strip_prefix(above.as_bytes());
        rest.is_some_and(|rest| above.is_root() || rest.starts_with(b"/"))
    };
    let (code, message, help) = if from == to {
        (
            ProblemCode::PathTaken,
            format!("`{from}` would become what it is"),
            "name another path",
        )
    } else if is_below(to, from) {
        (
            ProblemCode::PathKind,
            format!("`{from}` cannot be moved into itself"),
            "name a path beside it",
        )
    } else if is_below(from, to) {
        (
            ProblemCode::PathTaken,
            format!("`{from}` lies in `{to}`, and nothing is moved over anything"),
            "name another path",
        )
    } else {
        return None;
    };
    Some(Problem::new(code, step.at("to"), message).help(help))
}
