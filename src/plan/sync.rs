//! `sync`: a host directory or archive over the expected tree.

use super::draft::Draft;
use super::files::blocked;
use super::planner::Planner;
use super::source::{self, Wanted};
use super::tree::{Node, below_of};
use super::{PlannedAction, PlannedRefusal, PlannedSync, Problem, ProblemCode, text, workspace};
use crate::preflight::{EntryKind, SeedListing};
use crate::request::{GuestPath, SyncStep};

/// As many as one archive may have, and the agent takes.
const MAX_ENTRIES: u64 = 1_000_000;
/// How many paths that do not fit are named.
const NAMED: usize = 10;
/// How many paths that are replaced are named.
const MAX_REPLACED: usize = 1000;
const PATH_MAX: usize = 4095;

pub(super) fn plan(planner: &mut Planner<'_>, sync: &SyncStep, draft: &mut Draft) -> PlannedAction {
    let place = draft.pointer.at("sync");
    let mut problems = Vec::new();
    let wanted = Wanted {
        shown: &sync.from,
        exclude: &sync.exclude,
        respect_gitignore: false,
    };
    let fact = planner.facts.sync(&sync.from, &sync.exclude);
    let planned = source::plan(&wanted, fact, &place, &source::SYNC, &mut problems);
    workspace::patterns(&sync.exclude, &draft.pointer.at("exclude"), &mut problems);
    let walked = workspace::walked(fact).filter(|_| planned.is_some());
    if let Some(planned) = &planned {
        let most = planner.disk;
        if planned.bytes > most {
            let held = text::bytes(planned.bytes);
            let message = format!(
                "`{}` holds {held}, and the workspace may add {} to the disk",
                text::escape(&sync.from),
                text::bytes(most)
            );
            problems.push(
                Problem::new(ProblemCode::TooLarge, place.clone(), message)
                    .help("leave something out (`exclude`), or give the workspace more `disk`"),
            );
        }
        let entries = planned.files + planned.others;
        if entries > MAX_ENTRIES {
            let message = format!(
                "`{}` has {entries} paths, and at most {MAX_ENTRIES} are carried over",
                text::escape(&sync.from)
            );
            problems.push(
                Problem::new(ProblemCode::TooLarge, place.clone(), message).help(
                    "leave something out (`exclude`), or take parts of it in steps of their own",
                ),
            );
        }
    }
    // Without what it takes, there is nothing to send, whatever is expected of the step.
    problems
        .into_iter()
        .for_each(|problem| draft.input(problem));
    let (Some(source), Some(listing)) = (planned, walked) else {
        planner.tree.forget_all();
        return PlannedAction::Refused(PlannedRefusal {
            verb: "sync",
            reasons: Vec::new(),
        });
    };
    let reached = reach(planner, &sync.to, draft);
    let mut replaces = replaced(planner, listing, sync, draft);
    draft.idle = planner.commands.is_empty()
        && source.files + source.others == 0
        && planner.tree.lookup(&sync.to) == Node::Directory;
    if !draft.expect_fails {
        // What does not fit is told here; what comes later speaks of a tree in which it does.
        match reached {
            true => planner.tree.lay(listing, &sync.to),
            false => planner.tree.forget_all(),
        }
    }
    let replaces_more = replaces.len().saturating_sub(MAX_REPLACED) as u64;
    replaces.truncate(MAX_REPLACED);
    PlannedAction::Sync(Box::new(PlannedSync {
        source,
        to: sync.to.clone(),
        replaces,
        replaces_more,
    }))
}

/// Whether the directory that it goes to is there or can be made. Says what is in the way.
fn reach(planner: &Planner<'_>, to: &GuestPath, draft: &mut Draft) -> bool {
    let place = draft.pointer.at("to");
    if let Some(obstacle) = planner.tree.obstacle_above(to) {
        draft.tree(blocked(&obstacle, to, place));
        return false;
    }
    let kind = match planner.tree.lookup(to) {
        Node::Absent | Node::Directory | Node::Unknown => return true,
        Node::File(_) => "a file",
        Node::Symlink(_) => "a link, which is not followed",
    };
    draft.tree(
        Problem::new(
            ProblemCode::PathKind,
            place,
            format!("`{to}` is {kind}; a directory can be laid over a directory only"),
        )
        .help("name another path, or delete that one in an earlier step"),
    );
    false
}

/// The files and links that are replaced. Says which paths do not fit.
fn replaced(
    planner: &Planner<'_>,
    listing: &SeedListing,
    sync: &SyncStep,
    draft: &mut Draft,
) -> Vec<GuestPath> {
    let mut replaced = Vec::new();
    let mut against = Vec::new();
    for entry in &listing.entries {
        if sync.to.as_bytes().len() + 1 + entry.path.len() > PATH_MAX {
            against.push(format!(
                "{}: its path is too long there",
                text::escape(&entry.path.0)
            ));
            continue;
        }
        let path = below_of(&sync.to, &entry.path);
        // What lies below something that does not fit is told with that.
        if planner.tree.obstacle_above(&path).is_some() {
            continue;
        }
        let there = planner.tree.lookup(&path);
        let (new, old) = match (&entry.kind, there) {
            (EntryKind::Fifo | EntryKind::Socket | EntryKind::Device | EntryKind::Unknown, _)
            | (_, Node::Absent | Node::Unknown)
            | (EntryKind::Directory, Node::Directory) => continue,
            (EntryKind::File | EntryKind::Symlink(_), Node::File(_) | Node::Symlink(_)) => {
                replaced.push(path);
                continue;
            }
            (EntryKind::Directory, Node::File(_)) => ("a directory", "a file"),
            (EntryKind::Directory, Node::Symlink(_)) => ("a directory", "a link"),
            (EntryKind::File, Node::Directory) => ("a file", "a directory"),
            (EntryKind::Symlink(_), Node::Directory) => ("a link", "a directory"),
        };
        against.push(format!(
            "{path}: {old} in the workspace, {new} in the source"
        ));
    }
    if !against.is_empty() {
        let count = text::count(against.len() as u64, "path", "paths");
        let does = if against.len() == 1 { "does" } else { "do" };
        let message = format!(
            "{count} of `{}` {does} not fit: no directory takes the place of a file or link, nor the reverse",
            text::escape(&sync.from)
        );
        let mut problem = Problem::new(ProblemCode::PathKind, draft.pointer.at("sync"), message);
        let more = against.len().saturating_sub(NAMED);
        for line in against.into_iter().take(NAMED) {
            problem = problem.note(line);
        }
        if more > 0 {
            problem = problem.note(format!("and {more} more"));
        }
        draft.tree(problem.help(
            "delete what is in the way in an earlier step, leave it out (`exclude`), or give another `to`",
        ));
    }
    replaced
}
