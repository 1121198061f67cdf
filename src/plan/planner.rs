//! Checks a request against the facts, step by step, and lowers each step to what will be done.

use super::draft::Draft;
use super::points::{self, Kept};
use super::tree::SymbolicTree;
use super::{
    Certainty, Effect, GoldenUse, HostWrite, LeftOutStep, Plan, PlannedAction, PlannedStep,
    Problem, ProblemCode, Problems, Reach, Slot, exec, expect, export, files, golden, json, moving,
    patching, pull, search, sync, text, values, workspace,
};
use crate::preflight::{Facts, FileFact};
use crate::request::{Action, Digest, Point, Pointer, Request, Step, StepId};
use std::collections::BTreeMap;
use std::path::PathBuf;

/// Plans `request` on a host that is as `facts` say. `source` is how the request is called in messages.
///
/// # Errors
/// Everything that cannot work, in the order of the document.
pub fn plan(request: &Request, facts: &Facts, source: &str) -> Result<Plan, Problems> {
    plan_with(request, facts, source, GoldenUse::Compare)
}

/// As [`plan`], and says what is done about texts that differ from their goldens.
///
/// # Errors
/// As [`plan`].
pub fn plan_with(
    request: &Request,
    facts: &Facts,
    source: &str,
    goldens: GoldenUse,
) -> Result<Plan, Problems> {
    let mut planner = Planner::new(request, facts, goldens);
    let workspace = workspace::plan(request, facts, &mut planner.problems);
    if workspace.limits.disk > 0 {
        planner.disk = workspace.limits.disk;
    }
    let names = workspace.secrets.iter().map(|secret| secret.name.clone());
    planner.secrets = names.collect();
    let steps: Vec<_> = (request.selected())
        .map(|(index, step)| planner.step(index, step))
        .collect();
    let Planner {
        mut problems,
        mut host_writes,
        pulled,
        ..
    } = planner;
    let (writes, against) = golden::host_writes(&steps, &host_writes);
    problems.extend(against);
    host_writes.extend(writes);
    host_writes.extend(pulled);
    let left_out = request.left_out.iter().map(|index| LeftOutStep {
        number: index + 1,
        id: request.steps[*index].id.as_ref().map(ToString::to_string),
    });
    let goldens = facts.goldens.values();
    let read = goldens.filter(|golden| matches!(golden.content, FileFact::Content(_)));
    let read = (facts.from.len() + read.count()) as u64;
    if let Some(problems) = Problems::from_vec(problems) {
        return Err(problems);
    }
    let synced = steps.iter().filter_map(|step| match &step.action {
        PlannedAction::Sync(sync) => Some(&sync.source),
        PlannedAction::Exec(_)
        | PlannedAction::Write(_)
        | PlannedAction::Patch(_)
        | PlannedAction::Delete(_)
        | PlannedAction::Move(_)
        | PlannedAction::Read(_)
        | PlannedAction::List(_)
        | PlannedAction::Search(_)
        | PlannedAction::Diff(_)
        | PlannedAction::Export(_)
        | PlannedAction::Pull(_)
        | PlannedAction::Snapshot(_)
        | PlannedAction::Reset(_)
        | PlannedAction::Refused(_) => None,
    });
    let copied: u64 = (workspace.seed.iter().chain(synced))
        .map(|source| match source.archive {
            Some(_) => 1,
            None => source.files,
        })
        .sum();
    let mut plan = Plan {
        name: request.name.clone(),
        description: request.description.clone(),
        source: source.to_owned(),
        request_digest: json::request_digest(request, facts),
        digest: Digest([0; 32]),
        reach: Reach {
            host_reads: copied + read,
            host_variables: request.env.clone(),
            secrets: workspace.secrets.len() as u64,
            host_writes,
            exposed: workspace.expose.clone(),
            outside: facts.outside.iter().cloned().collect(),
        },
        workspace,
        steps,
        left_out: left_out.collect(),
        redact: request.redact.clone(),
        matrix: request.combination.clone(),
    };
    plan.digest = json::digest(&plan);
    Ok(plan)
}

/// What is known while the steps are gone through.
#[derive(Debug)]
pub(super) struct Planner<'a> {
    pub(super) facts: &'a Facts,
    pub(super) goldens: GoldenUse,
    /// The workspace as it is expected before the next step.
    pub(super) tree: SymbolicTree<'a>,
    /// The numbers of the steps so far that run a command, which may change anything.
    pub(super) commands: Vec<usize>,
    /// Bytes that the workspace may add to the disk.
    pub(super) disk: u64,
    /// The names of the workspace's secrets.
    pub(super) secrets: Vec<String>,
    pub(super) problems: Vec<Problem>,
    pub(super) host_writes: Vec<HostWrite>,
    /// The directories of pulls, each once.
    pub(super) pulled: Vec<HostWrite>,
    /// The host paths of the exports so far: by which step, and whether it is known to be a file.
    pub(super) exported: BTreeMap<PathBuf, export::Exported>,
    /// The states of the workspace that can be gone back to.
    pub(super) kept: BTreeMap<Point, Kept<'a>>,
    ids: BTreeMap<&'a StepId, usize>,
}

impl<'a> Planner<'a> {
    fn new(request: &'a Request, facts: &'a Facts, goldens: GoldenUse) -> Self {
        let lives = request.existing.is_some();
        let tree = match workspace::listing(facts) {
            None if lives || request.workspace.seed.is_some() => SymbolicTree::unknown(),
            listing => SymbolicTree::new(listing),
        };
        let commands = if lives {
            vec![text::OTHERS]
        } else {
            Vec::new()
        };
        Self {
            facts,
            goldens,
            kept: points::at_the_beginning(facts, &tree, &commands),
            tree,
            commands,
            disk: u64::MAX,
            secrets: Vec::new(),
            problems: Vec::new(),
            host_writes: Vec::new(),
            pulled: Vec::new(),
            exported: BTreeMap::new(),
            ids: BTreeMap::new(),
        }
    }

    fn step(&mut self, index: usize, step: &'a Step) -> PlannedStep {
        let Step {
            id,
            action,
            expect,
            always,
            // The request was resolved before it came here.
            interpolate: _,
            capture: _,
            retry,
            late,
        } = step;
        let certainty = if self.commands.is_empty() {
            Certainty::Exact
        } else {
            Certainty::Predicted
        };
        let mut draft = Draft::new(index, expect.fails, certainty).waiting_at(late.keys());
        self.check_id(id.as_ref(), &draft.pointer, index + 1);
        let draft_ref = &mut draft;
        let action = match action {
            Action::Exec(exec) => exec::plan(self, exec, expect, draft_ref),
            Action::Write(write) => files::write(self, write, draft_ref),
            Action::Patch(patch) => patching::plan(self, patch, draft_ref),
            Action::Delete(delete) => files::delete(self, delete, draft_ref),
            Action::Move(wanted) => moving::plan(self, wanted, draft_ref),
            Action::Read(read) => files::read(self, read, expect, draft_ref),
            Action::List(list) => files::list(self, list, expect, draft_ref),
            Action::Search(wanted) => search::plan(self, wanted, expect, draft_ref),
            Action::Diff(diff) => files::diff(self, diff, expect, *always, draft_ref),
            Action::Sync(sync) => sync::plan(self, sync, draft_ref),
            Action::Export(export) => export::plan(self, export, draft_ref),
            Action::Pull(pull) => pull::plan(self, pull, draft_ref),
            Action::Snapshot(snapshot) => points::snapshot(self, snapshot, *always, draft_ref),
            Action::Reset(reset) => points::reset(self, reset, *always, draft_ref),
        };
        expect::check(step, &mut draft);
        let captures = values::captures(step, &mut draft);
        let retry = values::retry(*retry, &mut draft);
        let late = values::late(step, &action, &mut draft);
        // What a patch does whose text nobody knows yet is as open as what a command does.
        let runs_command = matches!(step.action, Action::Exec(_))
            || late.iter().any(|late| late.slot == Slot::Patch);
        if expect.fails && !runs_command && !draft.is_refused() && self.commands.is_empty() {
            draft.note("nothing known here speaks against this step, yet it is expected to fail");
        }
        let refused = expect.fails && draft.is_refused() && self.commands.is_empty();
        let effect = if refused || draft.idle {
            Effect::Nothing
        } else {
            effect(&action).max(golden::effect(&action))
        };
        let problems = draft.settle(&self.commands);
        if draft.certainty == Certainty::Predicted {
            draft.notes.extend(prediction(&action, &self.commands));
        }
        self.problems.extend(problems);
        if runs_command {
            self.commands.push(draft.number);
        }
        PlannedStep {
            number: draft.number,
            id: id.clone(),
            pointer: draft.pointer,
            action,
            certainty: draft.certainty,
            notes: draft.notes,
            always: *always,
            expect_fails: expect.fails,
            changed: expect.changed.clone(),
            captures,
            late,
            retry,
            effect,
        }
    }

    fn check_id(&mut self, id: Option<&'a StepId>, place: &Pointer, number: usize) {
        let Some(id) = id else { return };
        match self.ids.get(id) {
            None => {
                self.ids.insert(id, number);
            }
            Some(first) => self.problems.push(
                Problem::new(
                    ProblemCode::IdTwice,
                    place.at("id"),
                    format!("step {first} is called `{id}` already"),
                )
                .help("give each step a name of its own"),
            ),
        }
    }
}

/// What an action may change.
fn effect(action: &PlannedAction) -> Effect {
    match action {
        PlannedAction::Exec(_)
        | PlannedAction::Write(_)
        | PlannedAction::Patch(_)
        | PlannedAction::Delete(_)
        | PlannedAction::Move(_)
        | PlannedAction::Sync(_)
        | PlannedAction::Reset(_) => Effect::Workspace,
        PlannedAction::Read(_)
        | PlannedAction::List(_)
        | PlannedAction::Search(_)
        | PlannedAction::Diff(_)
        | PlannedAction::Snapshot(_)
        | PlannedAction::Refused(_) => Effect::Nothing,
        PlannedAction::Pull(pull) if pull.dry_run => Effect::Nothing,
        PlannedAction::Export(_) | PlannedAction::Pull(_) => Effect::Host,
    }
}

/// What to keep in mind about a change that is predicted.
fn prediction(action: &PlannedAction, commands: &[usize]) -> Option<String> {
    let commands = text::steps(commands);
    match action {
        PlannedAction::Patch(patch) => {
            let files = match patch.patch.names() {
                1 => "this file",
                _ => "these files",
            };
            Some(format!(
                "{commands} may change {files}; the patch is checked again before anything is written"
            ))
        }
        PlannedAction::Write(_) => Some(format!(
            "{commands} may change what is replaced; what is written stays the same"
        )),
        PlannedAction::Sync(_) => Some(format!(
            "{commands} may change what it is laid over; what is laid over it stays the same"
        )),
        PlannedAction::Exec(_)
        | PlannedAction::Delete(_)
        | PlannedAction::Move(_)
        | PlannedAction::Read(_)
        | PlannedAction::List(_)
        | PlannedAction::Search(_)
        | PlannedAction::Diff(_)
        | PlannedAction::Export(_)
        | PlannedAction::Pull(_)
        | PlannedAction::Snapshot(_)
        | PlannedAction::Reset(_)
        | PlannedAction::Refused(_) => None,
    }
}
