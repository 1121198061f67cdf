//! `pyro apply`: runs a request and prints what happened.

use super::args::{Apply, Global};
use super::load::{Findings, fail, load};
use super::outcome;
use super::progress::Progress;
use super::terminal::Terminal;
use crate::Exit;
use crate::execute::{Event, ExecuteError, Ran, execute};
use crate::machine::Cancel;
use crate::plan::Plan;
use crate::receipt::{Outcome, Receipt};
use crate::workspace::{StateDir, StateError};
use std::io;
use std::path::Path;

/// SIGHUP, SIGINT, SIGTERM.
const ENDING_SIGNALS: [i32; 3] = [1, 2, 15];

pub(super) fn apply(args: &Apply, global: &Global, terminal: &Terminal) -> Exit {
    let show = Findings::json(args.json);
    let loaded = match load(&args.source, show, terminal) {
        Ok(loaded) => loaded,
        Err(exit) => return exit,
    };
    let plan = match loaded.plan(show, terminal) {
        Ok(plan) => plan,
        Err(exit) => return exit,
    };
    let mut progress = Progress::new(*terminal, &loaded.document, args.json);
    let ran = match ran(&plan, global, &mut |event| progress.event(&event)) {
        Ok(ran) => ran,
        Err(error) => return cannot(&error, show, terminal),
    };
    drop(progress);
    if args.json {
        terminal.print(&ran.receipt.to_json());
    } else {
        outcome::summary(&ran, terminal);
    }
    match keep(args.receipt.as_deref(), &ran.receipt, terminal) {
        Exit::Ok => exit(&ran.receipt),
        failed => failed,
    }
}

/// Why nothing was run to its end.
#[derive(Debug, thiserror::Error)]
pub(super) enum ApplyError {
    #[error("open pyro's state directory")]
    State(#[source] StateError),
    #[error("catch signals")]
    Signals(#[source] io::Error),
    #[error("run the request")]
    Execute(#[source] ExecuteError),
}

/// Executes a plan; Ctrl-C cancels it.
pub(super) fn ran(
    plan: &Plan,
    global: &Global,
    on_event: &mut dyn FnMut(Event<'_>),
) -> Result<Ran, ApplyError> {
    let state = StateDir::open(global.state_dir.as_deref()).map_err(ApplyError::State)?;
    let cancel = Cancel::new().map_err(ApplyError::Signals)?;
    cancel
        .on_signals(&ENDING_SIGNALS)
        .map_err(ApplyError::Signals)?;
    execute(plan, &state, &cancel, on_event).map_err(ApplyError::Execute)
}

pub(super) fn cannot(error: &ApplyError, show: Findings, terminal: &Terminal) -> Exit {
    match show {
        Findings::Drawn => terminal.failure(error),
        Findings::Json => fail(show, terminal, "machine", &crate::execute::chain(error)),
    }
    Exit::Machine
}

/// Writes the receipt where the user wants it as well.
pub(super) fn keep(path: Option<&Path>, receipt: &Receipt, terminal: &Terminal) -> Exit {
    let Some(path) = path else { return Exit::Ok };
    match receipt.write(path) {
        Ok(()) => Exit::Ok,
        Err(error) => {
            terminal.error(&format!(
                "could not write the receipt {}: {error}",
                path.display()
            ));
            Exit::Machine
        }
    }
}

/// The exit code of a run.
pub(super) fn exit(receipt: &Receipt) -> Exit {
    match receipt.outcome {
        Outcome::Passed => Exit::Ok,
        Outcome::Failed => Exit::Failed,
        Outcome::Cancelled => Exit::Interrupted,
        Outcome::Lost => Exit::Machine,
    }
}
