//! Saved plans on the command line: the one to run, and why one is not saved or not run.

use super::args::Global;
use super::load::{Findings, Loaded, Refusal};
use super::terminal::{Terminal, visible};
use crate::execute::chain;
use crate::plan::Plan;
use crate::render::Finding;
use crate::saved::{SavedError, SavedPlan};
use crate::{Exit, Options};
use std::path::Path;

/// How many inputs that changed are named on a terminal.
const NAMED: usize = 20;

/// The plan that was saved, and its request. What speaks against it has been shown where there is none.
pub(super) fn load(
    path: &Path,
    global: &Global,
    show: Findings,
    terminal: &Terminal,
) -> Result<(Loaded, Plan), Exit> {
    let saved = SavedPlan::load(path).map_err(|error| refused(&error, show, terminal))?;
    let (request, document) = saved.request().map_err(|errors| {
        let refusal = Refusal::Document {
            document: errors.document().clone(),
            found: Vec::<Finding>::from(&errors),
            exit: Exit::Input,
        };
        super::load::refused(&[refusal], show, terminal)
    })?;
    let options = Options {
        state_dir: global.state_dir.clone(),
        source: document.name.clone(),
        ..Options::default()
    };
    let loaded = Loaded {
        request,
        document,
        options,
        file: None,
    };
    match saved.check(&loaded.options) {
        Ok(plan) => Ok((loaded, plan)),
        Err(error) => Err(loaded.refuse(&error, show, terminal)),
    }
}

/// How to exit where a plan is not saved, or a saved one not run.
pub(super) fn exit(error: &SavedError) -> Exit {
    if error.changes().is_empty() {
        Exit::Input
    } else {
        Exit::Plan
    }
}

/// Shows why a plan is not saved, or a saved one not run, and says how to exit.
pub(super) fn refused(error: &SavedError, show: Findings, terminal: &Terminal) -> Exit {
    let changes = error.changes();
    match show {
        Findings::Drawn => {
            terminal.error(&chain(error));
            // A single one is in the message already.
            let listed = if changes.len() > 1 { changes } else { &[] };
            for change in listed.iter().take(NAMED) {
                let (kind, name) = change.input();
                let line = format!("  {kind:<11}  {name}  {}\n", change.shown());
                terminal.err(visible(&line).as_bytes());
            }
            if changes.len() > NAMED {
                let more = format!("  and {} more\n", changes.len() - NAMED);
                terminal.err(more.as_bytes());
            }
            terminal.help(error.help());
            terminal.hint(&format!("`pyro explain {}` has more", error.code()));
        }
        Findings::Json => {
            let changes = changes.iter().map(|change| {
                let (kind, name) = change.input();
                serde_json::json!({ "kind": kind, "name": name, "was": change.was, "is": change.is })
            });
            let told = serde_json::json!({
                "ok": false,
                "error": { "code": error.code(), "message": chain(error), "help": error.help() },
                "changed": changes.collect::<Vec<_>>(),
            });
            terminal.print(&format!("{told:#}\n"));
        }
    }
    exit(error)
}
