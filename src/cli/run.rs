//! `pyro run`: one program in a fresh workspace. Builds a request; its output is the program's, its code too.

use super::apply::{ApplyError, keep, ran};
use super::args::{Format, Global, Run};
use super::load::{Findings, fail, refuse};
use super::outcome;
use super::terminal::Terminal;
use crate::execute::{Event, Stream};
use crate::receipt::{Outcome, Receipt};
use crate::render::{Finding, findings};
use crate::request::{Document, Request, Step, Syntax, emit, literal, parse};
use crate::{Exit, preflight};
use std::path::Path;

/// pyro itself failed, before or after the program.
const PYRO_FAILED: u8 = 125;
/// The id of the step that runs the program.
const RUN: &str = "run";

pub(super) fn run(args: &Run, global: &Global, terminal: &Terminal) -> u8 {
    let show = Findings::json(args.json);
    let (request, document) = match request(args) {
        Ok(built) => built,
        Err(errors) => {
            let found: Vec<Finding> = Vec::from(&errors);
            terminal.err(findings(errors.document(), &found, terminal.finding_style()).as_bytes());
            return Exit::Input.code();
        }
    };
    match args.emit {
        Some(Format::Toml) => {
            terminal.print(&emit(&request, Syntax::Toml));
            return Exit::Ok.code();
        }
        Some(Format::Json) => {
            terminal.print(&emit(&request, Syntax::Json));
            return Exit::Ok.code();
        }
        None => {}
    }
    // The builder's text is literal, so there is nothing to resolve but the escapes.
    let resolved = crate::request::resolve(&request, &std::collections::BTreeMap::new());
    let Ok(resolved) = resolved else {
        fail(show, terminal, "bug", "a request without variables has one");
        return Exit::Bug.code();
    };
    let facts = preflight::gather(&resolved, Path::new("."));
    let plan = match crate::plan::plan(&resolved, &facts, "pyro run") {
        Ok(plan) => plan,
        Err(problems) => {
            refuse(&problems, &document, show, terminal);
            return PYRO_FAILED;
        }
    };
    let result = ran(&plan, global, &mut |event| match event {
        Event::Output { stream, bytes, .. } if !args.json => match stream {
            Stream::Stdout => terminal.out(bytes),
            Stream::Stderr => terminal.err(bytes),
        },
        Event::Swept(swept) => outcome::swept(swept, terminal),
        Event::Output { .. }
        | Event::Started { .. }
        | Event::StepStarted { .. }
        | Event::StepEnded { .. }
        | Event::Ended { .. } => {}
    });
    let ran = match result {
        Ok(ran) => ran,
        Err(error) => {
            match show {
                Findings::Drawn => terminal.failure(&error),
                Findings::Json => {
                    fail(show, terminal, code(&error), &crate::execute::chain(&error))
                }
            }
            return PYRO_FAILED;
        }
    };
    if args.json {
        terminal.print(&ran.receipt.to_json());
    } else {
        outcome::run(&ran, RUN, &document, terminal);
    }
    if keep(args.receipt.as_deref(), &ran.receipt, terminal) != Exit::Ok {
        return PYRO_FAILED;
    }
    exit(&ran.receipt)
}

fn code(error: &ApplyError) -> &'static str {
    match error {
        ApplyError::State(_) => "state",
        ApplyError::Signals(_) | ApplyError::Execute(_) => "machine",
    }
}

/// The program's own exit code, unless pyro failed.
fn exit(receipt: &Receipt) -> u8 {
    match receipt.outcome {
        Outcome::Cancelled => return Exit::Interrupted.code(),
        Outcome::Lost => return PYRO_FAILED,
        Outcome::Passed | Outcome::Failed => {}
    }
    let ran = receipt
        .steps
        .iter()
        .find(|step| step.id.as_deref() == Some(RUN));
    let others_failed = receipt.steps.iter().any(|step| {
        step.id.as_deref() != Some(RUN) && step.outcome == crate::receipt::StepOutcome::Failed
    });
    match ran.and_then(|step| step.exec.as_ref()) {
        Some(exec) if exec.exit_code == 0 && others_failed => PYRO_FAILED,
        Some(exec) => u8::try_from(exec.exit_code).unwrap_or(u8::MAX),
        None => PYRO_FAILED,
    }
}

/// The request that the command line stands for.
fn request(args: &Run) -> Result<(Request, Document), crate::request::ParseErrors> {
    let mut builder = Request::new(literal(&args.environment));
    if let Some(seed) = &args.seed {
        builder = builder.seed(literal(seed));
    }
    for path in &args.expose {
        builder = builder.expose(literal(path));
    }
    for patch in &args.patch {
        builder = builder.step(Step::patch_from(literal(patch)));
    }
    let mut step = Step::exec(args.command.iter().map(|word| literal(word)))
        .id(RUN)
        .timeout(&args.timeout);
    for (name, value) in &args.env {
        step = step.env(name, literal(value));
    }
    if let Some(cwd) = &args.cwd {
        step = step.cwd(literal(cwd));
    }
    builder = builder.step(step);
    for (guest, host) in &args.export {
        let mut step = Step::export(guest, literal(host)).always();
        if args.overwrite {
            step = step.overwrite();
        }
        builder = builder.step(step);
    }
    // The document that the command stands for, so that messages can point into it.
    let text = emit(&builder.build()?, Syntax::Toml);
    parse("pyro run", text.as_bytes(), Syntax::Toml)
}
