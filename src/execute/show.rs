//! The frame of a step's report.

use crate::plan::{PlannedAction, PlannedStep};
use crate::receipt::{StepOutcome, StepReport};
use crate::request::GuestPath;
use std::collections::BTreeMap;

/// A report to fill in.
pub(super) fn begin(step: &PlannedStep) -> StepReport {
    StepReport {
        number: step.number,
        id: step.id.as_ref().map(ToString::to_string),
        verb: step.action.verb().to_owned(),
        pointer: step.pointer.to_string(),
        summary: summary(&step.action),
        outcome: StepOutcome::NotRun,
        duration_ms: 0,
        exec: None,
        stdout: None,
        stderr: None,
        files: Vec::new(),
        moved: None,
        search: None,
        sync: None,
        text: None,
        counts: None,
        entries: Vec::new(),
        rest: None,
        changes: Vec::new(),
        host_files: Vec::new(),
        pull: None,
        refusal: None,
        failures: Vec::new(),
        notes: Vec::new(),
        captures: BTreeMap::new(),
        attempts: Vec::new(),
        redacted: false,
    }
}

/// The report of a step that was passed over.
pub(super) fn not_run(step: &PlannedStep) -> StepReport {
    begin(step)
}

/// What a step is about, in one line.
pub fn summary(action: &PlannedAction) -> String {
    let paths = |paths: &[GuestPath]| match paths {
        [path] => path.to_string(),
        [first, rest @ ..] => format!("{first} and {} more", rest.len()),
        [] => String::new(),
    };
    match action {
        PlannedAction::Exec(exec) => exec.shown.clone(),
        PlannedAction::Write(write) => paths(
            &write
                .files
                .iter()
                .map(|file| file.path.clone())
                .collect::<Vec<_>>(),
        ),
        PlannedAction::Patch(patch) => match patch.patch.names() {
            1 => "1 file".to_owned(),
            count => format!("{count} files"),
        },
        PlannedAction::Delete(delete) => paths(&delete.paths),
        PlannedAction::Move(moving) => format!("{} -> {}", moving.from, moving.to),
        PlannedAction::Read(read) => paths(&read.paths),
        PlannedAction::List(list) => list.path.to_string(),
        PlannedAction::Search(search) => format!("/{}/", search.regex),
        PlannedAction::Diff(diff) => format!("against {}", diff.against),
        PlannedAction::Snapshot(name) => name.to_string(),
        PlannedAction::Reset(to) => format!("to {to}"),
        PlannedAction::Refused(_) => "refused before anything is sent".to_owned(),
        PlannedAction::Sync(sync) if sync.to.is_root() => sync.source.shown.clone(),
        PlannedAction::Sync(sync) => format!("{} -> {}", sync.source.shown, sync.to),
        PlannedAction::Pull(pull) => format!("-> {}", pull.shown),
        PlannedAction::Export(export) => format!("{} -> {}", export.path, export.shown),
    }
}
