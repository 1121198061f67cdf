//! A plan for a workspace that lives: nothing is made and nothing ended, the steps run beside whatever else does.

use super::session::Session;
use super::{Event, ExecuteError, Goldens, Lost, Progress, Ran, chain, hide};
use crate::machine::{Cancel, Link};
use crate::plan::{Plan, PlannedAction};
use crate::receipt::Receipt;
use crate::request::Point;
use crate::secret::Secrets;
use crate::workspace::{Baseline, RunDir, Timestamp};
use std::os::unix::net::UnixStream;
use std::path::Path;
use std::time::Instant;

/// The workspace that the steps run in.
#[derive(Debug)]
pub struct Living<'a> {
    /// A connection to its keeper.
    pub link: UnixStream,
    /// Its folder, with the baseline.
    pub home: &'a Path,
    /// Where it is noted what was brought home from it.
    pub pulled: &'a Path,
    /// How it is kept apart, in words.
    pub isolation: Vec<String>,
    /// What it keeps.
    pub secrets: &'a Secrets,
}

/// Executes a plan in a workspace that lives. `run` is this command's own folder, `folder` the receipt's.
///
/// # Errors
/// Where the receipt cannot be written. A failed step, a cancelled run and a machine that died are outcomes in the
/// receipt.
pub fn execute_in(
    plan: &Plan,
    living: Living<'_>,
    (run, folder): (&RunDir, &Path),
    cancel: &Cancel,
    goldens: &Goldens,
    on_event: &mut dyn FnMut(Event<'_>),
) -> Result<Ran, ExecuteError> {
    let started = Timestamp::now();
    let clock = Instant::now();
    let Living {
        link,
        home,
        pulled,
        isolation,
        secrets,
    } = living;
    let plan = &*hide::plan(plan, secrets.redaction());
    let mut progress = Progress::new(plan, secrets, clock);
    progress.isolation = isolation;
    on_event(Event::Started {
        plan,
        redaction: secrets.redaction(),
    });
    let opened = Link::open(link)
        .map_err(Lost::Link)
        .and_then(|link| Ok((link, baseline(plan, home)?)));
    match opened {
        Ok((link, baseline)) => {
            let mut session = Session::new(link, plan, run, folder, cancel, &baseline);
            session.goldens = goldens.clone();
            session.secrets = secrets.clone();
            pulled.clone_into(&mut session.pulled);
            // Its keeper saw to that when it was made.
            session.begun = true;
            progress.all_steps(&mut session, cancel, on_event);
            session.forget_step_mark();
        }
        Err(lost) => progress.lost = Some(chain(&lost)),
    }
    progress.not_run(on_event);
    let receipt = progress.receipt(run.id().to_owned(), started, clock);
    let path = folder.join("receipt.json");
    write(&receipt, &path)?;
    on_event(Event::Ended {
        receipt: &receipt,
        path: &path,
    });
    Ok(Ran {
        receipt,
        path,
        sequence: None,
    })
}

fn write(receipt: &Receipt, path: &Path) -> Result<(), ExecuteError> {
    receipt
        .write(path)
        .map_err(|source| ExecuteError::WriteReceipt {
            path: path.to_owned(),
            source,
        })
}

/// What the workspace was when it was made; read only where a step compares with it.
fn baseline(plan: &Plan, home: &Path) -> Result<Baseline, Lost> {
    let compares = plan.steps.iter().any(|step| match &step.action {
        PlannedAction::Diff(diff) => diff.against == Point::Baseline,
        PlannedAction::Pull(_) => true,
        PlannedAction::Exec(_)
        | PlannedAction::Write(_)
        | PlannedAction::Patch(_)
        | PlannedAction::Delete(_)
        | PlannedAction::Move(_)
        | PlannedAction::Read(_)
        | PlannedAction::List(_)
        | PlannedAction::Search(_)
        | PlannedAction::Sync(_)
        | PlannedAction::Export(_)
        | PlannedAction::Snapshot(_)
        | PlannedAction::Reset(_)
        | PlannedAction::Refused(_) => false,
    });
    match compares {
        true => Baseline::open(home).map_err(Lost::Baseline),
        false => Ok(Baseline::default()),
    }
}
