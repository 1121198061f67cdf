//! A plan is executed in a workspace that lives, and written into its history.

use super::ask::ask;
use super::made::Made;
use super::noted::hidden;
use super::{LivingError, Workspaces};
use crate::execute::{Event, Goldens, Living, Ran, STEP_MARK, execute_in, hide};
use crate::machine::Cancel;
use crate::plan::{Plan, PlannedAction, PlannedStep};
use crate::receipt::{Outcome, OutputReport, Receipt, StepOutcome, StepReport};
use crate::workspace::registry::{
    Command, Ended, Entry, MAX_OUTPUT, Output, SnapshotRecord, WorkspaceId,
};
use crate::workspace::{Home, Timestamp, marks};
use pyro_protocol::message::{MarkRemove, Op};
use std::fs;
use std::os::unix::fs::DirBuilderExt as _;
use std::path::{Path, PathBuf};

/// Entries of the history whose long outputs are kept.
const KEEP_OUTPUTS: u64 = 20;

impl Workspaces {
    /// Executes a plan in the workspace that it names.
    ///
    /// # Errors
    /// Where the workspace is gone or stopped, or the receipt cannot be written. A step that fails is no error.
    pub fn run(
        &mut self,
        plan: &Plan,
        cancel: &Cancel,
        goldens: &Goldens,
        on_event: &mut dyn FnMut(Event<'_>),
    ) -> Result<Ran, LivingError> {
        let existing = plan.workspace.existing.as_ref();
        let named = existing.and_then(|it| Some((WorkspaceId::parse(&it.id)?, &it.noted)));
        let Some((id, noted)) = named else {
            unreachable!("the plan names a workspace that lives");
        };
        let record = self.find(id.as_str())?;
        if (plan.steps.iter()).any(|step| matches!(step.action, PlannedAction::Pull(_))) {
            // A pull that was killed may have left that very directory half-done.
            self.sweep_folders()?;
        }
        for mended in self.mended() {
            on_event(Event::Mended(&mended.to_string()));
        }
        Self::started(&record)?;
        let home = self.home(&id)?;
        // Without them nothing may be run: they could not be taken out of what comes of it.
        let names = record.secrets.iter().map(|secret| secret.name.as_str());
        let secrets = home.secrets(names)?;
        let plan = &*hide::plan(plan, secrets.redaction());
        let noted = &hidden(noted, secrets.redaction());
        self.forget_unregistered(&home, &id, plan)?;
        self.forget_step_marks(&home);
        let isolation = Made::read(&home)?.isolation;
        let link = self.connect(&home, &id)?;
        let run = match plan.steps.iter().any(needs_folder) {
            true => self.state.new_run()?,
            false => self.state.new_note()?,
        };
        let entry = entry(plan, noted, run.id());
        let is_activity = entry.is_activity;
        let sequence = self.registry.begin(&id, &entry)?;
        let folder = self.folder(&home, sequence)?;
        let living = Living {
            link,
            home: &home.run(),
            pulled: &home.path().join("pulled"),
            isolation,
            secrets: &secrets,
        };
        let ran = execute_in(plan, living, (&run, &folder), cancel, goldens, on_event);
        let ran = ran.map_err(LivingError::Execute)?;
        self.follow(&id, plan, &ran.receipt)?;
        self.registry.end(&id, sequence, &ended(plan, &ran))?;
        if is_activity {
            home.touch()?;
        }
        run.remove()?;
        Ok(Ran {
            sequence: Some(sequence),
            ..ran
        })
    }

    /// Removes what would be in the way of the plan's snapshots: marks of commands that were killed before the registry
    /// knew of them.
    fn forget_unregistered(
        &mut self,
        home: &Home,
        id: &WorkspaceId,
        plan: &Plan,
    ) -> Result<(), LivingError> {
        for step in &plan.steps {
            let PlannedAction::Snapshot(name) = &step.action else {
                continue;
            };
            let name = name.as_str();
            let mark = home.run().join("marks").join(format!("{name}.work"));
            // While something goes on, it may be what marks.
            if !mark.exists()
                || self.registry.goes_on(id)?
                || self.registry.snapshot(id, name).is_ok()
            {
                continue;
            }
            let op = Op::MarkRemove(MarkRemove {
                name: name.to_owned(),
            });
            ask(home, op)?;
        }
        Ok(())
    }

    /// Removes what steps were held against whose commands were killed: nobody else would.
    fn forget_step_marks(&self, home: &Home) {
        let marks = marks(home).unwrap_or_default();
        for name in marks {
            let run = name.strip_prefix(STEP_MARK);
            if run.is_none_or(|run| self.state.is_alive(run)) {
                continue;
            }
            // Another command may be faster; what stays is small, and in nobody's way.
            if let Err(error) = ask(home, Op::MarkRemove(MarkRemove { name })) {
                log::debug!("could not forget the mark of a step: {error:?}");
            }
        }
    }

    /// Where the receipt of an entry lies.
    fn folder(&self, home: &Home, sequence: u64) -> Result<PathBuf, LivingError> {
        let history = home.path().join("history");
        let folder = history.join(sequence.to_string());
        let mut builder = fs::DirBuilder::new();
        builder.recursive(true).mode(0o700);
        builder
            .create(&folder)
            .map_err(|source| LivingError::WriteMade {
                path: folder.clone(),
                source,
            })?;
        if let Some(old) = sequence.checked_sub(KEEP_OUTPUTS) {
            thin(&history.join(old.to_string()));
        }
        Ok(folder)
    }

    /// The registry follows what steps did to snapshots and to the workspace as a whole.
    fn follow(
        &mut self,
        id: &WorkspaceId,
        plan: &Plan,
        receipt: &Receipt,
    ) -> Result<(), LivingError> {
        for (step, report) in plan.steps.iter().zip(&receipt.steps) {
            if report.outcome != StepOutcome::Passed || report.refusal.is_some() {
                continue;
            }
            let (entries, bytes) = report
                .counts
                .as_ref()
                .map_or((0, 0), |counts| (counts.entries, counts.bytes));
            match &step.action {
                PlannedAction::Snapshot(name) => {
                    let name = name.as_str().to_owned();
                    let snapshot = SnapshotRecord::named(name, Self::now(), entries, bytes);
                    self.registry.add_snapshot(id, &snapshot)?;
                }
                // Counts with the end of the whole.
                PlannedAction::Reset(_)
                | PlannedAction::Exec(_)
                | PlannedAction::Write(_)
                | PlannedAction::Patch(_)
                | PlannedAction::Delete(_)
                | PlannedAction::Move(_)
                | PlannedAction::Read(_)
                | PlannedAction::List(_)
                | PlannedAction::Search(_)
                | PlannedAction::Diff(_)
                | PlannedAction::Sync(_)
                | PlannedAction::Export(_)
                | PlannedAction::Pull(_)
                | PlannedAction::Refused(_) => {}
            }
        }
        Ok(())
    }
}

/// Whether something is made in the folder of the run for a step.
fn needs_folder(step: &PlannedStep) -> bool {
    matches!(&step.action, PlannedAction::Sync(sync) if sync.source.archive.is_some())
}

/// Removes the long outputs of an old entry; its receipt stays.
fn thin(folder: &Path) {
    for output in fs::read_dir(folder).into_iter().flatten().flatten() {
        if output.file_name() != "receipt.json" {
            let _gone = fs::remove_file(output.path());
        }
    }
}

fn entry(plan: &Plan, noted: &str, run: &str) -> Entry {
    let (kind, command) = match plan.steps.as_slice() {
        [only] => (only.action.verb().to_owned(), command(only)),
        _ => ("apply".to_owned(), None),
    };
    let looks = |step: &PlannedStep| {
        matches!(
            step.action,
            PlannedAction::Read(_)
                | PlannedAction::List(_)
                | PlannedAction::Search(_)
                | PlannedAction::Diff(_)
                | PlannedAction::Export(_)
                | PlannedAction::Pull(_)
        )
    };
    Entry {
        run: run.to_owned(),
        kind,
        request: noted.to_owned(),
        command,
        began_at: Timestamp::now(),
        is_activity: !plan.steps.iter().all(looks),
    }
}

fn command(step: &PlannedStep) -> Option<Command> {
    let PlannedAction::Exec(exec) = &step.action else {
        return None;
    };
    Some(Command {
        text: exec.shown.clone(),
        cwd: exec.cwd.lossy().into_owned(),
    })
}

fn ended(plan: &Plan, ran: &Ran) -> Ended {
    let Ran { receipt, path, .. } = ran;
    let only = match receipt.steps.as_slice() {
        [only] => Some(only),
        _ => None,
    };
    let output = |of: fn(&StepReport) -> Option<&OutputReport>| {
        only.and_then(of).map(output).unwrap_or_default()
    };
    Ended {
        ended_at: Timestamp::now(),
        outcome: outcome(receipt.outcome),
        exit_code: only.and_then(|step| Some(step.exec.as_ref()?.exit_code)),
        duration_ms: receipt.duration_ms,
        stdout: output(|step| step.stdout.as_ref()),
        stderr: output(|step| step.stderr.as_ref()),
        receipt: Some(path.display().to_string()),
        resets: resets(plan, receipt),
    }
}

/// How many resets happened.
fn resets(plan: &Plan, receipt: &Receipt) -> u32 {
    let steps = plan.steps.iter().zip(&receipt.steps);
    let happened = steps.filter(|(step, report)| {
        // Where it does not pass for what is expected of it, it happened all the same.
        matches!(step.action, PlannedAction::Reset(_))
            && report.counts.is_some()
            && report.refusal.is_none()
    });
    u32::try_from(happened.count()).unwrap_or(u32::MAX)
}

fn outcome(outcome: Outcome) -> String {
    outcome.as_str().to_owned()
}

fn output(report: &OutputReport) -> Output {
    let mut text = report.head.text.clone();
    let mut truncated = report.truncated;
    if text.len() > MAX_OUTPUT {
        let end = text.floor_char_boundary(MAX_OUTPUT);
        text.truncate(end);
        truncated = true;
    }
    Output {
        text,
        truncated,
        file: report.file.clone(),
    }
}
