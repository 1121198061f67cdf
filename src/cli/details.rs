//! What is worth reading below a step's line: texts, and everything about a failure.

use super::terminal::{Terminal, Tone, visible};
use crate::receipt::{ExpectFailure, OutputReport, StepOutcome, StepReport};
use crate::render::Finding;
use crate::request::{Document, Pointer};
use std::fmt::Write as _;

/// Lines of an output that are shown when a step fails.
const TAIL: usize = 12;
/// Characters of a line that are shown.
const MAX_LINE: usize = 400;
/// Lines of a diff or listing that are shown.
const MAX_TEXT: usize = 400;

/// All of it; nothing for a step that has nothing to tell.
pub(super) fn details(report: &StepReport, document: &Document, terminal: &Terminal) -> String {
    let mut out = String::new();
    if !terminal.quiet {
        if let Some(text) = &report.text {
            out.push_str(&diff_lines(&text.text, terminal));
        }
        out.push_str(&contents(report));
        for note in &report.notes {
            let _infallible = writeln!(out, "     note: {}", visible(note));
        }
    }
    let failed = matches!(report.outcome, StepOutcome::Failed | StepOutcome::Lost);
    if failed {
        out.push_str(&failure(report, document, terminal));
    }
    if failed || report.outcome == StepOutcome::Cancelled || terminal.verbose {
        let all = terminal.verbose;
        for (name, output) in [("stdout", &report.stdout), ("stderr", &report.stderr)] {
            if let Some(output) = output {
                out.push_str(&last_lines(
                    name,
                    output,
                    if all { usize::MAX } else { TAIL },
                    terminal,
                ));
            }
        }
    }
    out
}

/// What `read` read; where there are several files, each below its name.
fn contents(report: &StepReport) -> String {
    let mut out = String::new();
    for file in &report.files {
        let Some(content) = &file.content else {
            continue;
        };
        if report.files.len() > 1 {
            let _infallible = writeln!(out, "     {}:", visible(&file.path.text));
        }
        out.push_str(&indented(&content.text));
        if file.truncated {
            let size = file.after.as_ref().map_or(0, |after| after.size);
            let _infallible = writeln!(out, "     … the file has {size} bytes");
        }
    }
    out
}

/// Every reason why a step failed, each at its place in the document.
pub(super) fn failure(report: &StepReport, document: &Document, terminal: &Terminal) -> String {
    let label = report
        .id
        .clone()
        .unwrap_or_else(|| format!("#{}", report.number));
    let mut out = String::new();
    if let Some(refusal) = &report.refusal {
        let mut lines = refusal.message.lines().map(visible);
        let first = lines.next().unwrap_or_default();
        let rest: Vec<String> = lines.collect();
        let below = refusal.help.as_ref().filter(|_| !rest.is_empty());
        out.push_str(&point(
            document,
            report,
            &refusal.code,
            &format!("{label}: {first}"),
            &report.pointer,
            refusal.help.as_deref().filter(|_| below.is_none()),
            terminal,
        ));
        for line in rest {
            let _infallible = writeln!(out, "  {line}");
        }
        if let Some(help) = below {
            let _infallible = writeln!(out, "  help: {help}");
        }
    }
    for ExpectFailure {
        pointer,
        message,
        expected: _,
        diff,
    } in &report.failures
    {
        out.push_str(&point(
            document,
            report,
            "expectation",
            &format!("{label}: {}", visible(message)),
            pointer,
            None,
            terminal,
        ));
        if let Some(diff) = diff {
            out.push_str("  - expected\n  + actual\n");
            out.push_str(&diff_lines(&diff.text, terminal));
        }
    }
    out
}

/// Draws a reason at its place. What was expected without being written down is shown at the step's verb.
fn point(
    document: &Document,
    report: &StepReport,
    code: &str,
    message: &str,
    pointer: &str,
    help: Option<&str>,
    terminal: &Terminal,
) -> String {
    let step = Pointer(report.pointer.clone());
    let mut pointer = Pointer(pointer.to_owned());
    let found = document.locate(&pointer);
    let whole = [document.locate(&step), document.locate(&step.at("expect"))];
    if found.is_some() && whole.contains(&found) {
        pointer = step.at(&report.verb);
    }
    let finding = Finding {
        code: code.to_owned(),
        message: message.to_owned(),
        pointer,
        span: None,
        label: String::new(),
        valid_here: Vec::new(),
        help: help.map(str::to_owned),
        notes: Vec::new(),
        patch: None,
    };
    format!("{}\n", finding.render(document, terminal.finding_style()))
}

fn indented(text: &str) -> String {
    diff_lines(text, &Terminal::plain())
}

/// Text with an indent; lines that came and went in their colours.
pub(super) fn diff_lines(text: &str, terminal: &Terminal) -> String {
    let mut out = String::new();
    let total = text.lines().count();
    for line in text.lines().take(MAX_TEXT) {
        let line = clipped(&visible(line));
        let line = match line.as_bytes().first() {
            Some(b'+') => terminal.tone(Tone::Good, &line),
            Some(b'-') => terminal.tone(Tone::Bad, &line),
            Some(b'@') => terminal.tone(Tone::Faint, &line),
            Some(_) | None => line,
        };
        let _infallible = writeln!(out, "     {line}");
    }
    if total > MAX_TEXT {
        let _infallible = writeln!(
            out,
            "     … {} more lines; the receipt has them",
            total - MAX_TEXT
        );
    }
    out
}

/// A line that is no longer than anybody reads.
fn clipped(line: &str) -> String {
    let Some((end, _)) = line.char_indices().nth(MAX_LINE) else {
        return line.to_owned();
    };
    format!(
        "{}… {} more characters",
        &line[..end],
        line[end..].chars().count()
    )
}

/// The last lines of an output, and where the rest is.
fn last_lines(name: &str, output: &OutputReport, count: usize, terminal: &Terminal) -> String {
    if output.bytes == 0 {
        return String::new();
    }
    let end = output.tail.as_ref().unwrap_or(&output.head);
    let lines: Vec<&str> = end.text.lines().collect();
    let shown = &lines[lines.len().saturating_sub(count)..];
    let title = if output.truncated || shown.len() < lines.len() {
        format!("{name}, the last {} lines", shown.len())
    } else {
        name.to_owned()
    };
    let mut out = format!("  {}\n", terminal.tone(Tone::Faint, &format!("{title}:")));
    for line in shown {
        let line = line.rsplit('\r').find(|part| !part.is_empty());
        let line = format!("  | {}", clipped(&visible(line.unwrap_or_default())));
        let _infallible = writeln!(out, "{}", line.trim_end());
    }
    if let Some(file) = &output.file {
        let dropped = if output.dropped > 0 {
            format!(" ({} more bytes were dropped)", output.dropped)
        } else {
            String::new()
        };
        let _infallible = writeln!(
            out,
            "  all {} bytes: {file}{dropped}",
            output.bytes - output.dropped
        );
    }
    out
}
