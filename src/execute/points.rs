//! `snapshot`, `reset`, and what a step changed: the guest keeps and compares, by name.

use super::session::{Session, StepError};
use crate::exclude::Exclude;
use crate::plan::{PlannedAction, PlannedStep};
use crate::receipt::{CountsReport, ExpectFailure, StepReport};
use crate::request::{ChangedExpect, Point, SnapshotName};
use pyro_protocol::Bytes;
use pyro_protocol::message::{
    Change, Kind, MarkRead, MarkRemove, Op, Records, Reply, TreeCompare, TreeMark, TreeReset,
};
use std::path::Path;

/// The mark that a step is held against begins so, and ends with the run, for others may be at it in the same workspace.
/// No snapshot is called so.
pub(crate) const STEP: &str = "Step-";
/// Paths that a failure names.
const NAMED: usize = 20;

impl Session<'_> {
    /// Notes what there is besides the work tree, before the first step; only where a step may go back to it.
    pub(super) fn begin(&mut self) -> Result<(), StepError> {
        if self.begun {
            return Ok(());
        }
        self.begun = true;
        let points = self.plan.steps.iter().any(|step| {
            matches!(
                step.action,
                PlannedAction::Snapshot(_) | PlannedAction::Reset(_)
            )
        });
        if points {
            self.mark(Point::Baseline.as_str(), true)?;
        }
        Ok(())
    }

    fn mark(&mut self, name: &str, contents: bool) -> Result<Records, StepError> {
        let op = Op::TreeMark(TreeMark {
            name: name.to_owned(),
            contents,
            system: contents,
        });
        match self.call(op, None)? {
            (Reply::Records(records), _) => Ok(records),
            (reply, _) => Err(StepError::surprise(&reply)),
        }
    }

    pub(super) fn snapshot(
        &mut self,
        name: &SnapshotName,
        report: &mut StepReport,
    ) -> Result<(), StepError> {
        let records = self.mark(name.as_str(), true)?;
        report.counts = Some(counts(&records));
        if let Some(programs) = records.programs {
            let them = if programs == 1 {
                "process that was"
            } else {
                "processes that were"
            };
            report
                .notes
                .push(format!("{programs} {them} running stood still meanwhile"));
        }
        if !records.left_out.is_empty() {
            let names: Vec<_> = (records.left_out.iter().take(NAMED))
                .map(|path| path.lossy().into_owned())
                .collect();
            let more = match records.left_out.len().saturating_sub(NAMED) {
                0 => String::new(),
                more => format!(" and {more} more"),
            };
            report.notes.push(format!(
                "not kept, because only a program can give it meaning or it cannot be read: {}{more}",
                names.join(", ")
            ));
        }
        Ok(())
    }

    pub(super) fn reset(&mut self, to: &Point, report: &mut StepReport) -> Result<(), StepError> {
        let op = Op::TreeReset(TreeReset {
            to: to.as_str().to_owned(),
            token: Some(reset_token(self.run.id(), self.resets + 1)),
        });
        let records = match self.call(op, None).map_err(|error| not_made(error, to))? {
            (Reply::Records(records), _) => records,
            (reply, _) => return Err(StepError::surprise(&reply)),
        };
        self.resets += 1;
        report.counts = Some(counts(&records));
        report.notes.push(match records.entries {
            0 => "nothing was different".to_owned(),
            1 => "1 path was put back".to_owned(),
            paths => format!("{paths} paths were put back"),
        });
        if let Some(programs) = records.programs {
            let them = if programs == 1 {
                "process"
            } else {
                "processes"
            };
            report.notes.push(format!(
                "{programs} {them} that had been left running ended"
            ));
        }
        Ok(())
    }

    /// Everything that differs from a snapshot, sorted by path.
    pub(super) fn changes_since(&mut self, point: &Point) -> Result<Vec<Change>, StepError> {
        match point {
            Point::Baseline => self.changes(),
            Point::Snapshot(name) => {
                let with = name.as_str().to_owned();
                self.records(Op::TreeCompare(TreeCompare { with }))
                    .map_err(|error| not_made(error, point))
            }
        }
    }

    /// What a file (of a link: its target) was at the time of a snapshot.
    pub(super) fn kept_contents(
        &mut self,
        name: &SnapshotName,
        path: &[u8],
    ) -> Result<Vec<u8>, StepError> {
        let op = Op::MarkRead(MarkRead {
            mark: name.as_str().to_owned(),
            path: Bytes::from(path),
            length: None,
        });
        match self.call(op, None)? {
            (Reply::Data(_), bytes) => Ok(bytes),
            (reply, _) => Err(StepError::surprise(&reply)),
        }
    }

    /// Notes what the work tree is, where a step says what it may change; once, however often it is tried.
    pub(super) fn before(&mut self, step: &PlannedStep) -> Result<(), StepError> {
        if step.changed.is_some() && self.noted != Some(step.number) {
            self.mark(&self.step_mark(), false)?;
            self.noted = Some(step.number);
        }
        Ok(())
    }

    fn step_mark(&self) -> String {
        step_mark(self.run.id())
    }

    /// Forgets the mark that steps were held against: a workspace that lives would keep it for ever.
    pub(super) fn forget_step_mark(&mut self) {
        if self.noted.take().is_some() {
            let name = self.step_mark();
            if let Err(error) = self.call(Op::MarkRemove(MarkRemove { name }), None) {
                log::debug!("could not forget a step's mark: {error:?}");
            }
        }
    }

    /// Holds what a step changed against what it may change.
    pub(super) fn after(
        &mut self,
        step: &PlannedStep,
        report: &mut StepReport,
    ) -> Result<(), StepError> {
        let Some(expected) = &step.changed else {
            return Ok(());
        };
        let changes = self.records(Op::TreeCompare(TreeCompare {
            with: self.step_mark(),
        }))?;
        let changed = without_directories(&changes);
        let place = step.pointer.at("expect").at("changed");
        let (place, wrong, what) = match expected {
            ChangedExpect::Nothing(true) => (place.at("none"), changed, "it was to change nothing"),
            ChangedExpect::Nothing(false) if changed.is_empty() => {
                report.failures.push(ExpectFailure {
                    pointer: place.at("none").to_string(),
                    message: "it was to change something, and changed nothing".to_owned(),
                    expected: None,
                    diff: None,
                });
                return Ok(());
            }
            ChangedExpect::Nothing(false) => return Ok(()),
            ChangedExpect::Only(patterns) => {
                let allowed = Exclude::new(patterns, false);
                let wrong = (changed.into_iter())
                    .filter(|change| !allowed.names(&change.path, is_directory(change)));
                (
                    place.at("only"),
                    wrong.collect(),
                    "it changed what `only` does not name",
                )
            }
        };
        if wrong.is_empty() {
            return Ok(());
        }
        let mut names: Vec<String> = wrong
            .iter()
            .take(NAMED)
            .map(|change| shown(change))
            .collect();
        if wrong.len() > NAMED {
            names.push(format!("and {} more", wrong.len() - NAMED));
        }
        report.failures.push(ExpectFailure {
            pointer: place.to_string(),
            message: format!("{what}: {}", names.join(", ")),
            expected: None,
            diff: None,
        });
        Ok(())
    }
}

/// The mark that the steps of a run are held against.
pub(crate) fn step_mark(run: &str) -> String {
    format!("{STEP}{run}")
}

/// What the agent notes a reset under: whose it was, and how many resets of that run have happened with it.
fn reset_token(run: &str, count: u32) -> String {
    format!("{run} {count}")
}

/// How many resets of a run have happened, by what the agent noted in the folder of a workspace: whoever asked for them may
/// have been killed before hearing of it.
pub(crate) fn resets_noted(folder: &Path, run: &str) -> u32 {
    let count = |name: &str| {
        let noted = std::fs::read_to_string(folder.join("marks").join(name)).ok()?;
        let (_, token) = noted.split_once('\n')?;
        let (whose, count) = token.split_once(' ')?;
        (whose == run).then(|| count.parse().ok()).flatten()
    };
    // Of one that is under way it is certain, too.
    let counts = [".reset", ".resetting"].into_iter().filter_map(count);
    counts.max().unwrap_or(0)
}

fn counts(records: &Records) -> CountsReport {
    CountsReport {
        entries: records.entries,
        bytes: records.bytes,
    }
}

/// The guest knows marks; people know snapshots.
fn not_made(error: StepError, point: &Point) -> StepError {
    match &error {
        StepError::Refused(refusal) if refusal.code == "not-found" => StepError::refused(
            "not-found",
            format!("there is no snapshot `{point}`: the step that makes it was not run"),
        ),
        StepError::Refused(_) | StepError::Cancelled | StepError::Lost(_) => error,
    }
}

fn is_directory(change: &Change) -> bool {
    (change.after.as_ref().or(change.before.as_ref()))
        .is_some_and(|version| version.kind == Kind::Directory)
}

/// A directory that came or went with something in it is told by that.
pub(super) fn without_directories(changes: &[Change]) -> Vec<&Change> {
    let has_more = |index: usize, change: &Change| {
        // Sorted by path: what is in it comes later, maybe with names such as `a-b` before `a/b`.
        let below = [&change.path[..], b"/"].concat();
        changes[index + 1..]
            .iter()
            .take_while(|next| next.path.starts_with(&change.path[..]))
            .any(|next| next.path.starts_with(&below))
    };
    (changes.iter().enumerate())
        .filter(|(index, change)| {
            let came_or_went = change.before.is_none() || change.after.is_none();
            !(is_directory(change) && came_or_went && has_more(*index, change))
        })
        .map(|(_, change)| change)
        .collect()
}

fn shown(change: &Change) -> String {
    let path = change.path.lossy();
    let path: String = path.escape_debug().collect();
    let slash = if is_directory(change) { "/" } else { "" };
    match (&change.before, &change.after) {
        (None, _) => format!("{path}{slash} (new)"),
        (_, None) => format!("{path}{slash} (gone)"),
        (Some(_), Some(_)) => format!("{path}{slash}"),
    }
}
