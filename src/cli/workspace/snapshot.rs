//! `pyro workspace snapshot` and `pyro workspace reset`.

use super::args::{One, Reset, SnapshotDelete, SnapshotOne};
use super::summary::ago;
use super::used::run_step;
use super::{Here, answer};
use crate::Exit;
use crate::cli::table::{cell, table};
use crate::cli::terminal::Tone;
use crate::report::workspace::{SnapshotCreatePayload, SnapshotDeletePayload, SnapshotListPayload};
use crate::request::{Request, Step};
use crate::workspace::Timestamp;
use crate::workspace::registry::State;

pub(super) fn create(args: &SnapshotOne, here: Here<'_>) -> Exit {
    let request = Request::in_workspace(&args.at.workspace).step(Step::snapshot(&args.snapshot));
    let name = "pyro workspace snapshot create";
    let used = match run_step(name, request, &args.answer, here) {
        Ok(used) => used,
        Err(exit) => return exit,
    };
    if !args.answer.json {
        here.say(&format!("kept the workspace as {}", args.snapshot));
        return Exit::Ok;
    }
    let made = here.with(true, |workspaces| {
        let record = workspaces.find(&used.id)?;
        let snapshots = workspaces.registry().snapshots(&record.id)?;
        Ok((record, snapshots))
    });
    let (record, snapshots) = match made {
        Ok(made) => made,
        Err(exit) => return exit,
    };
    let made = snapshots
        .iter()
        .find(|snapshot| snapshot.name == args.snapshot);
    if let Some(made) = made {
        here.payload(&SnapshotCreatePayload::new(&record, made));
    }
    Exit::Ok
}

pub(super) fn list(args: &One, here: Here<'_>) -> Exit {
    let listed = here.with(args.json, |workspaces| {
        let record = workspaces.find(&args.at.workspace)?;
        let snapshots = workspaces.registry().snapshots(&record.id)?;
        Ok((record, snapshots))
    });
    let (record, snapshots) = match listed {
        Ok(listed) => listed,
        Err(exit) => return exit,
    };
    if args.json {
        here.payload(&SnapshotListPayload::new(&record.id, &snapshots));
        return Exit::Ok;
    }
    let now = Timestamp::now();
    let head = ["SNAPSHOT", "KIND", "MADE", "ENTRIES", "BYTES"];
    let mut rows = vec![head.map(|title| cell(title).tone(Tone::Faint)).to_vec()];
    for snapshot in &snapshots {
        rows.push(vec![
            cell(&snapshot.name),
            cell(snapshot.kind.as_str()),
            cell(ago(snapshot.created_at, now)),
            cell(snapshot.entry_count.to_string()).right(),
            cell(snapshot.bytes.to_string()).right(),
        ]);
    }
    here.terminal.print(&table(&rows, here.terminal));
    Exit::Ok
}

pub(super) fn delete(args: &SnapshotDelete, here: Here<'_>) -> Exit {
    let gone = here.with(args.json, |workspaces| {
        workspaces.forget_snapshot(&args.at.workspace, &args.snapshot)
    });
    match gone {
        Ok(id) => {
            if args.json {
                here.payload(&SnapshotDeletePayload::new(&id, &args.snapshot));
            } else {
                here.say(&format!("forgot the snapshot {}", args.snapshot));
            }
            Exit::Ok
        }
        Err(exit) => exit,
    }
}

pub(super) fn reset(args: &Reset, here: Here<'_>) -> Exit {
    // A stopped workspace is started for it, as the users of the command know it.
    if args.answer.emit.is_none() {
        let started = here.with(args.answer.json, |workspaces| {
            let record = workspaces.find(&args.at.workspace)?;
            match record.state {
                State::Stopped => workspaces.start(&args.at.workspace).map(|_| ()),
                State::Started | State::Creating | State::Deleting => Ok(()),
            }
        });
        if let Err(exit) = started {
            return exit;
        }
    }
    let request = Request::in_workspace(&args.at.workspace).step(Step::reset(&args.snapshot));
    let used = match run_step("pyro workspace reset", request, &args.answer, here) {
        Ok(used) => used,
        Err(exit) => return exit,
    };
    if !args.answer.json {
        let notes = used
            .step()
            .map(|step| step.notes.join("; "))
            .unwrap_or_default();
        here.say(&format!(
            "put the workspace back to {} ({notes})",
            args.snapshot
        ));
        return Exit::Ok;
    }
    let now = here.with(true, |workspaces| {
        let record = workspaces.find(&used.id)?;
        let snapshot = (workspaces.registry()).snapshot(&record.id, &args.snapshot)?;
        Ok((record, snapshot))
    });
    match now {
        Ok((record, snapshot)) => {
            here.payload(&answer::reset(&used, &record, &snapshot));
            Exit::Ok
        }
        Err(exit) => exit,
    }
}
