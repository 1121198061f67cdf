//! What was done to a workspace, as one request that does it again in a fresh one.

use super::{LivingError, Workspaces, enter};
use crate::receipt::{ExecReport, StepOutcome, StepReport, read_receipt};
use crate::request::{
    Action, Expect, Request, Signal, Step, Syntax, TextExpect, canonical_json, parse,
};
use crate::secret::TAG;
use crate::workspace::registry::{HistoryEntry, INTERRUPTED, Page};
use std::collections::BTreeSet;
use std::path::Path;

/// Why steps are left out that held a secret themselves, instead of naming it.
const HIDDEN: &str = "a secret stood in it, which is not kept";

impl Workspaces {
    /// The request that makes such a workspace and does to it what was done to this one: every step that had an effect,
    /// in order, and must end as it did. What only looked at the workspace, and what was refused, not run or interrupted,
    /// is left out.
    ///
    /// # Errors
    /// Where there is no such workspace, or its history cannot be read.
    pub fn as_request(&mut self, name_or_id: &str) -> Result<Request, LivingError> {
        let record = self.find(name_or_id)?;
        let made = self.registry.creating_request(&record.id)?;
        let mut request = read(&made)?;
        let mut left_out = Vec::new();
        let mut ids = BTreeSet::new();
        for entry in self.registry.history(&record.id, Page::All)? {
            if entry.kind == enter::KIND {
                let why = "what was typed there is no part of a request";
                left_out.push(format!("#{} ({}: {why})", entry.sequence, entry.kind));
                continue;
            }
            let steps = read(&entry.request)?.steps;
            let (steps, why) = replayed(&entry, steps);
            // What was taken out of a step cannot be put back into it.
            let hidden = !record.secrets.is_empty() && entry.request.contains(TAG);
            let (steps, why) = match hidden {
                true => (
                    steps.into_iter().filter(is_whole).collect(),
                    Some(HIDDEN.to_owned()),
                ),
                false => (steps, why),
            };
            if let Some(why) = why {
                left_out.push(format!("#{} ({}: {why})", entry.sequence, entry.kind));
            }
            for mut step in steps {
                if step.id.as_ref().is_some_and(|id| !ids.insert(id.clone())) {
                    step.id = None;
                }
                request.steps.push(step);
            }
        }
        request.existing = None;
        request.name = record.name.clone().or(request.name);
        request.description = Some(match left_out.as_slice() {
            [] => format!("What was done to the workspace {}.", record.id),
            left_out => format!(
                "What was done to the workspace {}, as far as that is known: {}.",
                record.id,
                left_out.join(", ")
            ),
        });
        Ok(request)
    }
}

fn read(text: &str) -> Result<Request, LivingError> {
    parse("history", text.as_bytes(), Syntax::Json)
        .map(|(request, _)| request)
        .map_err(|errors| LivingError::History(errors.to_string()))
}

/// Whether nothing was taken out of a step.
fn is_whole(step: &Step) -> bool {
    let alone = Request {
        steps: vec![step.clone()],
        ..Request::default()
    };
    !canonical_json(&alone).contains(TAG)
}

/// The steps of an entry that had an effect, and why they may not be all.
fn replayed(entry: &HistoryEntry, steps: Vec<Step>) -> (Vec<Step>, Option<String>) {
    let why = match entry.outcome.as_deref() {
        None => return (Vec::new(), Some("goes on".to_owned())),
        Some(INTERRUPTED) => return (Vec::new(), Some(INTERRUPTED.to_owned())),
        Some("passed" | "failed") => None,
        Some(other) => Some(other.to_owned()),
    };
    // What a fork brings along was put together from receipts already.
    let Some(receipt) = &entry.receipt else {
        return (steps, why);
    };
    let Ok(receipt) = read_receipt(Path::new(receipt)) else {
        return (Vec::new(), Some("its receipt cannot be read".to_owned()));
    };
    // By their numbers: steps that were not selected have no report.
    let had_effect = |(index, step): (usize, Step)| {
        let report = receipt.steps.iter().find(|one| one.number == index + 1)?;
        with_effect(step, report)
    };
    (
        steps
            .into_iter()
            .enumerate()
            .filter_map(had_effect)
            .collect(),
        why,
    )
}

/// The step as it has to end again; nothing where it changed nothing.
fn with_effect(mut step: Step, report: &StepReport) -> Option<Step> {
    if !may_change(&step.action) {
        return None;
    }
    match (report.outcome, &report.exec) {
        (StepOutcome::Passed, _) => {
            without_goldens(&mut step.expect);
            Some(step)
        }
        // It ran, and what it did it did; only its expectations did not hold.
        (StepOutcome::Failed, Some(exec)) if exec.not_started.is_none() => {
            step.expect = as_it_ended(exec);
            step.retry = None;
            Some(step)
        }
        // A step that is refused changes nothing.
        (
            StepOutcome::Failed | StepOutcome::NotRun | StepOutcome::Cancelled | StepOutcome::Lost,
            _,
        ) => None,
    }
}

fn may_change(action: &Action) -> bool {
    match action {
        Action::Exec(_)
        | Action::Write(_)
        | Action::Patch(_)
        | Action::Delete(_)
        | Action::Move(_)
        | Action::Sync(_)
        | Action::Snapshot(_)
        | Action::Reset(_) => true,
        Action::Read(_)
        | Action::List(_)
        | Action::Search(_)
        | Action::Diff(_)
        | Action::Export(_)
        | Action::Pull(_) => false,
    }
}

/// A golden belongs to the request beside it, which this is not.
fn without_goldens(expect: &mut Expect) {
    let Expect {
        stdout,
        stderr,
        content,
        text,
        ..
    } = expect;
    for expected in [stdout, stderr, content, text] {
        if let Some(of) = expected {
            of.golden = None;
        }
        expected.take_if(|of| *of == TextExpect::default());
    }
}

fn as_it_ended(exec: &ExecReport) -> Expect {
    let signal = exec.signal.and_then(|number| {
        Signal::ALL
            .into_iter()
            .find(|signal| signal.number == number)
    });
    let mut expect = Expect::default();
    match signal {
        _ if exec.timed_out => expect.timed_out = Some(true),
        Some(signal) => expect.signal = Some(signal),
        None if exec.exit_code != 0 => expect.exit = Some(vec![exec.exit_code]),
        None => {}
    }
    expect
}
