//! `pyro workspace list`, `status` and `update`.

use super::Here;
use super::args::{List, One, Update};
use super::summary::{ago, labels, status_of, tone, until, workspace as show};
use crate::Exit;
use crate::cli::load::{Findings, fail};
use crate::cli::table::{cell, table};
use crate::cli::terminal::Tone;
use crate::report::workspace::WorkspaceListPayload;
use crate::request::Duration;
use crate::workspace::Timestamp;
use crate::workspace::registry::{Change, NameChange, Record};

pub(super) fn list(args: &List, here: Here<'_>) -> Exit {
    let listed = match here.with(args.json, |workspaces| workspaces.list()) {
        Ok(listed) => listed,
        Err(exit) => return exit,
    };
    let wanted = |record: &Record| {
        let labels = &record.labels;
        (args.label.iter()).all(|(key, value)| labels.get(key) == Some(value))
    };
    let listed: Vec<_> = listed
        .into_iter()
        .filter(|entry| entry.as_ref().map_or(args.label.is_empty(), &wanted))
        .collect();
    if args.json {
        here.payload(&WorkspaceListPayload::from(&listed[..]));
        return Exit::Ok;
    }
    let mut records = Vec::new();
    for entry in listed {
        match entry {
            Ok(record) => records.push(record),
            Err(damaged) => here.terminal.note(&format!(
                "what is known of one workspace is damaged: {damaged} (`pyro workspace delete` removes it)"
            )),
        }
    }
    if records.is_empty() {
        here.say("no workspaces; `pyro workspace create host` makes one");
        return Exit::Ok;
    }
    let now = Timestamp::now();
    let head = [
        "ID",
        "NAME",
        "STATE",
        "ENVIRONMENT",
        "USED",
        "EXPIRES",
        "COMMANDS",
        "LABELS",
    ];
    let mut rows = vec![head.map(|title| cell(title).tone(Tone::Faint)).to_vec()];
    for record in &records {
        rows.push(vec![
            cell(record.id.as_str()),
            cell(record.name.as_deref().unwrap_or("-")),
            cell(record.state.as_str()).tone(tone(record.state)),
            cell(&record.environment),
            cell(ago(record.last_activity_at, now)),
            cell(until(record.expires_at(), now)),
            cell(record.command_count.to_string()).right(),
            cell(labels(record)),
        ]);
    }
    here.terminal.print(&table(&rows, here.terminal));
    Exit::Ok
}

pub(super) fn status(args: &One, here: Here<'_>) -> Exit {
    match here.with(args.json, |workspaces| {
        let record = workspaces.find(&args.at.workspace)?;
        let inside = workspaces.inside(&record.id);
        Ok((record, inside))
    }) {
        Ok((record, inside)) => {
            status_of(&record, inside, args.json, here);
            Exit::Ok
        }
        Err(exit) => exit,
    }
}

pub(super) fn update(args: &Update, here: Here<'_>) -> Exit {
    let ttl = match (&args.ttl, args.ttl_seconds) {
        (Some(text), _) => match Duration::parse(text) {
            Ok(ttl) => Some(ttl.as_millis()),
            Err(near) => {
                let near = near.map(|near| format!("; did you mean `{near}`?"));
                let message = format!("`{text}` is no duration{}", near.unwrap_or_default());
                fail(
                    Findings::json(args.json),
                    here.terminal,
                    "bad-duration",
                    &message,
                );
                return Exit::Input;
            }
        },
        (None, seconds) => seconds.map(|seconds| u64::from(seconds) * 1000),
    };
    let change = Change {
        name: match (&args.name, args.clear_name) {
            (Some(name), _) => NameChange::Set(name.clone()),
            (None, true) => NameChange::Clear,
            (None, false) => NameChange::Keep,
        },
        labels: args.label.iter().cloned().collect(),
        clear_labels: args.clear_label.iter().cloned().collect(),
        ttl_ms: ttl,
    };
    match here.with(args.json, |workspaces| {
        workspaces.update(&args.at.workspace, &change)
    }) {
        Ok(record) => {
            show("updated", &record, args.json, here);
            Exit::Ok
        }
        Err(exit) => exit,
    }
}
