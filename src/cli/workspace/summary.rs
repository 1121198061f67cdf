//! A workspace, for people and as data.

use super::Here;
use crate::cli::table::{cell, table};
use crate::cli::terminal::Tone;
use crate::report::workspace::WorkspacePayload;
use crate::workspace::Timestamp;
use crate::workspace::registry::{Record, State};

/// Prints a workspace, and how many are inside it at a terminal.
pub(super) fn status_of(record: &Record, inside: u32, json: bool, here: Here<'_>) {
    print("", record, Some(inside), json, here);
}

/// Prints a workspace that something was done with.
pub(super) fn workspace(done: &str, record: &Record, json: bool, here: Here<'_>) {
    print(done, record, None, json, here);
}

fn print(done: &str, record: &Record, inside: Option<u32>, json: bool, here: Here<'_>) {
    if json {
        here.payload(&WorkspacePayload {
            inside_count: inside,
            ..WorkspacePayload::from(record)
        });
        return;
    }
    if here.terminal.quiet {
        return;
    }
    let now = Timestamp::now();
    let name = record.name.as_deref().unwrap_or("no name");
    let mut rows = vec![
        ("workspace", format!("{} ({name}) {done}", record.id)),
        ("state", state(record)),
        ("environment", record.environment.clone()),
    ];
    if let Some(path) = &record.seed.path {
        rows.push((
            "seed",
            format!("{} entries from {path}", record.seed.entry_count),
        ));
    }
    if !record.labels.is_empty() {
        rows.push(("labels", labels(record)));
    }
    if !record.secrets.is_empty() {
        let names = record.secrets.iter();
        let names: Vec<_> = names
            .map(|secret| format!("{} ({})", secret.name, secret.source_kind))
            .collect();
        rows.push(("secrets", names.join(", ")));
    }
    rows.push(("used", ago(record.last_activity_at, now)));
    rows.push(("expires", until(record.expires_at(), now)));
    rows.push(("commands", record.command_count.to_string()));
    if let Some(inside) = inside.filter(|inside| *inside > 0) {
        rows.push(("inside", format!("{inside} at a terminal")));
    }
    if let Some(error) = &record.last_error {
        rows.push(("last error", error.clone()));
    }
    let rows: Vec<_> = rows
        .into_iter()
        .map(|(name, text)| vec![cell(name).tone(Tone::Strong), cell(text)])
        .collect();
    here.terminal.print(&table(&rows, here.terminal));
}

pub(super) fn state(record: &Record) -> String {
    record.state.as_str().to_owned()
}

/// How a state is coloured.
pub(super) fn tone(state: State) -> Tone {
    match state {
        State::Started => Tone::Good,
        State::Creating | State::Stopped | State::Deleting => Tone::Faint,
    }
}

pub(super) fn labels(record: &Record) -> String {
    let labels = record.labels.iter();
    let labels: Vec<_> = labels
        .map(|(key, value)| format!("{key}={value}"))
        .collect();
    labels.join(" ")
}

/// `3m ago`
pub(super) fn ago(then: Timestamp, now: Timestamp) -> String {
    let millis = now.as_millis().saturating_sub(then.as_millis());
    match millis {
        0..5000 => "just now".to_owned(),
        millis => format!("{} ago", span(millis)),
    }
}

/// `in 7h`
pub(super) fn until(then: Timestamp, now: Timestamp) -> String {
    match then.as_millis().saturating_sub(now.as_millis()) {
        0 => "now".to_owned(),
        millis => format!("in {}", span(millis)),
    }
}

/// The nearest whole number of a unit that leaves at least two.
fn span(millis: u64) -> String {
    let nearest = |unit: u64| (millis + unit * 500) / (unit * 1000);
    match nearest(1) {
        seconds @ 0..120 => format!("{seconds}s"),
        120..7200 => format!("{}m", nearest(60)),
        7200..172_800 => format!("{}h", nearest(3600)),
        _ => format!("{}d", nearest(86_400)),
    }
}

#[cfg(test)]
mod tests {
    use super::span;

    #[test]
    fn spans_are_told_to_the_nearest_unit() {
        let hours = |hours: u64| hours * 3_600_000;
        for (millis, told) in [
            (1_400, "1s"),
            (150_000, "3m"),
            (hours(8) - 30, "8h"),
            (hours(47) + 1, "47h"),
            (hours(72) - 1, "3d"),
        ] {
            assert_eq!(span(millis), told);
        }
    }
}
