//! What happened, for people: a line a step, the reasons of a failure, and how to look further.

use super::terminal::{Terminal, Tone, visible};
use crate::execute::Ran;
use crate::plan::{Plan, PlannedStep};
use crate::receipt::{ExpectFailure, Outcome, OutputReport, Receipt, StepOutcome, StepReport};
use crate::render::Finding;
use crate::request::{Document, Pointer, Signal};
use crate::workspace::Swept;
use std::fmt::Write as _;

/// Lines of an output that are shown when a step fails.
const TAIL: usize = 12;
/// Lines of a diff or listing that are shown.
const MAX_TEXT: usize = 400;
/// Characters of a step's summary that are shown.
const SUMMARY: usize = 64;

/// Says that an earlier run was cleaned up.
pub(super) fn swept(swept: Swept, terminal: &Terminal) {
    terminal.note(&swept_text(swept));
}

/// What was cleaned up.
pub(super) fn swept_text(swept: Swept) -> String {
    let Swept {
        runs,
        host_files,
        stuck,
    } = swept;
    let mut text = format!("cleaned up after {}", plural(runs, "interrupted run"));
    if host_files > 0 {
        let paths = plural(host_files, "half-written host path");
        let _infallible = write!(text, ", {paths} removed");
    }
    if stuck > 0 {
        text.push_str("; not all of it could be removed (`-vv` says why)");
    }
    text
}

/// The first line of a run.
pub(super) fn header(plan: &Plan, terminal: &Terminal) -> String {
    if terminal.quiet {
        return String::new();
    }
    let name = plan
        .name
        .as_deref()
        .map(|name| format!("{}  ", visible(name)))
        .unwrap_or_default();
    let workspace = &plan.workspace;
    let seed = workspace
        .seed
        .as_ref()
        .map(|seed| format!(", seed {}", seed.shown))
        .unwrap_or_default();
    let line = format!(
        "{name}{}  {} on {}{seed}",
        plan.source,
        workspace.environment_shown,
        workspace.machine.as_str()
    );
    format!("{}\n", terminal.tone(Tone::Strong, &line))
}

/// Columns of the step lines.
#[derive(Debug, Clone, Copy, Default)]
pub(super) struct Line {
    id: usize,
    verb: usize,
    summary: usize,
}

impl Line {
    pub(super) fn for_plan(plan: &Plan) -> Self {
        let ids = plan
            .steps
            .iter()
            .map(|step| step.id.as_ref().map_or(0, |id| id.as_str().len()));
        let verbs = plan.steps.iter().map(|step| step.action.verb().len());
        let summaries = plan.steps.iter().map(|step| {
            short(&crate::execute::summary(&step.action))
                .chars()
                .count()
        });
        Self {
            id: ids.max().unwrap_or(0),
            verb: verbs.max().unwrap_or(0),
            summary: summaries.max().unwrap_or(0),
        }
    }

    /// A step that runs.
    pub(super) fn running(self, step: &PlannedStep) -> String {
        format!(
            "{:>2} {}  {}",
            step.number,
            step.label(),
            step.action.verb()
        )
    }

    /// A step that ended.
    pub(super) fn ended(self, report: &StepReport, terminal: &Terminal) -> String {
        if terminal.quiet {
            return String::new();
        }
        let (tone, word) = match report.outcome {
            StepOutcome::Passed => (Tone::Good, "ok"),
            StepOutcome::Failed => (Tone::Bad, "FAILED"),
            StepOutcome::Cancelled => (Tone::Bad, "cancelled"),
            StepOutcome::Lost => (Tone::Bad, "LOST"),
            StepOutcome::NotRun => (Tone::Faint, "not run"),
        };
        let mut id = report.id.as_deref().unwrap_or("").to_owned();
        if self.id > 0 {
            id = format!("{id:<width$}  ", width = self.id);
        }
        let summary = short(&report.summary);
        let result = result(report);
        let line = format!(
            "{:>2} {id}{:<verb_width$}  {summary:<summary_width$}  {}  {result}",
            report.number,
            report.verb,
            terminal.tone(tone, word),
            verb_width = self.verb,
            summary_width = self.summary,
        );
        format!("{}\n", line.trim_end())
    }
}

fn short(summary: &str) -> String {
    let line = visible(summary).replace(['\n', '\t'], " ");
    if line.chars().count() <= SUMMARY {
        return line;
    }
    let cut: String = line.chars().take(SUMMARY - 1).collect();
    format!("{cut}…")
}

/// What came of a step, in a few words.
fn result(report: &StepReport) -> String {
    if report.outcome == StepOutcome::NotRun {
        return String::new();
    }
    let mut parts = Vec::new();
    if let Some(exec) = &report.exec {
        if let Some(reason) = &exec.not_started {
            // A failure tells the reason below.
            parts.push(if report.outcome == StepOutcome::Passed {
                format!("not started: {reason}")
            } else {
                "not started".to_owned()
            });
        } else if exec.timed_out {
            parts.push("timed out".to_owned());
        } else if let Some(signal) = exec.signal {
            parts.push(signal_shown(signal));
        } else {
            parts.push(format!("exit {}", exec.exit_code));
        }
        if exec.not_started.is_none() {
            parts.push(format!("{:.2} s", Seconds(exec.duration_us)));
        }
    }
    for file in &report.files {
        for hunk in &file.hunks {
            let offset = if hunk.offset == 0 {
                String::new()
            } else {
                format!(" ({:+} from where it says)", hunk.offset)
            };
            parts.push(format!(
                "{}:{}{offset}",
                visible(&file.path.text),
                hunk.line
            ));
        }
    }
    match report.host_files.as_slice() {
        [] if report.verb == "export" && report.refusal.is_none() => {
            parts.push("no files".to_owned());
        }
        [] => {}
        [file] => parts.push(format!("{} bytes", file.size)),
        files => parts.push(format!("{} files", files.len())),
    }
    if report.refusal.is_some() && report.outcome == StepOutcome::Passed {
        parts.push("refused, as expected".to_owned());
    }
    parts.join(" · ")
}

/// A signal with its name.
fn signal_shown(signal: i32) -> String {
    let known = Signal::ALL.iter().find(|known| known.number == signal);
    known.map_or_else(
        || format!("signal {signal}"),
        |known| format!("signal {signal} ({})", known.name),
    )
}

struct Seconds(u64);

impl std::fmt::Display for Seconds {
    #[expect(clippy::cast_precision_loss, reason = "shown with two digits")]
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        (self.0 as f64 / 1e6).fmt(f)
    }
}

/// What is worth reading below a step's line: texts, and everything about a failure.
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
fn failure(report: &StepReport, document: &Document, terminal: &Terminal) -> String {
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
    if found == document.locate(&step) || found == document.locate(&step.at("expect")) {
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
    };
    format!("{}\n", finding.render(document, terminal.finding_style()))
}

fn indented(text: &str) -> String {
    diff_lines(text, &Terminal::plain())
}

/// Text with an indent; lines that came and went in their colours.
fn diff_lines(text: &str, terminal: &Terminal) -> String {
    let mut out = String::new();
    let total = text.lines().count();
    for line in text.lines().take(MAX_TEXT) {
        let line = visible(line);
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
        let line = format!("  | {}", visible(line.unwrap_or_default()));
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

/// The last lines of `pyro apply`.
pub(super) fn summary(ran: &Ran, terminal: &Terminal) {
    let Receipt {
        outcome,
        lost,
        steps,
        changes,
        host_files,
        duration_ms,
        ..
    } = &ran.receipt;
    if let Some(lost) = lost {
        terminal.error(lost);
        if lost.contains("make the sandbox") {
            terminal.help(
                "run `pyro doctor`: it tries each step and says how to mend the one that fails",
            );
        }
    }
    if terminal.quiet && *outcome == Outcome::Passed {
        return;
    }
    let count = |wanted: StepOutcome| steps.iter().filter(|step| step.outcome == wanted).count();
    let (tone, word) = match outcome {
        Outcome::Passed => (Tone::Good, "passed"),
        Outcome::Failed => (Tone::Bad, "failed"),
        Outcome::Cancelled => (Tone::Bad, "cancelled"),
        Outcome::Lost => (Tone::Bad, "lost"),
    };
    let mut parts = vec![format!(
        "{} of {} as expected",
        count(StepOutcome::Passed),
        plural(steps.len(), "step")
    )];
    if count(StepOutcome::NotRun) > 0 {
        parts.push(format!("{} not run", count(StepOutcome::NotRun)));
    }
    parts.push(format!("{} changed", plural(changes.len(), "path")));
    if !host_files.is_empty() {
        parts.push(format!(
            "{} written on the host",
            plural(host_files.len(), "file")
        ));
    }
    parts.push(format!("{:.2} s", Seconds(duration_ms * 1000)));
    terminal.print(&format!(
        "{}  {}\n",
        terminal.tone(tone, word),
        parts.join(" · ")
    ));
    for file in host_files {
        terminal.print(&format!(
            "wrote  {}  {}\n",
            visible(&file.path.display().to_string()),
            file.sha256.short()
        ));
    }
    terminal.print(&format!("receipt  {}\n", ran.path.display()));
}

fn plural(many: usize, one: &str) -> String {
    if many == 1 {
        format!("1 {one}")
    } else {
        format!("{many} {one}s")
    }
}

/// What `pyro run` says beside the program's own output.
pub(super) fn run(ran: &Ran, id: &str, document: &Document, terminal: &Terminal) {
    if let Some(lost) = &ran.receipt.lost {
        terminal.error(lost);
        if lost.contains("make the sandbox") {
            terminal.help(
                "run `pyro doctor`: it tries each step and says how to mend the one that fails",
            );
        }
    }
    for step in &ran.receipt.steps {
        if step.id.as_deref() != Some(id) {
            if step.outcome == StepOutcome::Failed {
                terminal.err(failure(step, document, terminal).as_bytes());
            }
            continue;
        }
        let Some(exec) = &step.exec else { continue };
        if let Some(reason) = &exec.not_started {
            terminal.error(&format!("not started: {reason}"));
        } else if exec.timed_out {
            terminal.error("timed out; the program and all it started were ended");
            terminal.help("give it more time with `--timeout`");
        } else if let Some(signal) = exec.signal {
            let reason = exec
                .reason
                .as_ref()
                .map(|reason| format!(" ({reason})"))
                .unwrap_or_default();
            terminal.error(&format!("ended by {}{reason}", signal_shown(signal)));
        }
        let files = [&step.stdout, &step.stderr];
        for output in files
            .into_iter()
            .flatten()
            .filter(|output| output.dropped > 0)
        {
            terminal.note(&format!(
                "{} bytes of output were too many to keep",
                output.dropped
            ));
        }
        if terminal.verbose {
            let changed = ran.receipt.changes.len();
            terminal.note(&format!(
                "exit {} · {} · {changed} paths changed · receipt {}",
                exec.exit_code,
                ran.receipt.execution_mode,
                ran.path.display()
            ));
        }
    }
}
