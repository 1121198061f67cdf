//! `pyro workspace start`, `stop` and `delete`.

use super::Here;
use super::args::One;
use super::summary::workspace as show;
use crate::Exit;
use crate::report::workspace::WorkspaceDeletePayload;

pub(super) fn start(args: &One, here: Here<'_>) -> Exit {
    match here.with(args.json, |workspaces| workspaces.start(&args.at.workspace)) {
        Ok(record) => {
            show("started", &record, args.json, here);
            Exit::Ok
        }
        Err(exit) => exit,
    }
}

pub(super) fn stop(args: &One, here: Here<'_>) -> Exit {
    match here.with(args.json, |workspaces| {
        let id = workspaces.find(&args.at.workspace)?.id;
        let inside = workspaces.inside(&id);
        Ok((workspaces.stop(&args.at.workspace)?, inside))
    }) {
        Ok((record, inside)) => {
            note_inside(inside, here);
            show("stopped", &record, args.json, here);
            Exit::Ok
        }
        Err(exit) => exit,
    }
}

pub(super) fn delete(args: &One, here: Here<'_>) -> Exit {
    match here.with(args.json, |workspaces| {
        let found = workspaces.find(&args.at.workspace);
        let inside = found.map_or(0, |record| workspaces.inside(&record.id));
        Ok((workspaces.delete(&args.at.workspace)?, inside))
    }) {
        Ok((id, inside)) => {
            note_inside(inside, here);
            if args.json {
                here.payload(&WorkspaceDeletePayload::explicit(&id));
            } else {
                here.say(&format!("deleted the workspace {id} and all its files"));
            }
            Exit::Ok
        }
        Err(exit) => exit,
    }
}

/// Says that somebody was at a terminal in what has ended.
fn note_inside(inside: u32, here: Here<'_>) {
    match inside {
        0 => {}
        1 => here.terminal.note("somebody was inside, and was told"),
        many => here
            .terminal
            .note(&format!("{many} were inside, and were told")),
    }
}
