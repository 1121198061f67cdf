//! `pyro du` and `pyro clean`: what pyro keeps, and removing it.

use super::args::{Clean, Du, Global};
use super::load::{Findings, fail};
use super::outcome::plural;
use super::table::{cell, table};
use super::terminal::{Terminal, Tone, visible};
use crate::Exit;
use crate::execute::chain;
use crate::request::Duration;
use crate::workspace::{StateDir, StateError, Stored, StoredKind, Timestamp};
use serde_json::{Value, json};
use std::path::Path;

/// The kinds, with what people call one and many of them.
const KINDS: [(StoredKind, &str, &str); 6] = [
    (StoredKind::Receipt, "receipts", "receipt"),
    (StoredKind::Kept, "kept trees", "kept tree"),
    (StoredKind::Workspace, "workspaces", "workspace"),
    (StoredKind::Baseline, "baselines", "baseline"),
    (StoredKind::Leftover, "leftovers", "leftover"),
    (StoredKind::Running, "running", "running"),
];

/// What is kept; nothing, and nothing made, where there is no state directory yet.
fn stored(global: &Global) -> Result<(Option<StateDir>, Vec<Stored>), StateError> {
    let place = StateDir::place(global.state_dir.as_deref())?;
    if !place.exists() {
        return Ok((None, Vec::new()));
    }
    let state = StateDir::open(Some(&place))?;
    let stored = state.stored()?;
    Ok((Some(state), stored))
}

fn told(error: &StateError, show: Findings, terminal: &Terminal) -> Exit {
    fail(show, terminal, "state", &chain(error));
    Exit::Machine
}

pub(super) fn du(args: &Du, global: &Global, terminal: &Terminal) -> Exit {
    let show = Findings::json(args.json);
    let (state, stored) = match stored(global) {
        Ok(stored) => stored,
        Err(error) => return told(&error, show, terminal),
    };
    let place = state.as_ref().map(StateDir::path);
    if args.json {
        let mut value = data(&stored);
        value["state_dir"] = place.map(|path| path.display().to_string()).into();
        terminal.print(&format!("{value:#}\n"));
        return Exit::Ok;
    }
    let mut rows = Vec::new();
    for (kind, many, _) in KINDS {
        let (count, bytes, outputs) = sum(&stored, kind);
        if count == 0 && kind != StoredKind::Receipt {
            continue;
        }
        let row = |what: &str, count: String, bytes: u64| {
            vec![cell(what), cell(count).right(), cell(size(bytes)).right()]
        };
        rows.push(row(many, count.to_string(), bytes - outputs));
        if kind == StoredKind::Receipt {
            rows.push(row("their outputs", String::new(), outputs));
        }
    }
    let total = stored.iter().map(|one| one.bytes).sum();
    rows.push(vec![
        cell("total").tone(Tone::Strong),
        cell(""),
        cell(size(total)).right(),
        cell(
            place
                .map(|path| path.display().to_string())
                .unwrap_or_default(),
        ),
    ]);
    terminal.print(&table(&rows, terminal));
    Exit::Ok
}

pub(super) fn clean(args: &Clean, global: &Global, terminal: &Terminal) -> Exit {
    let show = Findings::json(args.json);
    let age = match args.older_than.as_deref().map(Duration::parse).transpose() {
        Ok(age) => age,
        Err(meant) => {
            let meant = meant.map(|meant| format!("; did you mean `{meant}`?"));
            let message = format!(
                "`--older-than` wants a duration such as `12h` or `30d`{}",
                meant.unwrap_or_default()
            );
            fail(show, terminal, "bad-duration", &message);
            return Exit::Input;
        }
    };
    let (state, stored) = match stored(global) {
        Ok(stored) => stored,
        Err(error) => return told(&error, show, terminal),
    };
    let now = Timestamp::now().millis();
    // What an interrupted run left is of no use to anybody, at any age.
    let wanted = |one: &&Stored| match one.kind {
        StoredKind::Workspace | StoredKind::Baseline | StoredKind::Running => false,
        StoredKind::Leftover => true,
        StoredKind::Receipt | StoredKind::Kept => {
            age.is_none_or(|age| now.saturating_sub(one.since.millis()) > age.as_millis())
        }
    };
    let chosen: Vec<Stored> = stored.iter().filter(wanted).cloned().collect();
    let mut removed = Vec::new();
    let mut failed = Vec::new();
    if let (Some(state), false) = (&state, args.dry_run) {
        for one in chosen {
            match state.remove_stored(&one) {
                Ok(()) => removed.push(one),
                Err(error) => failed.push(chain(&error)),
            }
        }
        if let Err(error) = state.sweep(Timestamp::now()) {
            failed.push(chain(&error));
        }
    } else {
        removed = chosen;
    }
    if args.json {
        let mut value = data(&removed);
        value["ok"] = failed.is_empty().into();
        value["dry_run"] = args.dry_run.into();
        value["removed"] = removed
            .iter()
            .map(|one| json!({ "run": one.run, "path": one.path.display().to_string(), "bytes": one.bytes }))
            .collect();
        value["errors"] = failed.clone().into();
        terminal.print(&format!("{value:#}\n"));
    } else {
        for error in &failed {
            terminal.error(error);
        }
        if !terminal.quiet {
            terminal.print(&summary(&removed, args.dry_run, terminal));
        }
    }
    if failed.is_empty() {
        Exit::Ok
    } else {
        Exit::Refused
    }
}

fn summary(removed: &[Stored], dry_run: bool, terminal: &Terminal) -> String {
    let mut out = String::new();
    if terminal.verbose {
        let rows: Vec<_> = removed
            .iter()
            .map(|one| vec![cell(size(one.bytes)).right(), cell(shown(&one.path))])
            .collect();
        out.push_str(&table(&rows, terminal));
    }
    let mut parts = Vec::new();
    for (kind, _, one) in KINDS {
        let (count, ..) = sum(removed, kind);
        if count > 0 {
            parts.push(plural(count, one));
        }
    }
    let bytes = removed.iter().map(|one| one.bytes).sum();
    let did = if dry_run { "would remove" } else { "removed" };
    if parts.is_empty() {
        out.push_str("nothing to remove\n");
    } else {
        out.push_str(&format!("{did} {}: {}\n", parts.join(", "), size(bytes)));
    }
    out
}

fn shown(path: &Path) -> String {
    visible(&path.display().to_string())
}

/// How many there are of a kind, what they take, and what of it are outputs.
fn sum(stored: &[Stored], kind: StoredKind) -> (usize, u64, u64) {
    let of_kind = || stored.iter().filter(|one| one.kind == kind);
    (
        of_kind().count(),
        of_kind().map(|one| one.bytes).sum(),
        of_kind().map(|one| one.output_bytes).sum(),
    )
}

fn data(stored: &[Stored]) -> Value {
    let of = |kind| {
        let (count, bytes, outputs) = sum(stored, kind);
        json!({ "count": count, "bytes": bytes, "output_bytes": outputs })
    };
    json!({
        "receipts": of(StoredKind::Receipt),
        "kept": of(StoredKind::Kept),
        "workspaces": of(StoredKind::Workspace),
        "baselines": of(StoredKind::Baseline),
        "leftovers": of(StoredKind::Leftover),
        "running": of(StoredKind::Running),
        "total_bytes": stored.iter().map(|one| one.bytes).sum::<u64>(),
    })
}

/// Bytes as people read them: `0 B`, `12.0 KiB`, `3.4 GiB`.
fn size(bytes: u64) -> String {
    let units = ["B", "KiB", "MiB", "GiB", "TiB"];
    let mut tenths = bytes.saturating_mul(10);
    let mut unit = 0;
    while tenths >= 10_240 && unit + 1 < units.len() {
        tenths /= 1024;
        unit += 1;
    }
    let unit = units[unit];
    if unit == "B" {
        format!("{bytes} B")
    } else {
        format!("{}.{} {unit}", tenths / 10, tenths % 10)
    }
}
