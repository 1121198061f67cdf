//! `pyro workspace logs` and `pyro workspace history`.

use super::Here;
use super::args::{History, One};
use super::summary::ago;
use crate::Exit;
use crate::cli::table::{cell, table};
use crate::cli::terminal::{Tone, visible};
use crate::report::workspace::{HistoryPayload, LogsPayload};
use crate::request::{Syntax, emit};
use crate::workspace::Timestamp;
use crate::workspace::registry::Page;

pub(super) fn logs(args: &One, here: Here<'_>) -> Exit {
    let logs = here.with(args.json, |workspaces| {
        let record = workspaces.find(&args.at.workspace)?;
        let entries = workspaces.registry().logs(&record.id, Page::All)?;
        Ok((record, entries))
    });
    let (record, entries) = match logs {
        Ok(logs) => logs,
        Err(exit) => return exit,
    };
    if args.json {
        here.payload(&LogsPayload::new(&record.id, &entries));
        return Exit::Ok;
    }
    if entries.is_empty() {
        here.say("no command has run in it since it was made, or put back");
    }
    for entry in &entries {
        let command = entry.command.as_ref();
        let text = command.map_or("", |command| &command.text);
        let ended = match (&entry.exit_code, &entry.outcome) {
            (Some(code), _) => format!("exit {code}"),
            (None, Some(outcome)) => outcome.clone(),
            (None, None) => "running".to_owned(),
        };
        let took = entry
            .duration_ms
            .map_or_else(String::new, |ms| format!(", {ms} ms"));
        let head = format!("#{} {ended}{took}", entry.sequence);
        here.terminal
            .print(&format!("{}\n", here.terminal.tone(Tone::Strong, &head)));
        here.terminal.print(&format!("$ {}\n", visible(text)));
        for output in [&entry.stdout, &entry.stderr] {
            here.terminal.print(&visible(&output.text));
            if !output.text.is_empty() && !output.text.ends_with('\n') {
                here.terminal.print("\n");
            }
            if output.truncated {
                let rest = output.file.as_deref().unwrap_or("not kept");
                here.terminal.note(&format!("there was more: {rest}"));
            }
        }
    }
    Exit::Ok
}

pub(super) fn history(args: &History, here: Here<'_>) -> Exit {
    if args.request {
        return match here.with(args.json, |workspaces| {
            workspaces.as_request(&args.at.workspace)
        }) {
            Ok(request) => {
                here.terminal.print(&emit(&request, Syntax::Toml));
                Exit::Ok
            }
            Err(exit) => exit,
        };
    }
    let page = args.limit.map_or(Page::All, Page::Last);
    let history = here.with(args.json, |workspaces| {
        let record = workspaces.find(&args.at.workspace)?;
        let entries = workspaces.registry().history(&record.id, page)?;
        Ok((record, entries))
    });
    let (record, entries) = match history {
        Ok(history) => history,
        Err(exit) => return exit,
    };
    if args.json {
        here.payload(&HistoryPayload::new(&record.id, &entries));
        return Exit::Ok;
    }
    let now = Timestamp::now();
    let head = ["#", "WHEN", "WHAT", "OUTCOME", "COMMAND"];
    let mut rows = vec![head.map(|title| cell(title).tone(Tone::Faint)).to_vec()];
    for entry in &entries {
        let outcome = match (entry.outcome.as_deref(), entry.exit_code) {
            (None, _) => "running".to_owned(),
            // A shell that ends with a code has not failed.
            (Some(outcome), Some(code)) if entry.kind == "enter" => {
                format!("{outcome}, exit {code}")
            }
            (Some(outcome), _) => outcome.to_owned(),
        };
        let command = entry.command.as_ref().map_or("", |command| &command.text);
        rows.push(vec![
            cell(entry.sequence.to_string()).right(),
            cell(ago(entry.began_at, now)),
            cell(&entry.kind),
            cell(outcome),
            cell(command),
        ]);
    }
    here.terminal.print(&table(&rows, here.terminal));
    Exit::Ok
}
