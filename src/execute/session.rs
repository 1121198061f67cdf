//! One workspace, live: the link to its agent and what the steps need beside it.

use super::event::Event;
use super::golden::Goldens;
use super::redact::Redactor;
use crate::machine::{CallEvent, CallId, Cancel, Link, LinkError, Wake};
use crate::plan::{Captured, Plan, PlannedAction, PlannedStep};
use crate::receipt::{PatchReason, RefusalReport, StepReport};
use crate::secret::Secrets;
use crate::workspace::{Baseline, RunDir};
use pyro_protocol::message::{Failure, FailureCode, Op, Reply};
use std::cell::OnceCell;
use std::os::fd::AsFd as _;
use std::path::{Path, PathBuf};
use std::time::{Duration, Instant};

/// An agent that says nothing for this long after it was told to cancel is taken for dead.
const CANCEL_WAIT: Duration = Duration::from_secs(15);

/// Bytes of a call's input that wait here for the guest to take them; more is not read from where it comes from.
const MOST_WAITING: usize = 256 << 10;

/// Why a step did not do what it should.
#[derive(Debug)]
pub(super) enum StepError {
    /// pyro or the guest refused; nothing was changed.
    Refused(RefusalReport),
    /// The run is being cancelled.
    Cancelled,
    /// The machine is gone.
    Lost(LinkError),
}

impl From<LinkError> for StepError {
    fn from(error: LinkError) -> Self {
        Self::Lost(error)
    }
}

impl From<Failure> for StepError {
    fn from(failure: Failure) -> Self {
        if failure.code == FailureCode::Cancelled {
            return Self::Cancelled;
        }
        if failure.code == FailureCode::SandboxEnded {
            return Self::Lost(LinkError::Ended);
        }
        let code = serde_json::to_value(failure.code).ok();
        let code = code
            .and_then(|code| code.as_str().map(str::to_owned))
            .unwrap_or_default();
        Self::Refused(RefusalReport {
            code,
            message: could_not(&failure),
            help: None,
            reasons: Vec::new(),
        })
    }
}

/// The guest says `open: not there` of a path; for people the path stands in the middle.
fn could_not(failure: &Failure) -> String {
    let Failure { message, path, .. } = failure;
    match (path, message.split_once(": ")) {
        (Some(path), Some((what, why))) => format!("could not {what} {}: {why}", path.lossy()),
        (Some(path), None) => format!("{}: {message}", path.lossy()),
        (None, _) => format!("could not {message}"),
    }
}

impl StepError {
    /// A refusal of our own.
    pub(super) fn refused(code: &str, message: impl Into<String>) -> Self {
        Self::Refused(RefusalReport {
            code: code.to_owned(),
            message: message.into(),
            help: None,
            reasons: Vec::new(),
        })
    }

    /// A reply that does not belong to the op.
    pub(super) fn surprise(reply: &Reply) -> Self {
        Self::Lost(LinkError::Protocol(format!(
            "an answer to another question: {reply:?}"
        )))
    }
}

/// One workspace, live.
pub(super) struct Session<'a> {
    pub(super) link: Link,
    pub(super) plan: &'a Plan,
    pub(super) run: &'a RunDir,
    /// Where long outputs are kept.
    pub(super) folder: &'a Path,
    pub(super) baseline: &'a Baseline,
    /// Where it is noted what was brought home from the workspace.
    pub(super) pulled: PathBuf,
    /// What is done about texts that differ from their goldens.
    pub(super) goldens: Goldens,
    redactor: OnceCell<Redactor>,
    /// What programs may be given, and nobody may see.
    pub(super) secrets: Secrets,
    /// What steps have captured so far.
    pub(super) captured: Captured,
    cancel: &'a Cancel,
    /// Set once the current call was told to cancel.
    cancelling: Option<Instant>,
    /// What there is besides the work tree was noted, where a step may go back to it.
    pub(super) begun: bool,
    /// How many resets have happened.
    pub(super) resets: u32,
    /// The step whose beginning is noted.
    pub(super) noted: Option<usize>,
}

impl<'a> Session<'a> {
    pub(super) fn new(
        link: Link,
        plan: &'a Plan,
        run: &'a RunDir,
        folder: &'a Path,
        cancel: &'a Cancel,
        baseline: &'a Baseline,
    ) -> Self {
        Self {
            link,
            plan,
            run,
            folder,
            baseline,
            pulled: run.path().join("pulled"),
            goldens: Goldens::compare(),
            redactor: OnceCell::new(),
            secrets: Secrets::default(),
            captured: Captured::new(),
            cancel,
            cancelling: None,
            begun: false,
            resets: 0,
            noted: None,
        }
    }

    /// Takes out of texts what is another each time; made when the first golden asks for it.
    pub(super) fn redactor(&self) -> &Redactor {
        (self.redactor).get_or_init(|| Redactor::new(self.run.id(), self.plan.redact.iter()))
    }

    /// Runs one step and fills in its report.
    pub(super) fn run(
        &mut self,
        step: &PlannedStep,
        report: &mut StepReport,
        on_event: &mut dyn FnMut(Event<'_>),
    ) -> Result<(), StepError> {
        self.begin()?;
        self.before(step)?;
        self.act(step, report, on_event)?;
        self.after(step, report)
    }

    fn act(
        &mut self,
        step: &PlannedStep,
        report: &mut StepReport,
        on_event: &mut dyn FnMut(Event<'_>),
    ) -> Result<(), StepError> {
        match &step.action {
            PlannedAction::Exec(exec) => self.exec(step, exec, report, on_event),
            PlannedAction::Write(write) => self.write(write, report),
            PlannedAction::Patch(patch) => self.patch(patch, report),
            PlannedAction::Delete(delete) => self.delete(delete, report),
            PlannedAction::Move(moving) => self.move_path(moving, report),
            PlannedAction::Read(read) => self.read(step, read, report),
            PlannedAction::List(list) => self.list(step, list, report),
            PlannedAction::Search(search) => self.search(step, search, report),
            PlannedAction::Diff(diff) => self.diff(step, diff, report),
            PlannedAction::Sync(sync) => self.sync(sync, report),
            PlannedAction::Export(export) => self.export(export, report),
            PlannedAction::Pull(pull) => self.pull(pull, report),
            PlannedAction::Snapshot(name) => self.snapshot(name, report),
            PlannedAction::Reset(to) => self.reset(to, report),
            PlannedAction::Refused(refused) => Err(StepError::Refused(RefusalReport {
                code: refused
                    .reasons
                    .first()
                    .map(|reason| reason.code.to_string())
                    .unwrap_or_default(),
                message: refused
                    .reasons
                    .iter()
                    .map(ToString::to_string)
                    .collect::<Vec<_>>()
                    .join("\n"),
                help: refused
                    .reasons
                    .iter()
                    .find_map(|reason| reason.help.clone()),
                reasons: (refused.reasons.iter())
                    .filter_map(|reason| reason.refusal.as_deref().map(PatchReason::from))
                    .collect(),
            })),
        }
    }

    /// Lets time pass between two attempts. A cancelled run stops it, and so does the end of the machine.
    pub(super) fn pause(&mut self, time: Duration) -> Result<(), StepError> {
        let end = Instant::now() + time;
        loop {
            match self.link.wait(Some(self.cancel.as_fd()), Some(end))? {
                Wake::Event(..) => {}
                Wake::Interrupt => return Err(StepError::Cancelled),
                Wake::Timeout => return Ok(()),
            }
        }
    }

    /// Waits for the next event of the one call that is open. A cancelled run cancels the call, once, and goes on
    /// waiting for its answer.
    pub(super) fn next(&mut self, call: CallId) -> Result<CallEvent, LinkError> {
        loop {
            if let Some(event) = self.wait(call, None)? {
                return Ok(event);
            }
        }
    }

    /// Gives a call a piece of its input, and waits until it takes more. An event that comes before that is returned.
    pub(super) fn feed(
        &mut self,
        call: CallId,
        piece: &[u8],
    ) -> Result<Option<CallEvent>, LinkError> {
        self.link.input(call, piece);
        match self.link.is_full(call, MOST_WAITING) {
            true => self.wait(call, Some(MOST_WAITING)),
            false => Ok(None),
        }
    }

    /// Cancels a call for a reason of our own, and waits for its end. What it had begun is taken back by then.
    pub(super) fn call_off(&mut self, call: CallId) -> Result<(), LinkError> {
        self.cancelling.get_or_insert_with(Instant::now);
        self.link.cancel(call);
        loop {
            match self.next(call)? {
                CallEvent::Started | CallEvent::Data { .. } => {}
                CallEvent::Done(_) | CallEvent::Failed(_) => return Ok(()),
            }
        }
    }

    /// Waits for the next event of a call, or until no more than `room` bytes of its input wait: then for nothing.
    fn wait(&mut self, call: CallId, room: Option<usize>) -> Result<Option<CallEvent>, LinkError> {
        loop {
            let interrupt = self.cancelling.is_none().then(|| self.cancel.as_fd());
            let deadline = self.cancelling.map(|since| since + CANCEL_WAIT);
            let wake = match room {
                None => Some(self.link.wait(interrupt, deadline)?),
                Some(most) => (self.link).wait_for_room((call, most), interrupt, deadline)?,
            };
            let Some(wake) = wake else {
                return Ok(None);
            };
            match wake {
                Wake::Event(id, event) if id == call => {
                    if matches!(event, CallEvent::Done(_) | CallEvent::Failed(_)) {
                        self.cancelling = None;
                    }
                    return Ok(Some(event));
                }
                Wake::Event(..) => {}
                Wake::Interrupt => {
                    self.cancelling = Some(Instant::now());
                    self.link.cancel(call);
                }
                Wake::Timeout => return Err(LinkError::Silent),
            }
        }
    }

    /// An op of a generation that only one side knows is not sent.
    pub(super) fn speaks(&self, op: &Op) -> Result<(), StepError> {
        let (needed, settled) = (op.generation(), self.link.generation());
        if needed > settled {
            return Err(StepError::refused(
                "unknown-op",
                format!(
                    "the agent speaks generation {settled} of the wire, and this step needs {needed}"
                ),
            ));
        }
        Ok(())
    }

    /// Makes a call that streams nothing to us but a little data, and waits for its end.
    pub(super) fn call(
        &mut self,
        op: Op,
        input: Option<&[u8]>,
    ) -> Result<(Reply, Vec<u8>), StepError> {
        self.speaks(&op)?;
        let call = self.link.call(op);
        if let Some(input) = input {
            self.link.input(call, input);
            self.link.end_input(call);
        }
        let mut data = Vec::new();
        loop {
            match self.next(call)? {
                CallEvent::Started => {}
                CallEvent::Data { bytes, .. } => data.extend_from_slice(&bytes),
                CallEvent::Done(reply) => return Ok((reply, data)),
                CallEvent::Failed(failure) => return Err(failure.into()),
            }
        }
    }
}
