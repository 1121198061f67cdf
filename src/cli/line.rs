//! A line for each step: what it was about and what came of it.

use super::terminal::{Terminal, Tone, visible};
use crate::plan::{Plan, PlannedStep};
use crate::receipt::{Receipt, StepOutcome, StepReport};
use crate::request::Signal;

/// Characters of a step's summary that are shown.
const SUMMARY: usize = 64;

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

    pub(super) fn for_receipt(receipt: &Receipt) -> Self {
        let widest =
            |width: fn(&StepReport) -> usize| receipt.steps.iter().map(width).max().unwrap_or(0);
        Self {
            id: widest(|step| step.id.as_ref().map_or(0, String::len)),
            verb: widest(|step| step.verb.len()),
            summary: widest(|step| short(&step.summary).chars().count()),
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
    if let Some(sync) = &report.sync {
        parts.push(match sync.entries {
            1 => format!("1 path, {} bytes", sync.bytes),
            paths => format!("{paths} paths, {} bytes", sync.bytes),
        });
    }
    if let Some(pull) = &report.pull {
        parts.push(match (pull.changes.len(), pull.dry_run) {
            (0, _) if report.refusal.is_some() => String::new(),
            (0, _) => "nothing to bring home".to_owned(),
            (1, false) => "1 path brought home".to_owned(),
            (paths, false) => format!("{paths} paths brought home"),
            (paths, true) => format!("would bring {paths} home"),
        });
        parts.retain(|part| !part.is_empty());
    }
    match report.host_files.as_slice() {
        _ if report.pull.is_some() => {}
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
pub(super) fn signal_shown(signal: i32) -> String {
    let known = Signal::ALL.iter().find(|known| known.number == signal);
    known.map_or_else(
        || format!("signal {signal}"),
        |known| format!("signal {signal} ({})", known.name),
    )
}

/// Microseconds, shown as seconds.
pub(super) struct Seconds(pub(super) u64);

impl std::fmt::Display for Seconds {
    #[expect(clippy::cast_precision_loss, reason = "shown with two digits")]
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        (self.0 as f64 / 1e6).fmt(f)
    }
}
