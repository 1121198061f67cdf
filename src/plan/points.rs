//! `snapshot` and `reset`: the expected tree is kept and put back as the real one is.

use super::draft::Draft;
use super::planner::Planner;
use super::tree::SymbolicTree;
use super::{Certainty, PlannedAction, Problem, ProblemCode, text};
use crate::preflight::{ExistingFact, Facts};
use crate::request::{Point, Pointer, Reset, Snapshot, did_you_mean};
use std::collections::BTreeMap;

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

/// What can be gone back to before the first step: the baseline, and the snapshots of a workspace that lives.
pub(super) fn at_the_beginning<'a>(
    facts: &Facts,
    tree: &SymbolicTree<'a>,
    commands: &[usize],
) -> BTreeMap<Point, Kept<'a>> {
    let kept = Kept {
        step: 0,
        always: true,
        tree: tree.clone(),
        commands: commands.to_vec(),
    };
    let names = match &facts.existing {
        Some(ExistingFact::Found(living)) => &living.snapshots[..],
        Some(ExistingFact::Missing(_) | ExistingFact::Several(_) | ExistingFact::Unusable(_))
        | None => &[],
    };
    let points = names.iter().filter_map(|name| Point::parse(name));
    points
        .chain([Point::Baseline])
        .map(|point| (point, kept.clone()))
        .collect()
}

pub(super) fn snapshot(
    planner: &mut Planner<'_>,
    snapshot: &Snapshot,
    always: bool,
    draft: &mut Draft,
) -> PlannedAction {
    let point = Point::Snapshot(snapshot.name.clone());
    match planner.kept.get(&point) {
        Some(first) => draft.host(
            Problem::new(
                ProblemCode::SnapshotTwice,
                draft.pointer.at("snapshot"),
                match first.step {
                    0 => format!("the workspace has a snapshot `{point}` already"),
                    step => format!("step {step} makes the snapshot `{point}` already"),
                },
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
            if kept.step > 0 {
                draft.note(format!(
                    "what {} did by the time of the snapshot stays",
                    text::steps(&kept.commands)
                ));
            }
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
                match planner.facts.existing {
                    None => format!("no earlier step makes a snapshot `{point}`"),
                    Some(_) => format!(
                        "the workspace has no snapshot `{point}`, and no earlier step makes one"
                    ),
                },
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
