//! What was done to a workspace, as one request that does it again in a fresh one.

use super::{LivingError, Workspaces};
use crate::request::{Action, Expect, Request, Step, Syntax, parse};
use crate::workspace::registry::{HistoryEntry, Page};
use std::collections::BTreeSet;

impl Workspaces {
    /// The request that makes such a workspace and does to it what was done to this one: every step that had an effect,
    /// in order. What only looked at the workspace, and what was refused or interrupted, is left out.
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
            let whole = matches!(entry.outcome.as_deref(), Some("passed" | "failed"));
            let steps = read(&entry.request)?.steps;
            if !whole {
                left_out.push(format!("#{} ({})", entry.sequence, entry.kind));
                continue;
            }
            let single = steps.len() == 1;
            for mut step in steps {
                if !changes(&step) || (single && was_refused(&entry)) {
                    continue;
                }
                if step.id.as_ref().is_some_and(|id| !ids.insert(id.clone())) {
                    step.id = None;
                }
                if single && let Some(code) = entry.exit_code {
                    expect_exit(&mut step.expect, &step.action, code);
                }
                request.steps.push(step);
            }
        }
        request.existing = None;
        request.name = record.name.clone().or(request.name);
        request.description = Some(match left_out.as_slice() {
            [] => format!("What was done to the workspace {}.", record.id),
            left_out => format!(
                "What was done to the workspace {}, without what did not come to an end: {}.",
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

/// Whether it may have changed the workspace.
fn changes(step: &Step) -> bool {
    match step.action {
        Action::Exec(_)
        | Action::Write(_)
        | Action::Patch(_)
        | Action::Delete(_)
        | Action::Sync(_)
        | Action::Snapshot(_)
        | Action::Reset(_) => true,
        Action::Read(_) | Action::List(_) | Action::Diff(_) | Action::Export(_) => false,
    }
}

/// A step that is refused changes nothing; a program that ends with another code may have.
fn was_refused(entry: &HistoryEntry) -> bool {
    entry.outcome.as_deref() == Some("failed") && entry.exit_code.is_none()
}

/// The program must end as it did.
fn expect_exit(expect: &mut Expect, action: &Action, code: i32) {
    if matches!(action, Action::Exec(_)) && code != 0 && expect.exit.is_none() {
        match code {
            124 => expect.timed_out = Some(true),
            code => expect.exit = Some(vec![code]),
        }
    }
}
