//! How a run began and ended, for people, and where to look further.

use super::details::failure;
use super::line::{Seconds, signal_shown};
use super::terminal::{Terminal, Tone, visible};
use crate::execute::Ran;
use crate::plan::Plan;
use crate::receipt::{Outcome, Receipt, RunOutcome, StepOutcome};
use crate::request::Document;
use crate::workspace::Swept;
use std::fmt::Write as _;
use std::path::Path;

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
        kept,
        pulls,
    } = swept;
    let old = plural(kept, "kept workspace");
    let over = format!("removed {old} whose time was over");
    if runs == 0 && stuck == 0 && pulls == 0 {
        return over;
    }
    let mut text = format!("cleaned up after {}", plural(runs, "interrupted run"));
    if kept > 0 {
        let _infallible = write!(text, ", {over}");
    }
    if host_files > 0 {
        let paths = plural(host_files, "half-written host path");
        let _infallible = write!(text, ", {paths} removed");
    }
    if pulls > 0 {
        let directories = match pulls {
            1 => "1 directory that it was pulling into is".to_owned(),
            pulls => format!("{pulls} directories that were pulled into are"),
        };
        let _infallible = write!(text, ", {directories} whole again");
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
    let lives = workspace
        .existing
        .as_ref()
        .map(|lives| living(&lives.id, lives.name.as_deref()));
    let line = format!(
        "{name}{}  {}{} on {}{seed}",
        plan.source,
        lives.unwrap_or_default(),
        workspace.environment_shown,
        workspace.machine.as_str()
    );
    format!("{}\n", terminal.tone(Tone::Strong, &line))
}

/// A workspace that lives, in the first line of what is done in it.
fn living(id: &str, name: Option<&str>) -> String {
    match name {
        Some(name) => format!("in {id} ({}), ", visible(name)),
        None => format!("in {id}, "),
    }
}

/// The same from a receipt.
pub(super) fn header_of(receipt: &Receipt, terminal: &Terminal) -> String {
    if terminal.quiet {
        return String::new();
    }
    let Receipt {
        request,
        environment,
        execution_mode,
        seed,
        ..
    } = receipt;
    let name = request.name.as_ref();
    let name = name.map(|name| format!("{name}  ")).unwrap_or_default();
    let path = environment.path.as_ref();
    let path = path.map(|path| format!(":{path}")).unwrap_or_default();
    let seed = seed.as_ref();
    let seed = seed
        .map(|seed| format!(", seed {}", seed.path))
        .unwrap_or_default();
    let lives = receipt
        .workspace
        .as_ref()
        .map(|lives| living(&lives.id, lives.name.as_deref()));
    let line = format!(
        "{name}{}  {}{}{path} on {execution_mode}{seed}",
        request.source,
        lives.unwrap_or_default(),
        environment.kind
    );
    format!("{}\n", terminal.tone(Tone::Strong, &visible(&line)))
}

/// What came of a run.
pub(super) fn summary(receipt: &Receipt, terminal: &Terminal) {
    let Receipt {
        outcome,
        lost,
        steps,
        changes,
        host_files,
        duration_ms,
        ..
    } = receipt;
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
    let (tone, word) = told((*outcome).into());
    let mut parts = vec![as_expected(receipt)];
    if count(StepOutcome::NotRun) > 0 {
        parts.push(format!("{} not run", count(StepOutcome::NotRun)));
    }
    // In a workspace that lives nobody asked.
    if receipt.workspace.is_none() {
        parts.push(format!("{} changed", plural(changes.len(), "path")));
    }
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
    kept(receipt, terminal, |line| terminal.print(line));
}

/// The last line of `pyro apply`.
pub(super) fn receipt(receipt: &Receipt, path: &Path, terminal: &Terminal) {
    if !(terminal.quiet && receipt.outcome == Outcome::Passed) {
        terminal.print(&format!("receipt  {}\n", path.display()));
    }
}

/// How a run ended, in a word.
pub(super) fn told(outcome: RunOutcome) -> (Tone, &'static str) {
    match outcome {
        RunOutcome::Passed => (Tone::Good, "passed"),
        RunOutcome::Failed => (Tone::Bad, "failed"),
        RunOutcome::Cancelled => (Tone::Bad, "cancelled"),
        RunOutcome::Lost => (Tone::Bad, "lost"),
        RunOutcome::NotRun => (Tone::Faint, "not run"),
    }
}

/// `4 of 5 steps as expected`.
pub(super) fn as_expected(receipt: &Receipt) -> String {
    let steps = &receipt.steps;
    let passed = steps
        .iter()
        .filter(|step| step.outcome == StepOutcome::Passed);
    format!(
        "{} of {} as expected",
        passed.count(),
        plural(steps.len(), "step")
    )
}

/// Where the workspace is that was kept.
fn kept(receipt: &Receipt, terminal: &Terminal, say: impl Fn(&str)) {
    let Some(kept) = &receipt.kept else { return };
    if let Some(path) = &kept.path {
        let path = visible(path);
        say(&format!("kept  {path}  until {}\n", kept.until));
    }
    if let Some(failed) = &kept.failed {
        terminal.error(&format!("the workspace is not kept: {failed}"));
    }
}

pub(super) fn plural(many: usize, one: &str) -> String {
    if many == 1 {
        format!("1 {one}")
    } else {
        format!("{many} {one}s")
    }
}

/// What `pyro run` says beside the program's own output.
pub(super) fn run(ran: &Ran, id: &str, document: &Document, terminal: &Terminal) {
    // Standard output is the program's.
    kept(&ran.receipt, terminal, |line| terminal.err(line.as_bytes()));
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
