//! `pyro workspace fork`.

use super::Here;
use super::args::Fork as Args;
use super::summary;
use crate::Exit;
use crate::living::Fork;
use crate::receipt::Text;
use crate::report::workspace::WorkspacePayload;

pub(super) fn fork(args: &Args, here: Here<'_>) -> Exit {
    let fork = Fork {
        name: args.name.clone(),
        labels: args.label.iter().cloned().collect(),
    };
    let forked = match here.with(args.json, |workspaces| {
        workspaces.fork(&args.at.workspace, &fork)
    }) {
        Ok(forked) => forked,
        Err(exit) => return exit,
    };
    let left_out: Vec<_> = (forked.left_out.iter())
        .map(|path| Text::from(&path[..]).text)
        .collect();
    if args.json {
        let payload = WorkspacePayload::from(&forked.record);
        let mut payload = serde_json::to_value(payload).expect("payloads are data");
        payload["forked_from"] = forked.from.as_str().into();
        payload["left_out"] = left_out.into();
        here.payload(&payload);
        return Exit::Ok;
    }
    if !left_out.is_empty() {
        let paths = left_out.join(", ");
        here.terminal.note(&format!(
            "the fork does not have what no program outside can hold or read: {paths}"
        ));
    }
    if args.id_only {
        here.terminal.print(&format!("{}\n", forked.record.id));
    } else {
        let done = format!("forked from {}", forked.from);
        summary::workspace(&done, &forked.record, false, here);
    }
    Exit::Ok
}
