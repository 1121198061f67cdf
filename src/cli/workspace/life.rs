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
    match here.with(args.json, |workspaces| workspaces.stop(&args.at.workspace)) {
        Ok(record) => {
            show("stopped", &record, args.json, here);
            Exit::Ok
        }
        Err(exit) => exit,
    }
}

pub(super) fn delete(args: &One, here: Here<'_>) -> Exit {
    match here.with(args.json, |workspaces| {
        workspaces.delete(&args.at.workspace)
    }) {
        Ok(id) => {
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
