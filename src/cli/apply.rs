//! `pyro apply`: runs requests and prints what happened.

use super::args::{Apply, Global};
use super::load::{Findings, Loaded, Refusal, fail, read_request, refused};
use super::outcome;
use super::progress::{Progress, Rendering};
use super::reports::{Reports, can_report};
use super::review;
use super::saved;
use super::several;
use super::terminal::Terminal;
use crate::batch::{Batch, BatchEnd, PlannedRun, RunEnd, select};
use crate::execute::{Goldens, chain};
use crate::machine::Spare;
use crate::receipt::{Outcome, Receipt};
use crate::request::Selection;
use crate::workspace::StateDir;
use crate::{Cancel, Error, Exit, Options};
use std::collections::BTreeMap;
use std::io;
use std::path::{Path, PathBuf};

/// SIGHUP, SIGINT, SIGTERM.
const ENDING_SIGNALS: [i32; 3] = [1, 2, 15];

pub(super) fn apply(
    args: &Apply,
    spare: Option<Spare>,
    global: &Global,
    terminal: &Terminal,
) -> Exit {
    let show = Findings::json(args.json);
    let stdout = events_only(args);
    if stdout && args.json {
        terminal.error("`--json` and `--events -` both want standard output");
        return Exit::Input;
    }
    if !can_keep("receipt", args.receipt.as_deref(), terminal) || !can_report(args, terminal) {
        return Exit::Input;
    }
    if args.review && !review::possible() {
        let message = "`--review` asks on a terminal, and there is none; `--update-goldens` writes without asking";
        fail(show, terminal, "usage", message);
        return Exit::Input;
    }
    let cancel = match Cancel::new().map_err(Error::Cancel) {
        Ok(cancel) => cancel,
        Err(error) => {
            fail(show, terminal, "machine", &chain(&error));
            return Exit::Machine;
        }
    };
    let goldens = match (args.review, args.choice.update_goldens) {
        (true, _) => review::goldens(*terminal, cancel.clone()),
        (false, true) => Goldens::update(),
        (false, false) => Goldens::compare(),
    };
    let planned = match &args.plan {
        None => plan_requests(args, &goldens, global, show, terminal),
        Some(path) => saved::load(path, global, show, terminal).map(|(loaded, plan)| {
            let options = loaded.options.clone();
            let runs = vec![PlannedRun { plan, options }];
            Planned {
                loaded: vec![loaded],
                owners: vec![0],
                batch: Batch { runs },
            }
        }),
    };
    let Planned {
        loaded,
        owners,
        batch,
    } = match planned {
        Ok(planned) => planned,
        Err(exit) => return exit,
    };
    if let Err(error) = cancel.on_signals(&ENDING_SIGNALS) {
        return loaded[0].refuse(&Error::Cancel(error), show, terminal);
    }
    let calm = &terminal.calm();
    let terminal = if args.review { calm } else { terminal };
    // What is printed depends on what was asked for, not on how many files a directory happens to hold.
    let several = match args.requests.as_slice() {
        [] => false,
        [one] => one.is_dir(),
        _several => true,
    };
    let several = several || loaded.iter().any(|one| !one.request.matrix.is_empty());
    let mut reports = match Reports::begin(args, &batch, terminal) {
        Ok(reports) => reports,
        Err(exit) => return exit,
    };
    let documents = owners.iter().map(|owner| &loaded[*owner].document);
    let style = Rendering {
        silent: args.json || stdout,
        several,
        at_once: args.jobs > 1 && batch.runs.len() > 1,
    };
    let mut progress = Progress::new(*terminal, documents.collect(), style);
    let spare = spare.unwrap_or_else(Spare::begin);
    let end = batch.apply(spare, usize::from(args.jobs), &cancel, &mut |event| {
        reports.event(&event);
        progress.event(&event);
    });
    drop(progress);
    let reported = reports.end(&end, terminal);
    let exit = if several {
        several_ended(&end, args, terminal)
    } else {
        one_ended(&end, &loaded[0], args, terminal)
    };
    exit.worse(reported)
}

/// What is going to run.
struct Planned {
    loaded: Vec<Loaded>,
    /// For each run, which of `loaded` it belongs to.
    owners: Vec<usize>,
    batch: Batch,
}

/// Whether standard output is for events alone.
fn events_only(args: &Apply) -> bool {
    args.events.as_deref() == Some(Path::new("-"))
}

/// The requests as they are now, planned. What is wrong has been shown where there are none.
fn plan_requests(
    args: &Apply,
    goldens: &Goldens,
    global: &Global,
    show: Findings,
    terminal: &Terminal,
) -> Result<Planned, Exit> {
    let state = StateDir::place(global.state_dir.as_deref()).ok();
    let paths = select(&args.requests, state.as_deref()).map_err(|error| {
        fail(show, terminal, "nothing-selected", &chain(&error));
        Exit::Input
    })?;
    if paths.len() > 1 && args.choice.selection() != Selection::default() {
        let message =
            "`--from`, `--until` and `--only` name steps of one request, and here are several";
        fail(show, terminal, "usage", message);
        return Err(Exit::Input);
    }
    plan_all(&paths, args, goldens, global).map_err(|refusals| refused(&refusals, show, terminal))
}

/// Reads and plans everything before anything runs; all reasons against it, of all requests.
fn plan_all(
    paths: &[PathBuf],
    args: &Apply,
    goldens: &Goldens,
    global: &Global,
) -> Result<Planned, Vec<Refusal>> {
    let mut refusals = Vec::new();
    let mut loaded = Vec::new();
    for path in paths {
        match read_request(path, BTreeMap::new(), global) {
            Ok(mut request) => {
                request.options.goldens = goldens.clone();
                request.options.selection = args.choice.selection();
                loaded.push(request);
            }
            Err(refusal) => refusals.push(refusal),
        }
    }
    give_vars(&args.vars, &mut loaded);
    let mut batch = Batch::default();
    let mut owners = Vec::new();
    for (owner, one) in loaded.iter().enumerate() {
        let (runs, against) = combinations(one);
        owners.extend(runs.iter().map(|_| owner));
        batch.runs.extend(runs);
        refusals.extend(against);
    }
    if refusals.is_empty() {
        Ok(Planned {
            loaded,
            owners,
            batch,
        })
    } else {
        Err(refusals)
    }
}

/// Plans each combination of a request. What speaks against several of them is told once.
pub(super) fn combinations(loaded: &Loaded) -> (Vec<PlannedRun>, Vec<Refusal>) {
    let mut runs = Vec::new();
    let mut against: Vec<(Refusal, Vec<String>)> = Vec::new();
    let mut count = 0;
    for matrix in loaded.request.combinations() {
        count += 1;
        let options = Options {
            matrix: matrix.clone(),
            ..loaded.options.clone()
        };
        match loaded.request.plan(&options) {
            Ok(plan) => runs.push(PlannedRun { plan, options }),
            Err(error) => {
                let refusal = loaded.refusal(&error);
                let same = |(known, _): &&mut (Refusal, _)| known.same_as(&refusal);
                match against.iter_mut().find(same) {
                    Some((_, names)) => names.push(matrix.to_string()),
                    None => against.push((refusal, vec![matrix.to_string()])),
                }
            }
        }
    }
    let against = against.into_iter().map(|(mut refusal, names)| {
        if names.len() < count {
            refusal.note(&format!("with {}", names.join(" and with ")));
        }
        refusal
    });
    (runs, against.collect())
}

/// Each request gets the variables that it has. One that none has goes to the first, which says so.
fn give_vars(vars: &[(String, String)], loaded: &mut [Loaded]) {
    for (name, value) in vars {
        let mut taken = false;
        for one in &mut *loaded {
            if one.request.vars.contains_key(name) {
                one.options.vars.insert(name.clone(), value.clone());
                taken = true;
            }
        }
        if let (false, Some(first)) = (taken, loaded.first_mut()) {
            first.options.vars.insert(name.clone(), value.clone());
        }
    }
}

/// Shows how the only run ended.
fn one_ended(end: &BatchEnd, loaded: &Loaded, args: &Apply, terminal: &Terminal) -> Exit {
    let receipt = match end.ends.first() {
        Some(RunEnd::Ran(ran)) => {
            if args.json {
                terminal.print(&ran.receipt.to_json());
            } else if !events_only(args) {
                outcome::summary(&ran.receipt, terminal);
                outcome::receipt(&ran.receipt, &ran.path, terminal);
            }
            &ran.receipt
        }
        Some(RunEnd::Error(error)) => {
            return loaded.refuse(error, Findings::json(args.json), terminal);
        }
        // A signal before the run began.
        Some(RunEnd::NotRun) | None => return Exit::Interrupted,
    };
    let kept = keep(args.receipt.as_deref(), receipt, terminal);
    if kept == Exit::Ok {
        exit(receipt.outcome)
    } else {
        kept
    }
}

/// Shows how all runs ended.
fn several_ended(end: &BatchEnd, args: &Apply, terminal: &Terminal) -> Exit {
    if args.json {
        terminal.print(&end.report.to_json());
    } else if !events_only(args) {
        several::summary(&end.report, terminal);
    }
    let kept = keep_file(args.receipt.as_deref(), terminal, |path| {
        end.report.write(path)
    });
    kept.worse(exit(end.report.outcome))
}

/// Ctrl-C and its like cancel the run: it ends its sandbox and still writes the receipt.
pub(super) fn cancel_on_signals() -> Result<Cancel, Error> {
    let cancel = Cancel::new().map_err(Error::Cancel)?;
    cancel.on_signals(&ENDING_SIGNALS).map_err(Error::Cancel)?;
    Ok(cancel)
}

/// Says before anything runs that a document (a receipt, a report) could not be written where the user wants it.
pub(super) fn can_keep(what: &str, path: Option<&Path>, terminal: &Terminal) -> bool {
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
        "could not write the {what} {}: {reason}",
        path.display()
    ));
    false
}

/// Writes the receipt where the user wants it as well.
pub(super) fn keep(path: Option<&Path>, receipt: &Receipt, terminal: &Terminal) -> Exit {
    keep_file(path, terminal, |path| receipt.write(path))
}

fn keep_file(
    path: Option<&Path>,
    terminal: &Terminal,
    write: impl FnOnce(&Path) -> io::Result<()>,
) -> Exit {
    let Some(path) = path else { return Exit::Ok };
    match write(path) {
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
fn exit(outcome: Outcome) -> Exit {
    match outcome {
        Outcome::Passed => Exit::Ok,
        Outcome::Failed => Exit::Failed,
        Outcome::Cancelled => Exit::Interrupted,
        Outcome::Lost => Exit::Machine,
    }
}
