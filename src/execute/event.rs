//! What happens during a run, in one order, as it happens.

use crate::plan::{Plan, PlannedStep};
use crate::receipt::{Receipt, StepReport};
use crate::secret::Redaction;
use crate::workspace::Swept;
use std::path::Path;

/// One thing that happened.
#[derive(Debug)]
pub enum Event<'a> {
    /// An interrupted run had left something, and it is gone now.
    Swept(Swept),
    /// Something that a killed process had left of a workspace that lives was put right; what, in words.
    Mended(&'a str),
    /// The run began: the workspace is being made.
    Started {
        /// What will happen.
        plan: &'a Plan,
        /// What takes secrets out of whatever else is shown, such as lines of the document.
        redaction: &'a Redaction,
    },
    /// A step began.
    StepStarted {
        /// Which.
        step: &'a PlannedStep,
    },
    /// A program wrote something.
    Output {
        /// Of which step.
        step: &'a PlannedStep,
        /// Where to.
        stream: Stream,
        /// As it came; may be cut anywhere.
        bytes: &'a [u8],
    },
    /// An attempt of a step failed, and it will be tried again.
    Retry {
        /// Which.
        step: &'a PlannedStep,
        /// Which attempt, from 1.
        attempt: u64,
        /// How it failed.
        report: &'a StepReport,
    },
    /// A step ended, or was passed over.
    StepEnded {
        /// Which.
        step: &'a PlannedStep,
        /// How.
        report: &'a StepReport,
    },
    /// The run is over; nothing of the sandbox is left.
    Ended {
        /// What happened.
        receipt: &'a Receipt,
        /// Where the receipt is.
        path: &'a Path,
    },
}

/// An output stream of a program.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub enum Stream {
    /// Standard output.
    Stdout,
    /// Standard error.
    Stderr,
}
