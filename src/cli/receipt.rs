//! `pyro receipt`: shows, lists and compares what was kept.

use super::args::{Global, ReceiptCommand, ReceiptDiff, ReceiptList, ReceiptShow};
use super::details;
use super::line::{Line, Seconds};
use super::load::{Findings, fail};
use super::outcome::{self, as_expected, told};
use super::table::{cell, table};
use super::terminal::{Terminal, Tone, visible};
use crate::Exit;
use crate::execute::chain;
use crate::receipt::{Difference, FindError, Kept, Receipt, compare, find, kept};
use crate::request::Document;
use crate::workspace::{StateDir, Timestamp};
use serde_json::{Value, json};
use std::fmt::Write as _;
use std::path::Path;

/// Receipts that are listed where nobody says how many.
const LISTED: usize = 20;
/// Characters of a value that are shown.
const SHOWN: usize = 80;

pub(super) fn receipt(command: &ReceiptCommand, global: &Global, terminal: &Terminal) -> Exit {
    let json = match command {
        ReceiptCommand::Show(args) => args.json,
        ReceiptCommand::List(args) => args.json,
        ReceiptCommand::Diff(args) => args.json,
    };
    let show = Findings::json(json);
    let state = match StateDir::place(global.state_dir.as_deref()) {
        Ok(state) => state,
        Err(error) => {
            fail(show, terminal, "state", &chain(&error));
            return Exit::Machine;
        }
    };
    let done = match command {
        ReceiptCommand::Show(args) => show_one(args, &state, terminal),
        ReceiptCommand::List(args) => list(args, &state, terminal),
        ReceiptCommand::Diff(args) => diff(args, &state, terminal),
    };
    done.unwrap_or_else(|error| {
        fail(show, terminal, error.code(), &chain(&error));
        match error {
            FindError::State { .. } => Exit::Machine,
            FindError::Missing(_)
            | FindError::TooFew { .. }
            | FindError::Ambiguous { .. }
            | FindError::Read(_) => Exit::Input,
        }
    })
}

fn show_one(args: &ReceiptShow, state: &Path, terminal: &Terminal) -> Result<Exit, FindError> {
    let (path, receipt) = find(state, &args.receipt)?;
    if args.json {
        terminal.print(&receipt.to_json());
        return Ok(Exit::Ok);
    }
    terminal.print(&outcome::header_of(&receipt, terminal));
    let line = Line::for_receipt(&receipt);
    let document = Document::without_text(&receipt.request.source);
    for step in &receipt.steps {
        terminal.print(&line.ended(step, terminal));
        terminal.print(&details::details(step, &document, terminal));
    }
    outcome::summary(&receipt, terminal);
    if terminal.verbose {
        for note in &receipt.isolation {
            terminal.print(&format!("isolation  {}\n", visible(note)));
        }
    }
    let when = ago(&receipt.started_at);
    let when = when.map_or_else(String::new, |ago| format!(" ({ago})"));
    terminal.print(&format!(
        "ran  {}{when} · run {} · pyro {}\n",
        visible(&receipt.started_at),
        visible(&receipt.run),
        visible(&receipt.pyro_version)
    ));
    outcome::receipt(&receipt, &path, terminal);
    Ok(Exit::Ok)
}

fn list(args: &ReceiptList, state: &Path, terminal: &Terminal) -> Result<Exit, FindError> {
    let limit = args
        .limit
        .unwrap_or(if args.json { usize::MAX } else { LISTED });
    let (kept, total) = kept(state, limit)?;
    if args.json {
        let receipts: Vec<Value> = kept.iter().map(data).collect();
        terminal.print(&format!(
            "{:#}\n",
            json!({ "receipts": receipts, "total": total })
        ));
        return Ok(Exit::Ok);
    }
    if total == 0 {
        if !terminal.quiet {
            terminal.print("no receipts yet: `pyro apply` writes one for each run\n");
        }
        return Ok(Exit::Ok);
    }
    let rows: Vec<_> = kept.iter().map(row).collect();
    terminal.print(&table(&rows, terminal));
    if total > kept.len() {
        terminal.note(&format!(
            "{total} are kept; `--limit {total}` lists them all"
        ));
    }
    Ok(Exit::Ok)
}

fn row(kept: &Kept) -> Vec<super::table::Cell> {
    match &kept.receipt {
        Ok(receipt) => {
            let (tone, word) = told(receipt.outcome.into());
            vec![
                cell(&kept.run),
                cell(word).tone(tone),
                cell(receipt.request.name.as_deref().unwrap_or_default()),
                cell(&receipt.request.source),
                cell(as_expected(receipt)),
                cell(format!("{:.2} s", Seconds(receipt.duration_ms * 1000))).right(),
                cell(ago(&receipt.started_at).unwrap_or_default()).tone(Tone::Faint),
            ]
        }
        Err(error) => vec![
            cell(&kept.run),
            cell("damaged").tone(Tone::Bad),
            cell(""),
            cell(chain(error)),
        ],
    }
}

fn data(kept: &Kept) -> Value {
    let mut value = json!({ "run": kept.run, "path": kept.path.display().to_string() });
    match &kept.receipt {
        Ok(receipt) => {
            let passed = receipt
                .steps
                .iter()
                .filter(|step| step.outcome == crate::receipt::StepOutcome::Passed);
            value["outcome"] = json!(receipt.outcome);
            value["name"] = json!(receipt.request.name);
            value["source"] = json!(receipt.request.source);
            value["started_at"] = json!(receipt.started_at);
            value["duration_ms"] = json!(receipt.duration_ms);
            value["steps"] = json!(receipt.steps.len());
            value["steps_passed"] = json!(passed.count());
        }
        Err(error) => value["error"] = chain(error).into(),
    }
    value
}

fn diff(args: &ReceiptDiff, state: &Path, terminal: &Terminal) -> Result<Exit, FindError> {
    let (_, before) = find(state, &args.before)?;
    let (_, after) = find(state, &args.after)?;
    let found = compare(&before, &after);
    let exit = if args.exit_code && !found.is_empty() {
        Exit::Refused
    } else {
        Exit::Ok
    };
    if args.json {
        terminal.print(&format!(
            "{:#}\n",
            json!({
                "same": found.is_empty(),
                "before": before.run,
                "after": after.run,
                "differences": found,
            })
        ));
        return Ok(exit);
    }
    if terminal.quiet && found.is_empty() {
        return Ok(exit);
    }
    let title = format!("{}  {}", title(&before, '-'), title(&after, '+'));
    terminal.print(&format!("{}\n", terminal.tone(Tone::Strong, &title)));
    if found.is_empty() {
        terminal.print("the same but for times and ids\n");
    }
    terminal.print(&differences(&found, terminal));
    Ok(exit)
}

fn title(receipt: &Receipt, sign: char) -> String {
    let name = receipt.request.name.as_ref();
    let name = name.unwrap_or(&receipt.request.source);
    format!("{sign} {} {}", visible(&receipt.run), visible(name))
}

/// The differences, those of a step below its name.
fn differences(found: &[Difference], terminal: &Terminal) -> String {
    let mut out = String::new();
    let mut step = None;
    for difference in found {
        if difference.step != step {
            step.clone_from(&difference.step);
            if let Some(step) = &step {
                let _infallible = writeln!(out, "{}", terminal.tone(Tone::Strong, &visible(step)));
            }
        }
        let indent = if step.is_some() { "  " } else { "" };
        let what = words(&difference.field);
        let change = match (&difference.before, &difference.after) {
            (Value::Null, Value::Null) => "other bytes".to_owned(),
            (Value::Null, after) => terminal.tone(Tone::Good, &format!("+ {}", shown(after))),
            (before, Value::Null) => terminal.tone(Tone::Bad, &format!("- {}", shown(before))),
            (_, _) if difference.diff.is_some() && !is_number(&difference.before) => String::new(),
            (before, after) => format!("{} -> {}", shown(before), shown(after)),
        };
        let line = format!("{indent}{what}  {change}");
        let _infallible = writeln!(
            out,
            "{}",
            if what.is_empty() {
                format!("{indent}{change}")
            } else {
                line
            }
            .trim_end()
        );
        if let Some(diff) = &difference.diff {
            out.push_str(&details::diff_lines(diff, terminal));
        }
    }
    out
}

fn is_number(value: &Value) -> bool {
    value.is_number()
}

/// The fields as a person would say them.
fn words(field: &[String]) -> String {
    let words = field.iter().filter(|word| *word != "exec");
    let words: Vec<String> = words.map(|word| visible(&word.replace('_', " "))).collect();
    words.join(" ")
}

/// A value in one line.
fn shown(value: &Value) -> String {
    let text = match value {
        Value::Null => "nothing".to_owned(),
        Value::String(text) => match text.strip_prefix("sha256:") {
            Some(digits) if digits.len() == 64 => digits[..12].to_owned(),
            Some(_) | None => text.clone(),
        },
        Value::Array(list) if list.is_empty() => "nothing".to_owned(),
        Value::Array(list) => {
            let list: Vec<String> = list.iter().map(shown).collect();
            list.join(", ")
        }
        Value::Object(fields) => version(fields).unwrap_or_else(|| value.to_string()),
        Value::Bool(_) | Value::Number(_) => value.to_string(),
    };
    let text = visible(&text).replace(['\n', '\t'], " ");
    match text.char_indices().nth(SHOWN) {
        Some((end, _)) => format!("{}…", &text[..end]),
        None => text,
    }
}

/// A path at one time, or what changed at it.
fn version(fields: &serde_json::Map<String, Value>) -> Option<String> {
    if let Some(text) = fields.get("text") {
        return text.as_str().map(str::to_owned);
    }
    if let Some(path) = fields.get("path") {
        let after = fields.get("after").or_else(|| fields.get("sha256"));
        let after = after.map(shown).unwrap_or_else(|| "deleted".to_owned());
        return Some(format!("{} {after}", shown(path)));
    }
    if let (Some(code), Some(message)) = (fields.get("code"), fields.get("message")) {
        return Some(format!("{}: {}", shown(code), shown(message)));
    }
    if let Some(message) = fields.get("message") {
        return message.as_str().map(str::to_owned);
    }
    if fields.contains_key("before") || fields.contains_key("after") {
        let part = |name: &str| fields.get(name).map_or_else(|| "nothing".to_owned(), shown);
        return Some(format!("{} -> {}", part("before"), part("after")));
    }
    let kind = fields.get("kind")?.as_str()?;
    let mut parts = vec![kind.to_owned()];
    if let Some(mode) = fields.get("mode").and_then(Value::as_str) {
        parts.push(mode.to_owned());
    }
    if kind == "file" {
        parts.push(format!("{} bytes", fields.get("size")?));
    }
    if let Some(digest) = fields.get("sha256") {
        parts.push(shown(digest));
    }
    Some(parts.join(" "))
}

/// How long ago a moment was, as people say it.
fn ago(moment: &str) -> Option<String> {
    let then = Timestamp::parse(moment)?;
    let seconds = Timestamp::now().millis().saturating_sub(then.millis()) / 1000;
    Some(match seconds {
        0..=59 => format!("{seconds} s ago"),
        60..=5999 => format!("{} min ago", seconds / 60),
        6000..=172_799 => format!("{} h ago", seconds / 3600),
        _ => format!("{} d ago", seconds / 86_400),
    })
}
