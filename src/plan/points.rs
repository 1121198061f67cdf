//! `snapshot` and `reset`: the expected tree is kept and put back as the real one is.

use super::draft::Draft;
use super::planner::Planner;
use super::tree::SymbolicTree;
use super::{Certainty, PlannedAction, Problem, ProblemCode, text};
use crate::request::{Point, Pointer, Reset, Snapshot, did_you_mean};

/// What was expected when the workspace was kept.
#[derive(Debug, Clone)]
pub(super) struct Kept<'a> {
    /// The number of the step; 0 for the baseline.
    step: usize,
    /// Whether that step runs after a failure too.
    always: bool,
    tree: SymbolicTree<'a>,
    /// The commands that had run by then.
    commands: Vec<usize>,
}

impl<'a> Kept<'a> {
    /// What is there before the first step.
    pub(super) fn baseline(tree: &SymbolicTree<'a>) -> Self {
        Self {
            step: 0,
            always: true,
            tree: tree.clone(),
            commands: Vec::new(),
        }
    }
}

pub(super) fn snapshot(
    planner: &mut Planner<'_>,
    snapshot: &Snapshot,
    always: bool,
    draft: &mut Draft,
) -> PlannedAction {
    whole(planner, "snapshot", draft);
    let point = Point::Snapshot(snapshot.name.clone());
    match planner.kept.get(&point) {
        Some(first) => draft.host(
            Problem::new(
                ProblemCode::SnapshotTwice,
                draft.pointer.at("snapshot"),
                format!("step {} makes the snapshot `{point}` already", first.step),
            )
            .help("give each snapshot a name of its own"),
        ),
        // Told at its own place if it cannot be made; what speaks of it later is right to.
        None if !draft.expect_fails => {
            let kept = Kept {
                step: draft.number,
                always,
                tree: planner.tree.clone(),
                commands: planner.commands.clone(),
            };
            planner.kept.insert(point, kept);
        }
        None => {}
    }
    PlannedAction::Snapshot(snapshot.name.clone())
}

pub(super) fn reset(
    planner: &mut Planner<'_>,
    reset: &Reset,
    always: bool,
    draft: &mut Draft,
) -> PlannedAction {
    whole(planner, "reset", draft);
    known(
        planner,
        &reset.to,
        &draft.pointer.at("reset"),
        always,
        draft,
    );
    if draft.takes_effect()
        && let Some(kept) = planner.kept.get(&reset.to)
    {
        if !planner.commands.is_empty() {
            draft.note("whatever is running by then is ended");
        }
        planner.tree = kept.tree.clone();
        planner.commands.clone_from(&kept.commands);
        draft.certainty = if kept.commands.is_empty() {
            Certainty::Exact
        } else {
            draft.note(format!(
                "what {} did by the time of the snapshot stays",
                text::steps(&kept.commands)
            ));
            Certainty::Predicted
        };
    }
    PlannedAction::Reset(reset.to.clone())
}

/// Says why there is no such state to speak of, if there is none.
pub(super) fn known(
    planner: &Planner<'_>,
    point: &Point,
    place: &Pointer,
    always: bool,
    draft: &mut Draft,
) {
    let Some(kept) = planner.kept.get(point) else {
        let names = planner.kept.keys().map(Point::as_str);
        let help = match did_you_mean(point.as_str(), names) {
            Some(near) => format!("did you mean `{near}`?"),
            None => "an earlier step has to make it: `snapshot = \"NAME\"`".to_owned(),
        };
        let known: Vec<_> = planner
            .kept
            .keys()
            .map(|known| format!("`{known}`"))
            .collect();
        draft.host(
            Problem::new(
                ProblemCode::SnapshotMissing,
                place.clone(),
                format!("no earlier step makes a snapshot `{point}`"),
            )
            .note(format!("known by then: {}", known.join(", ")))
            .help(help),
        );
        return;
    };
    if always && !kept.always {
        draft.note(format!(
            "this step runs after a failure too, and is refused if step {} did not come to make `{point}`",
            kept.step
        ));
    }
}

/// Both trees are kept and put back, or neither.
fn whole(planner: &Planner<'_>, verb: &str, draft: &mut Draft) {
    if planner.facts.environment.is_some() {
        draft.host(
            Problem::new(
                ProblemCode::SnapshotRefused,
                draft.pointer.at(verb),
                "what commands change in a `dir:` environment cannot be kept and put back yet",
            )
            .help("use the environment `host`, whose writable part is kept and put back whole"),
        );
    }
}
