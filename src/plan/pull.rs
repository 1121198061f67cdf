//! `pull`: what changed in the workspace goes home into a directory of the host. What that is, nobody knows before it runs.

use super::draft::Draft;
use super::planner::Planner;
use super::{
    Certainty, HostWrite, PlannedAction, PlannedPull, Problem, ProblemCode, text, workspace,
};
use crate::preflight::PullFact;
use crate::request::{PatchMatch, Pull};
use std::path::PathBuf;

pub(super) fn plan(planner: &mut Planner<'_>, pull: &Pull, draft: &mut Draft) -> PlannedAction {
    let place = draft.pointer.at("pull");
    let mut bad = Vec::new();
    workspace::patterns(&pull.exclude, &draft.pointer.at("exclude"), &mut bad);
    bad.into_iter().for_each(|problem| draft.input(problem));
    let shown = text::escape(&pull.to);
    let refused =
        |code, message: String, help: &str| Problem::new(code, place.clone(), message).help(help);
    let path = match planner.facts.pulls.get(&pull.to) {
        None | Some(PullFact::Missing) => {
            draft.host(refused(
                ProblemCode::PullMissing,
                format!("there is no host directory `{shown}`"),
                "host paths begin at the directory of the request file; make the directory, or name another",
            ));
            PathBuf::new()
        }
        Some(PullFact::NotADirectory) => {
            draft.host(refused(
                ProblemCode::PullNotADirectory,
                format!("`{shown}` is no directory"),
                "name the directory that the changes go into",
            ));
            PathBuf::new()
        }
        Some(PullFact::Unreadable(why)) => {
            draft.host(refused(
                ProblemCode::PullRefused,
                format!("`{shown}` cannot be looked at: {why}"),
                "make it readable for you, or name another directory",
            ));
            PathBuf::new()
        }
        Some(PullFact::Directory {
            path,
            writable,
            has_state,
        }) => {
            let inside_git = path.iter().any(|part| part.eq_ignore_ascii_case(".git"));
            if *has_state || path.parent().is_none() {
                draft.host(refused(
                    ProblemCode::PullRefused,
                    format!("`{shown}` holds pyro's own state, or lies in it"),
                    "name the directory of the project alone",
                ));
            } else if inside_git {
                draft.host(refused(
                    ProblemCode::PullRefused,
                    format!("`{shown}` lies in a `.git`, which no pull writes to"),
                    "name the working tree",
                ));
            } else if !writable && !pull.dry_run {
                draft.host(refused(
                    ProblemCode::PullRefused,
                    format!("you may not write to `{shown}`"),
                    "name a directory that you may write to, or look first: `dry_run = true`",
                ));
            }
            path.clone()
        }
    };
    draft.certainty = Certainty::Unknown;
    draft.note(
        "each path that changed must be on the host what the workspace began with, or have the change already",
    );
    draft.note(match pull.matching {
        PatchMatch::Unique => {
            "a text that was changed on both sides is merged where each change has a place of its own; \
             any other conflict refuses all of it"
        }
        PatchMatch::Exact => "anything else refuses all of it",
    });
    if !pull.dry_run && (!draft.is_refused() || !draft.expect_fails) {
        let known = planner.pulled.iter().any(|write| write.path == path);
        if !known {
            planner.pulled.push(HostWrite {
                path: path.clone(),
                shown: pull.to.clone(),
                replaces: Some("directory".to_owned()),
            });
        }
    }
    PlannedAction::Pull(PlannedPull {
        to: path,
        shown: pull.to.clone(),
        exclude: pull.exclude.clone(),
        matching: pull.matching,
        dry_run: pull.dry_run,
    })
}
