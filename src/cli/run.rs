//! `pyro run`: one program in a fresh workspace. Builds a request; its output is the program's, its code too.

use super::apply::{can_keep, cancel_on_signals, keep};
use super::args::{Global, Run};
use super::load::{Findings, Loaded};
use super::outcome;
use super::terminal::Terminal;
use crate::execute::{Event, Stream};
use crate::machine::Spare;
use crate::receipt::{Outcome, Receipt, StepOutcome};
use crate::render::{Finding, findings};
use crate::request::{Document, ParseErrors, Request, Step, emit, literal};
use crate::{Exit, Options};

/// pyro itself failed, before or after the program.
const PYRO_FAILED: u8 = 125;
/// How the request is called that the command line stands for.
const NAME: &str = "pyro run";
/// The id of the step that runs the program.
const RUN: &str = "run";

pub(super) fn run(args: &Run, spare: Option<Spare>, global: &Global, terminal: &Terminal) -> u8 {
    let show = Findings::json(args.json);
    let (request, document) = match request(args) {
        Ok(built) => built,
        Err(errors) => {
            let found: Vec<Finding> = Vec::from(&errors);
            let mut document = errors.document().clone();
            NAME.clone_into(&mut document.name);
            let drawn = findings(&document, &found, terminal.finding_style());
            terminal.err(drawn.as_bytes());
            return PYRO_FAILED;
        }
    };
    if !can_keep("receipt", args.receipt.as_deref(), terminal) {
        return PYRO_FAILED;
    }
    if let Some(format) = args.emit {
        terminal.print(&emit(&request, format.syntax()));
        return Exit::Ok.code();
    }
    let options = Options {
        state_dir: global.state_dir.clone(),
        source: document.name.clone(),
        ..Options::default()
    };
    let mut loaded = Loaded {
        request,
        document,
        options,
        file: None,
    };
    let ran = cancel_on_signals().and_then(|cancel| {
        loaded.options.cancel = Some(cancel);
        let plan = loaded.request.plan(&loaded.options)?;
        plan.apply_with(
            spare.unwrap_or_else(Spare::begin),
            &loaded.options,
            &mut |event| pass_on(&event, args, terminal),
        )
    });
    let ran = match ran {
        Ok(ran) => ran,
        Err(error) => {
            loaded.refuse(&error, show, terminal);
            return PYRO_FAILED;
        }
    };
    if args.json {
        terminal.print(&ran.receipt.to_json());
    } else {
        outcome::run(&ran, RUN, &loaded.document, terminal);
    }
    if keep(args.receipt.as_deref(), &ran.receipt, terminal) != Exit::Ok {
        return PYRO_FAILED;
    }
    exit(&ran.receipt)
}

/// The program's output is the command's output.
fn pass_on(event: &Event<'_>, args: &Run, terminal: &Terminal) {
    match event {
        Event::Output { stream, bytes, .. } if !args.json => match stream {
            Stream::Stdout => terminal.out(bytes),
            Stream::Stderr => terminal.err(bytes),
        },
        Event::Swept(swept) => outcome::swept(*swept, terminal),
        Event::Output { .. }
        | Event::Mended(_)
        | Event::Started { .. }
        | Event::StepStarted { .. }
        | Event::Retry { .. }
        | Event::StepEnded { .. }
        | Event::Ended { .. } => {}
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
    let others_failed = receipt
        .steps
        .iter()
        .any(|step| step.id.as_deref() != Some(RUN) && step.outcome == StepOutcome::Failed);
    match ran.and_then(|step| step.exec.as_ref()) {
        Some(exec) if exec.exit_code == 0 && others_failed => PYRO_FAILED,
        Some(exec) => u8::try_from(exec.exit_code).unwrap_or(u8::MAX),
        None => PYRO_FAILED,
    }
}

/// The request that the command line stands for.
fn request(args: &Run) -> Result<(Request, Document), ParseErrors> {
    let mut builder = Request::new(literal(&args.environment));
    if let Some(seed) = &args.seed {
        builder = builder.seed(literal(seed));
    }
    for path in &args.expose {
        builder = builder.expose(literal(path));
    }
    if let Some(cpus) = &args.cpus {
        builder = builder.cpus(cpus);
    }
    if let Some(memory) = &args.memory {
        builder = builder.memory(memory);
    }
    if let Some(when) = &args.keep {
        builder = builder.keep(when);
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
    let request = builder.build()?;
    // The document that the command stands for, so that messages can point into it.
    let document = Document::of(NAME, &request);
    Ok((request, document))
}
