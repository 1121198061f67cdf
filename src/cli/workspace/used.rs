//! A command that is a request: built, planned, executed in a workspace that lives.

use super::args::Answer;
use super::{Here, answer};
use crate::cli::apply::cancel_on_signals;
use crate::cli::load::Refusal;
use crate::cli::load::{Findings, Loaded, refused};
use crate::execute::{Event, Ran};
use crate::receipt::{Outcome, StepOutcome, StepReport};
use crate::request::{Document, Request, RequestBuilder, emit};
use crate::{Exit, Options};

/// What came of it.
#[derive(Debug)]
pub(super) struct Used {
    pub(super) ran: Ran,
    /// 12 hex digits.
    pub(super) id: String,
    /// `host`, `dir:PATH`.
    pub(super) environment: String,
}

impl Used {
    /// The report of the only step.
    pub(super) fn step(&self) -> Option<&StepReport> {
        self.ran.receipt.steps.first()
    }
}

/// How a command ended before anything came of it.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum End {
    /// It has printed what it stands for.
    Emitted,
    /// It has said why not.
    Refused(Exit),
}

impl End {
    pub(super) fn exit(self) -> Exit {
        match self {
            Self::Emitted => Exit::Ok,
            Self::Refused(exit) => exit,
        }
    }
}

/// Runs a request of one step, which has a name in messages.
pub(super) fn run(
    name: &str,
    builder: RequestBuilder,
    answer: &Answer,
    here: Here<'_>,
    on_event: &mut dyn FnMut(&Event<'_>),
) -> Result<Used, End> {
    let show = Findings::json(answer.json);
    let request = built(name, builder, show, here)?;
    if let Some(format) = answer.emit {
        here.terminal.print(&emit(&request, format.syntax()));
        return Err(End::Emitted);
    }
    let document = Document::of(name, &request);
    let options = Options {
        state_dir: here.global.state_dir.clone(),
        source: name.to_owned(),
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
        let id = plan.workspace.existing.as_ref();
        let id = id.map_or_else(String::new, |existing| existing.id.clone());
        let environment = plan.workspace.environment_shown.clone();
        let ran = plan.apply(&loaded.options, &mut |event| {
            if let Event::Mended(what) = event {
                here.terminal.note(what);
            }
            on_event(&event);
        })?;
        Ok(Used {
            ran,
            id,
            environment,
        })
    });
    ran.map_err(|error| {
        let exit = loaded.refuse(&error, show, here.terminal);
        if let Some(name) = &loaded.request.existing {
            here.mend(name);
        }
        End::Refused(refused_as_command(exit))
    })
}

/// A plan that cannot work is a command that is refused.
pub(super) fn refused_as_command(exit: Exit) -> Exit {
    if exit == Exit::Plan {
        Exit::Refused
    } else {
        exit
    }
}

/// The request, or what is wrong with it.
pub(super) fn built(
    name: &str,
    builder: RequestBuilder,
    show: Findings,
    here: Here<'_>,
) -> Result<Request, End> {
    builder.build().map_err(|errors| {
        let mut document = errors.document().clone();
        name.clone_into(&mut document.name);
        let refusal = Refusal::Document {
            document,
            found: Vec::from(&errors),
            exit: Exit::Input,
        };
        End::Refused(refused(&[refusal], show, here.terminal))
    })
}

/// As [`run`], and the step must have passed: where it did not, why is said.
pub(super) fn run_step(
    name: &str,
    builder: RequestBuilder,
    answer: &Answer,
    here: Here<'_>,
) -> Result<Used, Exit> {
    let used = run(name, builder, answer, here, &mut |_| {}).map_err(End::exit)?;
    passed(used, answer, here)
}

/// The same, where the step has passed; where it has not, why is said.
pub(super) fn passed(used: Used, answer: &Answer, here: Here<'_>) -> Result<Used, Exit> {
    let receipt = &used.ran.receipt;
    match receipt.outcome {
        Outcome::Passed => return Ok(used),
        Outcome::Cancelled => return Err(Exit::Interrupted),
        Outcome::Failed | Outcome::Lost => {}
    }
    let step = used
        .step()
        .filter(|step| step.outcome == StepOutcome::Failed);
    let refusal = step.and_then(|step| step.refusal.as_ref());
    let (code, message, help) = match (refusal, &receipt.lost) {
        (Some(refusal), _) => (
            refusal.code.clone(),
            refusal.message.clone(),
            refusal.help.clone(),
        ),
        (None, Some(lost)) => ("lost".to_owned(), lost.clone(), None),
        (None, None) => ("failed".to_owned(), "the step failed".to_owned(), None),
    };
    if answer.json {
        let mut error = serde_json::json!({"code": code, "message": message, "help": help});
        if let Some(refusal) = refusal.filter(|refusal| !refusal.reasons.is_empty()) {
            error["reasons"] = serde_json::json!(refusal.reasons);
        }
        if let Some(pull) = step.and_then(|step| step.pull.as_ref()) {
            error["conflicts"] = answer::conflicts(pull);
        }
        here.payload(&serde_json::json!({"ok": false, "error": error}));
    } else {
        here.terminal.error(&message);
        if let Some(help) = help {
            here.terminal.help(&help);
        }
    }
    Err(match receipt.outcome {
        Outcome::Lost => Exit::Machine,
        Outcome::Passed | Outcome::Failed | Outcome::Cancelled => Exit::Refused,
    })
}

/// Text that a command was given, or that lies in a file (`-`: standard input).
pub(super) fn text_or_file(
    text: Option<&String>,
    file: Option<&std::path::PathBuf>,
    json: bool,
    here: Here<'_>,
) -> Result<Vec<u8>, Exit> {
    use std::io::Read as _;
    let Some(file) = file else {
        return Ok(text
            .map(|text| text.clone().into_bytes())
            .unwrap_or_default());
    };
    let read = if file.as_os_str() == "-" {
        let mut bytes = Vec::new();
        std::io::stdin()
            .lock()
            .read_to_end(&mut bytes)
            .map(|_| bytes)
    } else {
        std::fs::read(file)
    };
    read.map_err(|error| {
        let message = format!("could not read {}: {error}", file.display());
        crate::cli::load::fail(
            Findings::json(json),
            here.terminal,
            "from-unreadable",
            &message,
        );
        Exit::Input
    })
}
