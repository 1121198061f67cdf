//! What will happen: a pure function from a request and the facts to a plan, or to all problems at once.
//!
//! ```text
//!  Request --.                                  .--> Plan --describe--> text for people
//!            +--> plan: each step in order -----|      `----to_json---> data
//!  Facts ----'      `-- tree: /workspace        `--> Problems
//!                       as it is expected
//! ```
//!
//! The plan leaves nothing to choose: every default is filled in, every path resolved, every patch parsed. It
//! starts nothing and has no clock, so the same inputs give the same bytes.

mod describe;
mod draft;
mod exec;
mod existing;
mod expect;
mod export;
mod files;
mod golden;
mod groups;
mod json;
mod limits;
mod model;
mod moving;
mod patching;
mod pinned;
mod planner;
mod points;
mod problem;
mod pull;
mod schema;
mod search;
mod secrets;
mod source;
mod summary;
mod sync;
mod text;
mod tree;
mod values;
mod workspace;

pub use describe::{Style, describe};
pub(crate) use exec::ENV as DEFAULT_ENV;
pub use golden::{GoldenUse, PlannedGolden};
pub use groups::{GroupSetting, PlannedGroup};
pub use json::to_json;
pub use model::{
    Certainty, Effect, Enforcement, ExistingWorkspace, HostWrite, LeftOut, LeftOutStep, Plan,
    PlannedAction, PlannedDelete, PlannedDiff, PlannedEnvironment, PlannedExec, PlannedExport,
    PlannedKeep, PlannedLimit, PlannedList, PlannedMachine, PlannedMove, PlannedPatch, PlannedPull,
    PlannedRead, PlannedRefusal, PlannedSearch, PlannedSecret, PlannedSecretSource, PlannedSeed,
    PlannedStep, PlannedSync, PlannedText, PlannedWorkspace, PlannedWrite, PlannedWriteFile, Reach,
    TextCheck,
};
pub use pinned::{PinnedKind, contents};
pub(crate) use pinned::{seed_contents, sync_contents};
pub use planner::{plan, plan_with};
pub use problem::{Problem, ProblemCode, Problems};
pub use schema::{schema, schema_of_several};
pub use source::{Listed, listing_digest};
pub(crate) use text::{command_line, is_hidden};
pub use values::{Captured, Late, PlannedCapture, PlannedRetry, Slot, Unfilled};

#[cfg(test)]
mod tests;
