//! Takes secrets out of what a plan says, before anybody is shown it. What it does stays the same.

use crate::plan::{Plan, PlannedAction, PlannedStep};
use crate::secret::Redaction;
use std::borrow::Cow;

/// The plan as it may be shown.
pub(crate) fn plan<'p>(plan: &'p Plan, redaction: &Redaction) -> Cow<'p, Plan> {
    if redaction.is_none() {
        return Cow::Borrowed(plan);
    }
    let mut plan = plan.clone();
    for text in [&mut plan.name, &mut plan.description]
        .into_iter()
        .flatten()
    {
        redaction.string(text);
    }
    for text in plan.matrix.0.values_mut() {
        redaction.string(text);
    }
    for step in &mut plan.steps {
        self::step(step, redaction);
    }
    Cow::Owned(plan)
}

/// A step as it may be shown.
pub(super) fn step(step: &mut PlannedStep, redaction: &Redaction) {
    if redaction.is_none() {
        return;
    }
    for note in &mut step.notes {
        redaction.string(note);
    }
    if let PlannedAction::Exec(exec) = &mut step.action {
        redaction.string(&mut exec.shown);
    }
}
