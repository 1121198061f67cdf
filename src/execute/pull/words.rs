//! What is said of a pull that does not happen.

use crate::execute::session::StepError;
use crate::receipt::{PullReport, RefusalReport, Text};
use crate::workspace::pull::{NotBrought, PullError};

/// How many paths a message names; the report has all.
const NAMED: usize = 20;

pub(super) fn names<'a>(paths: impl ExactSizeIterator<Item = &'a [u8]>) -> String {
    let more = paths.len().saturating_sub(NAMED);
    let mut names: Vec<_> = paths
        .take(NAMED)
        .map(|path| Text::from(path).text)
        .collect();
    if more > 0 {
        names.push(format!("{more} more"));
    }
    names.join(", ")
}

pub(super) fn conflicting(told: &PullReport) -> RefusalReport {
    let count = match told.conflicts.len() {
        1 => "1 path does".to_owned(),
        count => format!("{count} paths do"),
    };
    let mut message = format!("{count} not go together with what is on the host");
    for conflict in told.conflicts.iter().take(NAMED) {
        message.push_str(&format!("\n{}: {}", conflict.path.text, conflict.reason));
    }
    if told.conflicts.len() > NAMED {
        message.push_str(&format!("\nand {} more", told.conflicts.len() - NAMED));
    }
    RefusalReport {
        code: "pull-conflict".to_owned(),
        message,
        help: Some(
            "settle it on either side, or leave these paths out (`exclude`); nothing was changed"
                .to_owned(),
        ),
        reasons: Vec::new(),
    }
}

pub(super) fn not_brought(not: &NotBrought) -> StepError {
    let error = match &not.stuck {
        None => refused(&not.why),
        Some(stuck) => refused(stuck),
    };
    match error {
        StepError::Refused(refusal) if not.left.is_empty() => StepError::Refused(refusal),
        StepError::Refused(mut refusal) => {
            let left: Vec<_> = (not.left.iter().take(NAMED))
                .map(|path| path.display().to_string())
                .collect();
            refusal.message.push_str(&format!(
                "\nsomebody changed meanwhile, and it stays as it is: {}; what was there before is in {}",
                left.join(", "),
                not.stage.display()
            ));
            StepError::Refused(refusal)
        }
        StepError::Cancelled | StepError::Lost(_) => error,
    }
}

pub(super) fn refused(error: &PullError) -> StepError {
    let (code, help) = match error {
        PullError::Changed(_) | PullError::Moved(_) => (
            "pull-changed",
            Some("try again when nothing writes there any more; nothing was changed"),
        ),
        PullError::Busy(_) => ("pull-busy", Some("try again when the other one is over")),
        PullError::NotTakenBack { .. } => ("pull-failed", None),
        PullError::NotADirectory(_)
        | PullError::Elsewhere(_)
        | PullError::TooLarge { .. }
        | PullError::Host { .. } => ("pull-failed", Some("nothing was changed")),
    };
    StepError::Refused(RefusalReport {
        code: code.to_owned(),
        message: error.in_words(),
        help: help.map(str::to_owned),
        reasons: Vec::new(),
    })
}
