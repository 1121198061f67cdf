//! Goldens: files beside the request that hold what an output is to be.

use super::Effect;
use super::draft::Draft;
use super::planner::Planner;
use super::{HostWrite, PlannedAction, PlannedStep, Problem, ProblemCode, TextCheck, text};
use crate::preflight::{ExportFact, FileFact, GoldenFact, MAX_FILE, ParentFact, TargetFact};
use crate::request::Pointer;
use std::path::{Component, Path, PathBuf};

/// What is done about a text that differs from its golden.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub enum GoldenUse {
    /// The expectation fails.
    #[default]
    Compare,
    /// The golden is written, where the step is otherwise as expected.
    Write,
}

/// A golden.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct PlannedGolden {
    /// Absolute.
    pub path: PathBuf,
    /// As the request says it.
    pub shown: String,
    /// What it holds; absent where there is no such file.
    pub expected: Option<Vec<u8>>,
    /// What is done about a text that differs.
    pub usage: GoldenUse,
}

/// Lowers one golden.
pub(super) fn plan(
    planner: &Planner<'_>,
    golden: &str,
    place: &Pointer,
    draft: &mut Draft,
) -> Option<TextCheck> {
    match check(planner, golden, place) {
        Ok(golden) => Some(TextCheck::Golden(Box::new(golden))),
        Err(problem) => {
            draft.input(problem);
            None
        }
    }
}

fn check(planner: &Planner<'_>, golden: &str, place: &Pointer) -> Result<PlannedGolden, Problem> {
    let shown = text::escape(golden);
    let refuse = |message: String, help: &str| {
        Problem::new(ProblemCode::GoldenUnusable, place.clone(), message).help(help)
    };
    let plain = |part: Component<'_>| matches!(part, Component::Normal(_) | Component::CurDir);
    if !Path::new(golden).components().all(plain) {
        let message = format!("the golden `{shown}` does not lie below the request's directory");
        return Err(
            Problem::new(ProblemCode::GoldenOutside, place.clone(), message)
                .help("write a path without `..` that begins at the directory of the request file"),
        );
    }
    let Some(GoldenFact {
        place: fact,
        content,
    }) = planner.facts.goldens.get(golden)
    else {
        let message = format!("nothing is known about the golden `{shown}`");
        return Err(refuse(message, "gather the facts again for this request"));
    };
    let ExportFact {
        path,
        target,
        parent,
        linked_parent,
    } = fact;
    if linked_parent.is_some() {
        return Err(refuse(
            format!("the golden `{shown}` lies behind a link"),
            "name the place that the link leads to",
        ));
    }
    let another = match target {
        TargetFact::Missing | TargetFact::File(_) => None,
        TargetFact::Directory => Some("a directory".to_owned()),
        TargetFact::Symlink(to) => Some(format!("a link to `{}`", text::escape(&to.0))),
        TargetFact::Other => Some("a device, socket or pipe".to_owned()),
        TargetFact::Unreadable(why) => {
            return Err(refuse(
                format!("the golden `{shown}` cannot be looked at: {why}"),
                "make it readable for you, or name another file",
            ));
        }
    };
    if let Some(another) = another {
        return Err(refuse(
            format!("the golden `{shown}` is {another}, not a file"),
            "name a regular file, or a path where nothing is yet",
        ));
    }
    let expected = match content {
        FileFact::Content(bytes) => Some(bytes.0.clone()),
        FileFact::Missing => None,
        FileFact::NotAFile(kind) => {
            return Err(refuse(
                format!("the golden `{shown}` is a {kind}, not a file"),
                "name a regular file, or a path where nothing is yet",
            ));
        }
        FileFact::Unreadable(why) => {
            return Err(refuse(
                format!("the golden `{shown}` cannot be read: {why}"),
                "make it readable for you, or name another file",
            ));
        }
        FileFact::TooLarge(size) => {
            let message = format!(
                "`{shown}` has {}, more than a plan holds",
                text::bytes(*size)
            );
            return Err(Problem::new(ProblemCode::TooLarge, place.clone(), message)
                .help(format!("give a file of at most {}", text::bytes(MAX_FILE))));
        }
    };
    let writable = matches!(parent, ParentFact::Directory { writable: true, .. });
    if planner.goldens == GoldenUse::Write && !writable {
        return Err(refuse(
            format!("you may not write the golden `{shown}`"),
            "make its directory writable for you",
        ));
    }
    Ok(PlannedGolden {
        path: path.clone(),
        shown: golden.to_owned(),
        expected,
        usage: planner.goldens,
    })
}

/// What its goldens make an action change.
pub(super) fn effect(action: &PlannedAction) -> Effect {
    let written = |golden: &PlannedGolden| golden.usage == GoldenUse::Write;
    match of_action(action).any(|(_, golden)| written(golden)) {
        true => Effect::Host,
        false => Effect::Nothing,
    }
}

/// The goldens of a step.
pub(super) fn goldens(step: &PlannedStep) -> impl Iterator<Item = (&Pointer, &PlannedGolden)> {
    of_action(&step.action)
}

fn of_action(action: &PlannedAction) -> impl Iterator<Item = (&Pointer, &PlannedGolden)> {
    let texts: [&[(Pointer, TextCheck)]; 2] = match action {
        PlannedAction::Exec(exec) => [&exec.stdout, &exec.stderr],
        PlannedAction::Read(read) => [&read.content, &[]],
        PlannedAction::List(list) => [&list.text, &[]],
        PlannedAction::Search(search) => [&search.text, &[]],
        PlannedAction::Diff(diff) => [&diff.text, &[]],
        PlannedAction::Write(_)
        | PlannedAction::Patch(_)
        | PlannedAction::Delete(_)
        | PlannedAction::Move(_)
        | PlannedAction::Sync(_)
        | PlannedAction::Export(_)
        | PlannedAction::Pull(_)
        | PlannedAction::Snapshot(_)
        | PlannedAction::Reset(_)
        | PlannedAction::Refused(_) => [&[], &[]],
    };
    texts
        .into_iter()
        .flatten()
        .filter_map(|(place, check)| match check {
            TextCheck::Golden(golden) => Some((place, &**golden)),
            TextCheck::Equals(_)
            | TextCheck::Contains(_)
            | TextCheck::Matches(_)
            | TextCheck::Lines(_)
            | TextCheck::Empty(_) => None,
        })
}

/// The goldens that may be written, each once, and what speaks against writing them.
pub(super) fn host_writes(
    steps: &[PlannedStep],
    exports: &[HostWrite],
) -> (Vec<HostWrite>, Vec<Problem>) {
    let mut writes: Vec<HostWrite> = Vec::new();
    let mut problems = Vec::new();
    for (place, golden) in steps.iter().flat_map(goldens) {
        if golden.usage == GoldenUse::Compare || writes.iter().any(|w| w.path == golden.path) {
            continue;
        }
        let clash = |export: &&HostWrite| {
            golden.path.starts_with(&export.path) || export.path.starts_with(&golden.path)
        };
        if let Some(export) = exports.iter().find(clash) {
            let message = format!(
                "the golden `{}` is in the way of the export to `{}`",
                text::escape(&golden.shown),
                text::escape(&export.shown)
            );
            problems.push(
                Problem::new(ProblemCode::ExportTwice, place.clone(), message)
                    .help("give each of them a host path of its own"),
            );
        }
        writes.push(HostWrite {
            path: golden.path.clone(),
            shown: golden.shown.clone(),
            replaces: golden
                .expected
                .as_ref()
                .map(|bytes| format!("file of {}", text::bytes(bytes.len() as u64))),
        });
    }
    (writes, problems)
}
