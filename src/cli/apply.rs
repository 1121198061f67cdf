//! `pyro apply`: runs a request and prints what happened.

use super::args::{Apply, Global};
use super::load::{Findings, load};
use super::outcome;
use super::progress::Progress;
use super::terminal::Terminal;
use crate::machine::Spare;
use crate::receipt::{Outcome, Receipt};
use crate::{Cancel, Error, Exit};
use std::path::Path;

/// SIGHUP, SIGINT, SIGTERM.
const ENDING_SIGNALS: [i32; 3] = [1, 2, 15];

pub(super) fn apply(
    args: &Apply,
    spare: Option<Spare>,
    global: &Global,
    terminal: &Terminal,
) -> Exit {
    let show = Findings::json(args.json);
    if !can_keep(args.receipt.as_deref(), terminal) {
        return Exit::Input;
    }
    let mut loaded = match load(&args.source, global, show, terminal) {
        Ok(loaded) => loaded,
        Err(exit) => return exit,
    };
    let plan = match loaded.plan(show, terminal) {
        Ok(plan) => plan,
        Err(exit) => return exit,
    };
    let ran = cancel_on_signals().and_then(|cancel| {
        loaded.options.cancel = Some(cancel);
        let mut progress = Progress::new(*terminal, &loaded.document, args.json);
        plan.apply_with(
            spare.unwrap_or_else(Spare::begin),
            &loaded.options,
            &mut |event| progress.event(&event),
        )
    });
    let ran = match ran {
        Ok(ran) => ran,
        Err(error) => return loaded.refuse(&error, show, terminal),
    };
    if args.json {
        terminal.print(&ran.receipt.to_json());
    } else {
        outcome::summary(&ran, terminal);
    }
    let kept = keep(args.receipt.as_deref(), &ran.receipt, terminal);
    if kept == Exit::Ok {
        exit(&ran.receipt)
    } else {
        kept
    }
}

/// Ctrl-C and its like cancel the run: it ends its sandbox and still writes the receipt.
pub(super) fn cancel_on_signals() -> Result<Cancel, Error> {
    let cancel = Cancel::new().map_err(Error::Cancel)?;
    cancel.on_signals(&ENDING_SIGNALS).map_err(Error::Cancel)?;
    Ok(cancel)
}

/// Says before anything runs that a receipt could not be written where the user wants it.
pub(super) fn can_keep(path: Option<&Path>, terminal: &Terminal) -> bool {
    let Some(path) = path else { return true };
    let folder = path
        .parent()
        .filter(|parent| !parent.as_os_str().is_empty());
    let folder = folder.unwrap_or(Path::new("."));
    let reason = match rustix::fs::access(folder, rustix::fs::Access::WRITE_OK) {
        Ok(()) if path.is_dir() => "it is a directory".to_owned(),
        Ok(()) => return true,
        Err(errno) => format!("{}: {}", folder.display(), std::io::Error::from(errno)),
    };
    terminal.error(&format!(
        "could not write the receipt {}: {reason}",
        path.display()
    ));
    false
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
