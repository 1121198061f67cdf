//! How several runs ended, for people.

use super::line::Seconds;
use super::outcome::{as_expected, told};
use super::table::{cell, table};
use super::terminal::{Terminal, Tone};
use crate::receipt::{RunOutcome, RunReport, Runs};
use std::path::Path;

/// The last lines of `pyro apply` for several requests: a table, and what it comes to.
pub(super) fn summary(runs: &Runs, terminal: &Terminal) {
    let shown = runs
        .runs
        .iter()
        .filter(|run| !(terminal.quiet && run.outcome == RunOutcome::Passed));
    let rows: Vec<_> = shown.map(row).collect();
    if rows.is_empty() {
        return;
    }
    for run in &runs.runs {
        if let Some(error) = &run.error {
            terminal.error(&format!("{}: {error}", run.source));
        }
    }
    let gap = if terminal.quiet { "" } else { "\n" };
    terminal.print(&format!("{gap}{}", table(&rows, terminal)));
    let count = |wanted| runs.runs.iter().filter(|run| run.outcome == wanted).count();
    let combined = runs.runs.iter().any(|run| !run.matrix.is_empty());
    let what = if combined { "runs" } else { "requests" };
    let mut parts = vec![format!(
        "{} of {} {what} passed",
        count(RunOutcome::Passed),
        runs.runs.len()
    )];
    for wanted in [
        RunOutcome::Failed,
        RunOutcome::Cancelled,
        RunOutcome::Lost,
        RunOutcome::NotRun,
    ] {
        if count(wanted) > 0 {
            parts.push(format!("{} {}", count(wanted), told(wanted).1));
        }
    }
    parts.push(format!("{:.2} s", Seconds(runs.duration_ms * 1000)));
    let (tone, word) = told(runs.outcome.into());
    terminal.print(&format!(
        "{}  {}\n",
        terminal.tone(tone, word),
        parts.join(" · ")
    ));
    let mut paths = runs.runs.iter().filter_map(|run| run.path.as_deref());
    let folder = paths
        .next_back()
        .and_then(|path| Path::new(path).ancestors().nth(2));
    if let Some(folder) = folder {
        terminal.print(&format!("receipts  {}\n", folder.display()));
    }
}

fn row(run: &RunReport) -> Vec<super::table::Cell> {
    let (tone, word) = told(run.outcome);
    let receipt = run.receipt.as_ref();
    vec![
        cell(word).tone(tone),
        cell(run.name.as_deref().unwrap_or_default()),
        cell(&run.source),
        cell(receipt.map(as_expected).unwrap_or_default()),
        cell(
            receipt
                .map(|receipt| format!("{:.2} s", Seconds(receipt.duration_ms * 1000)))
                .unwrap_or_default(),
        )
        .right(),
        cell(receipt.map_or("", |receipt| &receipt.run)).tone(Tone::Faint),
    ]
}
