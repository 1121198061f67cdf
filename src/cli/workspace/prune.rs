//! `pyro workspace prune`.

use super::Here;
use super::args::Prune as Args;
use crate::Exit;
use crate::cli::table::{cell, table};
use crate::cli::terminal::Tone;
use crate::living::{Prune, Pruned};
use serde_json::{Value, json};

pub(super) fn prune(args: &Args, here: Here<'_>) -> Exit {
    let pruned = match here.with(args.json, |workspaces| workspaces.prune(args.dry_run)) {
        Ok(pruned) => pruned,
        Err(exit) => return exit,
    };
    if args.json {
        here.payload(&payload(&pruned, args.dry_run));
        return Exit::Ok;
    }
    if pruned.is_empty() {
        here.say("nothing to prune");
        return Exit::Ok;
    }
    let head = ["ID", "NAME", "WHAT", "WHY"];
    let mut rows = vec![head.map(|title| cell(title).tone(Tone::Faint)).to_vec()];
    for one in &pruned {
        rows.push(vec![
            cell(one.id.as_str()),
            cell(one.name.as_deref().unwrap_or("-")),
            cell(match (one.what, args.dry_run) {
                (Prune::Stop, true) => "would stop",
                (Prune::Stop, false) => "stopped",
                (_, true) => "would delete",
                (_, false) => "deleted",
            }),
            cell(one.what.words()),
        ]);
    }
    here.terminal.print(&table(&rows, here.terminal));
    Exit::Ok
}

fn payload(pruned: &[Pruned], dry_run: bool) -> Value {
    let (stopped, deleted): (Vec<_>, Vec<_>) =
        pruned.iter().partition(|pruned| pruned.what == Prune::Stop);
    let deleted: Vec<_> = deleted
        .iter()
        .map(|pruned| {
            json!({
                "workspace_id": pruned.id.as_str(),
                "name": pruned.name,
                "deleted": !dry_run,
                "reason": pruned.what.as_str(),
            })
        })
        .collect();
    let stopped: Vec<_> = stopped.iter().map(|pruned| pruned.id.as_str()).collect();
    json!({
        "count": deleted.len(),
        "deleted": deleted,
        "stopped": stopped,
        "dry_run": dry_run,
    })
}
