//! `pyro workspace pull`.

use super::args::Pull;
use super::used::{End, passed, run};
use super::{Here, answer};
use crate::Exit;
use crate::cli::load::{Findings, fail};
use crate::receipt::{PullReport, StepReport, Text};
use crate::request::{Request, Step, literal};
use crate::workspace::registry::SeedMode;

const NAME: &str = "pyro workspace pull";

pub(super) fn pull(args: &Pull, here: Here<'_>) -> Exit {
    let directory = match &args.directory {
        Some(directory) => directory.clone(),
        None => match where_it_came_from(args, here) {
            Ok(directory) => directory,
            Err(exit) => return exit,
        },
    };
    let mut step = Step::pull(literal(&directory));
    for pattern in &args.exclude {
        step = step.exclude(pattern);
    }
    if args.exact {
        step = step.match_exact();
    }
    if args.dry_run {
        step = step.dry_run();
    }
    let request = Request::in_workspace(&args.at.workspace).step(step);
    let used = match run(NAME, request, &args.answer, here, &mut |_| {}).map_err(End::exit) {
        Ok(used) => used,
        Err(exit) => return exit,
    };
    let step = used.step();
    if let Some((step, pull)) = step.and_then(|step| Some((step, step.pull.as_ref()?)))
        && !args.answer.json
    {
        told(step, pull, here);
    }
    let used = match passed(used, &args.answer, here) {
        Ok(used) => used,
        Err(exit) => return exit,
    };
    let Some(step) = used.step() else {
        return Exit::Machine;
    };
    if args.answer.json {
        here.payload(&answer::pull(&used, step));
    }
    Exit::Ok
}

/// The directory that the workspace was filled from.
fn where_it_came_from(args: &Pull, here: Here<'_>) -> Result<String, Exit> {
    let json = args.answer.json;
    let record = here.with(json, |workspaces| workspaces.find(&args.at.workspace))?;
    match (record.seed.mode, record.seed.path) {
        (SeedMode::Directory, Some(path)) => Ok(path),
        (SeedMode::Directory | SeedMode::TarArchive | SeedMode::Empty, _) => {
            let message = format!(
                "the workspace {} was not filled from a directory, so where its changes go has to be said: \
                 `pyro workspace pull {} DIR`",
                record.id, args.at.workspace
            );
            fail(
                Findings::json(json),
                here.terminal,
                "pull-missing",
                &message,
            );
            Err(Exit::Input)
        }
    }
}

/// For people: each path, and how many there are.
fn told(step: &StepReport, pull: &PullReport, here: Here<'_>) {
    for note in step.notes.iter().filter(|note| *note != NOTHING) {
        here.terminal.note(note);
    }
    let stopped = step.refusal.is_some();
    for change in &pull.changes {
        here.say(&format!("{} {}", change.how.as_str(), change.path.text));
    }
    let paths = match pull.changes.len() {
        1 => "1 path".to_owned(),
        paths => format!("{paths} paths"),
    };
    let directory = &pull.directory.text;
    let same = match pull.already {
        0 => String::new(),
        already => format!(" ({already} the same there already)"),
    };
    match (pull.dry_run, pull.changes.is_empty()) {
        (_, _) if stopped && !pull.dry_run => {}
        (_, true) if stopped => {}
        (_, true) => here.say(&format!("{NOTHING} to {directory}{same}")),
        (true, false) => here.say(&format!("would bring {paths} home to {directory}{same}")),
        (false, false) => here.say(&format!("brought {paths} home to {directory}{same}")),
    }
    if let Some(text) = &step.text {
        here.terminal.out(&Text::bytes(text));
    }
}

/// The executor's words where there is nothing to do.
const NOTHING: &str = "nothing to bring home";
