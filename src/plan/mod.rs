//! What will happen: a pure function from a request and the facts to a plan, or to all problems at once.
//!
//! The plan leaves nothing to choose: every default is filled in, every path resolved, every patch parsed. It
//! starts nothing and has no clock, so the same inputs give the same bytes.

mod model;

pub use model::{
    Certainty, Enforcement, HostWrite, LeftOut, Plan, PlannedAction, PlannedDelete, PlannedDiff,
    PlannedEnvironment, PlannedExec, PlannedExport, PlannedLimit, PlannedList, PlannedPatch,
    PlannedRead, PlannedSeed, PlannedStep, PlannedText, PlannedWorkspace, PlannedWrite,
    PlannedWriteFile, Reach, TextCheck,
};
